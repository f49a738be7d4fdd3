"""Read a tokenizer's files, of which only the vocabulary and the special tokens count."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmh_core.records import MMHError
from mmh_core.text_to_image.weights import read_json

_FILES = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "vocab.json",
)
_CONFIG = "tokenizer_config.json"
_USUAL_LENGTH, _LONGEST = 77, 10**6
# All others are dropped: some name classes, code or other places.
_SETTINGS = (
    "add_prefix_space",
    "added_tokens_decoder",
    "additional_special_tokens",
    "bos_token",
    "clean_up_tokenization_spaces",
    "do_lower_case",
    "eos_token",
    "errors",
    "extra_special_tokens",
    "model_max_length",
    "pad_token",
    "padding_side",
    "split_special_tokens",
    "truncation_side",
    "unk_token",
)


def read_tokenizer(folder: Path, encoder: nn.Module) -> Callable[..., Any]:
    """Return the tokenizer of a folder, cut to the encoder's length. Errors: MMHError."""
    from transformers import CLIPTokenizer

    whole = (folder / "tokenizer.json").exists()
    if not whole and not ((folder / "vocab.json").exists() and (folder / "merges.txt").exists()):
        raise MMHError(
            f"The tokenizer is missing: put a folder with vocab.json and merges.txt at {folder}."
        )
    build: Callable[..., Any] = CLIPTokenizer.from_pretrained
    settings = _settings(folder)
    try:
        with tempfile.TemporaryDirectory() as place:
            for name in _FILES:
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, Path(place, name))
            Path(place, _CONFIG).write_text(json.dumps(settings), encoding="utf-8")
            tokenizer: Any = build(place, local_files_only=True)
        highest = max(tokenizer.get_vocab().values())
    except Exception as error:  # Whatever transformers makes of a damaged vocabulary.
        raise MMHError(
            f"The tokenizer in {folder} cannot be used ({str(error)[:200]}): copy the "
            "tokenizer of the same model over it."
        ) from error
    positions: Tensor = encoder.get_parameter("embeddings.position_embedding.weight")
    known = len(encoder.get_parameter("embeddings.token_embedding.weight"))
    if highest >= known:
        raise MMHError(
            f"The tokenizer in {folder} has {highest + 1:,} tokens and the text encoder knows "
            f"{known:,}: use the one that came with the model."
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, len(positions))
    ready: Callable[..., Any] = tokenizer
    return ready


def _settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a tokenizer that are data. Errors: MMHError."""
    path = folder / _CONFIG
    given = read_json(path) if path.is_file() else {}
    kept = {key: given[key] for key in _SETTINGS if given.get(key) is not None}
    longest = kept.get("model_max_length", _USUAL_LENGTH)
    # Saved without a limit it is 1e30.
    if isinstance(longest, bool) or not isinstance(longest, int | float) or longest < 1:
        raise MMHError(
            f"{path} states {str(longest)[:60]!r} as model_max_length: restore it from where the "
            "model came from."
        )
    kept["model_max_length"] = int(min(longest, _LONGEST))
    return {**kept, "tokenizer_class": "CLIPTokenizer"}
