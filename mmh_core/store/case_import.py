"""Import a case from another installation: checked in full first, then kept whole."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

from mmh_core.files import flush_folder, remove_leftovers
from mmh_core.formats.untrusted import json_record, quoted, typed_value
from mmh_core.records import MMHError
from mmh_core.store.case_archive import CaseArchive, NewerCase, opened_case
from mmh_core.store.case_export import CASE_FORMAT, PLAN
from mmh_core.store.log_chain import ChainCheck
from mmh_core.store.queues import (
    MAX_ITEMS,
    get_queue,
    insert_items,
    insert_queue,
    queue_number,
)
from mmh_core.store.review_checks import checked_item, checked_queue, checked_row
from mmh_core.store.review_log import insert_log_row
from mmh_core.store.review_plans import ReviewPlan, checked_plan, remove_plan, write_plan
from mmh_core.store.review_records import LogRow, QueueRecord, ReviewItem
from mmh_core.store.review_schema import FIGURES
from mmh_core.store.sqlite_file import SqliteFile

Record = TypeVar("Record")


def import_case(
    file: SqliteFile, path: Path, runs: Path, *, plans: Path | None = None
) -> QueueRecord:
    """Add the queue of a case file with its items and verdicts; put its runs into `runs`.

    Its labels and assignment go into the folder `plans`; None leaves them out.

    Everything is checked before anything is kept: sizes, names, digests, and the chain of
    verdicts. Then all of it is kept, or nothing. Errors: MMHError for a file that is damaged,
    changed, too large or no case, for a queue that is here already, for a run's file that is here
    with other content, and where the disk refuses. A process killed meanwhile may leave files of
    runs and a plan behind, and a folder whose name begins with ".importing-", but no part of a
    queue.
    """
    with opened_case(path) as case:
        record, plan = _checked(case), _plan(case)
        if _has(file, record.id):
            raise MMHError(
                f"The queue {quoted(record.name)} of {path.name} is here already: open it, or "
                "import the case into another folder."
            )
        with (
            _staged_runs(case, runs) as move,
            _staged_plan(plan, plans, record.id) as keep_plan,
            file.transaction() as connection,
        ):
            insert_queue(connection, record)
            if insert_items(connection, record.id, _items(case)) != record.items:
                raise ValueError("an item is there twice")
            number = queue_number(connection, record.id)
            # Read once more, since a long log need not be kept in memory.
            for row in _rows(case):
                insert_log_row(connection, number, row)
            # Last before the commit: what can still fail now takes the new files back.
            keep_plan()
            move()
    remove_leftovers(runs)
    return get_queue(file, record.id)


def _items(case: CaseArchive) -> Iterator[ReviewItem]:
    """Yield the items with their thumbnails, each checked as soon as it is read."""
    for tree in case.trees("items.jsonl"):
        image = typed_value(tree.get("thumbnail", ""), str)
        data = b"".join(case.chunks(f"thumbnails/{image}")) if image else b""
        item = replace(_item(tree), thumbnail=data)
        # What the store would keep in another way could never be exported again.
        if checked_item(item).sha256() != item.sha256():
            raise ValueError("an item holds a figure that is no number")
        yield item


def _rows(case: CaseArchive) -> Iterator[LogRow]:
    """Yield the rows of the log, each checked as soon as it is read."""
    for values in case.trees("verdicts.jsonl"):
        yield checked_row(_record(LogRow, values))


def _checked(case: CaseArchive) -> QueueRecord:
    """Read everything once, up to the first thing that is wrong, and return the queue."""
    [tree] = case.trees("case.json")
    version = _version(tree.get("format"))
    record = checked_queue(_record(QueueRecord, typed_value(tree.get("queue"), dict[str, Any])))
    if strange := set(tree) - {"format", "queue"}:
        raise NewerCase(f"it has a field {quoted(min(strange))}")
    if max(record.items, 0) > MAX_ITEMS:
        raise ValueError(f"it has more than {MAX_ITEMS:,} items")
    digests: dict[str, None] = {}
    named: set[str] = set()
    for item in _items(case):
        _check_run(case, item)
        named.add(f"runs/{item.run}")
        if item.thumbnail:
            named.add(f"thumbnails/{hashlib.sha256(item.thumbnail).hexdigest()}")
        digest = item.sha256()
        if digest in digests:
            raise ValueError("an item is there twice")
        digests[digest] = None
        if len(digests) > record.items:
            break
    if record.items != len(digests):
        raise ValueError(f"it should have {record.items} items and has {len(digests)} or more")
    _check_named(case, named)
    check = ChainCheck(record, tuple(digests))
    if version == 1:  # Which had no seal of the items: they are sealed as they come.
        record = replace(record, items_sha256=check.running_item_digests[-1])
        record = replace(record, seal=record.computed_seal())
        check = ChainCheck(record, check.items)
    report = check.rows(_rows(case))
    if not report.whole:
        raise ValueError(report.message.rstrip("."))
    return record


def _plan(case: CaseArchive) -> ReviewPlan:
    """Return the plan of a case, an empty one in a case of an earlier version."""
    if PLAN not in case.listed:
        return ReviewPlan()
    [tree] = case.trees(PLAN)
    plan = _record(ReviewPlan, tree)
    try:
        return checked_plan(plan.labels, plan.reviewers, plan.each)
    except MMHError as error:
        raise ValueError(f"its plan cannot be kept: {str(error).rstrip('.')}") from error


def _check_run(case: CaseArchive, item: ReviewItem) -> None:
    """Refuse another file than the one with which an item was made; one may be missing."""
    listed = case.listed.get(f"runs/{item.run}")
    if item.run_sha256 and listed is not None and listed.sha256 != item.run_sha256:
        raise ValueError(f"its file {quoted(item.run)} is not the one that an item was made with")


def _check_named(case: CaseArchive, named: set[str]) -> None:
    """Refuse files of runs and thumbnails that no item names: nobody would ever see them."""
    extra = [
        name
        for name in case.listed
        if name.startswith(("runs/", "thumbnails/")) and name not in named
    ]
    if extra:
        more = f" and {len(extra) - 1:,} more" if len(extra) > 1 else ""
        raise ValueError(f"no item names {quoted(min(extra))}{more}")


def _version(written: object) -> int:
    """Return the version of a case's format; NewerCase for one that is not known yet."""
    match = re.fullmatch(r"mmh-case-([1-9][0-9]{0,5})", str(written))
    if match is None:
        raise ValueError("its format is not that of a case")
    if int(match[1]) > int(CASE_FORMAT.rsplit("-", 1)[1]):
        raise NewerCase(f"its format is {match[0]}, and this app knows {CASE_FORMAT}")
    return int(match[1])


