"""Calibrate all detectors on a model: what they read of its normal prompts, kept beside it.

Absolute scores do not carry over between models, samplers, steps and guidance scales, so every
percentile, threshold and constant comes from such a calibration, and one of another model or other
settings is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from mmh_core.detectors.catalogue import DETECTORS, adapted
from mmh_core.detectors.measurement import Detector, fit
from mmh_core.records import MMHError
from mmh_core.store.archive import load_record, save_record
from mmh_core.studies import combined_score
from mmh_core.studies.combined_score import CombinedScore
from mmh_core.studies.early_scan import (
    EarlyCalibration,
)
from mmh_core.text_to_image.model import TextToImage

#: The file beside the model.
FILE = "detectors.safetensors"


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


def write_detectors(folder: Path, found: DetectorCalibration) -> None:
    """Keep a calibration in a folder."""
    save_record(folder / FILE, found)


def read_detectors(folder: Path) -> DetectorCalibration | None:
    """Return the calibration kept in a folder, None where there is none. Errors: MMHError."""
    path = folder / FILE
    return load_record(path, DetectorCalibration) if path.exists() else None
