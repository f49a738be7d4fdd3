"""Write the files of a run into a folder, whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from mmh_core.files import write_bytes
from mmh_core.records import MMHError
from mmh_core.report.bundle import FIGURES, PAGE, TABLE
from mmh_core.report.summary import FORMAT, MITIGATION_FORMAT

_IMAGE = re.compile(r"[0-9]{3}-seed-[0-9]{1,19}\.png")
_LONGEST = 2**28
_FORMATS = (FORMAT, MITIGATION_FORMAT)


def check_folder(folder: Path) -> None:
    """Refuse a folder that a run may not be written to: one that holds anything but a run.

    Raises MMHError.
    """
    if not folder.exists() and not folder.is_symlink():
        above = next(parent for parent in folder.absolute().parents if parent.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise MMHError(
                f"{folder} cannot be written: name a folder in one that this user may write to."
            )
        return
    if not folder.is_dir():
        raise MMHError(f"{folder} is a file: name a folder for the images.")
    names = {path.name for path in folder.iterdir()}
    if names and not (FIGURES in names and all(map(_known, names)) and _is_run(folder / FIGURES)):
        raise MMHError(
            f"{folder} holds other things than an earlier run: name a new folder, so that nothing "
            "of yours is replaced."
        )
    if not os.access(folder.resolve().parent, os.W_OK):
        raise MMHError(
            f"{folder} cannot be replaced: name a folder in one that this user may write to."
        )


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files to a new folder, and put it in the place of `folder` when all are written.

    An earlier run there is moved aside first and removed last; when anything fails it is back.
    Raises MMHError as `check_folder` does, and where the operating system refuses.

    Caveat: a process killed in between leaves a folder beside that starts with ".writing-" or
    ".replaced-".
    """
    check_folder(folder)
    target = folder.resolve()
    temporary = target.with_name(f".writing-{uuid4().hex}")
    aside = target.with_name(f".replaced-{uuid4().hex}")
    try:
        for name, data in files.items():
            write_bytes(temporary / name, data)
        if target.exists():
            target.rename(aside)
        try:
            temporary.rename(target)
        except OSError:
            if aside.exists():
                aside.rename(target)
            raise
    except OSError as error:
        raise MMHError(
            f"{folder} could not be written ({error.strerror or error}): free some space or name "
            "a folder that this user may write to, then try again."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)


def _known(name: str) -> bool:
    return name in (FIGURES, PAGE, TABLE) or _IMAGE.fullmatch(name) is not None


def _is_run(path: Path) -> bool:
    """Tell whether a file holds the figures of a run, of whatever size it may be."""
    try:
        if not path.is_file() or path.stat().st_size > _LONGEST:
            return False
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("format") in _FORMATS
