"""Say which code made a record, without asking anything outside this folder."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
# An installed package carries the app inside itself; a checkout has it beside.
_APP = _ROOT / "_app"


@cache
def code_version(*folders: str) -> str:
    """Return the first 16 characters of the SHA-256 of all source files of mmh_core.

    Two installations with equal code agree, wherever they lie; any edit makes another version.
    With `folders` of mmh_core only what lies in them counts.
    """
    digest = hashlib.sha256()
    places = [_ROOT / folder for folder in folders] or [_ROOT]
    files = [path for place in places for path in place.rglob("*.py") if _APP not in path.parents]
    for path in sorted(files, key=lambda path: path.relative_to(_ROOT).as_posix()):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(_ROOT).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:16]
