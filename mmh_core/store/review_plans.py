"""The plan of a queue: labels of its own beside the verdicts, and who judges which items.

A plan directs the work and proves nothing: it may change at any time, and lies beside the file of
queues. It goes with a case that is exported and imported. Labels that a reviewer gives are tags in
the log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from mmh_core.files import write_text
from mmh_core.formats.untrusted import json_record, read_json
from mmh_core.records import MMHError
from mmh_core.store.item_search import Share
from mmh_core.store.review_checks import checked_tags, checked_text
from mmh_core.store.review_records import MAX_NAME

MOST_LABELS, MOST_REVIEWERS = 30, 50
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class ReviewPlan:
    """The labels of a queue, its `reviewers`, and how many of them judge `each` item (0: all).

    Equal to `ReviewPlan()` where nobody planned anything.
    """

    labels: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    each: int = 0

    def share_of(self, reviewer: str) -> Share | None:
        """Return which items are assigned to a reviewer, None where nobody is left out.

        Items go round: with `each` of n reviewers, neighbors in the list share items.
        """
        count = len(self.reviewers)
        if not 0 < self.each < count or reviewer not in self.reviewers:
            return None
        return Share(self.reviewers.index(reviewer), count, self.each)


def checked_plan(labels: Iterable[str], reviewers: Iterable[str], each: int) -> ReviewPlan:
    """Return a plan. Raises MMHError for too many labels or names, or one that cannot be kept."""
    kept = checked_tags(labels)
    names = tuple(
        dict.fromkeys(checked_text(n, "name of a reviewer", MAX_NAME) for n in reviewers)
    )
    if len(kept) > MOST_LABELS or len(names) > MOST_REVIEWERS:
        raise MMHError(
            f"A queue has at most {MOST_LABELS} labels and {MOST_REVIEWERS} reviewers: name fewer."
        )
    if comma := next((text for text in kept if "," in text), ""):
        raise MMHError(f"The label {comma!r} holds a comma, which separates labels: leave it out.")
    return ReviewPlan(kept, names, max(0, min(each, MOST_REVIEWERS)))


def read_plan(folder: Path, queue: str) -> ReviewPlan:
    """Return the plan of a queue, an empty one where there is none or it is damaged."""
    path = _path(folder, queue)
    if not path.is_file():
        return ReviewPlan()
    try:
        plan = json_record(ReviewPlan, read_json(path, "plan of a queue", "make it again."))
        return checked_plan(plan.labels, plan.reviewers, plan.each)
    except (MMHError, ValueError):
        return ReviewPlan()


def plans_folder(data: Path) -> Path:
    """Return the folder with the plans of queues in a data folder."""
    return data / "review-plans"


def remove_plan(folder: Path, queue: str) -> None:
    """Remove the plan of a queue, with the names in it, where there is one."""
    if _ID.fullmatch(queue):  # A damaged queue may have an id that no plan is kept under.
        _path(folder, queue).unlink(missing_ok=True)


def write_plan(folder: Path, queue: str, plan: ReviewPlan) -> None:
    """Keep the plan of a queue. Errors: MMHError where the disk refuses."""
    path = _path(folder, queue)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MMHError(
            f"The folder {path.parent} cannot be made ({error.strerror}): free some space."
        ) from error
    write_text(path, json.dumps(asdict(plan), ensure_ascii=False))


def _path(folder: Path, queue: str) -> Path:
    if not _ID.fullmatch(queue):
        raise ValueError(f"{queue[:40]!r} is no id of a queue")
    return folder / f"{queue}.json"
