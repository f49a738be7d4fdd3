"""The training set around one of its images: its copies, near-duplicates, and the data's LID.

Everything is told from the index of a training set and its images. Distances are those of
descriptors: a smooth description keeps the dimension of what it describes, and calibrated
descriptors see what makes two images one, so that no scale in pixels has to be chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from mmh_core.memorization.cause import FEWEST, UNKNOWN, TrainingNeighborhood
from mmh_core.records import MMHError
from mmh_core.retrieval.alignment import best_alignment
from mmh_core.retrieval.copy_thresholds import VERSION_CORRELATION
from mmh_core.retrieval.exact_top_k import UNIT_32
from mmh_core.statistics.intervals import Interval, gamma_rate_interval, median_interval

if TYPE_CHECKING:
    from torch import Tensor

    from mmh_core.retrieval.index import Index
    from mmh_core.subject.copies import ImageCopyEvidence
    from mmh_core.subject.training_set import TrainingSet

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

#: Neighbors from which the data's LID is told, and rows among which they are looked for.
NEIGHBORS, LOOKED_AT = 20, 1_024
#: Neighbors nearer to one another than this share of their distance from the image count as one.
TOGETHER = 0.25
#: Candidates whose pixels are compared.
COMPARED = 64
#: Similarity from which a near-duplicate is proposed where the descriptor has no calibrated one.
PROPOSED = 0.85
#: The middle of an image by its edge: where two are shifted, the middle of one is in the other.
MIDDLE = 0.75
#: Training images from which it is told what is usual, and bytes of their similarities at a time.
SAMPLED, BYTES = 96, 2**28


@dataclass(frozen=True)
class Usual:
    """The median multiplicity and the median data LID of the images of a training set."""

    multiplicity: float
    lid: Interval


# The images of a prompt often copy one and the same training image.
@lru_cache(maxsize=256)
def training_neighborhood(training_set: TrainingSet, row: int) -> TrainingNeighborhood:
    """Return the training set around the training image of a row of its index.

    Near-duplicates are proposed by similarity and confirmed by pixels, aligned in all symmetries
    and scales; at most 64 are compared, the most similar. They count as the image itself, and so
    does what is only near to one of them. The LID is that of `neighbor_lid`.
    """
    index = training_set.index
    usual = usual_of(index)
    around = _around(index, row, index.vectors @ index.vectors[row])
    near = _near_duplicates(training_set, row, around)
    counted = np.array([*around.equal, *near.equal], dtype=np.int64)
    exact = int(index.multiplicity[counted].sum())
    versions = int(index.multiplicity[near.versions].sum())
    others = np.setdiff1d(around.others, [*near.versions, *near.equal], assume_unique=True)
    others = others[np.argsort(-(index.vectors[others] @ index.vectors[row]), kind="stable")]
    freedom = TrainingNeighborhood(exact, versions, UNKNOWN, usual.multiplicity, usual.lid)
    lid = Interval(0.0, 0.0, 0.0) if freedom.repeated else neighbor_lid(index, row, others)
    return TrainingNeighborhood(exact, versions, lid, usual.multiplicity, usual.lid)


def neighborhood_of(
    training_set: TrainingSet | None, copy: ImageCopyEvidence
) -> TrainingNeighborhood | None:
    """Return the training set around the image that was copied, None where that is unknown."""
    row = None if training_set is None else training_set.row(copy.nearest)
    if training_set is None or row is None:
        return None
    return training_neighborhood(training_set, row)


def neighbor_lid(index: Index, row: int, others: Rows) -> Interval:
    """Return the data LID at a row from the rows `others`, nearest first, with its 95 % interval.

    Levina and Bickel's maximum likelihood (2005, "Maximum likelihood estimation of intrinsic
    dimension"): with distances r_1 to r_k and S the sum of log(r_k / r_j), S has a Gamma(k - 1,
    lid) distribution where the density is uniform. The value is (k - 2) / S, without bias; the
    ends are quantiles of that distribution over S. k is 20, or what there is from ten on; NaN for
    fewer. Rows that lie together, such as the copies of another image, count as one.
    """
    distances = _distances(index, row, others)
    k = len(distances)
    if k < FEWEST:
        return UNKNOWN
    if distances[0] == 0:
        return Interval(0.0, 0.0, 0.0)
    total = float(np.log(distances[-1] / distances[:-1]).sum())
    if total <= 0:
        # All at one distance: as many dimensions as can be.
        return Interval(float(index.dim), math.nan, math.nan)
    return gamma_rate_interval(total, k - 1)


@lru_cache(maxsize=8)
def usual_of(index: Index) -> Usual:
    """Return how often an image usually stands in the set of an index, and its usual data LID.

    Medians over images among 96 rows, evenly spaced. An image that has many rows, near-duplicates
    included, is met the more often, so each row counts by the inverse of how many are near it.
    """
    rows = np.unique(np.linspace(0, len(index) - 1, min(SAMPLED, len(index))).round()).astype(int)
    multiplicities, lids, shares = [], [], []
    # The index, which may lie on disk, is read once for each part, not once for each row.
    parts = np.array_split(rows, math.ceil(len(rows) * len(index) * 4 / BYTES))
    similarities = (column for part in parts for column in index.vectors[part] @ index.vectors.T)
    for row, similarity in zip(rows.tolist(), similarities, strict=True):
        around = _around(index, row, similarity)
        near = index.vectors[around.others] @ index.vectors[row] >= PROPOSED
        multiplicities.append(float(index.multiplicity[around.equal].sum()))
        lids.append(neighbor_lid(index, row, around.others).value)
        shares.append(1 / (len(around.equal) + int(near.sum())))
    weights = np.array(shares)
    middle = median_interval(_evenly(np.array(multiplicities), weights)).value
    return Usual(middle, median_interval(_evenly(np.array(lids), weights)))


def _evenly(values: Floats, weights: Floats) -> Tensor:
    """Return values of equal weight in place of weighted ones, as many as these are worth.

    Kish's effective size, `(sum w)^2 / sum w^2`, at evenly spaced quantiles.
    """
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    count = max(1, round(total[-1] ** 2 / (weights**2).sum()))
    places = np.searchsorted(total, (np.arange(count) + 0.5) / count * total[-1])
    return torch.from_numpy(values[order][places.clip(max=len(values) - 1)])


@dataclass(frozen=True)
class _Around:
    """Rows around one: those of equal descriptors, itself included, and the nearest others."""

    equal: Rows
    others: Rows


@dataclass(frozen=True)
class _Versions:
    """Rows that are the image of another row: with equal pixels, and changed ones."""

    equal: Rows
    versions: Rows


def _around(index: Index, row: int, similarity: NDArray[np.float32]) -> _Around:
    """Return the rows around one, of which `similarity` (N,) is that with all rows."""
    count = min(len(index), LOOKED_AT + 1)
    nearest = np.argpartition(-similarity, count - 1)[:count]
    level = similarity[nearest].min()
    # All that are equal, however many: those of the row itself have the greatest similarity.
    close = np.flatnonzero(similarity >= max(level, 1 - 100 * UNIT_32))
    same = close[(index.vectors[close] == index.vectors[row]).all(axis=1)]
    others = np.setdiff1d(nearest, same, assume_unique=True)
    others = others[np.argsort(-similarity[others], kind="stable")]
    return _Around(same.astype(np.int64), others.astype(np.int64))


def _distances(index: Index, row: int, others: Rows) -> Floats:
    """Return the distances (k,) of the nearest of some rows that do not lie together."""
    origin = index.vectors[row].astype(np.float64)
    kept = np.empty((0, index.dim))
    distances = np.empty(0)
    for other in others.tolist():
        point = index.vectors[other].astype(np.float64)
        distance = float(np.linalg.norm(point - origin))
        if len(kept) and np.linalg.norm(kept - point, axis=1).min() < TOGETHER * distance:
            continue
        kept, distances = np.vstack([kept, point]), np.append(distances, distance)
        if len(distances) == NEIGHBORS:
            break
    return distances


def _near_duplicates(training_set: TrainingSet, row: int, around: _Around) -> _Versions:
    """Return the rows near one that pixels confirm to be its image.

    Descriptors that are equal need not mean equal pixels: some see no difference between an image
    and its mirror image. A candidate counts that is aligned with the image, or with a version of
    it that is itself aligned with the image: no longer chain makes two images one.
    """
    index = training_set.index
    image = _image(training_set, row)
    if image is None:
        return _Versions(around.equal[:0], around.equal[:0])
    limit = PROPOSED if training_set.thresholds is None else training_set.thresholds.descriptor
    similar = index.vectors[around.others] @ index.vectors[row] >= limit
    candidates = list(_images(training_set, around.others[similar][:COMPARED]))
    confirmed = {other for other, pixels in candidates if same_image(image, pixels)}
    bridges = [pixels for other, pixels in candidates if other in confirmed][:2]
    for other, pixels in candidates:
        if other not in confirmed and any(same_image(bridge, pixels) for bridge in bridges):
            confirmed.add(other)
    equal = {o for o, pixels in candidates if o in confirmed and torch.equal(pixels, image)}
    return _Versions(
        np.array(sorted(equal), dtype=np.int64),
        np.array(sorted(confirmed - equal), dtype=np.int64),
    )


def same_image(image: Tensor, other: Tensor) -> bool:
    """Return whether two images (3, H, W) are one, but for crop, shift, symmetry, color or noise.

    By the correlation of the best alignment, of the whole and of its middle.
    """
    if torch.equal(image, other):
        return True
    height, width = image.shape[1:]
    top, left = round(height * (1 - MIDDLE) / 2), round(width * (1 - MIDDLE) / 2)
    middle = image[:, top : height - top, left : width - left]
    for part in (image, middle):
        alignment = best_alignment(part, [[other]] * 8)
        if alignment is not None and alignment.correlation >= VERSION_CORRELATION:
            return True
    return False


def _images(training_set: TrainingSet, rows: Rows) -> Iterator[tuple[int, Tensor]]:
    for row in rows.tolist():
        pixels = _image(training_set, row)
        if pixels is not None:
            yield row, pixels


def _image(training_set: TrainingSet, row: int) -> Tensor | None:
    """Return a training image, None where it cannot be read."""
    try:
        return training_set.image(row)
    except MMHError:
        return None
