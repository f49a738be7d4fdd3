"""Calibrate all detectors on a model: what they read of its normal prompts, kept beside it.

Absolute scores do not carry over between models, samplers, steps and guidance scales, so every
percentile, threshold and constant comes from such a calibration, and one of another model or other
settings is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from mmh_core.detectors.catalogue import DETECTORS, adapted
from mmh_core.detectors.drawing import draw_evidence
from mmh_core.detectors.guidance_norm import GuidanceTrace
from mmh_core.detectors.measurement import Detector, fit
from mmh_core.detectors.seed_agreement import SeedAgreement
from mmh_core.dimension.curve import lid_curve, plateau
from mmh_core.dimension.spectral import soft_spectral_count
from mmh_core.records import MMHError, Progress
from mmh_core.store.archive import load_record, save_record
from mmh_core.studies import combined_score
from mmh_core.studies.benchmark_run import LabelledPrompt
from mmh_core.studies.combined_score import CombinedScore, check_labels, fit_combined
from mmh_core.studies.early_scan import (
    PUBLISHED_TIMES,
    SEEDS,
    EarlyCalibration,
    early_times,
)
from mmh_core.studies.image_lid import EFFORT, LOG_DELTAS
from mmh_core.studies.image_reference import Reference
from mmh_core.studies.measured import Measured, measured
from mmh_core.text_to_image.model import TextToImage

#: The file beside the model.
FILE = "detectors.safetensors"
#: Normal prompts whose curves choose the scale of LID where none is known.
_FOR_SCALE = 4


@dataclass(frozen=True)
class NormalReadings:
    """Hold what one detector read of N normal prompts with S seeds: `columns` (N, S, F).

    `forwards` and `generation` are its cost per picture, as `detectors.measurement` counts it.
    """

    name: str
    columns: Tensor
    forwards: float
    generation: float


@dataclass(frozen=True)
class DetectorCalibration:
    """Hold what is normal for one model drawn in one way, for every detector.

    It serves the model with this `sha256` at this scheduler, number of steps and guidance. LID is
    read at `log_delta`, pictures are described by `embedder`, the early scan looks at the times
    `high` and `low`. `combined` is None where no memorized prompts were labelled.
    """

    model: str
    sha256: str
    scheduler: str
    steps: int
    guidance: float
    seeds: tuple[int, ...]
    log_delta: float
    embedder: str
    high: float
    low: float
    prompts: tuple[str, ...]
    readings: tuple[NormalReadings, ...]
    combined: CombinedScore | None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all scores, the combined one first."""
        first = () if self.combined is None else (combined_score.NAME,)
        return (*first, *(each.name for each in self.readings))

    @cached_property
    def detectors(self) -> Mapping[str, Detector]:
        """Return the detectors set to the model, with constants from the normal prompts."""
        found = adapted(
            {each.name: DETECTORS[each.name] for each in self.readings},
            log_delta=self.log_delta,
            embedder=self.embedder,
            early=(self.high, self.low),
        )
        return {
            each.name: fit(found[each.name], each.columns.flatten(0, 1)) for each in self.readings
        }

    @cached_property
    def _normal(self) -> Mapping[str, Tensor]:
        return self.scores({each.name: each.columns.flatten(0, 1) for each in self.readings})

    def scores(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the score (P,) of each detector, and the combined one, means over the seeds.

        `columns` (P S, F) are what the detectors read of P prompts with the calibration's seeds.
        """
        found = {
            name: self.detectors[name].score(each).reshape(-1, len(self.seeds)).mean(1)
            for name, each in columns.items()
        }
        if self.combined is not None and set(self.combined.names) <= set(found):
            found[combined_score.NAME] = self.combined.score(found).float()
        return found

    def normal(self, name: str) -> Tensor:
        """Return the scores (N,) of the normal prompts, sorted. Errors: ValueError."""
        if name not in self._normal:
            raise ValueError(f"{name!r} is not calibrated; choose from {', '.join(self.names)}.")
        return self._normal[name].sort().values

    def threshold(self, name: str, share: float) -> float:
        """Return the score that at most this share of the normal prompts exceeds."""
        if not 0 <= share < 1:
            raise ValueError(f"share must be from 0 to below 1, got {share!r}.")
        scores = self.normal(name)
        return float(scores[len(scores) - 1 - int(share * len(scores))])

    def percentile(self, name: str, scores: Tensor) -> Tensor:
        """Return the shares (P,), 0 to 1, of normal prompts that score below `scores` (P,)."""
        normal = self.normal(name)
        return torch.searchsorted(normal, scores.contiguous()) / len(normal)

    def check(self, model: TextToImage) -> None:
        """Refuse another model, and other steps or guidance. Errors: MMHError."""
        if model.sha256 != self.sha256:
            raise MMHError(
                f"The calibration is of {self.model} with other weights than {model.name}: "
                "calibrate this model first, with the command calibrate --all."
            )
        if (model.steps, model.guidance) != (self.steps, self.guidance):
            raise MMHError(
                f"The calibration is for {self.steps} steps with guidance {self.guidance:g} and "
                f"{model.name} draws {model.steps} with {model.guidance:g}: calibrate it again."
            )

    def early(self) -> EarlyCalibration:
        """Return the part of the early scan, by which tables of prompts are scanned."""
        for each in self.readings:
            if each.name == "early_scan":
                return EarlyCalibration(
                    self.model,
                    self.sha256,
                    self.seeds,
                    self.prompts,
                    each.columns,
                    self.high,
                    self.low,
                )
        raise ValueError("The early scan is not among the detectors of this calibration.")


def calibrate_detectors(
    labelled: Sequence[LabelledPrompt],
    model: TextToImage,
    reference: Reference | None = None,
    *,
    seeds: tuple[int, ...] = SEEDS,
    log_delta: float | None = None,
    names: Sequence[str] = tuple(DETECTORS),
) -> Iterator[Progress[DetectorCalibration | None]]:
    """Measure the prompts of the calibration half; the last progress has the result.

    All constants, percentiles and thresholds come from its normal prompts. Where some prompts are
    memorized, their labels choose the times of the early scan and fit the combined score. LID is
    read at `log_delta`, else at the reference's calibrated scale, else on the plateau of a few
    normal prompts. Detectors for which the model makes too few steps, or the seeds are too few,
    are left out. Errors: MMHError without normal prompts, or with too few memorized ones.
    """
    mine = [p for p in labelled if p.split == "calibration" and p.kind != "paraphrase"]
    normal = torch.tensor([not one.memorized for one in mine])
    if not bool(normal.any()):
        raise MMHError("There are no normal prompts to calibrate on: add some.")
    if not bool(normal.all()):
        check_labels(~normal)
    yield Progress(0.0, "Choosing where to read", None)
    times = PUBLISHED_TIMES if bool(normal.all()) else early_times(model, labelled, seeds[:2])
    scale = reference.log_delta if log_delta is None and reference is not None else log_delta
    if scale is None:
        scale = lid_scale(model, [one.prompt for one in mine if not one.memorized], seeds[0])
    embedder = embedder_of(reference)
    chosen = _usable(names, model.steps, len(seeds))
    detectors = adapted(chosen, log_delta=scale, embedder=embedder, early=times)
    empty = DetectorCalibration(
        model.name,
        model.sha256,
        "ddim",
        model.steps,
        model.guidance,
        seeds,
        scale,
        embedder,
        *times,
        tuple(one.prompt for one in mine if not one.memorized),
        (),
        None,
    )
    half = None
    yield Progress(0.01, f"Measuring calibration prompts, 0 of {len(mine)}", None)
    for half in measured(model, [one.prompt for one in mine], detectors, seeds):
        done = len(half.prompts)
        yield Progress(
            0.01 + 0.98 * done / len(mine),
            f"Measuring calibration prompts, {done} of {len(mine)}",
            None,
        )
    if half is None:
        raise ValueError("No prompt was measured.")
    yield Progress(1.0, "Calibrated", _calibrated(empty, half, normal))


def _usable(names: Sequence[str], steps: int, seeds: int) -> dict[str, Detector]:
    """Return the detectors by these names that so many steps and seeds suffice for."""
    chosen = {name: DETECTORS[name] for name in dict.fromkeys(names)}
    return {
        name: each
        for name, each in chosen.items()
        if not (isinstance(each, GuidanceTrace) and (each.steps or 0) > steps)
        and not (isinstance(each, SeedAgreement) and seeds < 2)
    }


def _calibrated(empty: DetectorCalibration, half: Measured, normal: Tensor) -> DetectorCalibration:
    """Keep the readings of normal prompts, and fit the combined score where there are others."""
    readings = []
    for name, found in half.found.items():
        columns = found.values.reshape(len(normal), len(empty.seeds), -1)
        readings.append(NormalReadings(name, columns[normal], found.forwards, found.generation))
    alone = replace(empty, readings=tuple(readings))
    if bool(normal.all()) or not set(combined_score.COMBINED) & set(half.found):
        return alone
    scores = alone.scores({name: found.values for name, found in half.found.items()})
    return replace(alone, combined=fit_combined(scores, ~normal))


def lid_scale(model: TextToImage, prompts: Sequence[str], seed: int) -> float:
    """Return the log delta at which a model without a calibrated scale is read.

    The median over a few normal prompts of the middle of their LID curves' plateaus, or of their
    flattest point where there is none.
    """
    scales, estimator = torch.tensor(LOG_DELTAS), partial(soft_spectral_count, effort=EFFORT)
    found = []
    for evidence in draw_evidence(
        model, prompts[:_FOR_SCALE], (seed,), guidance=model.guidance, steps=model.steps
    ):
        for row in range(len(evidence)):
            curve = lid_curve(
                estimator,
                model.score_model,
                evidence.drawn().latents[row : row + 1].to(model.device),
                scales.to(model.device),
                cond=evidence.embeddings[row : row + 1].to(model.device),
                generator=torch.Generator().manual_seed(seed),
            )
            found.append(plateau(curve, absolute=1.0, relative=0.1).log_delta.cpu())
    return float(torch.cat(found).median())


def embedder_of(reference: Reference | None) -> str:
    """Return the name by which `load_embedder` finds the embedder of a reference."""
    if reference is not None and reference.embedder.name.startswith("pocket"):
        return "pocket"
    return "pixels"


def write_detectors(folder: Path, found: DetectorCalibration) -> None:
    """Keep a calibration in a folder."""
    save_record(folder / FILE, found)


def read_detectors(folder: Path) -> DetectorCalibration | None:
    """Return the calibration kept in a folder, None where there is none. Errors: MMHError."""
    path = folder / FILE
    return load_record(path, DetectorCalibration) if path.exists() else None
