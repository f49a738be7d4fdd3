"""Take a case over from another installation: checked in full first, then kept in full or not."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from mmh_core.records import MMHError
from mmh_core.store.case_archive import CaseArchive, opened_case
from mmh_core.store.case_files import CASE_FORMAT
from mmh_core.store.queues import (
    MAX_ITEMS,
    get_queue,
    insert_items,
    insert_queue,
    queue_number,
)
from mmh_core.store.review_records import (
    REVIEW_VERDICTS,
    QueueRecord,
    ReviewItem,
    VerdictRow,
)
from mmh_core.store.sqlite_file import SqliteFile
from mmh_core.store.verdict_chain import check_chain
from mmh_core.store.verdicts import insert_verdict


def import_case(file: SqliteFile, path: Path, runs: Path) -> QueueRecord:
    """Add the queue of a case file with its items and verdicts; put its runs into `runs`.

    Everything is checked before anything is kept: sizes, names, digests, and the chain of
    verdicts. Then all of it is kept, or nothing. Errors: MMHError for a file that is damaged,
    changed, too large or no case, for a queue that is here already, for a run's file that is here
    with other content, and where the disk refuses. A process killed meanwhile may leave files of
    runs behind, and a folder whose name begins with ".importing-", but no part of a queue.
    """
    with opened_case(path) as case:
        record, rows, digests = _checked(case)
        if _has(file, record.id):
            raise MMHError(
                f"The queue {record.name!r} of {path.name} is here already: open it, or import "
                "the case into another folder."
            )
        with _staged_runs(case, runs) as move, file.transaction() as connection:
            insert_queue(connection, record)
            if insert_items(connection, record.id, _items(case)) != len(digests):
                raise ValueError("an item is there twice")
            number = queue_number(connection, record.id)
            for row in rows:
                insert_verdict(connection, number, row)
            # Last before the commit: what can still fail now takes the moved files back.
            move()
    return get_queue(file, record.id)


def _items(case: CaseArchive) -> Iterator[ReviewItem]:
    """Yield the items with their thumbnails."""
    for tree in case.trees("items.jsonl"):
        picture = str(tree["thumbnail"])
        data = b"".join(case.chunks(f"thumbnails/{picture}")) if picture else b""
        yield _item(tree, data)


def _checked(case: CaseArchive) -> tuple[QueueRecord, list[VerdictRow], list[str]]:
    """Read everything once, and return queue, verdict rows and the items' digests."""
    [tree] = case.trees("case.json")
    if tree["format"] != CASE_FORMAT:
        raise ValueError("it is of another version")
    record = _record(QueueRecord, tree["queue"])
    digests = []
    for item in _items(case):
        digests.append(item.sha256())
        if len(digests) > MAX_ITEMS:
            raise ValueError(f"it has more than {MAX_ITEMS:,} items")
    rows = []
    for values in case.trees("verdicts.jsonl"):
        if values["after"] not in (None, *REVIEW_VERDICTS):
            raise ValueError(f"{values['after']!r} is no verdict")
        rows.append(_record(VerdictRow, {**values, "tags": tuple(values["tags"])}))

    def digest(position: int) -> str | None:
        return digests[position - 1] if 1 <= position <= len(digests) else None

    report = check_chain(record, rows, digest, {})
    if not report.whole:
        raise ValueError(report.message.rstrip("."))
    if record.items != len(digests):
        raise ValueError(f"it should have {record.items} items and has {len(digests)}")
    return record, rows, digests


def _record(kind: Callable[..., Any], values: dict[str, Any]) -> Any:
    """Return a record; JSON's values must be of the types that its fields name."""
    names = {f.name: str(f.type) for f in fields(kind)}  # type: ignore[arg-type]
    if set(values) != set(names):
        raise ValueError("a record has other fields")
    for name, value in values.items():
        if names[name] in ("str", "int", "float") and type(value).__name__ != names[name]:
            raise ValueError(f"a record's {name} is no {names[name]}")
    return kind(**values)


def _item(tree: dict[str, Any], thumbnail: bytes) -> ReviewItem:
    """Return the item of a line of items.jsonl."""
    known = {name: math.nan if value is None else value for name, value in tree.items()}
    known["seeds"] = tuple(int(seed) for seed in tree["seeds"])
    known["tags"] = tuple(str(tag) for tag in tree["tags"])
    known["scores"] = tuple(
        (str(name), math.nan if value is None else float(value)) for name, value in tree["scores"]
    )
    item: ReviewItem = _record(ReviewItem, {**known, "thumbnail": b""})
    return replace(item, thumbnail=thumbnail)


def _has(file: SqliteFile, queue: str) -> bool:
    with file.connection("ro") as connection:
        found = connection.execute("SELECT 1 FROM queues WHERE id = ?", (queue,)).fetchone()
    return found is not None


@contextmanager
def _staged_runs(case: CaseArchive, runs: Path) -> Iterator[Callable[[], None]]:
    """Unpack the runs beside `runs`; yield what moves them in, and take all back on failure."""
    names = [name.removeprefix("runs/") for name in case.listed if name.startswith("runs/")]
    stage = runs / f".importing-{uuid4().hex}"
    moved: list[Path] = []
    try:
        stage.mkdir(parents=True)
        new = [name for name in names if not _is_here(case, name, runs)]
        for name in new:
            with (stage / name).open("wb") as out:
                for chunk in case.chunks(f"runs/{name}"):
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())

        def move() -> None:
            for name in new:
                # A link, unlike a rename, fails where somebody made the file meanwhile.
                os.link(stage / name, runs / name)
                moved.append(runs / name)
            descriptor = os.open(runs, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # The names, too, are on the disk before the queue is.
            finally:
                os.close(descriptor)

        yield move
    except BaseException as error:
        for path in moved:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise MMHError(
                f"The runs could not be written to {runs} ({error.strerror}): free some space or "
                "choose another folder; nothing was imported."
            ) from error
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _is_here(case: CaseArchive, name: str, runs: Path) -> bool:
    """Tell whether the folder has the run already; refuse one of the name with other content."""
    path = runs / name
    if not path.exists():
        return False
    with path.open("rb") as file:
        same = hashlib.file_digest(file, "sha256").hexdigest() == case.listed[f"runs/{name}"][1]
    if not same:
        raise MMHError(
            f"The folder of runs has another file {name!r} already: import the case into another "
            "folder; nothing was imported."
        )
    return True
