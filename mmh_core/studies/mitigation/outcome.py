"""What a mitigation did to an image: solved, still a copy, only moved off the threshold, or lost.

The evidence of a copy is a threshold on similarities, and a mitigation can move an image just
beyond it. Whether the model still knows one image only, its LID tells. So a copy counts as solved
where there is no copy by the evidence, LID has risen beyond its error, and the image still shows
what was asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmh_core.memorization.verdict import OUTCOME_ROWS, OutcomeKind
from mmh_core.statistics import Interval
from mmh_core.studies.mitigation.run import Cell

#: Outcomes that a mitigation may have and pass.
GOOD: tuple[OutcomeKind, ...] = tuple(kind for kind, row in OUTCOME_ROWS.items() if row.good)
#: An image whose alignment is lower than this share of the mean without mitigation is flagged.
ALIGNMENT_KEPT = 0.9
#: Smaller losses of a mean alignment are rounding.
_ROUNDING = 1e-3
#: LID has risen when by more than this many standard errors of the difference, at least by one.
RISE_ERRORS, RISE_LEAST = 2.0, 1.0
NEW_COPY = "a new copy"
NOT_SOLVED = "moved off the threshold, LID unchanged: not solved"


@dataclass(frozen=True)
class ImageOutcome:
    """The outcome of one image, with the reason in a few words."""

    kind: OutcomeKind
    reason: str


def image_outcomes(cell: Cell, base: Cell) -> tuple[ImageOutcome, ...]:
    """Return the outcome of every image of a cell, against the unmitigated ones of its prompt."""
    if cell.refused or base.refused:
        return ()
    return tuple(_outcome(cell, base, i) for i in range(len(cell.kinds)))


def alignment_bound(base: Cell) -> float:
    """Return the alignment below which an image is flagged, NaN where it is unknown."""
    return _least_kept(float(base.alignment.nanmean()) if len(base.alignment) else math.nan)


def loses_alignment(change: Interval, before: float) -> bool:
    """Return whether a mean alignment falls beyond the interval of its change, or below the bound.

    `before` is the mean without mitigation. What is unknown shows no loss.
    """
    below = before + change.value < _least_kept(before) - _ROUNDING
    return change.high < -_ROUNDING or below


def _least_kept(alignment: float) -> float:
    return alignment - (1 - ALIGNMENT_KEPT) * abs(alignment)


def lid_rise(cell: Cell, base: Cell, seed: int) -> bool | None:
    """Return whether LID has risen beyond its error, None where it or its error is unknown."""
    rise = float(cell.lid[seed]) - float(base.lid[seed])
    error = math.hypot(float(cell.lid_error[seed]), float(base.lid_error[seed]))
    if math.isnan(rise) or math.isnan(error):
        return None
    return rise > max(RISE_LEAST, RISE_ERRORS * error)


def lost_subject(cell: Cell, base: Cell, seed: int) -> str | None:
    """Return why an image no longer shows what was asked, "" where it does, None if unknown.

    Alignment alone does not notice a wrong subject where CLIP is small, so the kind of image is
    compared too, where the training set tells kinds apart.
    """
    content = cell.contents[seed] if cell.contents else ""
    if content and cell.content_asked and content != cell.content_asked:
        return f"shows another kind of image ({content}, not {cell.content_asked})"
    alignment, bound = float(cell.alignment[seed]), alignment_bound(base)
    if math.isnan(alignment) or math.isnan(bound):
        return None
    return f"alignment {alignment:.2f} is below {bound:.2f}" if alignment < bound else ""


def _outcome(cell: Cell, base: Cell, seed: int) -> ImageOutcome:
    was, now = base.copy_of(seed), cell.copy_of(seed)
    if now is None or was is None:
        return ImageOutcome("unknown", "whether it is a copy cannot be judged")
    if cell.kinds[seed] == "likely":
        return ImageOutcome("unknown", "a likely copy, which a person has to compare")
    if now:
        return ImageOutcome("copy", "a copy" if was else NEW_COPY)
    if cell.treatment == base.treatment:
        return ImageOutcome("no copy", "no copy")
    rise = lid_rise(cell, base, seed) if was else True
    if rise is None:
        return ImageOutcome("unknown", "no copy found, LID unknown")
    if not rise:
        return ImageOutcome("not solved", NOT_SOLVED)
    lost = lost_subject(cell, base, seed)
    if lost is None:
        return ImageOutcome("unknown", "no copy found, alignment unknown")
    if lost:
        return ImageOutcome("subject lost", lost)
    return ImageOutcome("solved", "solved") if was else ImageOutcome("no copy", "no copy")
