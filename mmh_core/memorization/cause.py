"""The cause of a memorized image: overfitting, the data, or both, told from the training set.

Ross et al. 2025 (arXiv 2411.00113): the model overfits (OD-Mem) where it has fewer dimensions than
the data, the data is the cause (DD-Mem) where both have few. `cause_of` is the one rule. It takes
what a user has: the model's LID of the generated image, its LID on reference prompts, and the
training set around the training image that was copied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from mmh_core.counting import plural
from mmh_core.memorization.hypothesis import margin, shown_lid, whole_percent
from mmh_core.records import LabelledPrompt
from mmh_core.statistics.intervals import Interval

CauseLabel = Literal["OD-Mem", "DD-Mem", "both", "not memorized", "not identifiable"]
#: The causes with plain words for each, and the label of what is memorized for none of them.
CAUSES: dict[CauseLabel, str] = {
    "OD-Mem": "the model overfitted (OD-Mem)",
    "DD-Mem": "the training data (DD-Mem)",
    "both": "the training data and overfitting (DD-Mem and OD-Mem)",
}
OVERFITTING: CauseLabel = "OD-Mem"
DATA: CauseLabel = "DD-Mem"
BOTH: CauseLabel = "both"
UNIDENTIFIED: CauseLabel = "not identifiable"
#: Fewest different training images around the copied one from which the data's LID is told.
FEWEST = 10
#: An image is repeated that stands so many times as often as a training image usually does. One
#: near-duplicate may be another image of the same subject, so with these it takes more.
REPEATED, REPEATED_NEARLY = 2.0, 4.0
UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class ModelLids:
    """The model's LID of a generated image, and `elsewhere`, its usual one on reference prompts.

    `lid` has the 95 % interval of the estimator's randomness, `elsewhere` that of the median over
    images of reference prompts; NaN where unknown.
    """

    lid: Interval
    elsewhere: Interval = UNKNOWN


@dataclass(frozen=True)
class TrainingNeighborhood:
    """The training set around a training image that was copied.

    `multiplicity` counts its exact copies, itself included, `near_duplicates` those that are
    cropped, mirrored or otherwise changed. `lid` is the data LID with its 95 % interval: 0 for an
    image that is repeated, else that of its neighbors, NaN with too few of them.
    `usual_multiplicity` is the median multiplicity of training images, and `usual` their median
    data LID with its interval.
    """

    multiplicity: int
    near_duplicates: int
    lid: Interval
    usual_multiplicity: float = 1.0
    usual: Interval = UNKNOWN

    @property
    def repetitions(self) -> int:
        """Return how often the image stands in the training set, near-duplicates included."""
        return self.multiplicity + self.near_duplicates

    @property
    def repeated(self) -> bool:
        """Return whether the image is a point mass of the training set."""
        enough = self.multiplicity >= REPEATED * self.usual_multiplicity
        return enough or self.repetitions >= REPEATED_NEARLY * self.usual_multiplicity

    @property
    def narrow(self) -> bool:
        """Return whether the data LID is 0 at the image, or clearly below the usual one."""
        return self.repeated or clearly_below(self.lid, self.usual)


@dataclass(frozen=True)
class Cause:
    """A cause of memorization, with its reason in one or two sentences.

    `confidence` (0 to 1) is the calibrated probability that the label is right, NaN without a
    calibration, for what is not identifiable, and for causes that no case of it had.
    """

    label: CauseLabel
    reason: str
    confidence: float = math.nan

    @property
    def sentence(self) -> str:
        """Return the reason, with the confidence where there is one."""
        if math.isnan(self.confidence):
            return self.reason
        return f"{self.reason} Confidence in this cause: {whole_percent(self.confidence)}."


def true_cause(prompt: LabelledPrompt) -> CauseLabel | None:
    """Return the cause that is true of a prompt, None where it is unknown.

    Errors: ValueError for a label that is no cause.
    """
    if not prompt.cause:
        by_older_file = {None: None, True: OVERFITTING, False: DATA}
        return by_older_file[prompt.overfitted]
    for cause in CAUSES:
        if prompt.cause == cause:
            return cause
    raise ValueError(f"{prompt.cause!r} is no cause: it must be one of {', '.join(CAUSES)}.")


def cause_words(label: str) -> str:
    """Return a cause in plain words, with the term of the literature; others as they are."""
    return {str(cause): words for cause, words in CAUSES.items()}.get(label, label)


def cause_of(model: ModelLids, data: TrainingNeighborhood | None) -> Cause:
    """Return the cause of a memorized image that copies a training image.

    - *the data* (DD-Mem): the training image is repeated, so that the data LID is 0 there (a point
      mass, the theorem of Ross et al.), or its neighbors, such as images of one layout, leave
      clearly fewer dimensions than training images usually have.
    - *overfitting* (OD-Mem): neither holds, and the model's LID is clearly below that of the data:
      by `memorization.margin`, and with the two intervals apart.
    - *both*: the data is a cause, and the model overfits besides. Since nothing is below LID 0,
      this shows elsewhere: on reference prompts the model has clearly fewer dimensions than
      training images usually have. Removing the duplicates alone would not be enough.
    - *not identifiable*: without a training set or the model's LID, with too few neighbors, where
      the intervals overlap, and where the model's LID is above the usual data LID.
    """
    if data is None:
        return _unidentified(
            "Without training images nobody can tell the cause: add a folder of them to search."
        )
    if not math.isfinite(model.lid.value):
        return _unidentified("The model's LID could not be estimated, so the cause is open.")
    if clearly_below(data.usual, model.lid):
        return _unidentified(
            f"{_stands(data)} The model has {_dimensions(model.lid)} here, more than the "
            f"{_dimensions(data.usual)} that are usual of the training images, so its LID "
            "supports no cause."
        )
    if data.narrow:
        return _by_the_data(model, data)
    if math.isnan(data.lid.value):
        return _unidentified(
            f"{_stands(data)} Fewer than {FEWEST} different training images are around it, too "
            "few to tell the data's dimension: search more of the training set."
        )
    both = f"the training images vary in {_dimensions(data.lid)} around it, the model in"
    if clearly_below(model.lid, data.lid):
        return Cause(
            OVERFITTING,
            f"{_stands(data)} The model has fewer dimensions than the data: {both} "
            f"{_dimensions(model.lid)}. It has overfitted. More data or less training would "
            "prevent it.",
        )
    return _unidentified(
        f"{_stands(data)} The model has not clearly fewer dimensions than the data: {both} "
        f"{_dimensions(model.lid)}."
    )


def clearly_below(low: Interval, high: Interval) -> bool:
    """Return whether one LID is below another by the margin, with their intervals apart.

    A LID without an interval is taken as it is; NaN is below nothing.
    """
    if not (math.isfinite(low.value) and math.isfinite(high.value)):
        return False
    top = low.value if math.isnan(low.high) else low.high
    bottom = high.value if math.isnan(high.low) else high.low
    apart = low.value < high.value - float(margin(torch.tensor(high.value)))
    return apart and top < bottom


def _by_the_data(model: ModelLids, data: TrainingNeighborhood) -> Cause:
    """Return the cause of a copy where the data LID is 0 or low."""
    if data.repeated:
        why, remedy = "The data has LID 0 there", "Removing the duplicates"
    else:
        why = (
            f"Images around it vary in {_dimensions(data.lid)} only, where "
            f"{_dimensions(data.usual)} are usual"
        )
        remedy = "Other data"
    if clearly_below(model.elsewhere, data.usual):
        return Cause(
            BOTH,
            f"{_stands(data)} {why}, and the model overfits besides: on reference prompts it has "
            f"{_dimensions(model.elsewhere)}, the training images usually have "
            f"{_dimensions(data.usual)}. {remedy} alone would not be enough.",
        )
    unmeasured = math.isnan(model.elsewhere.value) or math.isnan(data.usual.value)
    besides = (
        " Whether the model overfits besides is unknown without reference prompts."
        if unmeasured
        else ""
    )
    return Cause(
        DATA,
        f"{_stands(data)} {why}: the data itself is the cause. {remedy} would prevent it."
        f"{besides}",
    )


def _stands(data: TrainingNeighborhood) -> str:
    """Return in a sentence how often the copied image stands in the training set."""
    times = "once" if data.multiplicity == 1 else f"{data.multiplicity:,} times"
    beside = ""
    if data.near_duplicates:
        beside = f", beside {plural(data.near_duplicates, 'near-duplicate')} of it"
    usual = ""
    if data.usual_multiplicity > 1:
        usual = f" (training images usually stand there {data.usual_multiplicity:g} times)"
    return f"Its training image stands {times} in the training set{usual}{beside}."


def _dimensions(lid: Interval) -> str:
    number = f"{shown_lid(lid.value):.1f}"
    return f"{number} dimension" + ("" if number == "1.0" else "s")


def _unidentified(reason: str) -> Cause:
    return Cause(UNIDENTIFIED, reason)
