"""Verify that the log of judgements in a queue, and what was judged, are as they were recorded.

The log is called verdicts in the file: a verdict here is what a reviewer judged of an item.

What the digests prove: every row builds on the one before and on the number and joint digest of
the items at that time, so that a change of one row, of an item, or a removal in the middle is
found by anybody. What they cannot prove alone: whoever may write to the file and runs this code
can compute a shorter or another log anew, and an older copy of the file is as whole as it was.
Only a seal kept elsewhere detects those: `verify(..., kept=SEAL)`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmh_core.counting import plural
from mmh_core.formats.times import utc_minute
from mmh_core.formats.untrusted import quoted
from mmh_core.store.queues import queue_number, read_queue
from mmh_core.store.review_checks import checked_seal
from mmh_core.store.review_records import (
    Judgement,
    LogRow,
    QueueRecord,
    ReviewVerdict,
    joined_sha256,
    seal_of,
)
from mmh_core.store.review_schema import (
    ITEM_COLUMNS,
    JUDGEMENT_COLUMNS,
    LOG_COLUMNS,
    item_from,
    judgement_from,
    log_row_from,
)
from mmh_core.store.sqlite_file import SqliteFile

#: Clocks are set right by about this much, in seconds.
_CLOCK = 120.0
_MOST_WARNINGS = 5
_MOST_GAP = 1000


@dataclass(frozen=True)
class ChainReport:
    """The result of verifying a log of `rows` rows; `bad_row` is the first bad one, or None.

    `head` is the digest of the last row checked, `items` the number of items, and `seal` that of
    the queue as it is now. `kept_row` is the row at which a seal kept elsewhere stood, None where
    none was given or it never stood. `warnings` are sentences on what is strange but no proof of
    a change: times that run backwards.
    """

    rows: int
    head: str
    bad_row: int | None
    message: str
    items: int = 0
    seal: str = ""
    kept_row: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Return whether nothing was found that proves a change."""
        return self.bad_row is None


def verify(file: SqliteFile, queue: str, *, kept: str | None = None) -> ChainReport:
    """Check every row against its digest, the row before and the items that it was judged among.

    Finds an edit of a row or of an item, rows or items missing or added beside the queue's own
    record, another order, and a table of current judgements that differs from the log. `kept` is
    a seal, or a digest of a last row, that was written down earlier: the log must have stood at
    it. Errors: MMHError for a damaged file, an unknown queue and what is no seal. Caveat: without
    `kept`, a log that was computed anew, or put back from an older copy, is as whole as any.
    """
    seal = None if kept is None else checked_seal(kept)
    file.check_pages()
    with file.connection("ro") as connection:
        connection.execute("BEGIN")  # One moment of the file, whoever writes meanwhile.
        number = queue_number(connection, queue)
        record = read_queue(connection, queue)
        check = ChainCheck(record, *_item_digests(connection, number))
        rows = connection.execute(
            f"SELECT {', '.join(LOG_COLUMNS)} FROM verdicts WHERE queue = ? ORDER BY number",
            (number,),
        )
        report = check.rows(map(_row, rows))
        if report.whole:
            report = _with_judgements(connection, number, report, check.judgements)
    if report.whole and seal is not None:
        report = _with_kept(report, check, seal)
    return report


