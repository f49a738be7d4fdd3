"""Find exact nearest neighbors: one graph feeds every estimator of the dimension of data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmh_core.records import LidEstimate

# Rows searched at a time: fewer waste the matrix product, more leave the caches.
SEARCH_ROWS = 128
# Neighborhoods are treated in blocks of this size, for the same reasons.
BLOCK_BYTES = 2**21
# Candidates beyond k: the fast search may misplace near ties, the exact distances put them right.
SPARE = 16
# Every eighth column tells how far the neighbors reach, with this factor to spare.
_SAMPLED, _OVERSHOOT = 8, 2.5
LARGEST = 1e150  # squares of larger values overflow


@dataclass(frozen=True)
class NeighborGraph:
    """The k nearest neighbors of Q points among N points in R^D.

    `indices` (Q, k) int64 are rows of `points`, `distances` (Q, k) float64 the Euclidean
    distances, nearest first; `points` (N, D) float64 is the flattened data. `queries` (Q, D)
    float64 are the query points, or None where they are `points` themselves, each of which
    is then left out of its own neighborhood.
    """

    indices: Tensor
    distances: Tensor
    points: Tensor
    queries: Tensor | None

    @property
    def k(self) -> int:
        """Return the number of neighbors of each point."""
        return self.indices.shape[1]


def default_k(n: int) -> int:
    """Return the customary neighborhood size for n points: n / 20, from 5 up to 100.

    Larger neighborhoods lower the variance of an estimate and mix in more curvature and more
    boundary; below about 400 points no size serves both well.
    """
    return max(5, min(100, n // 20))


def knn_graph(points: Tensor, k: int, *, queries: Tensor | None = None) -> NeighborGraph:
    """Find the k nearest neighbors of every point, or of every query, exactly.

    Euclidean distance over the flattened coordinates, whatever the shape: `points` (N, *shape),
    `queries` (Q, *shape), any real dtype. A first pass by `|a|^2 - 2 a.b + |b|^2` proposes
    candidates and their distances are taken again from the differences in float64, so that copies
    are at distance 0 and close pairs keep every digit. A bound on the rounding error of the first
    pass says for which rows it cannot be trusted; those are searched without it, up to five times
    slower. Memory beyond the result is about 2 KB per point.

    Without `queries` each point is excluded from its own neighborhood by its row number and not
    by its distance: exact copies of it stay, as neighbors at distance 0. Rows of `points` passed
    as `queries` find themselves, and so look like copies. Equally distant neighbors come in the
    order of their rows; which of them make the last places is arbitrary.

    Raises ValueError unless 3 <= k < N, for NaN or values beyond 1e150 and for a wrong shape.
    """
    count = len(points) if points.ndim else 0
    if not 3 <= k < count:
        raise ValueError(f"k={k} neighbors of N={count} points: k must be from 3 to N - 1.")
    flat = _flat(points, "points")
    if queries is None:
        own = torch.arange(count, device=flat.device)
        return NeighborGraph(*nearest(flat, flat, k, own), points=flat, queries=None)
    if queries.shape[1:] != points.shape[1:] or queries.ndim != points.ndim:
        raise ValueError(
            f"queries have shape {tuple(queries.shape)}: it must be "
            f"(Q, *{tuple(points.shape[1:])}), like that of the points."
        )
    query_points = _flat(queries, "queries")
    return NeighborGraph(*nearest(flat, query_points, k, None), points=flat, queries=query_points)


def duplicates(graph: NeighborGraph) -> Tensor:
    """Count the neighbors at distance 0, the exact copies of each point: (Q,) int64, up to k.

    Exact copies occur with positive probability if and only if `LID_* = 0` there (Ross et al.
    2025, arXiv 2411.00113), so every estimator reports 0 where this count is positive. A query
    that equals a single one of the points counts as copied, though the data hold it once: ask
    about rows of the data by leaving `queries` out.
    """
    return (graph.distances == 0).sum(dim=1)


def neighborhoods(graph: NeighborGraph) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of rows with their neighbors' offsets from the neighborhood's mean.

    Offsets (b, k, D) are in units of the distance to the farthest neighbor, which no estimator
    of dimension notices and which keeps squares and products of them in range. The point itself
    is not part of its neighborhood.
    """
    largest = max(graph.k, graph.points.shape[1])
    size = max(1, BLOCK_BYTES // (8 * graph.k * largest))
    for start in range(0, len(graph.indices), size):
        rows = slice(start, start + size)
        offsets = _gather(graph.points, graph.indices[rows])
        # The mean of equal numbers need not equal them: from differences, coincidence gives zeros.
        offsets -= offsets[:, :1].clone()
        offsets -= offsets.mean(dim=1, keepdim=True)
        radius = graph.distances[rows, -1]
        offsets /= radius.where(radius > 0, 1.0)[:, None, None]
        yield rows, offsets


def zero_at_copies(graph: NeighborGraph, lid: Tensor, standard_error: Tensor) -> LidEstimate:
    """Return the record, with LID 0 at exact copies: the LID of a point mass."""
    copied = duplicates(graph) > 0
    return LidEstimate(lid.masked_fill(copied, 0.0), standard_error.masked_fill(copied, 0.0), 0.0)


def nearest(points: Tensor, queries: Tensor, k: int, own: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return indices and distances (Q, k) of the k points nearest to each row of `queries`.

    Both are flat and float64; `own` (Q,) is the row of `points` that is not a neighbor of its
    own, if any. This is `knn_graph` without its checks.
    """
    center = points.mean(dim=0)
    centered, shifted = points - center, queries - center
    lengths, depths = centered.square().sum(dim=1), shifted.square().sum(dim=1)
    # Rounding error of |a|^2 - 2 a.b + |b|^2, standard bound on sums of D products, doubled.
    unit = torch.finfo(torch.float64).eps * (points.shape[1] + 8)
    slack = unit * (depths.sqrt() + lengths.max().sqrt()).square()
    available = len(points) - (own is not None)
    proposed = min(k + SPARE, available)
    indices = torch.empty(len(queries), k, dtype=torch.int64, device=points.device)
    distances = torch.empty(len(queries), k, dtype=torch.float64, device=points.device)
    # Fresh memory for every block would cost as much time as the product.
    block = distances.new_empty(min(SEARCH_ROWS, len(queries)), len(points))
    for start in range(0, len(queries), SEARCH_ROWS):
        rows = slice(start, start + SEARCH_ROWS)
        some = shifted[rows]
        squared = torch.addmm(lengths, some, centered.T, alpha=-2, out=block[: len(some)])
        bound, candidates = _smallest(squared, proposed, own, rows)
        indices[rows], distances[rows] = _exact(points, queries[rows], candidates, k)
        if proposed < available:
            # What was not proposed is at least this far; if that is too near, search again.
            outside = bound + depths[rows] - slack[rows]
            doubtful = outside < distances[rows, -1].square() * (1 + unit)
            again = start + doubtful.nonzero().flatten()
            if len(again):
                kept = None if own is None else own[again]
                indices[again], distances[again] = _direct(points, queries[again], k, kept)
    return indices, distances


def _direct(points: Tensor, queries: Tensor, k: int, own: Tensor | None) -> tuple[Tensor, Tensor]:
    far = torch.cdist(queries, points, compute_mode="donot_use_mm_for_euclid_dist")
    _, candidates = _smallest(far, k, own, slice(None))
    return _exact(points, queries, candidates, k)


def _smallest(
    values: Tensor, count: int, own: Tensor | None, rows: slice
) -> tuple[Tensor, Tensor]:
    """Return the largest (b,) of the smallest values, and their positions (b, count) in order."""
    if own is not None:
        values.scatter_(1, own[rows, None], torch.inf)
    if values.device.type == "cpu":
        largest, positions = _smallest_of_rows(values.numpy(), count)
        return torch.from_numpy(largest), torch.from_numpy(positions)
    smallest = values.topk(count, dim=1, largest=False)
    return smallest.values[:, -1], smallest.indices.sort(dim=1).values


def _smallest_of_rows(
    values: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the largest (b,) of the smallest values of each row, and their columns, in order.

    Nearly all of a row is far away: a bound from a sample of its columns leaves a few times
    `count` values to select among. Where the sample misleads, and at ties, all are looked at.
    """
    rows, columns = values.shape
    rank = math.ceil(_OVERSHOOT * count / _SAMPLED) + 2
    sample = values[:, ::_SAMPLED]
    if rank < sample.shape[1] // 2:
        bound = np.partition(sample, rank, axis=1)[:, rank : rank + 1]
        row, column = np.divmod(np.flatnonzero(values <= bound), columns)
        counts = np.bincount(row, minlength=rows)
        if counts.min() >= count and counts.max() < columns // 2:
            slot = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
            few = np.full((rows, int(counts.max())), np.inf)
            few[row, slot] = near = values[row, column]
            largest = np.partition(few, count - 1, axis=1)[:, count - 1]
            kept = near <= largest[row]
            if np.count_nonzero(kept) == rows * count:
                return largest, column[kept].reshape(rows, count)
    order = np.argpartition(values, count - 1, axis=1)[:, :count]
    largest = np.take_along_axis(values, order[:, -1:], axis=1)[:, 0]
    return largest, np.sort(order, axis=1)


def _exact(points: Tensor, queries: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Order candidates by their distance in float64, ties as they come, and keep the first k."""
    distances = torch.empty(candidates.shape, dtype=torch.float64, device=points.device)
    size = max(1, BLOCK_BYTES // (8 * points.shape[1] * candidates.shape[1]))
    for start in range(0, len(queries), size):
        rows = slice(start, start + size)
        offsets = _gather(points, candidates[rows]).sub_(queries[rows, None])
        distances[rows] = torch.linalg.vector_norm(offsets, dim=2)
    distances, order = _sorted(distances)
    return candidates.gather(1, order[:, :k]), distances[:, :k]


def _sorted(distances: Tensor) -> tuple[Tensor, Tensor]:
    """Sort every row, equal values in their order, and return the positions too."""
    if distances.device.type == "cpu":
        # numpy's vectorized sort is not stable, but several times faster where nothing is equal.
        order = torch.from_numpy(np.argsort(distances.numpy(), axis=1))
        ordered = distances.gather(1, order)
        if (ordered[:, 1:] > ordered[:, :-1]).all():
            return ordered, order
    ordered, order = distances.sort(dim=1, stable=True)
    return ordered, order


def _gather(points: Tensor, indices: Tensor) -> Tensor:
    return points.index_select(0, indices.flatten()).view(*indices.shape, points.shape[1])


def _flat(points: Tensor, name: str) -> Tensor:
    flat = points.detach().reshape(len(points), math.prod(points.shape[1:])).to(torch.float64)
    if not (flat.abs() < LARGEST).all():
        raise ValueError(f"{name} hold NaN or values beyond {LARGEST:g}: all must be finite.")
    return flat
