"""What a mitigation did to an image: solved, still a copy, only moved off the threshold, or lost.

The evidence of a copy is a threshold on similarities, and a mitigation can move an image just
beyond it. LID tells whether the model can still produce one image only. So a copy counts as solved
where the search finds none any more, LID has risen beyond its error, and the image still shows the
subject of the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from mmh_core.memorization.verdict import OUTCOME_ROWS, OutcomeKind
from mmh_core.statistics.intervals import Interval
from mmh_core.studies.mitigation.run import Cell, MitigationRun

#: Outcomes that a mitigation may have and pass.
GOOD: tuple[OutcomeKind, ...] = tuple(kind for kind, row in OUTCOME_ROWS.items() if row.good)
#: An image whose alignment is lower than this share of the unmitigated image's is flagged.
ALIGNMENT_KEPT = 0.9
#: Of the unmitigated images of reference prompts, this share has a rank up to the bound.
_RANKED = 0.95
#: The bound where fewer of them are known: half of the other prompts fit better.
USUAL_RANK, _FEWEST = 0.5, 8
#: Smaller losses of a mean alignment are rounding.
_ROUNDING = 1e-3
#: LID has risen when by more than this many standard errors of the difference, at least by one.
RISE_ERRORS, RISE_LEAST = 2.0, 1.0
NEW_COPY = "a new copy"
WRONG_SUBJECT = "wrong subject"
NOT_SOLVED = "moved off the threshold, LID unchanged: not solved"


@dataclass(frozen=True)
class ImageOutcome:
    """The outcome of one image, with the reason in a few words."""

    kind: OutcomeKind
    reason: str


def image_outcomes(
    cell: Cell, base: Cell, rank_bound: float = USUAL_RANK
) -> tuple[ImageOutcome, ...]:
    """Return the outcome of every image of a cell, against the unmitigated one of its seed.

    `rank_bound` is that of `subject_rank_bound`.
    """
    if cell.refused or base.refused:
        return ()
    return tuple(_outcome(cell, base, i, rank_bound) for i in range(len(cell.kinds)))


def subject_rank_bound(ranks: Iterable[float]) -> float:
    """Return the rank above which an image shows a wrong subject, from reference prompts.

    `ranks` are `Cell.subject_rank` of their unmitigated images: 95 % of these are not flagged. Of
    fewer than eight a quantile says nothing, and the bound is `USUAL_RANK`.
    """
    ordered = sorted(rank for rank in ranks if not math.isnan(rank))
    if len(ordered) < _FEWEST:
        return USUAL_RANK
    return ordered[math.ceil(_RANKED * len(ordered)) - 1]


def rank_bound_of(run: MitigationRun) -> float:
    """Return the rank bound by the unmitigated images of a run's own reference prompts."""
    none = run.config.treatments[0]
    cells = [cell for cell in run.cells if cell.prompt > 0 and cell.treatment == none]
    return subject_rank_bound(rank for cell in cells for rank in cell.subject_rank)


def alignment_bound(base: Cell, seed: int) -> float:
    """Return the alignment below which the image of a seed is flagged, NaN where unknown."""
    return _least_kept(float(base.alignment[seed]))


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


def lost_subject(cell: Cell, base: Cell, seed: int, rank_bound: float = USUAL_RANK) -> str | None:
    """Return why an image no longer shows the prompt's subject, "" where it does, None if unknown.

    Alignment alone does not notice a wrong subject where CLIP is small, so two things more are
    looked at: the kind of image, where the training set tells kinds apart, and whether the image
    fits more of the other prompts better than its own than `rank_bound` and than the unmitigated
    image of its seed.
    """
    content = cell.contents[seed] if cell.contents else ""
    if content and cell.content_asked and content != cell.content_asked:
        return f"shows another kind of image ({content}, not {cell.content_asked})"
    rank, before = rank_of(cell, seed), rank_of(base, seed)
    if rank > max(rank_bound, 0.0 if math.isnan(before) else before):
        return f"{WRONG_SUBJECT}: {rank:.0%} of other prompts fit it better than its own"
    alignment, bound = float(cell.alignment[seed]), alignment_bound(base, seed)
    if math.isnan(alignment) or math.isnan(bound):
        return None
    return f"alignment {alignment:.2f} is below {bound:.2f}" if alignment < bound else ""


def rank_of(cell: Cell, seed: int) -> float:
    """Return the share of other prompts that an image fits better than its own, or NaN."""
    return cell.subject_rank[seed] if cell.subject_rank else math.nan


