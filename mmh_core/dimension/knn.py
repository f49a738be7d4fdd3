"""Find exact nearest neighbors: one graph feeds every estimator of the dimension of data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.records import LidEstimate

# Rows searched again at a time.
SEARCH_ROWS = 128
# Neighborhoods are treated in blocks of this size: smaller ones waste the matrix product, larger
# ones leave the caches.
BLOCK_BYTES = 2**21
# Candidates beyond k: the fast search may misplace near ties, the exact distances put them right.
SPARE = 16
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
    `queries` (Q, *shape), any real dtype. A first pass by `|a|^2 - 2 a.b + |b|^2` (scikit-learn)
    proposes candidates and their distances are taken again from the differences in float64, so
    that copies are at distance 0 and close pairs keep every digit. A bound on the rounding error
    of the first pass says for which rows it cannot be trusted; those are searched without it.

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
    from sklearn.neighbors import NearestNeighbors

    if not len(queries):
        return torch.empty(0, k, dtype=torch.int64), queries.new_empty(0, k)
    center = points.mean(dim=0)
    centered, shifted = points - center, queries - center
    proposed = min(k + SPARE + (own is not None), len(points))
    search = NearestNeighbors(n_neighbors=proposed, algorithm="brute")
    search.fit(centered.numpy(force=True))
    far, candidates = (
        torch.from_numpy(rows).to(points.device)
        for rows in search.kneighbors(shifted.numpy(force=True))
    )
    indices, distances = _exact(points, queries, candidates.sort(dim=1).values, k, own)
    if proposed < len(points):
        # Rounding error of |a|^2 - 2 a.b + |b|^2, standard bound on sums of D products, doubled.
        unit = torch.finfo(torch.float64).eps * (points.shape[1] + 8)
        reach = torch.linalg.vector_norm(shifted, dim=1)
        reach += torch.linalg.vector_norm(centered, dim=1).max()
        # What was not proposed is at least this far; if that is too near, search again.
        outside = far[:, -1].square() - unit * reach.square()
        doubtful = outside < distances[:, -1].square() * (1 + unit)
        for again in torch.split(doubtful.nonzero().flatten(), SEARCH_ROWS):
            kept = None if own is None else own[again]
            indices[again], distances[again] = _direct(points, queries[again], k, kept)
    return indices, distances


def _direct(points: Tensor, queries: Tensor, k: int, own: Tensor | None) -> tuple[Tensor, Tensor]:
    far = torch.cdist(queries, points, compute_mode="donot_use_mm_for_euclid_dist")
    if own is not None:
        far.scatter_(1, own[:, None], torch.inf)
    candidates = far.topk(k, dim=1, largest=False).indices
    return _exact(points, queries, candidates.sort(dim=1).values, k, None)


def _exact(
    points: Tensor, queries: Tensor, candidates: Tensor, k: int, own: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Order candidates by their distance in float64, ties as they come, and keep the first k."""
    distances = torch.empty(candidates.shape, dtype=torch.float64, device=points.device)
    size = max(1, BLOCK_BYTES // (8 * points.shape[1] * candidates.shape[1]))
    for start in range(0, len(queries), size):
        rows = slice(start, start + size)
        offsets = _gather(points, candidates[rows]).sub_(queries[rows, None])
        distances[rows] = torch.linalg.vector_norm(offsets, dim=2)
    if own is not None:
        distances.masked_fill_(candidates == own[:, None], torch.inf)
    distances, order = distances.sort(dim=1, stable=True)
    return candidates.gather(1, order[:, :k]), distances[:, :k]


def _gather(points: Tensor, indices: Tensor) -> Tensor:
    return points.index_select(0, indices.flatten()).view(*indices.shape, points.shape[1])


def _flat(points: Tensor, name: str) -> Tensor:
    flat = points.detach().reshape(len(points), math.prod(points.shape[1:])).to(torch.float64)
    if not (flat.abs() < LARGEST).all():
        raise ValueError(f"{name} hold NaN or values beyond {LARGEST:g}: all must be finite.")
    return flat
