"""Put together copy evidence and LID into a verdict in words, with its reason.

`VERDICTS` is the one place that decides. What it holds to: not to find a copy is not the same as
to find that there is none. "not memorized" needs a search that could have found a copy, a LID that
is usual among reference prompts of the same settings, and a prompt that was read to its end.
"""

from __future__ import annotations

import math
from typing import Literal

from mmh_core.memorization import shown_lid
from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.studies.cause import Cause, cause_by_copies, cause_of, data_freedom
from mmh_core.studies.image_reference import Reference
from mmh_core.studies.image_run import CopyFound, ImageVerdict, LidReading

#: Share of normal pictures that may be called suspicious by their LID alone.
SUSPICIOUS_BELOW = 0.01

#: What the search for copies says; None without training images.
Search = CopyKind | None
#: Where the LID stands: below nearly all reference prompts, among them, with none to compare it
#: with, or not estimated (or no number).
LidState = Literal["low", "usual", "not calibrated", "unknown"]

_ORDER: tuple[LidState, ...] = ("low", "usual", "not calibrated", "unknown")
_UNJUDGED: ImageVerdict = "cannot be judged"
_LOW: ImageVerdict = "memorized, cause not identifiable"
_ROWS: dict[Search, tuple[ImageVerdict, ImageVerdict, ImageVerdict, ImageVerdict]] = {
    # A copy is a copy whatever the LID.
    "exact": ("exact copy",) * 4,
    "template": ("template copy",) * 4,
    "likely": ("likely copy, compare by eye",) * 4,
    "none": (
        "suspicious, no copy found",
        "not memorized",
        "no copy found, LID not calibrated",
        _UNJUDGED,
    ),
    # A search that cannot tell is worth no more than none at all.
    "unknown": (_LOW, _UNJUDGED, _UNJUDGED, _UNJUDGED),
    None: (_LOW, _UNJUDGED, _UNJUDGED, _UNJUDGED),
    # What is plain has a low LID without being memorized.
    "flat": (_UNJUDGED,) * 4,
}
#: The verdict by what the search says and where the LID stands.
VERDICTS: dict[tuple[Search, LidState], ImageVerdict] = {
    (search, state): verdict
    for search, row in _ROWS.items()
    for state, verdict in zip(_ORDER, row, strict=True)
}


def lid_state(lid: LidReading | None) -> LidState:
    """Return where a LID stands among reference prompts."""
    if lid is None or not math.isfinite(lid.conditional):
        return "unknown"
    if math.isnan(lid.percentile):
        return "not calibrated"
    return "low" if lid.percentile < SUSPICIOUS_BELOW else "usual"


def verdict_of(
    copy: CopyFound | None, lid: LidReading | None, *, guided: bool, cut: str = ""
) -> tuple[ImageVerdict, str]:
    """Return the verdict of one image and why, by `VERDICTS`.

    `cut` is the end of the prompt that the text encoder did not read: what was found holds of the
    image all the same, but nothing can be said of the prompt as it was written, so that "not
    memorized" becomes "cannot be judged". `guided` is whether there is a guidance norm.
    """
    verdict = VERDICTS[None if copy is None else copy.kind, lid_state(lid)]
    reason = _reason(verdict, copy, lid, guided=guided)
    if cut:
        reason = f"{reason} {_unread(cut)}"
        verdict = _UNJUDGED if verdict == "not memorized" else verdict
    return verdict, reason


def _reason(
    verdict: ImageVerdict, copy: CopyFound | None, lid: LidReading | None, *, guided: bool
) -> str:
    state, told = lid_state(lid), _lid_words(lid)
    if copy is not None:
        if copy.kind in ("unknown", "flat"):
            return f"{copy.reason} {told} That no copy was found says nothing here."
        return (
            f"{told} {copy.reason}"
            if state == "low" and copy.kind == "none"
            else (f"{copy.reason} {told}")
        )
    if verdict == _LOW:
        return (
            f"{told} Without training pictures nobody can tell whether overfitting or "
            "the data is the cause: add a folder of them to search."
        )
    if state == "usual":
        return (
            f"{told} That is no sign of memorization, but without training pictures "
            "a copy cannot be ruled out: add a folder of them to search."
        )
    if state == "unknown":
        return f"{told} There are no training pictures to search either: add a folder of them."
    more = "" if guided else " Without guidance there is no guidance norm either."
    return (
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
    set can only be searched, the reason says how often the original of `copy` stands there, and
    the cause is not identifiable: only pictures that the model was not trained on can tell.
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


def _unread(cut: str) -> str:
    return (
        "The end of its prompt was not read by the text encoder, so this speaks of the image and "
        f"not of the prompt as written ({len(cut):,} letters unread)."
    )


def _lid_words(lid: LidReading | None) -> str:
    if lid is None or math.isnan(lid.conditional):
        return "Its LID could not be estimated."
    if math.isinf(lid.conditional):
        return "Its LID is not finite, so it says nothing."
    value = f"{shown_lid(lid.conditional):.1f}"
    if math.isnan(lid.percentile):
        return (
            f"Its LID is {value}; LID is not calibrated for these settings, so there are no "
            "normal prompts to compare it with."
        )
    if lid.percentile == 0:
        return f"Its LID, {value}, is below that of every normal prompt."
    return f"Its LID, {value}, is above that of {lid.percentile:.0%} of the normal prompts."
