"""Weigh the evidence that an image copies a training image, or the layout of several."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmh_core.retrieval.copy_thresholds import CopyThresholds
from mmh_core.retrieval.embedders import Embedder
from mmh_core.retrieval.exact_top_k import UNIT_32
from mmh_core.retrieval.index import check_same_embedder, search, similarities, unit_rows
from mmh_core.retrieval.training_images import TrainingImages, nearest, pixel_rows, within

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
#: The result of the search for an image. "likely": so near that a person has to compare the two;
#: "unknown": the distances cannot be calibrated; "flat": it is of one color.
CopyKind = Literal["exact", "template", "none", "likely", "unknown", "flat"]
#: The kinds that count as copies.
COPIES: tuple[CopyKind, ...] = ("exact", "template")

#: Carlini et al. 2023: a distance counts against half the mean distance to the 50 nearest.
CALIBRATION_NEIGHBORS = 50
CALIBRATION_SHARE = 0.5
#: How many are looked at, one after the other, until versions of one image no longer take these
#: places, and how many others it takes at least to say what is far.
_LOOKED_AT, _FEWEST_OTHERS = (CALIBRATION_NEIGHBORS, 200, 800), 10
#: Training images, by descriptor, among which a shared layout is searched.
LAYOUT_NEIGHBORS = 50


def is_copy(kind: CopyKind) -> bool:
    """Return whether a kind counts as a copy."""
    return kind in COPIES


def copied(kind: CopyKind) -> float:
    """Return 1 for a copy, 0 for none, NaN for what is undecided, such as a likely copy."""
    if is_copy(kind):
        return 1.0
    return 0.0 if kind == "none" else math.nan


def copy_rate(kinds: Iterable[CopyKind]) -> float:
    """Return the share of copies among the images that the search decides, NaN for none.

    A likely copy counts neither as a copy nor as none before a person has compared the two.
    """
    decided = [value for value in map(copied, kinds) if not math.isnan(value)]
    return sum(decided) / len(decided) if decided else math.nan


@dataclass(frozen=True)
class CopyEvidence:
    """The copy evidence of B images; every tensor is (B,).

    `nearest` int64: id of the training image with the most similar descriptor, `similarity`
    float64 to it. `pixel_nearest` int64: id of the one nearest in pixels, with
    `pixel_similarity` float64, that of its descriptor, `distance` float64, Euclidean over values
    in [0, 1], and `deviation`, the same as root mean square; `calibrated_l2` and `ratio` float64
    of that distance, NaN with one distinct training image unless the distance is 0.
    `multiplicity` int64: how often `nearest` stands in the training set; `near_duplicates`
    int64: how many other distinct training images are versions of it. `agreeing` float64: the
    share of pixels that agree with `nearest`; `family` int64: how many distinct training images
    share the layout, 50 at most. `kind` and `reason`: the verdict and why, in one sentence.
    """

    nearest: Tensor
    similarity: Tensor
    pixel_nearest: Tensor
    pixel_similarity: Tensor
    distance: Tensor
    deviation: Tensor
    calibrated_l2: Tensor
    ratio: Tensor
    multiplicity: Tensor
    near_duplicates: Tensor
    agreeing: Tensor
    family: Tensor
    kind: tuple[CopyKind, ...]
    reason: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """Return one row per image."""
        import pandas as pd

        columns = {name: getattr(self, name).numpy() for name in _MEASURED}
        return pd.DataFrame({**columns, "kind": self.kind, "reason": self.reason})


@dataclass(frozen=True)
class _Measures:
    """The measures of one image under the names of `CopyEvidence`."""

    nearest: int
    similarity: float
    pixel_nearest: int
    pixel_similarity: float
    distance: float
    deviation: float
    calibrated_l2: float
    ratio: float
    multiplicity: int
    near_duplicates: int
    agreeing: float
    family: int


_MEASURED = tuple(_Measures.__dataclass_fields__)


def copy_evidence(
    images: Tensor,
    embedder: Embedder,
    training: TrainingImages,
    thresholds: CopyThresholds,
) -> CopyEvidence:
    """Compare images (B, 3, H, W) float32 in [0, 1] with all training images.

    With x an image, n0 the training image nearest to it in pixels, d1 and d2 its distances to
    the two nearest *distinct* ones, and S the 50 nearest distinct ones (fewer where there are
    fewer), the calibrated L2 is `|x - n0| / (.5 mean_{n in S} |x - n|)` (Carlini et al. 2023,
    section 5) and the ratio `d1 / d2`. Exact copies within the training set are taken
    as one: otherwise an image that stands there 50 times would be at equal distance from all of
    S, and its copies the last to be noticed. Versions of n0, such as the same image with noise or
    from JPEG, are left out of S for the same reason (`version_correlation`).

    - *exact*: similarity to n0 reaches `descriptor` and the calibrated L2 is within its threshold.
      Where a template's family is around, x must be one member of it and not something between
      them: d1 within `near_duplicate` and the ratio within its threshold.
    - *template*: not exact, and some training image of similarity `descriptor` or more agrees
      with x in at least `template_share` of the pixels: the layout is fixed, a part varies.
      Members of a template lie close together: pixels alone would call their blends copies.
    - *unknown*: similar, with one distinct training image, which calibrates no distance.
    - *none*: all else.

    Caveat: a mirrored, cropped or shifted copy agrees in no pixels. It is *none* here with a
    similarity above the threshold, and the reason says so. Images on the same plain background
    agree in much of it: only the descriptor keeps them apart.

    Raises MMHError when the index was made by another embedder; ValueError for images of
    another size than the training images.
    """
    check_same_embedder(training.index, embedder)
    if images.shape[1:] != training.pixels.shape[1:]:
        raise ValueError(
            f"images have shape {tuple(images.shape)}: the training images have "
            f"{tuple(training.pixels.shape[1:])} each."
        )
    measured = list(_measured(images, embedder, training, thresholds))
    verdicts = [_verdict(measures, thresholds) for measures in measured]
    integer_columns = ("nearest", "pixel_nearest", "multiplicity", "near_duplicates", "family")
    columns = {
        name: torch.tensor(
            [getattr(measures, name) for measures in measured],
            dtype=torch.int64 if name in integer_columns else torch.float64,
        )
        for name in _MEASURED
    }
    kinds, reasons = tuple(kind for kind, _ in verdicts), tuple(reason for _, reason in verdicts)
    return CopyEvidence(**columns, kind=kinds, reason=reasons)


def _measured(
    images: Tensor, embedder: Embedder, training: TrainingImages, thresholds: CopyThresholds
) -> Iterator[_Measures]:
    """Yield the measures of one image after the other; `rows` are those of `training`."""
    index, points = training.index, pixel_rows(images)
    vectors = embedder(images)
    neighbors = search(index, vectors, LAYOUT_NEIGHBORS)
    units = unit_rows(vectors.numpy(force=True)).astype(np.float64)
    near, root = neighbors.rows.numpy(), math.sqrt(points.shape[1])
    versions = within(training, training.numbers(near[:, 0]), thresholds.near_duplicate * root)
    nearest_rows = nearest(training, points, CALIBRATION_NEIGHBORS)
    for i, (rows, distances) in enumerate(nearest_rows):
        scale = _without_versions(training, points[i], rows, distances, thresholds)
        # Neighbors come by similarity; those below the threshold have no part in a layout.
        similar = int((neighbors.similarity[i] >= thresholds.descriptor).sum())
        others = training.numbers(near[i, : max(1, similar)])
        agreeing = _agreeing(points[i], others, thresholds.pixel_tolerance)
        yield _Measures(
            nearest=int(neighbors.ids[i, 0]),
            similarity=float(neighbors.similarity[i, 0]),
            pixel_nearest=int(index.ids[rows[0]]),
            pixel_similarity=float(similarities(index, units[i], rows[:1])[0]),
            distance=float(distances[0]),
            deviation=float(distances[0]) / root,
            calibrated_l2=_ratio(distances[0], CALIBRATION_SHARE * scale.mean(), len(rows)),
            ratio=_ratio(distances[0], distances[:2][-1], len(rows)),
            multiplicity=int(training.multiplicity[near[i, 0]]),
            near_duplicates=len(versions[i]) - 1,
            agreeing=float(agreeing[0]),
            family=int((agreeing[:similar] >= thresholds.template_share).sum()),
        )


def _without_versions(
    training: TrainingImages,
    point: Floats,
    rows: Rows,
    distances: Floats,
    thresholds: CopyThresholds,
) -> Floats:
    """Return the distances (k,) of the nearest training images that are no versions of the first.

    `rows` and `distances` are those of the 50 nearest to the point (D,). Of versions only the
    first stays, itself; all stay where hardly any others are among 800.
    """
    limit = thresholds.version_correlation
    if limit is None or len(rows) < 2:
        return distances
    far = distances
    for looked_at in _LOOKED_AT:
        if looked_at > CALIBRATION_NEIGHBORS:
            [(rows, far)] = nearest(training, point[None], looked_at)
        apart = _correlations(training.numbers(rows)) < limit
        apart[0] = True
        if apart.sum() >= CALIBRATION_NEIGHBORS or len(rows) < looked_at:
            break
    others = far[apart][:CALIBRATION_NEIGHBORS]
    return others if len(others) >= _FEWEST_OTHERS else distances


def _correlations(rows: Floats) -> Floats:
    """Return Pearson's correlation (R,) of images as rows (R, D) with the first, over a channel.

    The mean of every channel is taken off, so that a tint makes no difference; 0 for images of
    one color.
    """
    centered = rows.reshape(len(rows), 3, -1)
    centered = (centered - centered.mean(axis=2, keepdims=True)).reshape(len(rows), -1)
    norms = np.linalg.norm(centered, axis=1)
    products = norms * norms[0]
    along: Floats = np.divide(
        centered @ centered[0], products, out=np.zeros(len(rows)), where=products > 0
    )
    return along


def _ratio(distance: float, scale: float, count: int) -> float:
    """Return distance / scale; 0 for a copy, NaN where one training image sets the scale."""
    if distance == 0:
        return 0.0
    return float(distance / scale) if count > 1 else math.nan


def _agreeing(point: Floats, others: Floats, tolerance: float) -> Floats:
    """Return the share of pixels (R,) in which no channel differs by more than `tolerance`.

    `point` (D,) and `others` (R, D) hold one channel after the other.
    """
    apart = np.abs(others - point).reshape(len(others), 3, -1).max(axis=1)
    # Half a unit of float32 more: a difference of exactly the tolerance is within it.
    share: Floats = (apart <= tolerance + UNIT_32).mean(axis=1)
    return share


def _verdict(measures: _Measures, limits: CopyThresholds) -> tuple[CopyKind, str]:
    """Return the verdict and the reason, in the order of the rules of `copy_evidence`."""
    near = f"training image {measures.nearest}"
    if measures.similarity < limits.descriptor:
        return "none", (
            f"No training image is near: the best similarity, {measures.similarity:.3f}, is below "
            f"{limits.descriptor:.3f}."
        )
    # NaN compares as False: what cannot be calibrated confirms nothing.
    confirmed = measures.calibrated_l2 <= limits.calibrated_l2
    member = measures.deviation <= limits.near_duplicate and measures.ratio <= limits.ratio
    apart = member or measures.family < limits.template_family
    if confirmed and apart and measures.pixel_similarity >= limits.descriptor:
        return "exact", (
            f"A copy of training image {measures.pixel_nearest}: similarity "
            f"{measures.pixel_similarity:.3f} (threshold {limits.descriptor:.3f}), calibrated "
            f"L2 {measures.calibrated_l2:.3f} (threshold {limits.calibrated_l2:.3f})."
        )
    if measures.family:
        return "template", (
            f"The layout of {near} with a part changed: {measures.agreeing:.0%} of its "
            f"pixels agree, similarity {measures.similarity:.3f}, and {measures.family} training "
            "images share it."
        )
    if math.isnan(measures.calibrated_l2):
        return "unknown", (
            f"Similar to {near} ({measures.similarity:.3f}), but one distinct training image is "
            "too few to calibrate distances: compare the two by eye."
        )
    return "none", (
        f"Similar to {near} ({measures.similarity:.3f}), but its pixels do not agree: compare the "
        "two by eye, since a mirrored, cropped or shifted copy looks like this."
    )
