"""Dose and response: what grows or falls with how often an image occurs in the training set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.records import LabelledPrompt
from mmh_core.statistics.intervals import Interval, mean_interval, mean_share_interval

#: The responses in the order in which they are shown; the first is a share.
COPY_RATE, LID, GUIDANCE = "copy rate", "LID", "guidance norm"
EXACT, PARAPHRASES = "exact copies", "paraphrases"


@dataclass(frozen=True)
class DoseLevel:
    """The mean response at the dose `multiplicity` over `prompts` prompts, with a 95 % interval.

    A prompt is a cluster: its images are averaged first, and the interval is over prompts.
    """

    multiplicity: int
    prompts: int
    response: Interval


@dataclass(frozen=True)
class DoseCurve:
    """One response against the dose k, for one way in which an image is repeated.

    `series` is "exact copies", "near-duplicates by ...", or "paraphrases" of captions of that
    dose.
    """

    measure: str
    series: str
    levels: tuple[DoseLevel, ...]


def dose_curves(
    prompts: Sequence[LabelledPrompt], responses: Mapping[str, Tensor]
) -> tuple[DoseCurve, ...]:
    """Return the curves of prompts (P) whose dose is known, one for each response and series.

    `responses` has values (P,) by the name of the response, NaN where it is not measured, which
    counts nowhere. Empty where no dose is known, or nothing was measured of such prompts. Shares
    have Gaffke's interval, other means Hall's (`statistics`).
    """
    series = [_series(prompt) for prompt in prompts]
    curves = []
    for measure, values in responses.items():
        for name in dict.fromkeys(one for one in series if one):
            places = [i for i, one in enumerate(series) if one == name]
            levels = tuple(_levels(measure, prompts, values, places))
            if levels:
                curves.append(DoseCurve(measure, name, levels))
    return tuple(curves)


def _series(prompt: LabelledPrompt) -> str:
    """Return to which curve a prompt belongs, "" for one whose dose is unknown."""
    if prompt.multiplicity is None:
        return ""
    if prompt.paraphrased:
        return PARAPHRASES if not prompt.near else ""
    return f"near-duplicates by {prompt.near}" if prompt.near else EXACT


def _levels(
    measure: str, prompts: Sequence[LabelledPrompt], values: Tensor, places: Sequence[int]
) -> list[DoseLevel]:
    doses = torch.tensor([prompts[i].multiplicity or 0 for i in places])
    of_series = values[list(places)].double()
    levels = []
    for multiplicity in sorted(set(doses.tolist())):
        measured = of_series[(doses == multiplicity) & of_series.isfinite()]
        if len(measured):
            levels.append(DoseLevel(multiplicity, len(measured), _mean(measure, measured)))
    return levels


def _mean(measure: str, values: Tensor) -> Interval:
    """Return a mean with its interval; equal values of no known range have none."""
    if measure == COPY_RATE:
        return mean_share_interval(values)
    mean = mean_interval(values)
    if mean.low == mean.high:
        return Interval(mean.value, math.nan, math.nan)
    return mean
