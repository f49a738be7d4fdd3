"""Measure distances in pixels to the distinct training pictures, exactly."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmh_core.retrieval.exact import UNIT_64, candidates, ordered, sum_error
from mmh_core.retrieval.index import Index, rows_of

#: Training pictures are turned into float64 some at a time, so many numbers at once.
BLOCK_NUMBERS = 2**22
#: The value of every byte, by way of float32: bytes and their quotients in pictures are equal.
LEVELS = (np.arange(256, dtype=np.float32) / np.float32(255)).astype(np.float64)


@dataclass(frozen=True, eq=False)
class TrainingPictures:
    """Hold the M distinct pictures of a training set with their descriptors.

    `index` holds one row for each of them, labeled like the first of its copies; `pixels`
    (M, 3, H, W) uint8; `copies` (M,) int64, how often each stands in the training set: the labels'
    `copies`, added up over all rows with the same bytes; `squares` (M,) float64, the sums of the
    squared values, taken in [0, 1].
    """

    index: Index
    pixels: Tensor
    copies: NDArray[np.int64]
    squares: NDArray[np.float64]

    def __len__(self) -> int:
        """Return M."""
        return len(self.pixels)


def training_pictures(pixels: Tensor, index: Index) -> TrainingPictures:
    """Join the pictures (N, 3, H, W) uint8 of an index with it; exact copies become one.

    Raises ValueError for another number of pictures than the index has, another shape or dtype.
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(
            f"pixels are {pixels.dtype} {tuple(pixels.shape)}: they must be uint8 (N, 3, H, W)."
        )
    if len(pixels) != len(index):
        raise ValueError(f"There are {len(pixels)} pictures for {len(index)} rows of the index.")
    first: dict[bytes, int] = {}
    place = np.empty(len(pixels), dtype=np.int64)
    for row, picture in enumerate(pixels.numpy(force=True)):
        key = hashlib.sha256(picture.tobytes()).digest()
        place[row] = first.setdefault(key, row)
    rows, group = np.unique(place, return_inverse=True)
    copies = np.zeros(len(rows), dtype=np.int64)
    np.add.at(copies, group, index.copies)
    distinct = pixels.cpu()[torch.from_numpy(rows)]
    zero = np.zeros(math.prod(distinct.shape[1:]))
    return TrainingPictures(rows_of(index, rows), distinct, copies, distances(distinct, zero) ** 2)


@dataclass(frozen=True, eq=False)
class Proximities:
    """Hold `points` (B, D) and how near they are to all M distinct training pictures.

    `scores` (B, M) are `x.n - |n|^2 / 2`, largest for the nearest, since `|x - n|^2 = |x|^2 - 2
    score`; each is off by at most `slack` (B,). All float64.
    """

    points: NDArray[np.float64]
    scores: NDArray[np.float64]
    slack: NDArray[np.float64]

    def part(self, rows: slice) -> Proximities:
        """Return those of some of the points."""
        return Proximities(self.points[rows], self.scores[rows], self.slack[rows])


def proximities(training: TrainingPictures, points: NDArray[np.float64]) -> Proximities:
    """Compare points (B, D) with all training pictures, in one pass over these.

    The bound is that of the product of D terms, plus what rounding adds in the square and in the
    sum. In float32 it would be so wide that among noisy pictures, all about equally far from one
    another, everything would have to be computed again.
    """
    scores, start = np.empty((len(points), len(training))), 0
    for some in _blocks(training.pixels):
        scores[:, start : start + len(some)] = points @ flat(some).T
        start += len(some)
    scores -= training.squares / 2
    largest = float(training.squares.max())
    products = np.sqrt((points * points).sum(axis=1) * largest)
    error = sum_error(points.shape[1], UNIT_64)
    return Proximities(points, scores, error * (products + largest))


def nearest(
    training: TrainingPictures, near: Proximities, k: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Find the k nearest of M distinct training pictures for each of the points.

    Returns the positions (min(k, M),) and Euclidean distances in float64, nearest first, equal
    ones in the order of the training set. Distances come from the differences, so that a copy is
    at distance 0; the scores only propose (see `exact.candidates`).
    """
    found = []
    for point, row, slack in zip(near.points, near.scores, near.slack, strict=True):
        proposed = candidates(row, k, slack)
        far = distances(training.pixels[torch.from_numpy(proposed)], point)
        found.append(ordered(far, proposed, k))
    return found


def within(
    training: TrainingPictures, near: Proximities, radius: float
) -> list[NDArray[np.int64]]:
    """Return for each of the points the positions of all training pictures within `radius`."""
    squares = (near.points * near.points).sum(axis=1)
    found = []
    for point, square, row, slack in zip(
        near.points, squares, near.scores, near.slack, strict=True
    ):
        proposed = np.flatnonzero(square - 2 * row <= radius**2 + 4 * slack)
        far = distances(training.pixels[torch.from_numpy(proposed)], point)
        found.append(proposed[far <= radius])
    return found


def flat(pictures: Tensor) -> NDArray[np.float64]:
    """Return pictures, bytes or float32, as rows (B, D) float64 in [0, 1]."""
    rows = pictures.flatten(1).numpy(force=True)
    if pictures.dtype == torch.uint8:
        levels: NDArray[np.float64] = LEVELS[rows]
        return levels
    return rows.astype(np.float64)


def distances(pictures: Tensor, point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Euclidean distances (R,) float64 of pictures (R, 3, H, W) from one point (D,)."""
    parts = [np.empty(0)]
    for some in _blocks(pictures):
        offsets = flat(some) - point
        # Not einsum or a product: every row is added up in the same order, whatever their number.
        parts.append(np.sqrt((offsets * offsets).sum(axis=1)))
    return np.concatenate(parts)


def _blocks(pixels: Tensor) -> tuple[Tensor, ...]:
    size = max(1, BLOCK_NUMBERS // math.prod(pixels.shape[1:]))
    return tuple(pixels[start : start + size] for start in range(0, len(pixels), size))
