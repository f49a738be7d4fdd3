"""Records of the benchmark of mitigations, made caption by caption and kept in a folder."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from mmh_core.installation import code_version
from mmh_core.memorization.verdict import OutcomeKind
from mmh_core.mitigations.catalogue import MITIGATIONS
from mmh_core.mitigations.interface import Mitigation
from mmh_core.records import MMHError
from mmh_core.store.archive import load_record, save_record
from mmh_core.studies.images.run import default_config
from mmh_core.studies.mitigation.outcome import USUAL_RANK, image_outcomes
from mmh_core.studies.mitigation.robustness import control, robustness
from mmh_core.studies.mitigation.run import (
    MitigationConfig,
    MitigationRun,
    Robustness,
    Treatment,
    fresh_seeds,
)
from mmh_core.studies.mitigation.study import mitigation_study
from mmh_core.studies.mitigation.table import copies
from mmh_core.subject.subject import Subject
from mmh_core.text_to_image.requests import Sampling


@dataclass(frozen=True)
class Caption:
    """A caption and its kind.

    `paraphrases` are other texts for the same image, where they are listed, and `dose` is how
    often its image is in the training set; None where it is unknown.
    """

    text: str
    kind: str
    paraphrases: tuple[str, ...] = ()
    dose: int | None = None


@dataclass(frozen=True)
class Captions:
    """The captions of a benchmark: for calibration, for the test, and reference captions."""

    calibration: tuple[Caption, ...]
    test: tuple[Caption, ...]
    reference: tuple[Caption, ...]


@dataclass(frozen=True)
class CaptionRecord:
    """One caption with T mitigations, S seeds each; the first is `none`.

    (T, S): `copied` is 1 for a copy and 0 else, the others are those of `Cell`. (T,): the
    `seed_similarity` of the images, and the costs per image. NaN where a mitigation was `refused`
    (a sentence, "" else) or a figure is unknown. `outcomes` are those of every image, none for a
    refusal; `made_by` says by which code, model and settings, "" where it is unknown.
    `subject_rank` are those of `Cell`.
    """

    caption: Caption
    treatments: tuple[Treatment, ...]
    labels: tuple[str, ...]
    refused: tuple[str, ...]
    used: tuple[str, ...]
    copied: Tensor
    similarity: Tensor
    similarity_to_unmitigated: Tensor
    alignment: Tensor
    lid: Tensor
    seed_similarity: Tensor
    seconds: Tensor
    nfe: Tensor
    outcomes: tuple[tuple[str, ...], ...] = ()
    made_by: str = ""
    subject_rank: tuple[tuple[float, ...], ...] = ()

    def share(self, row: int, *kinds: OutcomeKind) -> float:
        """Return the share of a mitigation's images with one of these outcomes, NaN if unknown."""
        outcomes = self.outcomes[row] if self.outcomes else ()
        return (
            sum(outcome in kinds for outcome in outcomes) / len(outcomes) if outcomes else math.nan
        )

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
class RobustnessRecord:
    """What came back of the copies of one caption, or of a reference caption the control.

    `made_by` is as in `CaptionRecord`.
    """

    caption: Caption
    robustness: Robustness
    made_by: str = ""


@dataclass(frozen=True)
class MitigationBenchmark:
    """One benchmark of one model, finished when `state` is "complete".

    `chosen` are the strengths that the calibration captions chose. `code` is the version of the
    code, and `left_out` counts kept records that another version or model made. `robustness` is
    empty where it was not tried, and `control` has the same attack on reference captions.
    `selection_seeds` are empty where an earlier version did not keep them apart, and `rank_bound`
    is that of `image_outcomes`.
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
    reference: tuple[CaptionRecord, ...]
    attributions: tuple[AttributionRecord, ...]
    seconds: float
    code: str = ""
    left_out: int = 0
    robustness: tuple[RobustnessRecord, ...] = ()
    selection_seeds: tuple[int, ...] = ()
    rank_bound: float = math.nan
    control: tuple[RobustnessRecord, ...] = ()


def caption_record(
    run: MitigationRun, caption: Caption, made_by: str = "", rank_bound: float = USUAL_RANK
) -> CaptionRecord:
    """Return the figures of a run's first prompt."""
    cells = [cell for cell in run.cells if cell.prompt == 0]
    seeds = len(run.config.seeds)

    def stacked(values: list[Tensor]) -> Tensor:
        unknown = torch.full((seeds,), math.nan)
        return torch.stack([row.float() if len(row) else unknown for row in values])

    def listed(values: list[float]) -> Tensor:
        numbers = [math.nan if cell.refused else v for cell, v in zip(cells, values, strict=True)]
        return torch.tensor(numbers)

    return CaptionRecord(
        caption,
        tuple(cell.treatment for cell in cells),
        tuple(cell.label for cell in cells),
        tuple(cell.refused for cell in cells),
        tuple(cell.used for cell in cells),
        stacked([copies(cell) for cell in cells]),
        stacked([cell.similarity for cell in cells]),
        stacked([cell.similarity_to_unmitigated for cell in cells]),
        stacked([cell.alignment for cell in cells]),
        stacked([cell.lid for cell in cells]),
        listed([cell.seed_similarity for cell in cells]),
        listed([cell.seconds for cell in cells]),
        listed([cell.nfe for cell in cells]),
        tuple(
            tuple(outcome.kind for outcome in image_outcomes(cell, cells[0], rank_bound))
            for cell in cells
        ),
        made_by,
        tuple(cell.subject_rank for cell in cells),
    )


_Record = TypeVar("_Record", CaptionRecord, AttributionRecord, RobustnessRecord)


