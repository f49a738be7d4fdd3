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


# Version 2 pads with another token, so each version takes what was published for it alone.
_PUBLISHED = {
    False: ("openai/clip-vit-large-patch14", "sd-1.5", "sd-1.4"),
    True: ("sd-2.1", "stabilityai/stable-diffusion-2-1", "stabilityai/stable-diffusion-2"),
}


def tokenizer_of(path: Path, *, second: bool) -> Path:
    """Return the folder of a single file's tokenizer: beside it, or of an earlier download.

    `second` is whether the file is of version 2. Errors: MMHError where there is none.
    """
    from mmh_core.text_to_image.catalogue import CATALOGUE
    from mmh_core.text_to_image.hub import cached_folder

    beside = path.parent / "tokenizer"
    if _is_tokenizer(beside):
        return beside
    for name in _PUBLISHED[second]:
        folder = cached_folder(CATALOGUE[name].source if name in CATALOGUE else name)
        for candidate in () if folder is None else (folder, folder / "tokenizer"):
            if _is_tokenizer(candidate):
                return candidate
    version = "stabilityai/stable-diffusion-2-1" if second else "openai/clip-vit-large-patch14"
    raise MMHError(
        f"The tokenizer is missing: put a folder with vocab.json and merges.txt at {beside}; "
        f"they are published with {version}."
    )


def _is_tokenizer(folder: Path) -> bool:
    files = [folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt")]
    whole, *parts = (path.is_file() for path in files)
    return whole or all(parts)


def read_tokenizer(folder: Path, encoder: nn.Module) -> Callable[..., Any]:
    """Return the tokenizer of a folder, cut to the encoder's length. Errors: MMHError."""
    from transformers import CLIPTokenizer

    if not _is_tokenizer(folder):
        raise MMHError(
            f"The tokenizer is missing: put a folder with vocab.json and merges.txt at {folder}."
        )
    build: Callable[..., Any] = CLIPTokenizer.from_pretrained
    settings = _settings(folder)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            for name in _FILES:
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, Path(temporary, name))
            Path(temporary, _CONFIG).write_text(json.dumps(settings), encoding="utf-8")
            tokenizer: Any = build(temporary, local_files_only=True)
        highest = max(tokenizer.get_vocab().values())
    except Exception as error:  # Whatever transformers makes of a damaged vocabulary.
        raise MMHError(
            f"The tokenizer in {folder} cannot be used ({str(error)[:200]}): copy the "
            "tokenizer of the same model over it."
        ) from error
    positions: Tensor = encoder.get_parameter("embeddings.position_embedding.weight")
    vocabulary = len(encoder.get_parameter("embeddings.token_embedding.weight"))
    if highest >= vocabulary:
        raise MMHError(
            f"The tokenizer in {folder} has {highest + 1:,} tokens and the text encoder knows "
            f"{vocabulary:,}: use the one that came with the model."
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, len(positions))
    ready: Callable[..., Any] = tokenizer
    return ready


def _settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a tokenizer that are data. Errors: MMHError."""
    path = folder / _CONFIG
    settings = read_json(path) if path.is_file() else {}
    kept = {key: settings[key] for key in _SETTINGS if settings.get(key) is not None}
    longest = kept.get("model_max_length", _USUAL_LENGTH)
    # Saved without a limit it is 1e30.
    if isinstance(longest, bool) or not isinstance(longest, int | float) or longest < 1:
        raise MMHError(
            f"{path} states {str(longest)[:60]!r} as model_max_length: restore it from where the "
            "model came from."
        )
    kept["model_max_length"] = int(min(longest, _LONGEST))
    return {**kept, "tokenizer_class": "CLIPTokenizer"}
