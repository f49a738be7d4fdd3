"""Files are replaced whole, in the order that survives a crash, and locks end with their owner."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mmh_core.files import (
    folder_lock,
    hold,
    is_held,
    remove_leftovers,
    replacing,
    write_bytes,
    write_text,
)
from mmh_core.folders import replacing_folder
from mmh_core.records import MMHError


def test_bytes_and_text_arrive_as_given_in_new_folders(tmp_path: Path) -> None:
    data = bytes(range(256))
    write_bytes(tmp_path / "a" / "b" / "data.bin", data)
    assert (tmp_path / "a" / "b" / "data.bin").read_bytes() == data
    write_text(tmp_path / "note.txt", "ä\r\nβ\n")
    assert (tmp_path / "note.txt").read_bytes() == "ä\r\nβ\n".encode()


def test_readers_see_the_old_content_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # A rename across file systems is a copy.
        assert temporary.suffix == ".parquet"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_or_a_pipe_is_never_replaced(tmp_path: Path) -> None:
    # A user who may write to /dev would lose /dev/null to `--json /dev/null` for good.
    pipe, link, opened = tmp_path / "pipe", tmp_path / "link", tmp_path / "stdout"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    opened.symlink_to("/proc/self/fd/1")
    for path in (pipe, link, opened):
        with pytest.raises(MMHError, match="device or a pipe"):
            write_text(path, "new")
    assert pipe.is_fifo()
    assert link.readlink() == pipe
    assert opened.readlink() == Path("/proc/self/fd/1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe", "stdout"]


def test_a_failing_block_changes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    write_text(path, "old")
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyError("boom")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_flushed_before_the_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "x.txt", list[str]()
    fsync, rename = os.fsync, os.replace

    def flush(descriptor: int) -> None:
        kind = "folder" if os.path.samestat(os.fstat(descriptor), tmp_path.stat()) else "file"
        calls.append(f"flush {kind} of {os.fstat(descriptor).st_size if kind == 'file' else 0}")
        fsync(descriptor)

    def move(source: Path, target: Path) -> None:
        calls.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", move)
    write_bytes(path, b"12345")
    assert calls == ["flush file of 5", "rename", "flush folder of 0"]


def test_new_folders_are_flushed_into_their_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed, fsync = list[int](), os.fsync

    def flush(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    write_bytes(tmp_path / "a" / "b" / "x", b"")
    assert {tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino} <= set(flushed)


def test_a_full_disk_is_a_sentence_and_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MMHError, match=r"x\.txt could not be written \(No space left.*free some"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_or_a_file_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(MMHError, match="could not be written"):
        write_bytes(tmp_path / "folder", b"x")
    write_bytes(tmp_path / "file", b"x")
    with pytest.raises(MMHError, match="could not be written"):
        write_bytes(tmp_path / "file" / "below", b"x")
    assert sorted(place.name for place in tmp_path.iterdir()) == ["file", "folder"]


def test_permissions_follow_the_umask_like_those_of_any_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_writers_at_once_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "shared.txt"
    contents = [letter * 100_000 for letter in "abcd"]
    write_text(path, contents[0])
    seen = set[str]()

    def write_often(text: str) -> None:
        for _ in range(5):
            write_text(path, text)

    writers = [threading.Thread(target=write_often, args=(text,)) for text in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen.add(path.read_text())
    for writer in writers:
        writer.join()
    assert seen | {path.read_text()} <= set(contents)
    assert list(tmp_path.iterdir()) == [path]


def forked(action: Callable[[], object]) -> int:
    """Run `action` in a forked child that then waits to be killed; return its process number."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action()
            os.write(writer, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_kill_in_the_middle_of_writing_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")
    kept = list[object]()

    def write_half() -> None:
        block = replacing(path)
        kept.append(block)
        block.__enter__().write_text("ha")

    kill(forked(write_half))
    assert path.read_text() == "old"


def test_a_file_that_exists_is_not_taken_for_a_lock(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(MMHError, match=r"notes could not be locked \(File exists\)"):
        hold(tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_lock_ends_with_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "owner"
    child = forked(lambda: hold(path))
    assert is_held(path)
    kill(child)
    assert path.exists()
    assert not is_held(path)


def test_a_forked_child_does_not_take_its_parents_lock_away(tmp_path: Path) -> None:
    path = tmp_path / "owner"
    release = hold(path)
    kill(forked(release))
    assert path.exists()
    assert is_held(path)
    release()


def test_what_killed_writers_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    old, new = tmp_path / ".writing-a.zip", tmp_path / ".writing-b.zip"
    stage, live = tmp_path / ".importing-a", tmp_path / ".importing-b"
    kept = tmp_path / "run.safetensors"
    stage.mkdir()
    live.mkdir()
    for path in (old, new, kept, stage / "x", live / "x"):
        path.write_bytes(b"x")
    for path in (old, kept, stage / "x", stage, live):
        os.utime(path, (1.0, 1.0))
    away = tmp_path / "away"
    away.mkdir()
    (tmp_path / ".importing-link").symlink_to(away)
    assert remove_leftovers(tmp_path) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [".importing-b", ".importing-link", ".writing-b.zip", "away", "run.safetensors"]
    )
    assert remove_leftovers(tmp_path / "none") == 0


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Make modules impossible to import, as they are on another system."""
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


def refuse_folders(monkeypatch: pytest.MonkeyPatch, number: int = errno.EACCES) -> None:
    """Refuse to open folders, as Windows does."""
    opened = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if os.path.isdir(path):
            raise OSError(number, os.strerror(number))
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)


IMPORT_ALL = """
import pkgutil, sys, pandas, streamlit, torch, typer
sys.modules.update(dict.fromkeys(("fcntl", "resource", "pwd", "grp", "termios", "tty", "syslog")))
import mmh_core
for module in pkgutil.walk_packages(mmh_core.__path__, "mmh_core."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
        print(module.name)
"""


def test_every_module_is_imported_without_the_modules_of_unix() -> None:
    """In a new process, since a module that is there already is not imported again."""
    command = [sys.executable, "-W", "ignore", "-c", IMPORT_ALL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"mmh_core.cli.app", "mmh_core.store.jobs"} < set(done.stdout.split())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP])
def test_a_system_that_opens_no_folders_still_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_folders(monkeypatch, number)
    write_text(tmp_path / "a" / "x.txt", "y")
    assert (tmp_path / "a" / "x.txt").read_text() == "y"
    with replacing_folder(tmp_path / "index") as temporary:
        (temporary / "vectors.npy").write_bytes(b"v")
    assert (tmp_path / "index" / "vectors.npy").read_bytes() == b"v"


def test_a_disk_that_flushes_no_folder_still_keeps_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def flush(descriptor: int) -> None:
        if os.path.isdir(descriptor):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    write_text(tmp_path / "x.txt", "y")
    assert (tmp_path / "x.txt").read_text() == "y"


class Msvcrt:
    """Locks as Windows gives them: each descriptor for itself, until it is closed."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.owners: dict[int, int] = {}
        self.closed = os.close

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        assert (mode, count) == (self.LK_NBLCK, 1)
        file = os.fstat(descriptor).st_ino
        if file in self.owners.values():
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        self.owners[descriptor] = file

    def close(self, descriptor: int) -> None:
        self.owners.pop(descriptor, None)
        self.closed(descriptor)


@pytest.fixture(params=["flock", "byte range"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose what the system locks by."""
    if request.param != "flock":
        without(monkeypatch, "fcntl", "msvcrt")
        refuse_folders(monkeypatch)
        msvcrt = Msvcrt()
        monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
        monkeypatch.setattr(os, "close", msvcrt.close)


@pytest.mark.usefixtures("locks")
def test_a_lock_of_any_system_lasts_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "owner"
    for _ in range(2):
        assert not is_held(path)
        release = hold(path)
        assert is_held(path)
        with pytest.raises(MMHError, match="could not be locked"):
            hold(path)
        assert is_held(path)
        release()
        assert not is_held(path)
        assert not path.exists()


@pytest.mark.usefixtures("locks")
def test_blocks_of_any_system_never_overlap(tmp_path: Path) -> None:
    inside, seen = list[int](), list[int]()

    def enter() -> None:
        for _ in range(50):
            with folder_lock(tmp_path):
                inside.append(1)
                seen.append(len(inside))
                time.sleep(0)  # Lets another thread run, which may not come in.
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 200
    assert list(tmp_path.iterdir()) == []
    with (
        folder_lock(tmp_path),
        pytest.raises(MMHError, match=r"kept .* locked for 0\.05 seconds: wait"),
        folder_lock(tmp_path, patience=0.05),
    ):
        pass
    with folder_lock(tmp_path, patience=0.0):
        pass
    with (
        pytest.raises(MMHError, match="nowhere cannot be used"),
        folder_lock(tmp_path / "nowhere"),
    ):
        pass


def test_an_open_file_that_cannot_be_removed_is_removed_once_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows removes no file that is open."""
    path = tmp_path / "owner"
    release, unlink, closed = hold(path), Path.unlink, os.close
    is_open = [True]

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if is_open[0]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(self, missing_ok)

    def close(descriptor: int) -> None:
        is_open[0] = False
        closed(descriptor)

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(os, "close", close)
    release()
    assert not path.exists()


@pytest.mark.parametrize("write", [replacing, replacing_folder])
@pytest.mark.parametrize("whole", [True, False])
def test_a_full_disk_is_told_by_the_name_of_what_was_to_be_written(
    tmp_path: Path, write: Callable[[Path], AbstractContextManager[Path]], whole: bool
) -> None:
    target = tmp_path / "figures.png"
    with pytest.raises(MMHError) as raised, write(target) as temporary:
        # As libraries say it: without an error number, and with the path that they were given.
        written = temporary if whole else temporary.name
        raise OSError(f"Error writing bytes to file {written!s}: No space left on device")
    assert ".writing-" not in str(raised.value)
    assert f"{target} could not be written" in str(raised.value)
    assert "No space left" in str(raised.value) and "figures.png" in str(raised.value)
