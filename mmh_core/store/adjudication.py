"""Adjudicate items whose reviewers differ: a verdict on the item, which changes nobody's own."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mmh_core.counting import plural
from mmh_core.records import MMHError
from mmh_core.store.queues import queue_number
from mmh_core.store.review_checks import checked_text
from mmh_core.store.review_log import (
    JudgedMeanwhile,
    ReviewTarget,
    append_row,
    item_rows,
    log_rows,
    next_row,
)
from mmh_core.store.review_records import (
    MAX_TEXT,
    REVIEW_VERDICTS,
    LogRow,
    ReviewVerdict,
)
from mmh_core.store.sqlite_file import SqliteFile


@dataclass(frozen=True)
class Disagreement:
    """An item on which its reviewers differ: the verdict of each, and the last adjudication.

    `revision` is the number of the last row about the item, which an adjudicator hands back.
    """

    item: int
    verdicts: tuple[tuple[str, ReviewVerdict], ...]
    decision: LogRow | None
    revision: int


def disagreements(file: SqliteFile, queue: str) -> list[Disagreement]:
    """Return the items of a queue with different judgements by their reviewers, in its order.

    Skips are no verdicts. Errors: MMHError for an unknown queue and a damaged log.
    """
    return disagreements_of(log_rows(file, queue))


def disagreements_of(rows: list[LogRow]) -> list[Disagreement]:
    """Return the disagreements of a log, oldest row first."""
    by_item: dict[int, list[LogRow]] = {}
    for row in rows:
        by_item.setdefault(row.item, []).append(row)
    differing = (_disagreement(item, about) for item, about in sorted(by_item.items()))
    return [one for one in differing if one is not None]


def _disagreement(item: int, rows: list[LogRow]) -> Disagreement | None:
    """Return what a log says of an item on which its reviewers differ, None where they do not."""
    verdicts: dict[str, ReviewVerdict] = {}
    decision = None
    for row in rows:
        if row.role == "adjudicator":
            decision = row
        elif row.role:
            continue
        elif row.after is None or row.after == "skip":
            verdicts.pop(row.reviewer, None)
        else:
            verdicts[row.reviewer] = row.after
    if len(set(verdicts.values())) < 2:
        return None
    return Disagreement(item, tuple(sorted(verdicts.items())), decision, rows[-1].number)


def adjudicate(
    file: SqliteFile, target: ReviewTarget, verdict: ReviewVerdict, reason: str
) -> LogRow:
    """Record a verdict on an item whose reviewers differ, with its reason, and return the row.

    `target.reviewer` adjudicates and `target.revision` is that of the Disagreement they saw. The
    judgements of the reviewers stay as they are. Errors: ValueError for an unknown verdict;
    JudgedMeanwhile where anything was recorded about the item since; MMHError for an item on which
    nobody differs, for no reason, and as `judge`.
    """
    if verdict not in REVIEW_VERDICTS or verdict == "skip":
        raise ValueError(f"{verdict!r} decides nothing; choose a verdict.")
    kept = checked_text(reason, "reason of the adjudication", MAX_TEXT)
    with file.transaction() as connection:
        number = queue_number(connection, target.queue)
        row = next_row(connection, target, check=False)
        rows = item_rows(connection, number, target.item)
        differing = _disagreement(target.item, rows)
        if differing is None:
            raise MMHError(
                f"The reviewers of item {target.item} do not differ: there is nothing to "
                "adjudicate."
            )
        if differing.revision != target.revision:
            since = sum(about.number > target.revision for about in rows)
            raise JudgedMeanwhile(
                f"{plural(since, 'row')} about item {target.item} came in since you opened the "
                "list; nothing was recorded: look again, then repeat it if it still holds."
            )
        before = None if differing.decision is None else differing.decision.after
        row = replace(row, before=before, after=verdict, notes=kept, tags=(), role="adjudicator")
        return append_row(connection, target, row)
