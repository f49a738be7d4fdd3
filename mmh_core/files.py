"""Write files whole or not at all, and mark a file as held for as long as a process lives."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from mmh_core.records import MMHError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and put it in place of `path` when the block ends well.

    For libraries that write a file themselves: `save_file(tensors, temporary)`. The temporary file
    is flushed to the disk, renamed over `path`, and the folder is flushed too: readers see the old
    content or the new, and after the block the new survives a power cut. When the block raises,
    the temporary file is removed and `path` is as it was. Missing folders are made. The temporary
    name starts with ".writing-", in the same folder, and keeps the suffix of `path`, because
    libraries choose a format by it. The last of several writers at once wins, whole.

    Raises MMHError where the operating system refuses (disk full, no permission, `path` is a
    folder); keep only the writing in the block, since any OSError in it is reported as such.

    Caveat: a process killed inside the block leaves its ".writing-" file behind, and a `path` that
    is a symbolic link is itself replaced, not what it points to.
    """
    temporary = path.with_name(f".writing-{uuid4().hex}{path.suffix}")
    try:
        _make_folder(path.parent)
        # Not mkstemp: its files are private to one user, these follow the umask like any other.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:
        raise MMHError(
            f"{path} could not be written ({error.strerror or error}): free some space or choose "
            "a folder that this user may write to, then try again."
        ) from error
    finally:
        # Gone already when all went well; a second failure must not hide the first.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole and durably; `replacing` says what that means and raises."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8 with its line ends as given, otherwise like `write_bytes`.

    Raises UnicodeEncodeError, a ValueError, for lone surrogates; `path` is then as it was.
    """
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def alone_in(folder: Path, patience: float = 10.0) -> Iterator[None]:
    """Wait until no other thread or process is in such a block for `folder`, then run the block.

    The lock is on the folder itself, so nothing is left behind. Raises MMHError where `folder`
    cannot be opened, and where another process keeps the lock for more than `patience` seconds.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise MMHError(
            f"The folder {folder} cannot be used ({error.strerror}): choose another folder."
        ) from error
    try:
        _wait_for_lock(descriptor, folder, patience)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, folder: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise MMHError(
                    f"Another process has kept {folder} locked for {patience:g} seconds: wait for "
                    "it or end it (another window of this app, a scan, a copy that hangs), then "
                    "try again."
                ) from None
            time.sleep(0.01)
        except OSError as error:
            raise MMHError(
                f"The folder {folder} cannot be locked ({error.strerror}): choose one on a local "
                "disk."
            ) from error
        else:
            return


def remove_leftovers(folder: Path, age: float = 86_400.0) -> int:
    """Remove what writers killed in `folder` left there, and return how many entries.

    Those are the temporary files of `replacing` and folders named ".importing-...", when nothing
    in them has changed for `age` seconds; what cannot be removed stays.
    """
    removed, newest = 0, time.time() - age
    with suppress(OSError):
        for path in folder.iterdir():
            if not path.name.startswith((".writing-", ".importing-")):
                continue
            with suppress(OSError):
                inner = [path, *path.iterdir()] if path.is_dir() else [path]
                if max(one.lstat().st_mtime for one in inner) > newest:
                    continue
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
    return removed


def hold(path: Path) -> Callable[[], None]:
    """Create the file `path` and lock it; return what removes it and gives the lock back.

    The operating system drops the lock when the process ends in whatever way, which a number of a
    process does not tell: it means another process in another container or after a restart.
    Raises MMHError where the file exists or cannot be made.

    Caveat: a child made by fork shares the lock until it ends too; one made by exec does not.
    """
    try:
        _make_folder(path.parent)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise MMHError(
            f"{path} could not be locked ({error.strerror}): free some space or choose a folder "
            "on a local disk that this user may write to."
        ) from error
    process = os.getpid()

    def release() -> None:
        # A forked child that ends normally runs this too, and must not remove its parent's file.
        if os.getpid() == process:
            path.unlink(missing_ok=True)
        os.close(descriptor)

    return release


def is_held(path: Path) -> bool:
    """Tell whether anybody, this process included, holds `path`; True where it cannot be told."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _make_folder(folder: Path) -> None:
    """Make `folder` with its parents, and flush the parents that got a new entry."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        _flush(place.parent)


def _flush(path: Path) -> None:
    """Bring a file, or the list of names in a folder, to the disk."""
    # Reopening is enough: fsync concerns the file, not the descriptor it was written through.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
