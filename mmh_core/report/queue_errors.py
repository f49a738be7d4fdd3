"""How often scan and copy search err, as far as the judgements of a queue can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmh_core.counting import agreeing, plural
from mmh_core.memorization.verdict import COPY_VERDICTS
from mmh_core.statistics.intervals import share_interval
from mmh_core.store.queues import queue_settings

if TYPE_CHECKING:
    from mmh_core.report.queue_case import QueueCase, ReportItem


def error_sentences(case: QueueCase) -> list[str]:
    """Return what is known of the errors at the threshold used, and what is not."""
    settings = queue_settings(case.queue)
    return [_scan_words(settings), _flagged_words(case, settings), *_search_words(case)]


def _scan_words(settings: dict[str, object]) -> str:
    """Return threshold and errors of the early scan as its calibration counted them."""
    reach, share = settings.get("reach"), settings.get("share")
    if isinstance(reach, str) and reach:
        return reach
    if isinstance(share, int | float):
        return (
            f"The scan's false-positive rate on reference prompts was set to {share:.1%}; how "
            "many memorized prompts it misses at that threshold is not known."
        )
    return (
        "These items come from no scan with a threshold: no error rate of a selection applies, "
        "and they are no random sample of anything."
    )


def _flagged_words(case: QueueCase, settings: dict[str, object]) -> str:
    """Return how many flagged prompts people did not call memorized."""
    if not settings.get("flagged"):
        return ""
    decided = [item for item in case.items if _is_decided(item)]
    alarms = sum(item.final_verdict == "not memorized" for item in decided)
    return (
        f"Of {plural(len(decided), 'flagged prompt')} with a decided judgement, "
        f"{_share(alarms, len(decided))} {agreeing(alarms, 'was', 'were')} judged not memorized: "
        "flagged, and no copy to a person's eye."
    )


def _search_words(case: QueueCase) -> list[str]:
    """Return how often the copy search and the decided judgements differ, either way."""
    decided = [item for item in case.items if _is_decided(item)]
    copies = [item for item in decided if item.item.kind in COPY_VERDICTS]
    none = [item for item in decided if item.item.kind == "no copy found"]
    false = sum(item.final_verdict == "not memorized" for item in copies)
    missed = sum(item.final_verdict in COPY_VERDICTS for item in none)
    return [
        f"The copy search called {plural(len(copies), 'decided item')} a copy; people judged "
        f"{_share(false, len(copies))} of them not memorized.",
        f"It found no copy at {plural(len(none), 'decided item')}; people judged "
        f"{_share(missed, len(none))} of them a copy.",
    ]


def _is_decided(item: ReportItem) -> bool:
    return item.final_verdict in (*COPY_VERDICTS, "not memorized")


def _share(count: int, among: int) -> str:
    """Return a count with the share it is and its 95 % interval."""
    if not among:
        return "none"
    interval = share_interval(count, among)
    return (
        f"{count:,} ({interval.value:.0%}, 95 % interval {interval.low:.0%} to "
        f"{interval.high:.0%})"
    )
