"""The cause of a memorized image: overfitting or the data, where that is identifiable.

Ross et al. 2025 (arXiv 2411.00113): overfitting (OD-Mem) where the model has fewer dimensions than
the data, the data itself (DD-Mem) where both have few. What dimensions the data has for a caption,
its images in the training set cannot show when there are only a few of them, exactly the case of
overfitting: it takes images of the same caption that the model was not trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mmh_core.memorization.hypothesis import margin, shown_lid
from mmh_core.statistics import balanced_accuracy

CauseLabel = Literal["OD-Mem", "DD-Mem", "not memorized", "not identifiable"]
#: The two causes with plain words for each, and the label of what is memorized for neither.
CAUSES: dict[CauseLabel, str] = {
    "OD-Mem": "the model overfitted (OD-Mem)",
    "DD-Mem": "the training data (DD-Mem)",
}
UNIDENTIFIED: CauseLabel = "not identifiable"

#: Images whose root mean square difference is below this are one image (JPEG, rescaling).
SAME = 0.02
#: Fewer different images than this say nothing where none is unseen by the model.
FEWEST = 10
#: Share of the largest variance above which a direction counts (Fukunaga & Olsen's local PCA).
DIRECTION = 0.05


@dataclass(frozen=True)
class DataFreedom:
    """The LID of the data for one caption, NaN where it has too few images.

    `distinct` counts images that differ, `unseen` those among them that the model was not
    trained on.
    """

    lid: float
    distinct: int
    unseen: int


@dataclass(frozen=True)
class Cause:
    """A cause of memorization, with its reason in one sentence.

    `confidence` (0.5 to 1) is the share of calibration captions with such figures for which the
    answer was right, NaN without calibration.
    """

    label: CauseLabel
    reason: str
    confidence: float = math.nan


def known_cause(overfitted: bool) -> CauseLabel:
    """Return the cause of a caption that is known to be memorized by overfitting, or else."""
    return "OD-Mem" if overfitted else "DD-Mem"


def cause_words(label: str) -> str:
    """Return a cause in plain words, with the term of the literature; others as they are."""
    return {str(cause): words for cause, words in CAUSES.items()}.get(label, label)


def data_freedom(trained: Tensor, unseen: Tensor | None) -> DataFreedom:
    """Return in how many directions images of one caption differ.

    `trained` (N, 3, H, W) and `unseen` (M, 3, H, W) in [0, 1]. Local PCA: the number of principal
    directions of the distinct images with at least 5 % of the largest variance, at most their
    number minus one. `unseen` is None where there is no collection of images that the model was
    not trained on; a few trained images then leave the data's freedom unknown (NaN). With such a
    collection one distinct image means that the data has no other: LID 0.
    """
    both = trained if unseen is None else torch.cat([trained, unseen])
    images = both.flatten(1).double()
    kept = _distinct(images)
    fresh = sum(1 for row in kept if row >= len(trained))
    if not kept or (unseen is None and len(kept) < FEWEST):
        return DataFreedom(math.nan, len(kept), fresh)
    if len(kept) == 1:
        return DataFreedom(0.0, 1, fresh)
    points = images[kept] - images[kept].mean(0)
    values = torch.linalg.eigvalsh(points @ points.T)
    return DataFreedom(float((values >= DIRECTION * values[-1]).sum()), len(kept), fresh)


def _distinct(images: Tensor) -> list[int]:
    """Return the rows of the first of each group of equal images."""
    near = torch.cdist(images, images) <= SAME * math.sqrt(images.shape[1])
    kept: list[int] = []
    for row in range(len(images)):
        if not any(bool(near[row, other]) for other in kept):
            kept.append(row)
    return kept


def cause_of(
    memorized: bool,
    model_lid: float,
    freedom: DataFreedom,
    threshold: float,
    confidence: float = math.nan,
) -> Cause:
    """Return the cause of one caption's images, by the LID of the model and of the data.

    `threshold` is the data LID above which a memorized caption has lost freedom that the data has,
    from calibration. Overfitting needs a model LID clearly below that of the data
    (`memorization.margin`), the data as the cause a model LID that is small as well: whatever the
    two say otherwise, and without either of them, the cause is not identifiable.
    """
    if not memorized:
        return Cause("not memorized", "Nothing says that it is memorized.")
    if not math.isfinite(model_lid):
        return _unknown("The model's LID could not be estimated, so it has nothing to compare.")
    if math.isnan(freedom.lid):
        return _unknown(
            "Too few images of this caption are at hand to tell the data's dimension: add some "
            "that the model was not trained on."
        )
    seen = f"{freedom.distinct} different images of this caption vary in {freedom.lid:.0f}"
    if freedom.distinct == 1:
        seen = "The data has one image of this caption, in 0"
    both = f"{seen} dimensions, the model in {_lid_text(model_lid)}"
    if freedom.lid > threshold:
        if not model_lid < freedom.lid - float(margin(torch.tensor(freedom.lid))):
            return _unknown(f"{both}: the model has not clearly fewer, so this is no overfitting.")
        return Cause(
            "OD-Mem",
            f"{seen} dimensions and the model in {_lid_text(model_lid)}: it has overfitted. More "
            "data or less training would prevent it.",
            confidence,
        )
    if model_lid > threshold:
        return _unknown(f"{both}: the data has no freedom here, yet the model has.")
    return Cause(
        "DD-Mem",
        f"{both}: the data itself has no freedom here. Only other data, without the copies, would "
        "prevent it.",
        confidence,
    )


def cause_by_copies(copies: int, near_duplicates: int) -> Cause:
    """Return the cause that the copies of an original point to, which never identify it.

    For a set of training images of which nobody knows what others the data holds. An original
    that occurs often explains the copy by the data, but it also occurs often where a
    few of many images were trained on too much. Only images that the model was not trained on
    can tell the two apart, so the cause is never identifiable here.
    """
    times = "once" if copies == 1 else f"{copies:,} times"
    beside = "" if near_duplicates == 0 else f", beside {_versions(near_duplicates)} of it"
    points = (
        "Duplicates point to the data (DD-Mem), and removing them is the first thing to try; "
        if copies > 1
        else ""
    )
    return _unknown(
        f"Its original stands {times} in the training images{beside}. {points}"
        f"{'whether' if points else 'Whether'} the data has others of its kind is not known: add "
        "some that the model was not trained on."
    )


def _versions(count: int) -> str:
    return "one near duplicate" if count == 1 else f"{count:,} near duplicates"


def _unknown(reason: str) -> Cause:
    return Cause(UNIDENTIFIED, reason)


def fitted_threshold(lids: Tensor, overfitted: Tensor) -> float:
    """Return the data LID that best parts overfitted captions (above) from the others.

    `lids` (N,) and `overfitted` (N,) bool, of the calibration half; the middle of the widest gap
    with the best balanced accuracy. Errors: ValueError where a group is empty.
    """
    if bool(overfitted.all()) or not bool(overfitted.any()):
        raise ValueError("A threshold needs overfitted captions and others.")
    values = torch.unique(lids)
    middles = torch.cat([values[:1] - 0.5, (values[1:] + values[:-1]) / 2, values[-1:] + 0.5])
    gaps = torch.cat([torch.zeros(1), values.diff(), torch.zeros(1)]).to(middles)
    right = torch.stack([balanced_accuracy(lids > middle, overfitted) for middle in middles])
    best = right == right.max()
    return float(middles[best][gaps[best].argmax()])


def _lid_text(lid: float) -> str:
    return f"{shown_lid(lid):.1f}"
