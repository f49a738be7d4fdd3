"""The calibration of all detectors on a model's reference prompts, stored beside it.

Absolute scores do not carry over between models, samplers, steps and guidance scales, so every
percentile, threshold and constant comes from such a calibration, and one of another model or other
settings is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from mmh_core.detectors import combined_score
from mmh_core.detectors.catalogue import DETECTORS, adapted
from mmh_core.detectors.combined_score import CombinedScore
from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.detectors.measurement import Detector, fit
from mmh_core.detectors.tuning import TunedSetting, at_setting, signed
from mmh_core.records import MMHError
from mmh_core.subject.early_calibration import EarlyCalibration
from mmh_core.subject.reference_scores import share_below, threshold_among, usable
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Sampling


@dataclass(frozen=True)
class ReferenceMeasurements:
    """One detector's measurements of N reference prompts with S seeds: `columns` (N, S, F).

    `nfe` and `generation` are its cost per image, as `detectors.measurement` counts it.
    """

    name: str
    columns: Tensor
    nfe: float
    generation: float


@dataclass(frozen=True)
class DetectorCalibration:
    """The reference distribution of every detector, for one model and sampling.

    It serves the model with this `sha256` at this scheduler, number of steps and guidance. LID is
    estimated at `log_delta`, images are described by `embedder`, the early scan looks at the times
    `high` and `low`. `combined` is None where no memorized prompts were labelled. `early_scan` is
    the calibration by which this model's tables are scanned: where it is known, constants,
    thresholds and percentiles of the early scan are its, so that a prompt has one early scan.
    `left_out` says in sentences what is missing, and why. `tuned` are times, noise scales and
    signs as labels of the calibration half set them, of the detectors named there; others are as
    published, LID at `log_delta`.
    """

    model: str
    sha256: str
    sampling: Sampling
    seeds: tuple[int, ...]
    log_delta: float
    embedder: str
    high: float
    low: float
    prompts: tuple[str, ...]
    estimates: tuple[ReferenceMeasurements, ...]
    combined: CombinedScore | None
    early_scan: EarlyCalibration | None = None
    left_out: tuple[str, ...] = ()
    tuned: tuple[TunedSetting, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all scores, the combined one first."""
        first = () if self.combined is None else (combined_score.NAME,)
        return (*first, *(estimate.name for estimate in self.estimates))

    @cached_property
    def detectors(self) -> Mapping[str, Detector]:
        """Return the detectors set to the model, with constants from the reference prompts."""
        adapted_detectors = adapted(
            {estimate.name: DETECTORS[estimate.name] for estimate in self.estimates},
            log_delta=self.log_delta,
            embedder=self.embedder,
            early=(self.high, self.low),
        )
        settings = {setting.name: setting for setting in self.tuned}
        ready: dict[str, Detector] = {}
        for estimate in self.estimates:
            setting = settings.get(estimate.name)
            at_time = at_setting(adapted_detectors[estimate.name], setting)
            fitted = fit(at_time, estimate.columns.flatten(0, 1))
            ready[estimate.name] = signed(fitted, setting)
        if self.early_scan is not None and EarlyScan.name in ready:
            ready[EarlyScan.name] = self.early_scan.detector()
        return ready

    @cached_property
    def _references(self) -> Mapping[str, Tensor]:
        return self.scores(
            {estimate.name: estimate.columns.flatten(0, 1) for estimate in self.estimates}
        )

    def scores(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the score (P,) of each detector, and the combined one, means over the seeds.

        `columns` (P S, F) are the measurements of P prompts with the calibration's seeds.
        """
        by_detector = {
            name: self.detectors[name].score(values).reshape(-1, len(self.seeds)).mean(1)
            for name, values in columns.items()
        }
        return self._with_combined(by_detector)

    def image_scores(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the score (P, S) of each detector at every image, and the combined one.

        `columns` (P S, F) are those of `scores`. The combined score of an image is the regression
        that was fitted on prompts, at the image's own scores.
        """
        by_detector = {name: self.detectors[name].score(each) for name, each in columns.items()}
        return {
            name: each.reshape(-1, len(self.seeds))
            for name, each in self._with_combined(by_detector).items()
        }

    def _with_combined(self, by_detector: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.combined is not None and set(self.combined.names) <= set(by_detector):
            by_detector[combined_score.NAME] = self.combined.score(by_detector).float()
        return by_detector

    def settings(self, name: str) -> str:
        """Return which free settings a detector has, and how they are set."""
        if name == combined_score.NAME:
            return "weights fitted on the calibration half"
        words = {setting.name: setting.words() for setting in self.tuned}
        scales = {setting.name: setting.log_delta for setting in self.tuned}
        own = words.get(name, "as published")
        if name == EarlyScan.name and (self.early_scan is not None or name not in words):
            return f"t = {self.high:g} and {self.low:g}, sign as published"
        if name.startswith("lid_") and math.isnan(scales.get(name, math.nan)):
            return f"noise scale {math.exp(self.log_delta):.2g}, by reference images, {own}"
        return own

    def reference_scores(self, name: str) -> Tensor:
        """Return the scores of the reference prompts that have one, sorted.

        Errors: ValueError for another name, MMHError where fewer than half have one.
        """
        if name not in self._references:
            raise ValueError(f"{name!r} is not calibrated; choose from {', '.join(self.names)}.")
        if self.early_scan is not None and name == EarlyScan.name:
            return self.early_scan.reference_scores()
        return usable(self._references[name], self.label(name))

    def label(self, name: str) -> str:
        """Return the name of a score for people."""
        return combined_score.LABEL if name == combined_score.NAME else self.detectors[name].label

    def threshold(self, name: str, fpr: float) -> float:
        """Return the score that at most this share of the reference prompts exceeds."""
        return threshold_among(self.reference_scores(name), fpr)

    def percentile(self, name: str, scores: Tensor) -> Tensor:
        """Return the shares (P,), 0 to 1, of reference prompts that score below `scores` (P,)."""
        return share_below(self.reference_scores(name), scores)

    def check(self, model: TextToImage) -> None:
        """Raise MMHError for another model, and for other steps or guidance."""
        if model.sha256 != self.sha256:
            raise MMHError(
                f"The calibration is of {self.model} with other weights than {model.name}: "
                "calibrate this model first, with the command calibrate --all."
            )
        if model.sampling != self.sampling:
            raise MMHError(
                f"The calibration is for {self.sampling.words} and {model.name} generates with "
                f"{model.sampling.words}: calibrate it again, by calibrate --all with the same "
                "--windows, and name the file by --calibration."
            )

    def early(self) -> EarlyCalibration | None:
        """Return the part of the early scan, by which tables of prompts are scanned.

        None where labels reversed its sign: a scan counts as published.
        """
        if self.early_scan is not None:
            return self.early_scan
        if any(one.name == EarlyScan.name and one.sign < 0 for one in self.tuned):
            return None
        for estimate in self.estimates:
            if estimate.name == "early_scan":
                return EarlyCalibration(
                    self.model,
                    self.sha256,
                    self.seeds,
                    self.prompts,
                    estimate.columns,
                    self.high,
                    self.low,
                )
        raise ValueError("The early scan is not among the detectors of this calibration.")

    def scanning_by(self, early: EarlyCalibration) -> DetectorCalibration:
        """Return the calibration with this early scan, by which tables are scanned, as its own.

        A combined score that was fitted with another is left out. Errors: MMHError for the early
        scan of other weights or seeds.
        """
        if EarlyScan.name not in {estimate.name for estimate in self.estimates}:
            return self
        if (early.sha256, early.seeds) != (self.sha256, self.seeds):
            raise MMHError(
                f"The calibrations of the early scan and of the other detectors of {self.model} "
                "are of different weights or seeds: make both anew, with calibrate --all."
            )
        if (own := self.early()) is not None and _same(own, early):
            return replace(self, early_scan=early)
        if (early.high, early.low) != (self.high, self.low):
            raise MMHError(
                f"The early scan of {self.model} was calibrated at other times than the other "
                "detectors: make both anew, with calibrate --all."
            )
        sentence = (
            "The combined score is left out: it was fitted with another early scan than the one "
            "by which tables are scanned. The command calibrate --all fits it anew."
        )
        without = self.left_out if self.combined is None else (*self.left_out, sentence)
        return replace(self, early_scan=early, combined=None, left_out=without)


def _same(first: EarlyCalibration, other: EarlyCalibration) -> bool:
    """Return whether two calibrations score alike."""
    return (first.high, first.low) == (other.high, other.low) and torch.equal(
        first.columns, other.columns
    )
