"""Records of the benchmark of mitigations: captions, results per mitigation, rows of its table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.memorization.verdict import OutcomeKind
from mmh_core.statistics import Interval
from mmh_core.studies.mitigation.outcome import image_outcomes
from mmh_core.studies.mitigation.run import MitigationRun, Treatment
from mmh_core.studies.mitigation.table import copies
from mmh_core.text_to_image.requests import Sampling


@dataclass(frozen=True)
class Caption:
    """A caption of the embedded world and its kind."""

    text: str
    kind: str


@dataclass(frozen=True)
class Captions:
    """The captions of a benchmark: for calibration, for the test, and reference captions."""

    calibration: tuple[Caption, ...]
    test: tuple[Caption, ...]
    normal: tuple[Caption, ...]


@dataclass(frozen=True)
class CaptionRecord:
    """One caption with T mitigations, S seeds each; the first is `none`.

    (T, S): `copied` is 1 for a copy and 0 else, the others are those of `Cell`. (T,): `agreement`
    between the images, and the costs per image. NaN where a mitigation was `refused` (a
    sentence, "" else) or a figure is unknown. `outcomes` are those of every image, none for a
    refusal; `made_by` says by which code, model and settings, "" where it is unknown.
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
    nfe: Tensor
    outcomes: tuple[tuple[str, ...], ...] = ()
    made_by: str = ""

    def share(self, row: int, *kinds: OutcomeKind) -> float:
        """Return the share of a mitigation's images with one of these outcomes, NaN if unknown."""
        found = self.outcomes[row] if self.outcomes else ()
        return sum(one in kinds for one in found) / len(found) if found else math.nan

    def row(self, treatment: Treatment) -> int | None:
        """Return the place of a mitigation, None where it was not generated."""
        return self.treatments.index(treatment) if treatment in self.treatments else None


@dataclass(frozen=True)
class AttributionRecord:
    """The copies left when the words with the highest attribution are dropped, by A attributions.

    `words` are the dropped ones of each, equally many; `copied` (A,) is the share of copies
    without them, `before` with them. `made_by` is as in `CaptionRecord`.
    """

    caption: Caption
    by: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    copied: Tensor
    before: float
    made_by: str = ""


@dataclass(frozen=True)
class BenchmarkRow:
    """One mitigation over the test captions, means with intervals over captions.

    `captions` were generated and `refused` could not be. `solved` is the share of images that are
    solved or were no copy and are none, `unsolved` that of images moved off the threshold whose
    LID has not risen; `alignment_before` and `alignment` are means. Costs are per image.
    """

    treatment: Treatment
    label: str
    captions: int
    refused: int
    before: Interval
    copied: Interval
    solved: Interval
    unsolved: Interval
    similarity: Interval
    alignment_before: Interval
    alignment: Interval
    lid_before: Interval
    lid: Interval
    seconds: Interval
    nfe: Interval


@dataclass(frozen=True)
class NormalRow:
    """A mitigation on reference captions: differences to `none` and their intervals.

    `changed` is the share of images that are not the unmitigated one to the last digit of their
    descriptors; `spread` are 95 % intervals of `none` over captions, what the differences are to
    be compared with. `new_copies` is the number of images that are copies and were none.
    """

    treatment: Treatment
    captions: int
    alignment: Interval
    agreement: Interval
    changed: float
    alignment_spread: float
    agreement_spread: float
    new_copies: int


@dataclass(frozen=True)
class MitigationBenchmark:
    """One benchmark of one model, finished when `state` is "complete".

    `chosen` are the strengths that the calibration captions chose. `code` is the version of the
    code, and `left_out` counts kept records that another version or model made.
    """

    model: str
    sha256: str
    seeds: tuple[int, ...]
    sampling: Sampling
    state: str
    captions: Captions
    chosen: tuple[Treatment, ...]
    calibration: tuple[CaptionRecord, ...]
    test: tuple[CaptionRecord, ...]
    normal: tuple[CaptionRecord, ...]
    attributions: tuple[AttributionRecord, ...]
    seconds: float
    code: str = ""
    left_out: int = 0


def caption_record(run: MitigationRun, caption: Caption, made_by: str = "") -> CaptionRecord:
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
        listed([cell.nfe for cell in cells]),
        tuple(tuple(one.kind for one in image_outcomes(cell, cells[0])) for cell in cells),
        made_by,
    )