@dataclass
class ChainCheck:
    """The state of checking the rows of one queue; it grows with each row.

    `items` are the digests of the queue's items by their content, in order.
    """

    queue: QueueRecord
    items: Sequence[str]
    wrong_item: str = ""
    judgements: dict[tuple[int, str], Judgement] = field(default_factory=dict)
    #: The last adjudication of each item.
    adjudicated: dict[int, ReviewVerdict | None] = field(default_factory=dict)
    running_item_digests: list[str] = field(init=False)
    #: Number of a row, its digest, and how many items the queue had (0: not kept).
    marks: list[tuple[int, str, int]] = field(init=False)
    date_warnings: list[str] = field(default_factory=list)
    latest: float = 0.0
    #: The first row that was written when the queue's items were different, 0 for none.
    other_items: int = 0

    def __post_init__(self) -> None:
        self.running_item_digests = [""]
        for digest in self.items:
            self.running_item_digests.append(joined_sha256(self.running_item_digests[-1], digest))
        self.marks = [(0, self.queue.origin(), 0)]

    def rows(self, rows: Iterable[LogRow]) -> ChainReport:
        """Check all rows, stopping at the first bad one, and then the queue's own record."""
        for count, row in enumerate(rows, start=1):
            if wrong := self._wrong(row, count):
                return self.bad(count, f"Row {count} is not as it was: {wrong}.")
            if row.role == "adjudicator":
                self.adjudicated[row.item] = row.after
            elif not row.role:
                self.judgements[row.item, row.reviewer] = Judgement(
                    row.after, row.notes, row.tags, row.number, row.time
                )
            self.marks.append((row.number, row.sha256, row.items))
        return self._ended()

    def bad(self, row: int, message: str) -> ChainReport:
        """Return a report that names the first bad row."""
        head = self.marks[-1][1]
        return ChainReport(row, head, row, message, len(self.items), "", None, self._warned())

    def row_of(self, kept: str) -> int | None:
        """Return the row at which a seal or a last row's digest stood, None for a foreign one."""
        for number, head, _ in self.marks:
            if head == kept:
                return number
        # Rows of older files lack the item count and have no seal: start after the last of them.
        start = max(at for at, (_, _, items) in enumerate(self.marks) if not items)
        ends = [items for _, _, items in self.marks[start + 1 :]] + [len(self.items)]
        for (number, head, items), end in zip(self.marks[start:], ends, strict=True):
            for count in range(items, end + 1):
                if (
                    seal_of(self.queue.id, number, head, count, self.running_item_digests[count])
                    == kept
                ):
                    return number
        return None

    def _ended(self) -> ChainReport:
        queue, (count, head, _) = self.queue, self.marks[-1]
        if count == queue.rows and head != queue.head:
            return self.bad(
                count + 1,
                "The record of the queue is not as it was: its name, model, settings, date or the "
                "digest of its last row was changed.",
            )
        if count != queue.rows:
            return self.bad(
                count + 1,
                f"Row {count + 1} is missing: the queue was left with {queue.rows} rows and "
                f"has {count}.",
            )
        if self.other_items:
            return self.bad(
                self.other_items,
                f"Row {self.other_items} was written when the queue's items were different: one "
                "that nobody has judged was changed, removed or put in. "
                f"{self.wrong_item}".rstrip(),
            )
        seal = seal_of(queue.id, count, head, len(self.items), self.running_item_digests[-1])
        if (queue.items_sha256, queue.seal) != (self.running_item_digests[-1], seal):
            return self.bad(
                count + 1,
                f"The {len(self.items):,} items or the number of rows are not those that the "
                "queue was sealed with: items that nobody has judged yet were added, changed or "
                f"removed, rows at the end were, or the seal was. {self.wrong_item}".rstrip(),
            )
        message = (
            f"All {count:,} rows are as they were recorded, and all {len(self.items):,} items; "
            f"seal {seal}."
        )
        return ChainReport(count, head, None, message, len(self.items), seal, None, self._warned())

    def _wrong(self, row: LogRow, number: int) -> str | None:
        """Return what is wrong with a row, None where nothing is."""
        _, previous, items = self.marks[-1]
        now = self.judgements.get((row.item, row.reviewer), Judgement()).verdict
        if row.role:  # Marks and comments have no verdict before them.
            now = self.adjudicated.get(row.item) if row.role == "adjudicator" else None
        if row.number != number:
            return f"a row was taken out, the next one has number {row.number}"
        if row.previous != previous:
            return "it does not build on the row before, so rows were taken out, put in or moved"
        if row.sha256 != row.computed_sha256():
            return "its content does not match its digest"
        if row.before != now:
            return "the judgement it says it replaces is not the one recorded before it"
        if not (1 <= row.item <= len(self.items) and self.items[row.item - 1]):
            return f"item {row.item}, which it judges, is missing or was changed into none"
        if row.item_sha256 != self.items[row.item - 1]:
            return f"item {row.item}, which it judges, was changed afterwards"
        if row.items < items or bool(row.items) != bool(row.items_sha256):
            return "it names fewer items than the row before"
        if row.items > len(self.items):
            return f"the queue had {row.items:,} items then and has {len(self.items):,}"
        # Told last: where an item was judged, its own row says more.
        if (
            row.items
            and row.items_sha256 != self.running_item_digests[row.items]
            and not self.other_items
        ):
            self.other_items = number
        self._note_time(row)
        return None

    def _note_time(self, row: LogRow) -> None:
        """Keep a sentence where time runs backwards: no proof, since clocks may be set."""
        before = self.latest or self.queue.created
        self.latest = max(before, row.time)
        if row.time < before - _CLOCK:
            earlier = "the row before it" if row.number > 1 else "its queue was made"
            self.date_warnings.append(
                f"Row {row.number} is dated {utc_minute(row.time)}, earlier than {earlier} "
                f"({utc_minute(before)})."
            )
        elif row.time > time.time() + _CLOCK:
            self.date_warnings.append(
                f"Row {row.number} is dated {utc_minute(row.time)}, which is to come."
            )

    def _warned(self) -> tuple[str, ...]:
        more = len(self.date_warnings) - _MOST_WARNINGS
        rest = [f"{more:,} more rows have such a date."] if more > 0 else []
        return (*self.date_warnings[:_MOST_WARNINGS], *rest)


