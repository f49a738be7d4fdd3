"""Set the threshold of the cause on captions of known cause, and keep it beside the model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmh_core.files import write_text
from mmh_core.memorization.cause import data_freedom, fitted_threshold
from mmh_core.records import LabelledPrompt, MMHError
from mmh_core.statistics import balanced_accuracy

FILE = "cause.json"
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
    known = [p for p in labelled if p.split == "calibration" and p.overfitted is not None]
    lids = torch.tensor([data_freedom(*corpus(one.prompt)).lid for one in known])
    overfitted = torch.tensor([bool(one.overfitted) for one in known])
    threshold = fitted_threshold(lids, overfitted)
    accuracy = float(balanced_accuracy(lids > threshold, overfitted))
    return CauseCalibration(threshold, accuracy, len(known))


def write_cause(folder: Path, found: CauseCalibration) -> None:
    """Write a calibration beside a model."""
    write_text(folder / FILE, json.dumps(asdict(found), indent=1) + "\n")


def read_cause(folder: Path) -> CauseCalibration | None:
    """Return the calibration kept beside a model, None where there is none. Errors: MMHError."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        found = CauseCalibration(
            float(raw["threshold"]), float(raw["accuracy"]), int(raw["captions"])
        )
        if not math.isfinite(found.threshold):
            raise ValueError("the threshold is not finite")
        return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MMHError(f"{path} cannot be read ({error}): build the model again.") from error
