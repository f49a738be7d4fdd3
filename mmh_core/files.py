"""Write files whole or not at all, and mark a file as held for as long as a process lives."""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import shutil
import tempfile
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
    is flushed to the disk, renamed over `path`, and the folder is flushed too where the system
    allows that (Windows does not): readers see the old content or the new, and after the block the
    new survives a power cut. When the block raises,
    the temporary file is removed and `path` is as it was. Missing folders are made. The temporary
    name starts with ".writing-", in the same folder, and keeps the suffix of `path`, because
    libraries choose a format by it. The last of several writers at once wins, whole.

    Raises MMHError where the operating system refuses (disk full, no permission, `path` is a
    folder), and for a device or a pipe, which would be gone; keep only the writing in the block,
    since any OSError in it is reported as such.

    Caveat: a process killed inside the block leaves its ".writing-" file behind, and a `path` that
    is a symbolic link is itself replaced, not what it points to.
    """
    check_replaceable(path)
    temporary = path.with_name(f".writing-{uuid4().hex}{path.suffix}")
    try:
        _make_folder(path.parent)
        # Not mkstemp: its files are private to one user, these follow the umask like any other.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        flush_file(temporary)
        os.replace(temporary, path)
        flush_folder(path.parent)
    except OSError as error:
        raise MMHError(
            f"{path} could not be written ({reason_of(error, temporary, path)}): free some space "
            "or choose a folder that this user may write to, then try again."
        ) from error
    finally:
        # Gone already when all went well; a second failure must not hide the first.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_replaceable(path: Path) -> None:
    """Refuse a device, a pipe or a link to what a process has open: a file would take its place.

    Whoever may write to /dev would lose /dev/null or /dev/stdout for good. Raises MMHError.
    """
    try:
        to_open = path.is_symlink() and os.readlink(path).startswith("/proc/")
        special = to_open or (path.exists() and not path.is_file() and not path.is_dir())
    except OSError:
        return  # Writing says what is wrong with it.
    if special:
        raise MMHError(f"{path} is a device or a pipe, which a file would replace: name a file.")


def reason_of(error: OSError, temporary: Path, path: Path) -> str:
    """Return why a file or folder could not be written, by its own name.

    A library names what it writes, which is the temporary one that nobody knows.
    """
    reason = error.strerror or str(error)
    for own, real in ((str(temporary), str(path)), (temporary.name, path.name)):
        reason = reason.replace(own, real)
    return reason


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole and durably; `replacing` says what that means and raises."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8 with its line ends as given, otherwise like `write_bytes`.

    Raises UnicodeEncodeError, a ValueError, for unpaired surrogates; `path` is then as it was.
    """
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def folder_lock(folder: Path, patience: float = 10.0) -> Iterator[None]:
    """Hold an exclusive lock on `folder` for the block, once no other thread or process has it.

    The lock is on the folder itself, so nothing is left behind; where a folder cannot be opened
    (Windows), on an empty file in the user's temporary folder, which then excludes other processes
    of this user on this machine. Raises MMHError where `folder` cannot be used, and where another
    process keeps the lock for more than `patience` seconds.
    """
    unlock = _wait_for_lock(folder, patience)
    try:
        yield
    finally:
        unlock()


def lock_if_free(folder: Path) -> Callable[[], None] | None:
    """Lock `folder` as `folder_lock` does and return what unlocks it, None where it is locked.

    Raises OSError where it cannot be locked at all.
    """
    try:
        return _lock(_lockable(folder))
    except BlockingIOError:
        return None


def _wait_for_lock(folder: Path, patience: float) -> Callable[[], None]:
    deadline = time.monotonic() + patience
    while True:
        try:
            descriptor = _lockable(folder)
        except OSError as error:
            raise MMHError(
                f"The folder {folder} cannot be used ({error.strerror}): choose another folder."
            ) from error
        try:
            return _lock(descriptor)
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
                if max(entry.lstat().st_mtime for entry in inner) > newest:
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
    made = False
    try:
        _make_folder(path.parent)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        made = True
        unlock = _lock(descriptor)
    except OSError as error:
        if made:
            _remove(path)
        raise MMHError(
            f"{path} could not be locked ({error.strerror}): free some space or choose a folder "
            "on a local disk that this user may write to."
        ) from error
    process = os.getpid()

    def release() -> None:
        # A forked child that ends normally runs this too, and must not remove its parent's file.
        own_process = os.getpid() == process
        gone = own_process and _remove(path)
        unlock()
        if own_process and not gone:  # Windows removes no file that is open.
            _remove(path)

    return release


def is_held(path: Path) -> bool:
    """Return whether any process, this one included, holds `path`; True where that is unknown."""
    try:
        unlock = _lock(os.open(path, os.O_RDONLY))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    unlock()
    return False


def flush_file(path: Path) -> None:
    """Bring what a file holds to the disk."""
    # Reopening is enough: fsync concerns the file, not the descriptor it was written through.
    # For writing, since Windows flushes no other.
    _flush(path, os.O_RDWR)


def flush_folder(path: Path) -> None:
    """Bring the list of names in a folder to the disk, where the system allows that.

    Windows opens no folder, and some network disks flush none: the names are then as durable as
    the system makes them. What was renamed is in its place either way, so this never fails.
    """
    with suppress(OSError):
        _flush(path, os.O_RDONLY)


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    """Make `folder` with its parents, and flush the parents that got a new entry."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for parent in missing:
        flush_folder(parent.parent)


def _remove(path: Path) -> bool:
    """Remove a file if it is there, and return whether it is gone."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _lockable(folder: Path) -> int:
    """Return a descriptor of the folder, or of a file that stands for it."""
    try:
        return os.open(folder, os.O_RDONLY)
    except PermissionError:
        if not folder.is_dir():
            raise
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    stand_in = Path(tempfile.gettempdir()) / f"mmh-{name[:32]}.lock"
    return os.open(stand_in, os.O_CREAT | os.O_RDWR, 0o666)


def _lock(descriptor: int) -> Callable[[], None]:
    """Lock an open file and return what unlocks and closes it; closed as well on failure.

    By flock on Unix, by a range of bytes on Windows, each dropped when the process ends. Raises
    BlockingIOError where it is locked already, and OSError where it cannot be.
    """
    try:
        try:
            fcntl = importlib.import_module("fcntl")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            _lock_byte(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return lambda: os.close(descriptor)


def _lock_byte(descriptor: int) -> None:
    """Lock the first byte of a file, whether it is there or not, as Windows does it."""
    msvcrt = importlib.import_module("msvcrt")
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except PermissionError as error:
        # What is locked already is told like what may not be written.
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal. Errors: OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
