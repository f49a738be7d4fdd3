"""Put together copy evidence and LID into a verdict in words, with its reason."""

from __future__ import annotations

import math

from mmh_core.studies.cause import Cause, cause_by_copies, cause_of, data_freedom
from mmh_core.studies.image_reference import Reference
from mmh_core.studies.image_run import CopyFound, ImageVerdict, LidReading

#: Share of normal pictures that may be called suspicious by their LID alone.
SUSPICIOUS_BELOW = 0.01


def verdict_of(
    copy: CopyFound | None, lid: LidReading | None, *, guided: bool
) -> tuple[ImageVerdict, str]:
    """Return the verdict of one picture and why.

    A copy in the training set decides; where none is found, a LID below all but 1 % of the model's
    normal prompts is suspicious. Without a training set a low LID is memorization whose cause
    nobody can tell (Ross et al. 2025: the data's LID is unknown).
    """
    low = lid is not None and lid.percentile < SUSPICIOUS_BELOW
    if copy is not None:
        if copy.kind == "exact":
            return "exact copy", f"{copy.reason} {_lid_words(lid)}"
        if copy.kind == "template":
            return "template copy", f"{copy.reason} {_lid_words(lid)}"
        if low:
            return "suspicious, no copy found", f"{_lid_words(lid)} {copy.reason}"
        return "not memorized", f"{copy.reason} {_lid_words(lid)}"
    if low:
        return "memorized, cause not identifiable", (
            f"{_lid_words(lid)} Without training pictures nobody can tell whether overfitting or "
            "the data is the cause: add a folder of them to search."
        )
    if lid is not None and not math.isnan(lid.percentile):
        return "cannot be judged", (
            f"{_lid_words(lid)} That is no sign of memorization, but without training pictures "
            "a copy cannot be ruled out: add a folder of them to search."
        )
    more = "" if guided else " Without guidance there is no guidance norm either."
    return "cannot be judged", (
        "There are no training pictures to search and no normal prompts to compare with, so only "
        f"compare these pictures with one another.{more}"
    )


def cause_in(
    reference: Reference | None,
    prompt: str,
    verdict: ImageVerdict,
    lid: float,
    copy: CopyFound | None = None,
) -> Cause | None:
    """Return the cause of a memorized picture, None where nothing is known of its caption.

    For a caption that no picture bears, such as a rewritten one, nothing is said. Where a training
    set can only be searched, what was found as `copy` tells by its duplicates.
    """
    if reference is None or verdict not in ("exact copy", "template copy"):
        return None
    if reference.corpus is None or reference.cause is None:
        return None if copy is None else cause_by_copies(copy.copies, copy.near_duplicates)
    trained, unseen = reference.corpus(prompt)
    if not len(trained):
        return None
    known = reference.cause
    freedom = data_freedom(trained, unseen)
    return cause_of(True, lid, freedom, known.threshold, known.accuracy)


def _lid_words(lid: LidReading | None) -> str:
    if lid is None or math.isnan(lid.conditional):
        return "Its LID was not read."
    value = f"{lid.conditional + 0.0:.1f}".replace("-0.0", "0.0")
    if math.isnan(lid.percentile):
        return f"Its LID is {value}; there is nothing to compare it with at these settings."
    if lid.percentile == 0:
        return f"Its LID, {value}, is below that of every normal prompt."
    return f"Its LID, {value}, is above that of {lid.percentile:.0%} of the normal prompts."
