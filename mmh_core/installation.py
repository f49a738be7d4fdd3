"""Where this installation lies, what the program is called, and which version of the code runs."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from importlib.resources import files
from pathlib import Path

#: The folder mmh_core itself.
PACKAGE = Path(str(files("mmh_core")))
_INSTALLED = PACKAGE / "_app"


def is_installed() -> bool:
    """Return whether this runs from an installed package, and not from a checkout."""
    return _INSTALLED.is_dir()


def app_folder() -> Path:
    """Return the folder that holds app.py, pages/, views/ and assets/."""
    return _INSTALLED if is_installed() else PACKAGE.parent


def assets() -> Path:
    """Return the folder of the shipped model, its training images and the finished examples."""
    return app_folder() / "assets"


def data_folder(called_from: Path) -> Path:
    """Return where the app keeps what it makes, unless a person names another folder.

    `.mmh` in a checkout; once installed `.mmh` in the folder from which it was called, since what
    is installed is not for writing.
    """
    return (called_from if is_installed() else app_folder()) / ".mmh"


def cache_folder() -> Path:
    """Return where this user's system keeps what can be made again, for this program."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "mmh" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "mmh"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "mmh"


#: What begins every command that a person is told to run.
PROGRAM = "mmh" if is_installed() else "./mmh"


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
    sources = [
        path
        for root_folder in roots
        for path in root_folder.rglob("*.py")
        if app not in path.parents
    ]
    for path in sorted(sources, key=lambda path: path.relative_to(root).as_posix()):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:16]
