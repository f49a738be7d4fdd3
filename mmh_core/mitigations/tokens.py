"""The tokens of a prompt: texts, positions, and the padding rows of its embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.prompt_text import tokens_of


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """The T tokens of a prompt within the encoder, without start and end.

    `rows` are their rows in the embedding: one each, and all of them for a placeholder of textual
    inversion, which is one token here. `texts` are what they stand for in the prompt as it was
    written, `spans` their positions in it.
    """

    rows: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]


def prompt_tokens(model: TextToImage, prompt: str) -> PromptTokens:
    """Return the tokens of a prompt; those beyond the encoder's length are left out."""
    rows: dict[tuple[int, int], tuple[int, ...]] = {}
    for row, span in enumerate(tokens_of(model.tokenizer, prompt, model.windows).spans):
        if span[1] > span[0]:
            rows[span] = (*rows.get(span, ()), row)
    return PromptTokens(
        tuple(rows.values()), tuple(prompt[start:end] for start, end in rows), tuple(rows)
    )


def padding_rows(model: TextToImage, prompt: str) -> Tensor:
    """Return the rows (P,) of the embedding that pad the prompt: all after its first end token."""
    mask = tokens_of(model.tokenizer, prompt, model.windows).mask
    return torch.nonzero(mask == 0).flatten()


def check_end_padding(model: TextToImage, label: str) -> None:
    """Raise MMHError unless the encoder pads prompts with the end token, as in SD 1.x."""
    tokenizer: Any = model.tokenizer
    if tokenizer.pad_token_id != tokenizer.eos_token_id:
        raise MMHError(
            f"{label} needs a text encoder whose prompts are padded with the end token, and "
            f"{model.name} pads with {tokenizer.pad_token!r}: choose another mitigation."
        )
