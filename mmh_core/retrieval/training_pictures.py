"""Measure distances in pixels to the distinct training pictures, exactly."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmh_core.retrieval.embedders import as_floats
from mmh_core.retrieval.exact import UNIT, candidates, ordered, sum_error
from mmh_core.retrieval.index import Index, rows_of

#: Training pictures are turned into float32 some at a time, so many numbers at once.
BLOCK_NUMBERS = 2**23


@dataclass(frozen=True, eq=False)
class TrainingPictures:
    """Hold the M distinct pictures of a training set with their descriptors.

    `index` holds one row for each of them, labeled like the first of its copies; `pixels`
    (M, 3, H, W) uint8; `copies` (M,) int64, how often each stands in the training set: the labels'
    `copies`, added up over all rows with the same bytes. `center` (D,) and `radii` (M,) float64
    are the mean picture and the distances from it, with D = 3 H W and values in [0, 1].
    """

    index: Index
    pixels: Tensor
    copies: NDArray[np.int64]
    center: NDArray[np.float64]
    radii: NDArray[np.float64]

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
    center = _mean(distinct)
    return TrainingPictures(
        rows_of(index, rows), distinct, copies, center, distances(distinct, center)
    )


def nearest(
    training: TrainingPictures, pictures: NDArray[np.float64], k: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Find the k nearest of M distinct training pictures for each of B pictures (B, D).

    Returns the positions (min(k, M),) and Euclidean distances in float64, nearest first, equal
    ones in the order of the training set. Distances come from the differences, so that a copy is
    at distance 0; a float32 product only proposes (see `exact.candidates`).
    """
    scores, slacks = _scores(training, pictures)
    found = []
    for picture, row, slack in zip(pictures, scores, slacks, strict=True):
        proposed = candidates(row, k, slack)
        far = distances(training.pixels[torch.from_numpy(proposed)], picture)
        found.append(ordered(far, proposed, k))
    return found


def within(
    training: TrainingPictures, pictures: NDArray[np.float64], radius: float
) -> list[NDArray[np.int64]]:
    """Return for each of B pictures (B, D) the positions of all training pictures in `radius`."""
    scores, slacks = _scores(training, pictures)
    depths = _lengths(pictures - training.center)
    found = []
    for picture, row, slack, depth in zip(pictures, scores, slacks, depths, strict=True):
        proposed = np.flatnonzero(depth**2 - 2 * row <= radius**2 + 2 * slack)
        far = distances(training.pixels[torch.from_numpy(proposed)], picture)
        found.append(proposed[far <= radius])
    return found


def flat(pictures: Tensor) -> NDArray[np.float64]:
    """Return pictures, bytes or float32, as rows (B, D) float64 in [0, 1]."""
    # By way of float32, so that bytes and their quotients by 255 become the same numbers.
    return as_floats(pictures).flatten(1).numpy(force=True).astype(np.float64)


def distances(pictures: Tensor, point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Euclidean distances (R,) float64 of pictures (R, 3, H, W) from one point (D,)."""
    parts = [np.empty(0)]
    for some in _blocks(pictures):
        parts.append(_lengths(flat(some) - point))
    return np.concatenate(parts)


def _scores(
    training: TrainingPictures, pictures: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return `x.n - |n|^2 / 2` (B, M) about the center, largest for the nearest, and its error.

    `|x - n|^2 = |x|^2 - 2 score`. The bound (B,) is that of the product of D terms, plus what
    rounding adds in the center (whose coordinates are at most 1), in the square and in the sum.
    """
    centered = (pictures - training.center).astype(np.float32)
    halves = (training.radii**2 / 2).astype(np.float32)
    middle = training.center.astype(np.float32)
    scores = np.empty((len(pictures), len(training)), dtype=np.float32)
    start = 0
    for some in _blocks(training.pixels):
        rows = as_floats(some).flatten(1).numpy() - middle
        scores[:, start : start + len(rows)] = centered @ rows.T
        start += len(rows)
    scores -= halves
    depths, radius = _lengths(pictures - training.center), float(training.radii.max())
    products = depths * radius
    shifts = 4 * UNIT * math.sqrt(centered.shape[1]) * depths
    slack = sum_error(centered.shape[1]) * products + shifts + 2 * UNIT * (products + radius**2)
    return scores, slack


def _lengths(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    # Not einsum or a product: every row is added up in the same order, whatever their number.
    found: NDArray[np.float64] = np.sqrt((offsets * offsets).sum(axis=1))
    return found


def _mean(pixels: Tensor) -> NDArray[np.float64]:
    total = np.zeros(math.prod(pixels.shape[1:]))
    for some in _blocks(pixels):
        total += flat(some).sum(axis=0)
    return total / len(pixels)


def _blocks(pixels: Tensor) -> tuple[Tensor, ...]:
    size = max(1, BLOCK_NUMBERS // math.prod(pixels.shape[1:]))
    return tuple(pixels[start : start + size] for start in range(0, len(pixels), size))
