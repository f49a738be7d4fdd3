"""Finished parts of long work, each in a file of its own, so that work that is killed resumes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TypeVar

from mmh_core.installation import code_version
from mmh_core.records import MMHError
from mmh_core.store.archive import load_record, save_record

Record = TypeVar("Record")
#: Digits of a record's digest, which are its file's name.
_DIGITS = 32
_NAME = re.compile(rf"[0-9a-f]{{{_DIGITS}}}\.safetensors")


def kept_path(folder: Path | None, key: object) -> Path | None:
    """Return where the record of `key` is kept in a folder, None without a folder.

    The key is everything that the record depends on and that its `repr` tells apart; the code is
    part of it by itself.
    """
    if folder is None:
        return None
    digest = hashlib.sha256(repr((code_version(), key)).encode()).hexdigest()
    return folder / f"{digest[:_DIGITS]}.safetensors"


def forget_kept(folder: Path) -> None:
    """Remove the records that are kept in a folder, and nothing else that lies there."""
    for path in folder.glob("*.safetensors"):
        if _NAME.fullmatch(path.name):
            path.unlink()


def load_kept(path: Path | None, kind: type[Record]) -> Record | None:
    """Return a record that is kept, None where there is none and where it is damaged."""
    if path is None or not path.is_file():
        return None
    try:
        return load_record(path, kind)
    except MMHError:
        return None


def save_kept(path: Path | None, record: object) -> None:
    """Keep a finished record at a path of `kept_path`, nowhere where that is None."""
    if path is not None:
        save_record(path, record)
