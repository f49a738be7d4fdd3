"""How long items were on the screen before their verdicts, from the rows of a log."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from mmh_core.counting import plural
from mmh_core.store.review_records import LogRow


def time_words(rows: Sequence[LogRow]) -> str:
    """Return the median time on an item with its range, and of how many verdicts it is."""
    seconds = [row.seconds for row in rows if row.action == "verdict" and row.seconds > 0]
    if not seconds:
        return "not measured"
    return (
        f"{statistics.median(seconds):,.0f} s ({min(seconds):,.0f} to {max(seconds):,.0f} s, "
        f"{plural(len(seconds), 'verdict')})"
    )
