"""Bound distances in pixels from below by those between short sketches of the images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmh_core.retrieval.exact_top_k import UNIT_32, UNIT_64, sum_error

Floats = NDArray[np.float64]

#: A sketch has so many blocks along each side of an image, and tiles of them.
BLOCKS, TILES = 16, 4


@dataclass(frozen=True, eq=False)
class Sketches:
    """The sketches `values` (B, S) float32 of images of D numbers.

    `squares` (B,) float64 are the sums of their squares; `numbers` is D.
    """

    values: NDArray[np.float32]
    squares: Floats
    numbers: int


def sketched(images: Floats) -> Sketches:
    """Return the sketches of images (B, C, H, W): sketches are never farther apart than these.

    P is the orthogonal projection onto images that are constant in every block, r = x - Px. A
    sketch a(x) holds the coordinates of Px, which are the means over the blocks of each channel
    times the square root of the number of pixels, and for each tile the norm of r in it. So
    `|a(x) - a(n)|^2 = |Px - Pn|^2 + sum (|r_x| - |r_n|)^2 <= |Px - Pn|^2 + |r_x - r_n|^2 = |x -
    n|^2` by the triangle inequality in each tile, and `|a(x)| = |x|`. Blocks need not be equal.

    Caveat: of images of noise, which differ in the rest alone, a sketch knows next to nothing.
    """
    rows, columns = (_blocks(side) for side in images.shape[2:])
    areas = np.outer(rows.sum(axis=0), columns.sum(axis=0))
    means = rows.T @ images @ columns / np.sqrt(areas)
    # The rest is orthogonal to the projection, block by block.
    rest = (rows.T @ (images * images) @ columns - means * means).sum(axis=1)
    tiles = _tiles(rest.shape[1]).T @ rest @ _tiles(rest.shape[2])
    parts = (means.reshape(len(means), -1), np.sqrt(tiles.clip(0)).reshape(len(tiles), -1))
    values = np.concatenate(parts, axis=1).astype(np.float32)
    squares = np.einsum("bs,bs->b", values, values, dtype=np.float64)
    return Sketches(values, squares, math.prod(images.shape[1:]))


def lower_bounds(some: Sketches, others: Sketches) -> Floats:
    """Return bounds (B, M) that no distance between two images is below, as computed.

    That is `|a(x) - a(n)|` less what rounding may do, with `s = |a(x)|^2 + |a(n)|^2`: the product
    in float32 is off by at most `gamma_S s / 2`; a sketch by half a unit of float32 and by the
    norms of the rests, whose squares are differences of sums of D terms, off by at most `4 gamma_D
    |x|^2` in all; and the distance itself by a factor of `1 - gamma_D`.
    """
    total = some.squares[:, None] + others.squares
    product = (some.values @ others.values.T).astype(np.float64)
    apart = total - 2 * product - sum_error(some.values.shape[1], UNIT_32) * total
    rounding = sum_error(some.numbers, UNIT_64)
    # |x| + |n| is at most the root of 2 s; the second unit stands for all terms of order gamma_D.
    error = (2 * math.sqrt(rounding) + 2 * UNIT_32) * np.sqrt(2 * total)
    bounds: Floats = (np.sqrt(apart.clip(0)) - error) * (1 - rounding)
    return bounds


def _blocks(side: int) -> Floats:
    """Return ones where a pixel (side,) lies in a block (min(BLOCKS, side),), zeros elsewhere."""
    count = min(BLOCKS, side)
    return _belongs(np.arange(side) * count // side, count)


def _tiles(count: int) -> Floats:
    """Return ones where a block (count,) lies in a tile (TILES,), zeros elsewhere."""
    return _belongs(np.arange(count) * TILES // count, TILES)


def _belongs(part: NDArray[np.int64], count: int) -> Floats:
    belongs: Floats = (part[:, None] == np.arange(count)).astype(np.float64)
    return belongs
