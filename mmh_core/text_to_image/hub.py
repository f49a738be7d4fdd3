"""Fetch a model from the Hugging Face Hub, or from what an earlier download left on this disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from mmh_core.records import MMHError
from mmh_core.text_to_image.weight_files import chosen_names

# Only what is read: no pickles, no code, no safety checker, no single-file copies.
_FILES = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/*.json",
    "tokenizer/merges.txt",
    "unet/config.json",
    "vae/config.json",
]
_SECONDS = 5.0

STEMS = {
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}


def is_hub_name(name: str) -> bool:
    """Return whether this could be a name on the Hub: "owner/model"."""
    return re.fullmatch(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}", name, re.ASCII) is not None


def fetch(name: str, complete: Callable[[Path], bool]) -> Path:
    """Return the folder of a model by its Hub name; the network is used only when it has to be.

    `complete` tells whether a folder holds what is needed. Without a network the answer comes
    within seconds: one look-up, no retries. Raises MMHError.
    """
    from huggingface_hub import HfApi, snapshot_download

    folder = cached_folder(name)
    if folder is not None and complete(folder):
        return folder
    try:
        info = HfApi().model_info(name, timeout=_SECONDS)
        names = [str(sibling.rfilename) for sibling in info.siblings or ()]
        patterns = [*_FILES, *weights_of(names)]
        return Path(snapshot_download(name, allow_patterns=patterns, etag_timeout=_SECONDS))
    except Exception as error:
        raise _explained(name, error) from error


def weights_of(names: Iterable[str]) -> list[str]:
    """Return which of a repository's files hold the weights: one version of each part."""
    names = list(names)
    files_of_parts: list[str] = []
    for part, stem in STEMS.items():
        inside = [name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/")]
        files, index = chosen_names(inside, stem)
        files_of_parts += [f"{part}/{name}" for name in (*files, index) if name]
    return files_of_parts


def cached_folder(name: str) -> Path | None:
    """Return the folder that an earlier download left on this disk, whole or not; no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _explained(name: str, error: Exception) -> MMHError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return MMHError(
            f"{name} is only given to people who accepted its terms: accept them on "
            "huggingface.co and sign in with `hf auth login`, or choose another model."
        )
    if isinstance(error, RepositoryNotFoundError):
        return MMHError(
            f"The Hub has no model named {name}, or it is private: check the spelling."
        )
    return MMHError(
        f"{name} is not on this disk and could not be fetched from the Hub "
        f"({type(error).__name__}): connect to the network, or give a folder that holds it."
    )