def _record(kind: type[Record], values: dict[str, Any]) -> Record:
    """Return a record; NewerCase where it has a field more than this version knows."""
    if strange := set(values) - {entry.name for entry in fields(cast(Any, kind))}:
        raise NewerCase(f"a {kind.__name__} has the field {quoted(min(strange))}")
    return json_record(kind, values)


def _item(tree: dict[str, Any]) -> ReviewItem:
    """Return the item of a line of items.jsonl, without its thumbnail."""
    values = {name: math.nan if name in FIGURES and v is None else v for name, v in tree.items()}
    scores = typed_value(tree.get("scores"), list[tuple[str, float | None]])
    values["scores"] = [(name, math.nan if value is None else value) for name, value in scores]
    return _record(ReviewItem, {**values, "thumbnail": b""})


def _has(file: SqliteFile, queue: str) -> bool:
    with file.connection("ro") as connection:
        row = connection.execute("SELECT 1 FROM queues WHERE id = ?", (queue,)).fetchone()
    return row is not None


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
            flush_folder(runs)  # The names, too, are on the disk before the queue is.

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


@contextmanager
def _staged_plan(plan: ReviewPlan, plans: Path | None, queue: str) -> Iterator[Callable[[], None]]:
    """Yield what puts the plan of a queue into `plans`, and take it back on failure."""
    kept = False

    def keep() -> None:
        nonlocal kept
        if plans is None:
            return
        remove_plan(plans, queue)  # Of a queue of this id that was here before.
        if plan != ReviewPlan():
            write_plan(plans, queue, plan)
            kept = True

    try:
        yield keep
    except BaseException:
        # Not another import's, which had the queue first.
        if plans is not None and kept:
            remove_plan(plans, queue)
        raise


def _is_here(case: CaseArchive, name: str, runs: Path) -> bool:
    """Return whether the folder has the run already; refuse one of the name with other content."""
    path = runs / name
    if not path.exists():
        return False
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != case.listed[f"runs/{name}"].sha256:
        raise MMHError(
            f"The folder of runs has another file {quoted(name)} already: import the case into "
            "another folder; nothing was imported."
        )
    return True
