"""The one rule by which the free settings of all detectors are set on labelled prompts.

Every setting of a detector's grid is scored on the calibration half, each prompt with constants
that were fitted without its fold; the setting and the sign with the largest area under the ROC
curve win, of equal ones the first of the grid, which is the published one, and the published sign.
The test half has no part in it, and neither do paraphrases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.detectors.anisotropy import Anisotropy
from mmh_core.detectors.attention_entropy import AttentionEntropy
from mmh_core.detectors.guidance_norm import GuidanceNorm
from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.detectors.measurement import (
    Detector,
    Estimate,
    Fittable,
    Measurement,
    Need,
    fit,
    measure,
)
from mmh_core.detectors.score_norm import ScoreNorm
from mmh_core.detectors.sharpness import Sharpness
from mmh_core.statistics import area_under_curve
from mmh_core.text_to_image.model import TextToImage

#: Times of detectors that look at pure noise, the published ones first, and folds of the rule.
TIMES, FOLDS = (0.98, 0.8, 0.6, 0.4, 0.2, 0.04), 5
_AT_A_TIME = (GuidanceNorm, Anisotropy, ScoreNorm, Sharpness, AttentionEntropy)


@dataclass(frozen=True)
class TunedSetting:
    """A detector's time and sign as the rule sets them.

    `t` is NaN where the detector has no time. `sign` is -1 where reference prompts score higher as
    published, else 1. `auc` is that of the calibration half, the largest of `choices` settings.
    """

    name: str
    t: float
    sign: int
    auc: float
    choices: int

    def words(self) -> str:
        """Return the settings as a table has them."""
        sign = "sign as published" if self.sign > 0 else "sign reversed"
        time = "" if math.isnan(self.t) else f"t = {self.t:g}, "
        return f"{time}{sign}, best of {self.choices} (AUC {self.auc:.3f} where chosen)"


@dataclass(frozen=True)
class ReversedSign:
    """A detector whose score counts the other way: higher = less memorized as published."""

    detector: Detector

    @property
    def name(self) -> str:
        """Return the name of the detector."""
        return self.detector.name

    @property
    def label(self) -> str:
        """Return the name that its paper gives it."""
        return self.detector.label

    @property
    def reference(self) -> str:
        """Return the citation."""
        return self.detector.reference

    @property
    def summary(self) -> str:
        """Return one sentence on what it measures."""
        return self.detector.summary

    @property
    def needs(self) -> Need:
        """Return what it is computed from."""
        return self.detector.needs

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """Return the estimates of the detector."""
        return self.detector.estimates

    def score(self, values: Tensor) -> Tensor:
        """Return minus the score of the detector."""
        return -self.detector.score(values)


def variants(detector: Detector) -> tuple[Detector, ...]:
    """Return the detector at every time of its grid, its own time first; itself without one."""
    if not isinstance(detector, _AT_A_TIME):
        return (detector,)
    times = dict.fromkeys((detector.t, *TIMES))
    return tuple(replace(detector, t=t) for t in times)


def at_setting(detector: Detector, setting: TunedSetting | None) -> Detector:
    """Return the detector at the time of a setting; its sign is for `signed`, after the fit."""
    if setting is None or math.isnan(setting.t) or not isinstance(detector, _AT_A_TIME):
        return detector
    return replace(detector, t=setting.t)


def signed(detector: Detector, setting: TunedSetting | None) -> Detector:
    """Return the detector with the sign of a setting."""
    return detector if setting is None or setting.sign > 0 else ReversedSign(detector)


def tuned_times(
    model: TextToImage,
    inputs: DetectorInputs,
    memorized: Tensor,
    detectors: Mapping[str, Detector],
) -> tuple[TunedSetting, ...]:
    """Return the settings of the detectors that have a time, on prompts with labels (P,).

    Prompts stand seed by seed in `inputs`, prompt after prompt.
    """
    settings = []
    for name, detector in detectors.items():
        if not isinstance(detector, _AT_A_TIME):
            continue
        at_times = variants(detector)
        columns = [measure(model, inputs, [one])[name].values for one in at_times]
        settings.append(best_setting(at_times, columns, memorized))
    return tuple(settings)


def tuned_signs(
    measurements: Mapping[str, Measurement],
    memorized: Tensor,
    detectors: Mapping[str, Detector],
) -> tuple[TunedSetting, ...]:
    """Return the settings of detectors that have a sign alone, from what was measured anyway."""
    return tuple(
        best_setting((detector,), [measurements[name].values], memorized)
        for name, detector in detectors.items()
    )


def best_setting(
    settings: Sequence[Detector], columns: Sequence[Tensor], memorized: Tensor
) -> TunedSetting:
    """Return the setting and sign with the largest area; `columns` (P S, F) are those of each.

    `memorized` (P,) bool are the labels. A setting without scores of both labels has no area.
    """
    best = TunedSetting(settings[0].name, _time(settings[0]), 1, math.nan, 2 * len(settings))
    largest = -math.inf
    for detector, values in zip(settings, columns, strict=True):
        scores = held_out_scores(detector, values, memorized)
        read = scores.isfinite()
        sides = scores[read & memorized], scores[read & ~memorized]
        if not all(len(side) for side in sides):
            continue
        area = float(area_under_curve(*sides))
        for sign, value in ((1, area), (-1, 1 - area)):
            if value > largest:
                largest = value
                best = replace(best, t=_time(detector), sign=sign, auc=value)
    return best


def held_out_scores(detector: Detector, values: Tensor, memorized: Tensor) -> Tensor:
    """Return the score (P,) of each prompt, with constants fitted without its fold.

    `values` (P S, F) are measurements, S rows for each of the P labels. A detector that is fitted
    to nothing scores as it is.
    """
    rows = values.reshape(len(memorized), -1, values.shape[1])

    def scored(ready: Detector, part: Tensor) -> Tensor:
        return ready.score(part.flatten(0, 1)).reshape(len(part), -1).mean(1)

    if not isinstance(detector, Fittable):
        return scored(detector, rows)
    # Reference prompts in turn, and memorized ones in turn: folds are alike, and no seed is drawn.
    fold = torch.empty(len(memorized), dtype=torch.int64)
    for side in (memorized, ~memorized):
        fold[side] = torch.arange(int(side.sum())) % FOLDS
    scores = torch.empty(len(memorized))
    for number in set(fold.tolist()):
        inside = fold == number
        ready = fit(detector, rows[~inside & ~memorized].flatten(0, 1))
        scores[inside] = scored(ready, rows[inside])
    return scores


def _time(detector: Detector) -> float:
    return detector.t if isinstance(detector, _AT_A_TIME) else math.nan
