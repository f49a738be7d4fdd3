"""Who judged the items of a queue, how the program knew them, and how long they looked."""

from __future__ import annotations

from collections.abc import Sequence

from mmh_core.counting import plural
from mmh_core.formats.times import utc_minute
from mmh_core.store.queues import QueueProgress
from mmh_core.store.remarks import comments, generations, regions
from mmh_core.store.review_records import Identified, LogRow
from mmh_core.store.time_on_items import time_words

#: What is known of a name under which something was recorded.
IDENTIFICATION: dict[Identified, str] = {
    "signed in": "signed in with a password",
    "typed name": "typed the name, which nobody checked",
    "": "not recorded",
}


def people(
    progress: Sequence[tuple[str, QueueProgress]], rows: Sequence[LogRow]
) -> list[tuple[str, str, str, str, str, str]]:
    """Return for each person in the log: name, identification, judged, counts, times, seconds.

    Those who adjudicated, marked a region, commented or generated images alone are there too.
    """
    done = dict(progress)
    names = list(done) + sorted({row.reviewer for row in rows if row.reviewer not in done})
    table = []
    for name in names:
        own = [row for row in rows if row.reviewer == name]
        judged, counts = _judged(done.get(name), own)
        table.append((name, identification(own), judged, counts, _dates(own), time_words(own)))
    return table


def identification(rows: Sequence[LogRow]) -> str:
    """Return how a person was identified; with the number of rows each where that changed."""
    counts = {how: sum(row.identified == how for row in rows) for how in IDENTIFICATION}
    named = [(IDENTIFICATION[how], count) for how, count in counts.items() if count]
    if len(named) == 1:
        return named[0][0]
    return "; ".join(f"{words} ({plural(count, 'row')})" for words, count in named) or "unknown"


def _judged(done: QueueProgress | None, rows: Sequence[LogRow]) -> tuple[str, str]:
    decided = sum(row.role == "adjudicator" for row in rows)
    marked = len(regions(rows))
    also = [f"{plural(decided, 'adjudication')}"] if decided else []
    also += [f"{plural(marked, 'marked region')}"] if marked else []
    commented = len(comments(rows))
    also += [f"{plural(commented, 'comment')}"] if commented else []
    generated = len(generations(rows))
    also += [f"{plural(generated, 'run')} of images"] if generated else []
    if done is None:
        return "none", ", ".join(also)
    counts = [f"{count:,} {noun}" for noun, count in done.counts.items() if count]
    return f"{done.judged:,} of {done.items:,}", ", ".join(counts + also)


def _dates(rows: Sequence[LogRow]) -> str:
    """Return the first and the last time at which a person recorded anything."""
    if not rows:
        return "unknown"
    times = [row.time for row in rows]
    first, last = utc_minute(min(times)), utc_minute(max(times))
    return first if first == last else f"{first.removesuffix(' UTC')} to {last}"
