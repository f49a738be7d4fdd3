"""The threshold of the cause, fitted on captions of known cause."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.memorization.cause import data_freedom, fitted_threshold
from mmh_core.records import LabelledPrompt
from mmh_core.statistics import balanced_accuracy

#: What gives the images of a caption: those trained on, and others.
Corpus = Callable[[str], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class CauseCalibration:
    """The data LID that separates overfitting from the data as the cause.

    `accuracy` is the balanced one on the `captions` calibration captions themselves, so it is a
    little too good; the benchmark counts it on others.
    """

    threshold: float
    accuracy: float
    captions: int


def calibrate_cause(labelled: Iterable[LabelledPrompt], corpus: Corpus) -> CauseCalibration:
    """Fit the threshold on the calibration half's captions of known cause.

    Errors: ValueError where one of the two causes is missing.
    """
    fitting = [p for p in labelled if p.split == "calibration" and p.overfitted is not None]
    lids = torch.tensor([data_freedom(*corpus(row.prompt)).lid for row in fitting])
    overfitted = torch.tensor([bool(row.overfitted) for row in fitting])
    threshold = fitted_threshold(lids, overfitted)
    accuracy = float(balanced_accuracy(lids > threshold, overfitted))
    return CauseCalibration(threshold, accuracy, len(fitting))
