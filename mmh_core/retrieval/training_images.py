"""Measure distances in pixels to the distinct training images, exactly."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmh_core.retrieval.exact_top_k import ordered
from mmh_core.retrieval.index import Index, rows_of
from mmh_core.retrieval.sketches import Sketches, lower_bounds, sketched

Floats = NDArray[np.float64]

#: Training images are turned into float64 so many numbers at once: these stay in the cache.
BLOCK_NUMBERS = 2**17
#: At least so many distances are computed at once while the nearest are looked for.
BATCH = 32


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The M distinct images of a training set with their descriptors.

    `index` holds one row for each of them, labeled like the first of its copies; `pixels`
    (M, 3, H, W) uint8; `multiplicity` (M,) int64, how often each stands in the training set: the
    labels' `copies`, added up over all rows with the same bytes; `sketches`, bounds by which most
    distances need not be computed.
    """

    index: Index
    pixels: Tensor
    multiplicity: NDArray[np.int64]
    sketches: Sketches

    def __len__(self) -> int:
        """Return M."""
        return len(self.pixels)

    def numbers(self, rows: NDArray[np.int64]) -> Floats:
        """Return some of the images as rows (R, D) float64 in [0, 1], like `pixel_rows`."""
        # Not by torch: it starts threads for every few images, and waits for them.
        return _numbers(self.pixels.numpy()[rows])


def training_images(pixels: Tensor, index: Index, *, block: int = BLOCK_NUMBERS) -> TrainingImages:
    """Join the images (N, 3, H, W) uint8 of an index with it; exact copies become one.

    Sketches are made of as many images at a time as hold `block` numbers.

    Raises ValueError for another number of images than the index has, another shape or dtype.
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(
            f"pixels are {pixels.dtype} {tuple(pixels.shape)}: they must be uint8 (N, 3, H, W)."
        )
    if len(pixels) != len(index):
        raise ValueError(f"There are {len(pixels)} images for {len(index)} rows of the index.")
    first: dict[bytes, int] = {}
    position = np.empty(len(pixels), dtype=np.int64)
    for row, image in enumerate(pixels.numpy(force=True)):
        key = hashlib.sha256(image.tobytes()).digest()
        position[row] = first.setdefault(key, row)
    rows, group = np.unique(position, return_inverse=True)
    multiplicity = np.zeros(len(rows), dtype=np.int64)
    np.add.at(multiplicity, group, index.multiplicity)
    distinct = pixels.cpu()[torch.from_numpy(rows)]
    return TrainingImages(rows_of(index, rows), distinct, multiplicity, _sketches(distinct, block))


def nearest(
    training: TrainingImages, points: Floats, k: int
) -> list[tuple[NDArray[np.int64], Floats]]:
    """Find the k nearest of M distinct training images for each of the points (B, D) float64.

    Returns the positions (min(k, M),) and Euclidean distances in float64, nearest first, equal
    ones in the order of the training set. Distances come from the differences, so that a copy is
    at distance 0. They are computed in the order of their lower bounds, until the next bound is
    above the k-th smallest of them.
    """
    neighbors = []
    for point, bounds in zip(points, _bounds(training, points), strict=True):
        order, far = np.argsort(bounds), np.empty(0)
        while len(far) < len(order):
            if len(far) >= k and bounds[order[len(far)]] > np.partition(far, k - 1)[k - 1]:
                break
            some = order[len(far) : len(far) + max(k, BATCH)]
            far = np.append(far, distances(training, some, point))
        neighbors.append(ordered(far, order[: len(far)], k))
    return neighbors


def within(training: TrainingImages, points: Floats, radius: float) -> list[NDArray[np.int64]]:
    """Return for each of the points (B, D) the positions of all training images in `radius`."""
    matches = []
    for point, bounds in zip(points, _bounds(training, points), strict=True):
        proposed = np.flatnonzero(bounds <= radius)
        far = distances(training, proposed, point)
        matches.append(proposed[far <= radius])
    return matches


def pixel_rows(images: Tensor) -> Floats:
    """Return images, bytes or float32, as rows (B, D) float64 in [0, 1]."""
    return _numbers(images.numpy(force=True))


def distances(training: TrainingImages, rows: NDArray[np.int64], point: Floats) -> Floats:
    """Return the Euclidean distances (R,) float64 of some training images from a point (D,)."""
    parts = [np.empty(0)]
    for some in _blocks(rows, len(point)):
        offsets = training.numbers(some)
        offsets -= point
        offsets *= offsets
        # Not einsum or a product: every row is added up in the same order, whatever their number.
        parts.append(np.sqrt(offsets.sum(axis=1)))
    return np.concatenate(parts)


def _numbers(images: NDArray[np.uint8] | NDArray[np.float32]) -> Floats:
    """Return rows; bytes are divided in float32, so that they equal the quotients in images."""
    rows = images.reshape(len(images), -1)
    if images.dtype == np.uint8:
        rows = np.divide(rows, np.float32(255), dtype=np.float32)
    return rows.astype(np.float64)


def _sketches(images: Tensor, block: int) -> Sketches:
    """Return the sketches of all images, made some at a time."""
    shape = images.shape[1:]
    numbers = math.prod(shape)
    parts = [
        sketched(_numbers(some).reshape(-1, *shape))
        for some in _blocks(images.numpy(), numbers, block)
    ]
    values, squares = ([getattr(part, name) for part in parts] for name in ("values", "squares"))
    return Sketches(np.concatenate(values), np.concatenate(squares), numbers)


def _bounds(training: TrainingImages, points: Floats) -> Floats:
    """Return what the distances (B, M) of the points from all training images are not below."""
    images = points.reshape(-1, *training.pixels.shape[1:])
    return lower_bounds(sketched(images), training.sketches)


def _blocks(rows: NDArray[Any], numbers: int, block: int = BLOCK_NUMBERS) -> list[NDArray[Any]]:
    """Return the rows in blocks, each of images of so many numbers."""
    size = max(1, block // numbers)
    return [rows[start : start + size] for start in range(0, len(rows), size)]