def _outcome(cell: Cell, base: Cell, seed: int, rank_bound: float) -> ImageOutcome:
    copy_before, copy_after = base.copy_of(seed), cell.copy_of(seed)
    if copy_after is None or copy_before is None:
        return ImageOutcome("unknown", "whether it is a copy cannot be judged")
    if cell.kinds[seed] == "likely":
        return ImageOutcome("unknown", "a likely copy, which a person has to compare")
    if copy_after:
        return ImageOutcome("copy", "a copy" if copy_before else NEW_COPY)
    if cell.treatment == base.treatment:
        return ImageOutcome("no copy", "no copy")
    rise = lid_rise(cell, base, seed) if copy_before else True
    if rise is None:
        return ImageOutcome("unknown", "no copy found, LID unknown")
    if not rise:
        return ImageOutcome("not solved", NOT_SOLVED)
    lost = lost_subject(cell, base, seed, rank_bound)
    if lost is None:
        return ImageOutcome("unknown", "no copy found, alignment unknown")
    if lost:
        return ImageOutcome("subject lost", lost)
    return ImageOutcome("solved", "solved") if copy_before else ImageOutcome("no copy", "no copy")


Criterion = Literal["no copy", "LID risen", "subject kept", "reference prompts unharmed", "robust"]
CRITERIA: tuple[Criterion, ...] = (
    "no copy",
    "LID risen",
    "subject kept",
    "reference prompts unharmed",
    "robust",
)
ReferenceEffect = Literal["unchanged", "harmed", "not checked"]
#: The outcome by which an image fails a criterion, in the order of `Criterion`.
_FAILED_BY: dict[Criterion, OutcomeKind] = {
    "no copy": "copy",
    "LID risen": "not solved",
    "subject kept": "subject lost",
}


#: What a mitigation does that fails a criterion.
_FAILURES: dict[Criterion, str] = {
    "no copy": "still copies",
    "LID risen": "LID does not rise",
    "subject kept": "loses the subject",
    "reference prompts unharmed": "harms reference prompts",
    "robust": "copies come back",
}


@dataclass(frozen=True)
class CriteriaJudgement:
    """Which criteria a mitigation passes, and which it fails; the others are unknown."""

    passed: tuple[Criterion, ...]
    failed: tuple[Criterion, ...]

    @property
    def unknown(self) -> tuple[Criterion, ...]:
        """Return the criteria that could not be judged."""
        return tuple(c for c in CRITERIA if c not in self.passed and c not in self.failed)

    @property
    def solves(self) -> bool:
        """Return whether the images pass their three criteria and no other one is failed."""
        return not self.failed and set(_FAILED_BY) <= set(self.passed)

    @property
    def sentence(self) -> str:
        """Say which criteria defeat the mitigation, and which could not be judged."""
        failures = [_FAILURES[criterion] for criterion in self.failed]
        parts = [f"failed criteria: {', '.join(failures)}"] if failures else []
        if self.unknown:
            parts.append(f"criteria not judged: {', '.join(self.unknown)}")
        return "; ".join(parts) or "passes all five criteria"

    @property
    def succeeds(self) -> bool:
        """Return whether the four criteria of success are passed: all but robustness."""
        return {*_FAILED_BY, "reference prompts unharmed"} <= set(self.passed)

    @property
    def passes_all(self) -> bool:
        """Return whether robustness is passed too."""
        return self.succeeds and "robust" in self.passed


def effect_on_references(
    new_copies: int, change: Interval, before: float, variation: Interval
) -> ReferenceEffect:
    """Return what a mitigation does to reference prompts, by one rule for one prompt or many.

    They are harmed by a new copy, where alignment is lost (`loses_alignment`, of `before`), and
    where images change more than from seed to seed: `variation` is the similarity to the
    unmitigated image of the seed minus that between unmitigated images of different seeds, and
    lies below 0 beyond its interval. Not checked where the change of alignment has no interval.
    """
    if new_copies or variation.high < -_ROUNDING or loses_alignment(change, before):
        return "harmed"
    return "not checked" if math.isnan(change.low) else "unchanged"


def judgement(
    outcomes: Sequence[str], *, allowed: float, unharmed: bool | None, robust: bool | None
) -> CriteriaJudgement:
    """Judge a mitigation by the outcomes of its images, for one caption or over many.

    A criterion is failed where more than the share `allowed` of the images fail by it, or most of
    those of which all together are more, and unknown where images that cannot be judged could
    change that. An image that is moved off the threshold
    with its LID unchanged fails by its LID. `unharmed` and `robust` are None where unknown.
    """
    counts = {c: sum(o == kind for o in outcomes) for c, kind in _FAILED_BY.items()}
    total, most = sum(counts.values()), allowed * len(outcomes) + _ROUNDING
    unknown = sum(outcome == "unknown" for outcome in outcomes)
    failed = [criterion for criterion, count in counts.items() if count > most]
    if not failed and total > most:
        # Each is rare, and together they are too many: the most frequent one is named.
        failed = [max(counts, key=lambda criterion: counts[criterion])]
    settled = bool(failed) or (bool(outcomes) and total + unknown <= most)
    passed = [c for c, n in counts.items() if settled and c not in failed and n + unknown <= most]
    verdicts: dict[Criterion, bool | None] = {
        "reference prompts unharmed": unharmed,
        "robust": robust,
    }
    for criterion, held in verdicts.items():
        if held is not None:
            (passed if held else failed).append(criterion)
    return CriteriaJudgement(tuple(passed), tuple(failed))
