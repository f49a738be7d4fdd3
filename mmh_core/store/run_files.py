"""The files of runs that items name: whether they are those with which the items were made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmh_core.files import sha256_of
from mmh_core.formats.untrusted import error_text, quoted
from mmh_core.records import MMHError
from mmh_core.store.queues import queue_number
from mmh_core.store.review_records import RUN_NAME, ReviewItem
from mmh_core.store.sqlite_file import SqliteFile

_NAMED = 5


@dataclass(frozen=True)
class RunFiles:
    """The state of the files that the items of a queue name.

    `unknown` are those whose items are older than the digests of files, or were made without.
    """

    whole: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Return in a sentence the state of the files, "" where no item names one."""
        parts = [f"{self.whole:,} as recorded"] if self.whole else []
        for names, meaning in (
            (self.changed, "changed or replaced"),
            (self.missing, "missing"),
            (self.unknown, "without a recorded digest"),
        ):
            if names:
                some = ", ".join(quoted(name, 60) for name in names[:_NAMED])
                more = ", ..." if len(names) > _NAMED else ""
                parts.append(f"{len(names):,} {meaning} ({some}{more})")
        return f"Files of runs: {', '.join(parts)}." if parts else ""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes. Raises MMHError for one that cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise MMHError(
            f"The file {quoted(path.name, 200)} of a run cannot be read ({error_text(error)}): "
            "restore it from a backup."
        ) from error


def is_as_recorded(item: ReviewItem, path: Path) -> bool:
    """Return whether a file is the run with which an item was made, as far as that is known."""
    return not item.run_sha256 or file_sha256(path) == item.run_sha256


def check_runs(file: SqliteFile, queue: str, folders: Iterable[Path]) -> RunFiles:
    """Look for the files that a queue's items name, in several folders, and read them all.

    Errors: MMHError for an unknown queue and a file that cannot be read.
    """
    all_folders = tuple(folders)
    with file.connection("ro") as connection:
        rows = connection.execute(
            "SELECT DISTINCT run, run_sha256 FROM items WHERE queue = ? AND run <> '' "
            "ORDER BY run, run_sha256",
            (queue_number(connection, queue),),
        ).fetchall()
    states = [(str(name), _state(str(name), str(sha256), all_folders)) for name, sha256 in rows]

    def of(state: str) -> tuple[str, ...]:
        return tuple(name for name, current in states if current == state)

    return RunFiles(len(of("whole")), of("changed"), of("missing"), of("unknown"))


def _state(name: str, sha256: str, folders: tuple[Path, ...]) -> str:
    if not RUN_NAME.fullmatch(name):
        return "missing"
    paths = [folder / name for folder in folders if (folder / name).is_file()]
    if not paths:
        return "missing"
    if not sha256:
        return "unknown"
    return "whole" if any(file_sha256(path) == sha256 for path in paths) else "changed"
