"""Replace whole folders: readers see the old one or the new one, whenever the writer ends."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from mmh_core.files import flush_file, flush_folder, hold, is_held, reason_of
from mmh_core.formats.untrusted import error_text, quoted
from mmh_core.records import MMHError

#: Beside a folder: what is being written, what is replaced, and the file that the writer holds.
WRITING, REPLACED, HELD = ".writing-", ".replaced-", ".held-"


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, and put it in its place when the block ends well.

    Files are flushed to the disk first. A folder that is there is moved aside, and removed after
    the new one stands in its place. When the block raises, nothing remains of it. What an earlier
    process that was killed here left behind is removed first, and a folder that it had moved aside
    without putting another in its place is put back. Raises MMHError where the operating system
    refuses.
    """
    target = Path(os.path.realpath(folder))
    mark, unique = _mark(target), uuid4().hex
    temporary = target.with_name(f"{WRITING}{mark}-{unique}")
    aside = target.with_name(f"{REPLACED}{mark}-{unique}")
    release = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _recover(target)
        release = hold(target.with_name(f"{HELD}{mark}-{unique}"))
        temporary.mkdir()
        yield temporary
        for path in temporary.iterdir():
            (flush_folder if path.is_dir() else flush_file)(path)
        flush_folder(temporary)
        if target.exists():
            os.rename(target, aside)
        try:
            os.rename(temporary, target)
        except OSError:
            if aside.exists():
                os.rename(aside, target)
            raise
        flush_folder(target.parent)
    except OSError as error:
        raise MMHError(
            f"{folder} could not be written ({reason_of(error, temporary, folder)}): free some "
            "space or choose a folder that this user may write to, then try again."
        ) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(aside, ignore_errors=True)
        if release is not None:
            release()


def remove_abandoned(parent: Path) -> None:
    """Remove what killed writers left in a folder, whatever folder they meant to write.

    `replacing_folder` does so for its own target alone, which for a name that is new each time
    never comes again.
    """
    for lock in sorted(parent.glob(f"{HELD}*")):
        if is_held(lock):
            continue
        shutil.rmtree(parent / f"{WRITING}{lock.name[len(HELD) :]}", ignore_errors=True)
        lock.unlink(missing_ok=True)


def names_in_place(folder: Path, what: str) -> set[str]:
    """Return the names in a folder that is to be replaced, none where nothing is there.

    `what` is what it is to hold, such as "the index". Raises MMHError for a place where no folder
    can be written.
    """
    try:
        os.path.realpath(folder)
        if not folder.exists():
            above = next(parent for parent in folder.absolute().parents if parent.exists())
            if not above.is_dir() or not os.access(above, os.W_OK):
                raise MMHError(
                    f"{folder} cannot be written: name a folder in one that this user may write "
                    "to."
                )
            return set()
        if not folder.is_dir():
            raise MMHError(f"{folder} is a file: name another folder for {what}.")
        if not os.access(folder.resolve().parent, os.W_OK):
            raise MMHError(
                f"{folder} cannot be replaced: name a folder in one that this user may write to."
            )
        return {path.name for path in folder.iterdir()}
    # A name too long, a null character, a link to itself, a folder that cannot be listed.
    except (OSError, ValueError) as error:
        raise MMHError(
            f"{quoted(str(folder), 200)} cannot be used ({error_text(error)}): name another "
            f"folder for {what}."
        ) from error


def _mark(target: Path) -> str:
    """Return what tells the leftovers of one folder from those of others in the same folder."""
    return hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]


def _recover(target: Path) -> None:
    """Remove what killed writers of this folder left, and put back what they had moved aside."""
    mark = _mark(target)
    for lock in sorted(target.parent.glob(f"{HELD}{mark}-*")):
        unique = lock.name.rpartition("-")[2]
        # A writer that lives holds its file.
        if is_held(lock):
            continue
        aside = target.with_name(f"{REPLACED}{mark}-{unique}")
        if aside.is_dir() and not target.exists():
            os.rename(aside, target)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(target.with_name(f"{WRITING}{mark}-{unique}"), ignore_errors=True)
        lock.unlink(missing_ok=True)