@dataclass(frozen=True)
class BenchmarkInputs:
    """The inputs of the whole benchmark of mitigations.

    `seeds` are those of the figures of every caption; strengths are chosen on `selection_seeds`,
    and mitigations search with those when figures are made. Records are written to `work`, and
    those already there are used again if `resume` and if the same code made them of that model.
    Of `robust` test captions it is tried whether their copies come back, and as many reference
    captions are attacked as the control. `offered` are the mitigations by name, `code` is the
    version of the code that makes the records.
    """

    subject: Subject
    seeds: tuple[int, ...]
    work: Path
    resume: bool = False
    robust: int = 0
    offered: Mapping[str, Mitigation] = field(default_factory=lambda: MITIGATIONS)
    code: str = field(default_factory=code_version)

    @property
    def selection_seeds(self) -> tuple[int, ...]:
        """Return as many seeds, none of which any figure is made of."""
        return fresh_seeds(self.seeds, len(self.seeds))

    @property
    def parts(self) -> Path | None:
        """Return where the cells of a caption that is not finished are kept, None for nowhere."""
        return self.work / "parts" if self.resume else None


def generated_record(
    caption: Caption,
    treatments: Sequence[Treatment],
    inputs: BenchmarkInputs,
    *,
    selecting: bool = False,
    rank_bound: float = USUAL_RANK,
) -> Iterator[tuple[float, CaptionRecord | None]]:
    """Generate a caption or load its record; yield the share done, the record at last.

    While `selecting`, of the selection seeds; mitigations then search with others again.
    """
    stage = f"{'selection' if selecting else 'caption'} {rank_bound:.6f}"
    path = record_path(inputs, stage, caption, treatments)
    record = kept_record(path, CaptionRecord, inputs)
    if record is not None:
        yield 1.0, record
        return
    run: MitigationRun | None = None
    config = caption_config(caption, treatments, inputs, selecting=selecting)
    for progress in mitigation_study(config, inputs.subject, kept=inputs.parts):
        run = progress.partial
        yield 0.999 * progress.fraction, None
    if run is None:
        raise ValueError("The study yielded nothing.")
    record = caption_record(run, caption, made_by(inputs), rank_bound)
    save_record(path, record)
    yield 1.0, record


def caption_config(
    caption: Caption,
    treatments: Sequence[Treatment],
    inputs: BenchmarkInputs,
    *,
    selecting: bool = False,
) -> MitigationConfig:
    """Return the config of one caption with the seeds of figures, or of the selection."""
    seeds, searched = inputs.seeds, inputs.selection_seeds
    if selecting:
        seeds, searched = searched, fresh_seeds({*seeds, *searched}, len(seeds))
    base = default_config(inputs.subject.model, inputs.subject.name, caption.text)
    return MitigationConfig(
        inputs.subject.name,
        (caption.text,),
        seeds,
        tuple(treatments),
        base.sampling,
        searched,
    )


def robustness_record(
    caption: Caption,
    treatments: Sequence[Treatment],
    inputs: BenchmarkInputs,
    *,
    memorized: bool = True,
) -> Iterator[tuple[float, RobustnessRecord | None]]:
    """Try to get a caption's copies back, or load the record; yield the share done, it at last.

    Of a caption that is not `memorized` the record is the control.
    """
    path = record_path(inputs, "robustness" if memorized else "control", caption, treatments)
    record = kept_record(path, RobustnessRecord, inputs)
    if record is None:
        config = caption_config(caption, treatments, inputs)
        work = (
            robustness(config, inputs.subject, caption.paraphrases, kept=inputs.parts)
            if memorized
            else control(config, inputs.subject, kept=inputs.parts)
        )
        for share, outcome in work:
            yield 0.999 * share, None
            if outcome is not None:
                record = RobustnessRecord(caption, outcome, made_by(inputs))
                save_record(path, record)
    yield 1.0, record


def record_path(
    inputs: BenchmarkInputs, stage: str, caption: Caption, treatments: Sequence[Treatment]
) -> Path:
    """Return where a record is kept: by everything that it depends on, the code included."""
    names = [[treatment.mitigation, treatment.strength] for treatment in treatments]
    key = [stage, made_by(inputs), caption.text, caption.kind, caption.paraphrases, names]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return inputs.work / f"{_version(inputs)}-{digest[:32]}.safetensors"


def made_by(inputs: BenchmarkInputs) -> str:
    """Return which code, model and settings the records of a benchmark are made by."""
    seeds = ",".join(str(seed) for seed in inputs.seeds)
    return (
        f"code {inputs.code}, model {inputs.subject.model.sha256}, steps "
        f"{inputs.subject.model.steps}, guidance {inputs.subject.model.guidance!r}, seeds {seeds}"
    )


def left_out(inputs: BenchmarkInputs) -> int:
    """Return how many records in the work folder another version of the code or model made."""
    if not inputs.resume or not inputs.work.is_dir():
        return 0
    kept = inputs.work.glob("*.safetensors")
    return sum(not path.name.startswith(f"{_version(inputs)}-") for path in kept)


def _version(inputs: BenchmarkInputs) -> str:
    return f"{inputs.code}-{inputs.subject.model.sha256[:16]}"


def kept_record(path: Path, kind: type[_Record], inputs: BenchmarkInputs) -> _Record | None:
    """Return a kept record, None where none is used again, none is there or it is damaged."""
    if not inputs.resume or not path.exists():
        return None
    try:
        record = load_record(path, kind)
    except MMHError:
        return None
    return record if record.made_by == made_by(inputs) else None
