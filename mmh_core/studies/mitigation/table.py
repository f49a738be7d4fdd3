"""The table of a comparison: a row per mitigation, with intervals over images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.memorization.verdict import OutcomeKind
from mmh_core.statistics.intervals import (
    Interval,
    mean_interval,
    mean_share_interval,
    paired_interval,
    paired_share_interval,
)
from mmh_core.studies.mitigation.outcome import ImageOutcome, image_outcomes, rank_bound_of
from mmh_core.studies.mitigation.run import Cell, MitigationRun, Treatment

_NAN = float("nan")


@dataclass(frozen=True)
class Compared:
    """A mean under a mitigation, and its difference to the mean of `none`."""

    mean: Interval
    difference: Interval


@dataclass(frozen=True)
class TreatmentRow:
    """One mitigation of one or several prompts, averaged over `images` images.

    `outcomes` are those of all its images, prompt after prompt.

    `copied` is the share of copies; the other figures are those of `Cell`. `refused` is the
    sentence where it could not be applied, "" else. `seconds`, `nfe` and `peak_mb` are means
    per image, without intervals: they are costs of this run.
    """

    treatment: Treatment
    label: str
    images: int
    refused: str
    copied: Compared
    similarity: Compared
    similarity_to_unmitigated: Compared
    alignment: Compared
    lid: Compared
    percentile: Compared
    seed_similarity: float
    seconds: float
    nfe: float
    peak_mb: float
    outcomes: tuple[ImageOutcome, ...] = ()

    @property
    def copies(self) -> int:
        """Return how many of the images are copies of training images."""
        return sum(outcome.kind == "copy" for outcome in self.outcomes)

    def share(self, *kinds: OutcomeKind) -> float:
        """Return the share of images with one of these outcomes, NaN without any image."""
        if not self.outcomes:
            return _NAN
        return sum(outcome.kind in kinds for outcome in self.outcomes) / len(self.outcomes)


def treatment_rows(
    run: MitigationRun, prompts: Sequence[int] | None = None
) -> tuple[TreatmentRow, ...]:
    """Return a row per mitigation that was generated for these prompts, by default the first one.

    An image is compared with the unmitigated one of its own prompt and seed; the intervals
    are over images. A mitigation that is not generated for all of the prompts yet has no row.
    """
    chosen = (0,) if prompts is None else tuple(prompts)
    none = run.config.treatments[0]
    before = [run.cell(prompt, none) for prompt in chosen]
    rows, bound = [], rank_bound_of(run)
    for treatment in run.config.treatments:
        cells = [run.cell(prompt, treatment) for prompt in chosen]
        pairs = [(c, b) for c, b in zip(cells, before, strict=True) if c and b]
        if chosen and len(pairs) == len(chosen):
            rows.append(_row(treatment, pairs, bound))
    return tuple(rows)


def copies(cell: Cell) -> Tensor:
    """Return 1 for every image that is a copy, else 0 (B,), NaN where nobody can tell."""
    values = [cell.copy_of(i) for i in range(len(cell.kinds))]
    return torch.tensor([_NAN if value is None else float(value) for value in values])


def _row(treatment: Treatment, pairs: Sequence[tuple[Cell, Cell]], bound: float) -> TreatmentRow:
    cells = [cell for cell, _ in pairs]
    applied = [(cell, base) for cell, base in pairs if not cell.refused and not base.refused]
    refused = next((cell.refused for cell in cells if cell.refused), "")

    def compared(read: Callable[[Cell], Tensor], *, shares: bool = False) -> Compared:
        if not applied:
            return Compared(*(Interval(_NAN, _NAN, _NAN),) * 2)
        after = torch.cat([read(cell) for cell, _ in applied])
        before = torch.cat([read(base) for _, base in applied])
        if shares:
            return Compared(mean_share_interval(after), paired_share_interval(after, before))
        return Compared(mean_interval(after), paired_interval(after, before))

    def mean(read: Callable[[Cell], float]) -> float:
        return sum(read(cell) for cell, _ in applied) / len(applied) if applied else _NAN

    return TreatmentRow(
        treatment,
        cells[0].label,
        sum(len(cell.kinds) for cell, _ in applied),
        refused,
        compared(copies, shares=True),
        compared(lambda cell: cell.similarity),
        compared(lambda cell: cell.similarity_to_unmitigated),
        compared(lambda cell: cell.alignment),
        compared(lambda cell: cell.lid),
        compared(lambda cell: cell.percentile),
        mean(lambda cell: cell.seed_similarity),
        mean(lambda cell: cell.seconds),
        mean(lambda cell: cell.nfe),
        mean(lambda cell: cell.peak_mb),
        tuple(outcome for cell, base in applied for outcome in image_outcomes(cell, base, bound)),
    )
