"""The version of the code that made a record: a digest of its source files."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from mmh_core.installation import PACKAGE


@cache
def code_version(*folders: str, root: Path = PACKAGE) -> str:
    """Return the first 16 characters of the SHA-256 of all source files of mmh_core.

    Two installations with equal code agree, wherever they lie; any edit makes another version.
    With `folders` of mmh_core only what lies in them counts. The app, which an installed package
    carries inside itself and a checkout has beside it, never does.
    """
    digest = hashlib.sha256()
    roots = [root / folder for folder in folders] or [root]
    app = root / "_app"
    files = [
        path
        for root_folder in roots
        for path in root_folder.rglob("*.py")
        if app not in path.parents
    ]
    for path in sorted(files, key=lambda path: path.relative_to(root).as_posix()):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:16]
