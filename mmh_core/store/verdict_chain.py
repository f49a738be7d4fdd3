"""Verify that the verdicts of a queue, and what was judged, are as they were recorded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mmh_core.store.queues import queue_number
from mmh_core.store.review_records import Judgement, QueueRecord, VerdictRow
from mmh_core.store.review_schema import (
    ITEM_COLUMNS,
    JUDGEMENT_COLUMNS,
    QUEUE_SELECT,
    VERDICT_COLUMNS,
    item_from,
    judgement_from,
    queue_from,
    verdict_from,
)
from mmh_core.store.sqlite_file import SqliteFile


@dataclass(frozen=True)
class ChainReport:
    """Say whether a log of `rows` rows is whole: `bad_row` is the first that is not, or None.

    `head` is the digest of the last row: two reports with one head are of one log.
    """

    rows: int
    head: str
    bad_row: int | None
    message: str

    @property
    def whole(self) -> bool:
        """Return whether nothing was found."""
        return self.bad_row is None


def verify(file: SqliteFile, queue: str) -> ChainReport:
    """Check every row against its digest, the row before and the item that it judges.

    Finds any edit of a row or of a judged item, a row that is missing, also at the end, rows in
    another order, and judgements shown that the log does not hold. Errors: MMHError for a damaged
    file and an unknown queue. Caveat: whoever may write to the file and computes all digests anew
    is found out only by comparing `head` with one kept elsewhere.
    """
    file.check_pages()
    with file.connection("ro") as connection:
        connection.execute("BEGIN")  # One moment of the file, whoever writes meanwhile.
        number = queue_number(connection, queue)
        found = connection.execute(f"{QUEUE_SELECT} WHERE number = ?", (number,)).fetchone()
        rows = connection.execute(
            f"SELECT {', '.join(VERDICT_COLUMNS)} FROM verdicts WHERE queue = ? ORDER BY number",
            (number,),
        )
        shown: dict[tuple[int, str], Judgement] = {}
        report = check_chain(
            queue_from(found), map(_row, rows), _digests(connection, number), shown
        )
        return _with_judgements(connection, number, report, shown) if report.whole else report


def check_chain(
    queue: QueueRecord,
    rows: Iterable[VerdictRow],
    item_sha256: Callable[[int], str | None],
    judgements: dict[tuple[int, str], Judgement],
) -> ChainReport:
    """Check rows as `verify` does, and fill in what they say of each item and reviewer."""
    previous, count = queue.origin(), 0
    for row in rows:
        count += 1
        now = judgements.get((row.item, row.reviewer), Judgement())
        if wrong := _wrong(row, count, previous, now, item_sha256(row.item)):
            return ChainReport(count, previous, count, f"Row {count} is not as it was: {wrong}.")
        judgements[row.item, row.reviewer] = Judgement(
            row.after, row.notes, row.tags, row.number, row.time
        )
        previous = row.sha256
    if (count, previous) != (queue.rows, queue.head):
        return ChainReport(
            count,
            previous,
            count + 1,
            f"Row {count + 1} is missing: the queue was left with {queue.rows} rows and "
            f"has {count}.",
        )
    return ChainReport(
        count, previous, None, f"All {count:,} rows are as they were recorded; seal {previous}."
    )


def _wrong(
    row: VerdictRow, number: int, previous: str, now: Judgement, item: str | None
) -> str | None:
    """Return what is wrong with a row, None where nothing is."""
    if row.number != number:
        return f"a row was taken out, the next one has number {row.number}"
    if row.previous != previous:
        return "it does not build on the row before, so rows were taken out, put in or moved"
    if row.sha256 != row.computed_sha256():
        return "its content does not match its digest"
    if row.before != now.verdict:
        return "it changes another verdict than the one that stood"
    if item is None:
        return f"item {row.item}, which it judges, is missing"
    if row.item_sha256 != item:
        return f"item {row.item}, which it judges, was changed afterwards"
    return None


def _digests(connection: sqlite3.Connection, number: int) -> Callable[[int], str | None]:
    """Return what computes an item's digest from its content."""
    known: dict[int, str | None] = {}

    def digest(position: int) -> str | None:
        if position not in known:
            row = connection.execute(
                f"SELECT {', '.join(ITEM_COLUMNS)}, (SELECT data FROM thumbnails "
                "WHERE thumbnails.sha256 = items.thumbnail) FROM items "
                "WHERE queue = ? AND position = ?",
                (number, position),
            ).fetchone()
            known[position] = None if row is None else _item_sha256(row)
        return known[position]

    return digest


def _item_sha256(values: tuple[Any, ...]) -> str:
    """Return the digest of an item, "" where its columns hold what no item does."""
    try:
        return item_from(values[:-1], values[-1]).sha256()
    except (ValueError, TypeError):
        return ""


def _row(values: tuple[Any, ...]) -> VerdictRow:
    """Return a row of the log, with an empty digest where its columns hold what no row does."""
    try:
        return verdict_from(values)
    except (ValueError, TypeError):
        kept = dict(zip(VERDICT_COLUMNS, values, strict=True))
        return VerdictRow(**{**kept, "tags": (), "sha256": ""})


def _judgement(values: tuple[Any, ...]) -> Judgement | None:
    """Return a judgement shown, None where its columns hold what no judgement does."""
    try:
        return judgement_from(values)
    except (ValueError, TypeError):
        return None


def _with_judgements(
    connection: sqlite3.Connection,
    number: int,
    report: ChainReport,
    logged: dict[tuple[int, str], Judgement],
) -> ChainReport:
    """Return the report, or a bad one where the judgements shown are not those of the log."""
    rows = connection.execute(
        f"SELECT item, reviewer, {', '.join(JUDGEMENT_COLUMNS)} FROM judgements WHERE queue = ?",
        (number,),
    )
    shown = {(row[0], row[1]): _judgement(row[2:]) for row in rows}
    strange = [key for key in shown.keys() | logged.keys() if shown.get(key) != logged.get(key)]
    if not strange:
        return report
    item, reviewer = min(strange, key=str)
    bad = logged.get((item, reviewer), Judgement()).revision
    return ChainReport(
        report.rows,
        report.head,
        bad,
        f"Row {bad} is not what is shown: the judgement of item {item} by {reviewer!r} "
        "differs from the log.",
    )
