"""Measure how far two reviewers agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mmh_core.statistics.agreement import cohen_kappa
from mmh_core.store.queues import queue_number
from mmh_core.store.review_records import ReviewVerdict
from mmh_core.store.sqlite_file import SqliteFile


@dataclass(frozen=True)
class Agreement:
    """The agreement of two reviewers on the `items` that both judged.

    `observed` is the share of equal verdicts, `expected` that of two reviewers who give the same
    verdicts as often but at random, `kappa` their chance-corrected agreement. `counts` says how
    often the first gave one verdict and the second another.
    """

    items: int
    observed: float
    expected: float
    kappa: float
    counts: tuple[tuple[ReviewVerdict, ReviewVerdict, int], ...]


def agreement_of(first: Sequence[ReviewVerdict], second: Sequence[ReviewVerdict]) -> Agreement:
    """Return the agreement of two lists of verdicts on the same items, NaN without items.

    Errors: ValueError for lists of different lengths.
    """
    pairs = Counter(zip(first, second, strict=True))
    count = len(first)
    counts = tuple((first, other, number) for (first, other), number in sorted(pairs.items()))
    if not count:
        return Agreement(0, math.nan, math.nan, math.nan, counts)
    equal = sum(number for first, other, number in counts if first == other)
    rows, columns = Counter(first), Counter(second)
    chance = sum(rows[verdict] * columns[verdict] for verdict in rows)
    kappa = cohen_kappa(first, second)
    return Agreement(count, equal / count, chance / count**2, kappa, counts)


def agreement(file: SqliteFile, queue: str, first: str, second: str) -> Agreement:
    """Return the agreement of two reviewers over the items of a queue that both judged.

    Items that either of them skipped count as not judged.
    """
    with file.connection("ro") as connection:
        rows = connection.execute(
            "SELECT one.verdict, other.verdict FROM judgements AS one JOIN judgements AS other "
            "ON other.queue = one.queue AND other.item = one.item AND other.reviewer = ? "
            "WHERE one.queue = ? AND one.reviewer = ? AND one.verdict <> 'skip' "
            "AND other.verdict <> 'skip' ORDER BY one.item",
            (second, queue_number(connection, queue), first),
        ).fetchall()
    return agreement_of([first for first, _ in rows], [other for _, other in rows])
