"""Figures of one row of a benchmark: realized rates, groups of prompts, areas over images.

All are counted from the scores that a run keeps, so none can disagree with another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.statistics.areas import area_interval, clustered_area_interval
from mmh_core.statistics.intervals import Interval, share_interval
from mmh_core.studies.detection.benchmark_run import BenchmarkRun, DetectorRow
from mmh_core.subject.reference_scores import threshold_among

#: False-positive rates at which thresholds are set beforehand.
SHARES = (0.01, 0.05, 0.1)


@dataclass(frozen=True)
class Rate:
    """How many prompts of how many exceed a threshold, with the exact 95 % interval."""

    count: int
    among: int
    low: float
    high: float

    @property
    def share(self) -> Interval:
        """Return the share with its interval, NaN where there is no prompt."""
        value = self.count / self.among if self.among else math.nan
        return Interval(value, self.low, self.high)

    def words(self) -> str:
        """Return the count of how many, with the interval of the share; a dash for no prompt."""
        if not self.among:
            return "-"
        return f"{self.count}/{self.among} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class RealizedRates:
    """What a threshold does that was set beforehand for the false-positive rate `target_fpr`.

    It was set on `reference` prompts of the calibration half; `fpr` counts the reference and `tpr`
    the memorized prompts of the test half that exceed it, paraphrases left out.
    """

    target_fpr: float
    threshold: float
    reference: int
    fpr: Rate
    tpr: Rate


@dataclass(frozen=True)
class GroupFigures:
    """One group of prompts: its area, and the rates at each of `SHARES`.

    The area of a group with memorized and reference prompts is within it; memorized prompts alone
    stand against all reference prompts, reference prompts alone against all memorized ones, which
    `against` says. `tpr` are rates of its memorized, `fpr` of its reference prompts.
    """

    group: str
    memorized: int
    reference: int
    against: str
    area: Interval
    tpr: tuple[Rate, ...]
    fpr: tuple[Rate, ...]


@dataclass(frozen=True)
class ImageLabelFigures:
    """How well scores tell images by their label: copy of a training image, or another image.

    `area` is over the images of `captions` prompts, of which `copies` are copies and `others` are
    not; the interval is over prompts, since images of one prompt are alike.
    """

    copies: int
    others: int
    captions: int
    area: Interval


def realized(
    run: BenchmarkRun, row: DetectorRow, shares: Sequence[float] = SHARES
) -> tuple[RealizedRates, ...]:
    """Return the rates on the test half at thresholds of the calibration half."""
    positive, negative = plain_sides(run)
    thresholds = [threshold_among(row.reference_scores, share) for share in shares]
    return tuple(
        RealizedRates(
            share,
            threshold,
            len(row.reference_scores),
            _rate(row.scores[negative], threshold),
            _rate(row.scores[positive], threshold),
        )
        for share, threshold in zip(shares, thresholds, strict=True)
    )


@dataclass(frozen=True)
class GroupSides:
    """The prompts (P,) bool of a group, and the two sides of its ROC curve.

    `memorized` and `reference` are those of the group; `positive` and `negative` are those and,
    where the group has one side alone, the other side of all prompts, as `against` says.
    """

    group: str
    memorized: Tensor
    reference: Tensor
    positive: Tensor
    negative: Tensor
    against: str


def plain_sides(run: BenchmarkRun) -> tuple[Tensor, Tensor]:
    """Return the memorized and the reference prompts (P,) bool that count in areas and rates."""
    counted = torch.tensor([prompt.counted for prompt in run.prompts])
    memorized = _memorized(run)
    return counted & memorized, counted & ~memorized


def group_sides(run: BenchmarkRun) -> tuple[GroupSides, ...]:
    """Return every group of the test prompts in the order of the list.

    A prompt without a group is in that of its kind. Excluded prompts make a group where
    they are all of it, else they count in none.
    """
    names = [prompt.group or prompt.kind for prompt in run.prompts]
    memorized = _memorized(run)
    every_positive, every_negative = plain_sides(run)
    labelled = torch.tensor([not prompt.exclusion for prompt in run.prompts])
    sides = []
    for name in dict.fromkeys(names):
        inside = torch.tensor([other == name for other in names])
        if bool((inside & labelled).any()):
            inside &= labelled
        yes, no, against = inside & memorized, inside & ~memorized, "within the group"
        positive, negative = yes, no
        if not bool(no.any()):
            negative, against = every_negative, "all reference prompts"
        elif not bool(yes.any()):
            positive, against = every_positive, "all memorized prompts"
        sides.append(GroupSides(name, yes, no, positive, negative, against))
    return tuple(sides)


def group_figures(
    run: BenchmarkRun, row: DetectorRow, shares: Sequence[float] = SHARES
) -> tuple[GroupFigures, ...]:
    """Return the figures of every group (`group_sides`); one without a score has no area, NaN."""
    has_score = row.scores.isfinite()
    thresholds = [threshold_among(row.reference_scores, share) for share in shares]
    return tuple(
        GroupFigures(
            sides.group,
            int(sides.memorized.sum()),
            int(sides.reference.sum()),
            sides.against,
            _area(row.scores[sides.positive & has_score], row.scores[sides.negative & has_score]),
            tuple(_rate(row.scores[sides.memorized], threshold) for threshold in thresholds),
            tuple(_rate(row.scores[sides.reference], threshold) for threshold in thresholds),
        )
        for sides in group_sides(run)
    )


def image_label_figures(
    run: BenchmarkRun, row: DetectorRow, *, memorized_only: bool = False
) -> ImageLabelFigures | None:
    """Return how well a row tells copies from other images, None where no copy can be told.

    That takes a training set to search. `memorized_only` counts the images of memorized captions
    alone: there the prompt cannot give the answer away, only the image can. A score that is one
    for all images of a prompt (words alone) counts for each of them.
    """
    if run.copies is None or bool(run.copies.isnan().all()):
        return None
    images = row.images
    if images is None:
        images = row.scores[:, None].expand(run.copies.shape)
    prompt = torch.arange(len(run.prompts))[:, None].expand(run.copies.shape)
    kept = run.copies.isfinite() & images.isfinite()
    if memorized_only:
        counted = torch.tensor([one.memorized and one.counted for one in run.prompts])
        kept = kept & counted[:, None]
    scores, positive, cluster = images[kept], run.copies[kept] > 0, prompt[kept]
    nan = float("nan")
    area = Interval(nan, nan, nan)
    if bool(positive.any()) and not bool(positive.all()):
        area = clustered_area_interval(scores, positive, cluster)
    return ImageLabelFigures(
        int(positive.sum()), int((~positive).sum()), len(set(cluster.tolist())), area
    )


@dataclass(frozen=True)
class RowFigures:
    """All figures of one row but its areas over prompts; None without a training set to search."""

    name: str
    realized: tuple[RealizedRates, ...]
    groups: tuple[GroupFigures, ...]
    by_image_label: ImageLabelFigures | None
    within_memorized: ImageLabelFigures | None


def row_figures(run: BenchmarkRun) -> tuple[RowFigures, ...]:
    """Return the figures of every row of a run."""
    return tuple(
        RowFigures(
            row.name,
            realized(run, row),
            group_figures(run, row),
            image_label_figures(run, row),
            image_label_figures(run, row, memorized_only=True),
        )
        for row in run.rows
    )


def _memorized(run: BenchmarkRun) -> Tensor:
    return torch.tensor([prompt.memorized for prompt in run.prompts])


def _rate(scores: Tensor, threshold: float) -> Rate:
    """Return how many scores exceed a threshold; one that is no number does not."""
    count, among = int((scores > threshold).sum()), len(scores)
    interval = share_interval(count, among)
    return Rate(count, among, interval.low, interval.high)


def _area(yes: Tensor, no: Tensor) -> Interval:
    if not len(yes) or not len(no):
        return Interval(*(float("nan"),) * 3)
    return area_interval(yes, no)
