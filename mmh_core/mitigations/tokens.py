"""The tokens of a prompt: their texts and places, and which rows of an embedding are padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """Hold the T tokens of a prompt that the encoder reads, without its start and end.

    `rows` (T,) are their rows in the embedding, `texts` what they stand for in the prompt as it
    was written, `spans` their places in it.
    """

    rows: Tensor
    texts: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]


def prompt_tokens(model: TextToImage, prompt: str) -> PromptTokens:
    """Split a prompt; what exceeds the encoder is left out."""
    encoded = _encoded(model, prompt, return_offsets_mapping=True)
    spans = [tuple(span) for span in encoded["offset_mapping"][0].tolist()]
    used = [i for i, (start, end) in enumerate(spans) if end > start]
    return PromptTokens(
        torch.tensor(used, dtype=torch.long),
        tuple(prompt[spans[i][0] : spans[i][1]] for i in used),
        tuple((spans[i][0], spans[i][1]) for i in used),
    )


def padding_rows(model: TextToImage, prompt: str) -> Tensor:
    """Return the rows (P,) of the embedding that pad the prompt: all after its first end token."""
    mask = _encoded(model, prompt)["attention_mask"][0]
    return torch.nonzero(mask == 0).flatten()


def check_end_padding(model: TextToImage, what: str) -> None:
    """Raise MMHError unless the encoder pads prompts with the end token, as in SD 1.x."""
    tokenizer: Any = model.tokenizer
    if tokenizer.pad_token_id != tokenizer.eos_token_id:
        raise MMHError(
            f"{what} needs a text encoder whose prompts are padded with the end token, and "
            f"{model.name} pads with {tokenizer.pad_token!r}: choose another mitigation."
        )


def _encoded(model: TextToImage, prompt: str, **wanted: Any) -> Any:
    tokenizer: Any = model.tokenizer
    return tokenizer(
        [prompt],
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
        **wanted,
    )
