"""The one rule by which the benchmark sets the free settings of all detectors.

The early scan that scans tables has times of its own, from `detectors.early_times`.

Times, noise scales and signs: every setting of a detector's grid is scored on the calibration
half, each prompt with constants that were fitted without its fold; the setting and the sign with
the largest area under the ROC curve win, of equal ones the first of the grid, which is the
published one or the model's own, and the published sign. The test half has no part in it, and
neither do paraphrases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmh_core.detectors.grids import Tunable, candidates, free_values, with_values
from mmh_core.detectors.measurement import (
    Detector,
    Estimate,
    Fittable,
    Measurement,
    Need,
    fit,
)
from mmh_core.records import MMHError
from mmh_core.statistics.areas import area_under_curve
from mmh_core.statistics.cross_validation import folds_in_order, out_of_fold


@dataclass(frozen=True)
class TunedSetting:
    """A detector's times, noise scale and sign as the rule sets them.

    `t` is the time, or the higher of two, of which `low` is the other; `log_delta` is the natural
    logarithm of the noise scale. Each is NaN for a detector without such a setting. `sign` is -1
    where reference prompts score higher as published, else 1. `auc` is the area on the calibration
    half, the largest of `choices` pairs of a setting and a sign, NaN where none could be scored.
    """

    name: str
    t: float
    sign: int
    auc: float
    choices: int
    low: float = math.nan
    log_delta: float = math.nan

    @property
    def high(self) -> float:
        """Return the first time of a detector that has two."""
        return self.t

    def words(self) -> str:
        """Return the settings as a table has them."""
        parts = []
        if not math.isnan(self.t):
            second = "" if math.isnan(self.low) else f" and {self.low:g}"
            parts.append(f"t = {self.t:g}{second}")
        if not math.isnan(self.log_delta):
            parts.append(f"noise scale {math.exp(self.log_delta):.2g}")
        parts.append("sign as published" if self.sign > 0 else "sign reversed")
        best = f"best of {self.choices} settings and signs"
        where = f"{best} (AUC {self.auc:.3f} on the calibration half)"
        return ", ".join([*parts, where])


@dataclass(frozen=True)
class ReversedSign:
    """A detector with its score negated, since as published it is higher for *less* memorized."""

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
    def citation(self) -> str:
        """Return the citation."""
        return self.detector.citation

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


def grid_settings(detector: Detector) -> tuple[Detector, ...]:
    """Return the detector at every setting of its grid, its own first; itself without one."""
    return candidates(detector) if isinstance(detector, Tunable) else (detector,)


def at_setting(detector: Detector, setting: TunedSetting | None) -> Detector:
    """Return the detector at a setting; `signed` applies its sign after the fit."""
    if setting is None or not isinstance(detector, Tunable):
        return detector
    values = {name: float(getattr(setting, name)) for name in detector.grid}
    if any(math.isnan(value) for value in values.values()):
        return detector
    return with_values(detector, values)


def signed(detector: Detector, setting: TunedSetting | None) -> Detector:
    """Return the detector with the sign of a setting."""
    return detector if setting is None or setting.sign > 0 else ReversedSign(detector)


def keyed(settings_of: Mapping[str, Sequence[Detector]]) -> dict[str, Detector]:
    """Return all settings of all detectors by keys, for one pass that measures them together."""
    return {
        _key(name, number): detector
        for name, settings in settings_of.items()
        for number, detector in enumerate(settings)
    }


def tuned(
    measurements: Mapping[str, Measurement],
    memorized: Tensor,
    settings_of: Mapping[str, Sequence[Detector]],
) -> tuple[tuple[TunedSetting, ...], dict[str, Measurement]]:
    """Return the setting of every detector, and its measurement at that setting.

    `measurements` has one of (P S, F) values, P prompts with S seeds each, for each key of
    `keyed`; `memorized` (P,) are the labels.
    """
    chosen, at_chosen = [], {}
    for name, settings in settings_of.items():
        parts = [measurements[_key(name, number)] for number in range(len(settings))]
        setting = best_setting(settings, [part.values for part in parts], memorized)
        chosen.append(setting)
        at_chosen[name] = parts[settings.index(at_setting(settings[0], setting))]
    return tuple(chosen), at_chosen


def _key(name: str, number: int) -> str:
    return f"{name} {number}"


def best_setting(
    settings: Sequence[Detector], columns: Sequence[Tensor], memorized: Tensor
) -> TunedSetting:
    """Return the setting and sign with the largest area.

    `columns` has one tensor (P S, F) for each setting: P prompts, S seeds, F numbers; `memorized`
    (P,) bool are the labels. A setting without scores of both labels has no area, nor
    has one whose constants cannot be fitted to the reference prompts.
    """
    choices = 2 * len(settings)
    best, largest = _setting(settings[0], 1, math.nan, choices), -math.inf
    for detector, values in zip(settings, columns, strict=True):
        try:
            scores = out_of_fold_scores(detector, values, memorized)
        except MMHError:
            continue
        has_score = scores.isfinite()
        sides = scores[has_score & memorized], scores[has_score & ~memorized]
        if not all(len(side) for side in sides):
            continue
        area = float(area_under_curve(*sides))
        for sign, value in ((1, area), (-1, 1 - area)):
            if value > largest:
                largest = value
                best = _setting(detector, sign, value, choices)
    return best


def out_of_fold_scores(detector: Detector, values: Tensor, memorized: Tensor) -> Tensor:
    """Return the score (P,) of each prompt, with constants fitted without its fold.

    `values` (P S, F) are measurements, S rows for each of the P labels. A detector that is fitted
    to nothing scores as it is.
    """
    rows = values.reshape(len(memorized), -1, values.shape[1])

    def score_rows(ready: Detector, part: Tensor) -> Tensor:
        return ready.score(part.flatten(0, 1)).reshape(len(part), -1).mean(1)

    if not isinstance(detector, Fittable):
        return score_rows(detector, rows)
    fittable = detector

    def score_left_out(fitted: np.ndarray, left_out: np.ndarray) -> np.ndarray:
        reference = fitted[~memorized[fitted].numpy()]
        ready = fit(fittable, rows[reference].flatten(0, 1))
        return score_rows(ready, rows[left_out]).numpy()

    return torch.from_numpy(out_of_fold(folds_in_order(memorized.numpy()), score_left_out)).float()


def _setting(detector: Detector, sign: int, auc: float, choices: int) -> TunedSetting:
    values = free_values(detector) if isinstance(detector, Tunable) else {}
    return TunedSetting(
        detector.name,
        values.get("t", values.get("high", math.nan)),
        sign,
        auc,
        choices,
        values.get("low", math.nan),
        values.get("log_delta", math.nan),
    )