def _with_kept(report: ChainReport, check: ChainCheck, kept: str) -> ChainReport:
    """Return the report, or a bad one where the log never stood at the seal that was kept."""
    if (row := check.row_of(kept)) is None:
        return replace(
            report,
            bad_row=report.rows + 1,
            message=f"The log of {report.rows:,} rows never stood at the seal {quoted(kept, 64)}: "
            "rows or items were removed, changed or put back from an older copy since that seal "
            "was written down, or a digit of it is mistyped, or it is the seal of another queue.",
        )
    later = report.rows - row
    return replace(
        report,
        kept_row=row,
        message=f"{report.message} The seal that was kept stood at row {row:,}: nothing up to it "
        f"was changed, and {plural(later, 'row')} came after.",
    )


def _item_digests(connection: sqlite3.Connection, number: int) -> tuple[list[str], str]:
    """Return the digests of all items by their content, and what is wrong with their positions."""
    rows = connection.execute(
        f"SELECT position, sha256, {', '.join(ITEM_COLUMNS)}, (SELECT data FROM thumbnails "
        "WHERE thumbnails.sha256 = items.thumbnail) FROM items WHERE queue = ? ORDER BY position",
        (number,),
    )
    digests: list[str] = []
    wrong = ""
    for position, sha256, *values in rows:
        if type(position) is not int:
            return digests, "An item has a position that is no number."
        if position != len(digests) + 1:
            wrong = wrong or f"Item {len(digests) + 1} is missing."
            digests += [""] * min(max(0, position - len(digests) - 1), _MOST_GAP)
        digest = _item_sha256(tuple(values))
        if digest != sha256:
            wrong = wrong or f"Item {position} is not as it was: its content was changed."
        digests.append(digest)
    return digests, wrong


def _item_sha256(values: tuple[Any, ...]) -> str:
    """Return the digest of an item, "" where its columns hold what no item does."""
    try:
        return item_from(values[:-1], values[-1]).sha256()
    except (ValueError, TypeError):
        return ""


def _row(values: tuple[Any, ...]) -> LogRow:
    """Return a row of the log, with an empty digest where its columns hold what no row does."""
    try:
        return log_row_from(values)
    except (ValueError, TypeError):
        kept = dict(zip(LOG_COLUMNS, values, strict=True))
        kept["number"] = kept["number"] if isinstance(kept["number"], int) else 0
        return LogRow(**{**kept, "tags": (), "region": (), "sha256": "", "items": 0})


def _judgement(values: tuple[Any, ...]) -> Judgement | None:
    """Return a current judgement, None where its columns hold what no judgement does."""
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
    """Return the report, or a bad one where the current judgements differ from the log."""
    rows = connection.execute(
        f"SELECT item, reviewer, {', '.join(JUDGEMENT_COLUMNS)} FROM judgements WHERE queue = ?",
        (number,),
    )
    judgements = {(row[0], row[1]): _judgement(row[2:]) for row in rows}
    strange = [
        key for key in judgements.keys() | logged.keys() if judgements.get(key) != logged.get(key)
    ]
    if not strange:
        return report
    item, reviewer = min(strange, key=str)
    row_number = logged.get((item, reviewer), Judgement()).revision
    return replace(
        report,
        bad_row=row_number,
        message=f"Row {row_number} is not in the table of current judgements: that of item "
        f"{quoted(item, 20)} by {quoted(reviewer)} differs from the log.",
    )
