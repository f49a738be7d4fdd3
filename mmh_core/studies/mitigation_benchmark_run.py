"""Records of the benchmark of mitigations: captions, figures per treatment, rows of its table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.studies.mitigation_run import MitigationRun, Treatment
from mmh_core.studies.mitigation_table import Interval, copies


@dataclass(frozen=True)
class Caption:
    """Name a caption of the embedded world and its kind."""

    text: str
    kind: str


@dataclass(frozen=True)
class Captions:
    """Hold what is drawn: to choose strengths with, to count on, and normal ones of that half."""

    calibration: tuple[Caption, ...]
    test: tuple[Caption, ...]
    normal: tuple[Caption, ...]


@dataclass(frozen=True)
class CaptionRecord:
    """Hold one caption with T treatments, S seeds each; the first treatment is `none`.

    (T, S): `copied` is 1 for a copy and 0 else, the others are those of `Cell`. (T,): `agreement`
    between the pictures, and the costs per picture. NaN where a treatment was `refused` (a
    sentence, "" else) or a figure is unknown.
    """

    caption: Caption
    treatments: tuple[Treatment, ...]
    labels: tuple[str, ...]
    refused: tuple[str, ...]
    used: tuple[str, ...]
    copied: Tensor
    similarity: Tensor
    moved: Tensor
    alignment: Tensor
    lid: Tensor
    agreement: Tensor
    seconds: Tensor
    forwards: Tensor

    def row(self, treatment: Treatment) -> int | None:
        """Return the place of a treatment, None where it was not drawn."""
        return self.treatments.index(treatment) if treatment in self.treatments else None


@dataclass(frozen=True)
class AttributionRecord:
    """Hold what is left of copying when the words that A attributions blame are dropped.

    `words` are the dropped ones of each, equally many; `copied` (A,) is the share of copies
    without them, `before` with them.
    """

    caption: Caption
    by: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    copied: Tensor
    before: float


@dataclass(frozen=True)
class BenchmarkRow:
    """Hold one mitigation over the test captions, means with intervals over captions.

    `captions` were drawn and `refused` could not be. `alignment` is the ratio of means after and
    before. Costs are per picture.
    """

    treatment: Treatment
    label: str
    captions: int
    refused: int
    before: Interval
    copied: Interval
    similarity: Interval
    alignment: Interval
    lid_before: Interval
    lid: Interval
    seconds: Interval
    forwards: Interval


@dataclass(frozen=True)
class NormalRow:
    """Hold what a treatment does to normal captions: differences to `none` and their intervals.

    `changed` is the share of pictures that are not the unmitigated one to the last digit of their
    descriptors; `spread` are 95 % intervals of `none` over captions, what the differences are to
    be compared with.
    """

    treatment: Treatment
    captions: int
    alignment: Interval
    agreement: Interval
    changed: float
    alignment_spread: float
    agreement_spread: float


@dataclass(frozen=True)
class MitigationBenchmark:
    """Hold one benchmark of one model, finished when `state` is "complete".

    `chosen` are the strengths that the calibration captions chose.
    """

    model: str
    sha256: str
    seeds: tuple[int, ...]
    steps: int
    guidance: float
    state: str
    captions: Captions
    chosen: tuple[Treatment, ...]
    calibration: tuple[CaptionRecord, ...]
    test: tuple[CaptionRecord, ...]
    normal: tuple[CaptionRecord, ...]
    attributions: tuple[AttributionRecord, ...]
    seconds: float


def caption_record(run: MitigationRun, caption: Caption) -> CaptionRecord:
    """Return the figures of a run's first prompt."""
    cells = [cell for cell in run.cells if cell.prompt == 0]
    seeds = len(run.config.seeds)

    def stacked(values: list[Tensor]) -> Tensor:
        unknown = torch.full((seeds,), math.nan)
        return torch.stack([each.float() if len(each) else unknown for each in values])

    def listed(values: list[float]) -> Tensor:
        known = [math.nan if cell.refused else v for cell, v in zip(cells, values, strict=True)]
        return torch.tensor(known)

    return CaptionRecord(
        caption,
        tuple(cell.treatment for cell in cells),
        tuple(cell.label for cell in cells),
        tuple(cell.refused for cell in cells),
        tuple(cell.used for cell in cells),
        stacked([copies(cell) for cell in cells]),
        stacked([cell.similarity for cell in cells]),
        stacked([cell.moved for cell in cells]),
        stacked([cell.alignment for cell in cells]),
        stacked([cell.lid for cell in cells]),
        listed([cell.agreement for cell in cells]),
        listed([cell.seconds for cell in cells]),
        listed([cell.forwards for cell in cells]),
    )
