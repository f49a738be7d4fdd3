"""The append-only log of a queue: record judgements, notes and tags, and take them back.

A judgement is a person's; what the program measures of an image has a verdict of its own.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from mmh_core.formats.times import utc_clock
from mmh_core.formats.untrusted import quoted
from mmh_core.installation import code_version
from mmh_core.records import MMHError
from mmh_core.store.queues import queue_number, read_queue
from mmh_core.store.review_checks import checked_tags, checked_text
from mmh_core.store.review_records import (
    MAX_NAME,
    MAX_TEXT,
    REVIEW_VERDICTS,
    Identified,
    Judgement,
    LogRow,
    ReviewVerdict,
)
from mmh_core.store.review_schema import (
    JUDGEMENT_COLUMNS,
    LOG_COLUMNS,
    judgement_from,
    log_row_from,
    log_values,
    seal_queue,
    tags_text,
)
from mmh_core.store.sqlite_file import SqliteFile

_SELECT = f"SELECT {', '.join(LOG_COLUMNS)} FROM verdicts"


class JudgedMeanwhile(MMHError):
    """The error for a judgement that changed elsewhere since the person saw it."""


@dataclass(frozen=True)
class ReviewTarget:
    """An item of a queue, who judges it, and the `revision` of the judgement they saw.

    `identified` and `seconds` are as in a row of the log.
    """

    queue: str
    item: int
    reviewer: str
    revision: int
    identified: Identified = ""
    seconds: float = 0.0


def judge(file: SqliteFile, target: ReviewTarget, verdict: ReviewVerdict) -> LogRow:
    """Record a verdict, keep notes and tags as they are, and return the row, safe on the disk.

    Errors: ValueError for an unknown verdict; JudgedMeanwhile where the reviewer's judgement is
    not the one they saw, with what it is now; MMHError for an unknown queue or item, a reviewer
    without a name, and a disk that is full or busy: nothing is recorded then.
    """
    if verdict not in REVIEW_VERDICTS:
        raise ValueError(f"Unknown verdict {verdict!r}; choose from {', '.join(REVIEW_VERDICTS)}.")
    with file.transaction() as connection:
        row = next_row(connection, target)
        row = replace(row, after=verdict, seconds=max(0.0, round(target.seconds, 1)))
        return append_row(connection, target, row)


def annotate(file: SqliteFile, target: ReviewTarget, notes: str, tags: Iterable[str]) -> LogRow:
    """Record new notes and tags, keep the verdict, and return the row; errors as in `judge`."""
    notes = checked_text(notes, "notes", MAX_TEXT, empty=True)
    kept = checked_tags(tags)
    with file.transaction() as connection:
        row = next_row(connection, target)
        return append_row(connection, target, replace(row, action="notes", notes=notes, tags=kept))


def undo(
    file: SqliteFile, queue: str, reviewer: str, *, identified: Identified = ""
) -> LogRow | None:
    """Take the reviewer's last verdict back that is not taken back yet, by a new row.

    The item has the verdict from before again, notes and tags stay. Returns the new row, whose
    `item` is the place to go back to; None where there is nothing to take back.
    """
    with file.transaction() as connection:
        number = queue_number(connection, queue)
        last_row = connection.execute(
            f"{_SELECT} WHERE queue = ? AND reviewer = ? AND action = 'verdict' AND role = '' "
            "AND number NOT IN "
            "(SELECT undoes FROM verdicts WHERE queue = ? AND reviewer = ?) "
            "ORDER BY number DESC LIMIT 1",
            (number, reviewer, number, reviewer),
        ).fetchone()
        if last_row is None:
            return None
        last = _row(last_row)
        now = _judgement(connection, number, last.item, reviewer)
        target = ReviewTarget(queue, last.item, reviewer, now.revision, identified)
        row = next_row(connection, target)
        return append_row(
            connection,
            target,
            replace(row, action="undo", after=last.before, undoes=last.number),
        )


def log_rows(file: SqliteFile, queue: str, item: int | None = None) -> list[LogRow]:
    """Return the log of a queue, or of one item, oldest first."""
    with file.connection("ro") as connection:
        number = queue_number(connection, queue)
        return item_rows(connection, number, item)


def item_rows(
    connection: sqlite3.Connection, number: int, item: int | None = None
) -> list[LogRow]:
    """Return what `log_rows` does, inside a transaction."""
    chosen = "" if item is None else "AND item = ?"
    values = (number,) if item is None else (number, item)
    rows = connection.execute(f"{_SELECT} WHERE queue = ? {chosen} ORDER BY number", values)
    return [_row(row) for row in rows]


def _row(values: tuple[Any, ...]) -> LogRow:
    try:
        return log_row_from(values)
    except ValueError as error:
        raise MMHError(
            f"Row {quoted(values[0], 20)} of the log is damaged ({error}): verify the log, and "
            "restore the file of queues from a backup."
        ) from error


def _judgement(connection: sqlite3.Connection, number: int, item: int, reviewer: str) -> Judgement:
    row = connection.execute(
        f"SELECT {', '.join(JUDGEMENT_COLUMNS)} FROM judgements "
        "WHERE queue = ? AND item = ? AND reviewer = ?",
        (number, item, reviewer),
    ).fetchone()
    try:
        return Judgement() if row is None else judgement_from(row)
    except ValueError as error:
        raise MMHError(
            f"The judgement of item {item} by {quoted(reviewer)} is damaged ({error}): restore "
            "the file of queues from a backup."
        ) from error


def next_row(
    connection: sqlite3.Connection, target: ReviewTarget, *, check: bool = True
) -> LogRow:
    """Return a row that changes nothing yet; refuse a judgement that is not what was seen."""
    if checked_text(target.reviewer, "name of the reviewer", MAX_NAME) != target.reviewer:
        raise MMHError("The name of the reviewer has white space around it: write it without.")
    number = queue_number(connection, target.queue)
    queue = read_queue(connection, target.queue)
    item = connection.execute(
        "SELECT sha256, model_sha256 FROM items WHERE queue = ? AND position = ?",
        (number, target.item),
    ).fetchone()
    if item is None:
        raise MMHError(f"The queue has no item {target.item}: choose one from its list.")
    now = _judgement(connection, number, target.item, target.reviewer)
    if check and now.revision != target.revision:
        present = f"as {now.verdict!r}" if now.verdict else "and not judged"
        clock = "" if math.isnan(now.time) else f" at {utc_clock(now.time)}"
        raise JudgedMeanwhile(
            f"Item {target.item} was changed under the name {quoted(target.reviewer)}{clock}, "
            f"after you had opened it, and stands {present} now; your entry was not recorded: "
            "look at the item again, then repeat it if it still holds."
        )
    row = LogRow(
        *(queue.rows + 1, target.item, "verdict", now.verdict, now.verdict, now.notes, now.tags),
        *(0, target.reviewer, time.time(), *item, code_version(), queue.head),
    )
    return replace(
        row, items=queue.items, items_sha256=queue.items_sha256, identified=target.identified
    )


def append_row(connection: sqlite3.Connection, target: ReviewTarget, row: LogRow) -> LogRow:
    """Write the row, what it says of the item now, and the queue's new seal."""
    row = replace(row, sha256=row.computed_sha256())
    number = queue_number(connection, target.queue)
    insert_log_row(connection, number, row)
    connection.execute(
        "UPDATE queues SET rows = ?, head = ? WHERE number = ?", (row.number, row.sha256, number)
    )
    seal_queue(connection, number)
    return row


def insert_log_row(connection: sqlite3.Connection, number: int, row: LogRow) -> None:
    """Insert a row as it is, and what it says of the item now; one with a role changes nothing."""
    marks = ", ".join("?" * (1 + len(LOG_COLUMNS)))
    connection.execute(
        f"INSERT INTO verdicts (queue, {', '.join(LOG_COLUMNS)}) VALUES ({marks})",
        (number, *log_values(row)),
    )
    if row.role:
        return
    connection.execute(
        "INSERT OR REPLACE INTO judgements (queue, item, reviewer, verdict, notes, tags, "
        "revision, time) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(number, row.item, row.reviewer, row.after, row.notes, tags_text(row.tags)),
            *(row.number, row.time),
        ),
    )
