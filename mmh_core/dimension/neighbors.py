"""Estimate the local intrinsic dimension of data from nearest neighbors.

All estimators read one `NeighborGraph` and treat all neighborhoods at once. A neighborhood is the
k nearest neighbors without the point itself, as in scikit-dimension, whose pointwise estimators
these reproduce:

| here | scikit-dimension, k neighbors |
|---|---|
| `mle` | `MLE(unbiased=True)`; its default is ours times (k - 1) / (k - 2) |
| `local_pca` | `lPCA(ver="FO", alphaFO=threshold).fit_transform_pw` |
| `ess` | `ESS(ver="a", d=1)`, which draws 5,000 of the pairs beyond k = 100; here all count |

Where a point has an exact copy every estimator answers 0, which is the theorem of Ross et al.
2025 (arXiv 2411.00113), and none ever answers NaN or infinity. All of them take the neighborhood
for a flat patch of uniform density: curvature raises the estimates, a boundary lowers them, and
in high dimension every one needs more neighbors than there are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmh_core.dimension.ess import ess
from mmh_core.dimension.knn import (
    BLOCK_BYTES,
    NeighborGraph,
    default_k,
    duplicates,
    knn_graph,
    nearest,
    neighborhoods,
    zero_at_copies,
)
from mmh_core.records import LidEstimate

__all__ = [
    "NeighborGraph",
    "concordance",
    "default_k",
    "duplicates",
    "ess",
    "knn_graph",
    "local_pca",
    "mle",
    "two_nn",
]

DISCARDED = 0.1  # the largest ratios, which a boundary or a change of density distorts first


def mle(graph: NeighborGraph) -> LidEstimate:
    """Estimate LID by the maximum likelihood of the neighbor distances, corrected for bias.

    `lid = (k - 2) / sum_j log(r_k / r_j)` (Levina & Bickel 2005, fixed k, with the k - 2 of
    their bias correction). Given `r_k`, the sum has a Gamma(k - 1, lid) distribution where the
    density is uniform; hence the factor, and `lid^2 / (k - 2)` as the unbiased estimate of the
    variance, whose root is the standard error. To combine points, average `1 / lid` (MacKay &
    Ghahramani 2005): the mean of `lid` itself weights errors upward.

    Where all k neighbors are at the same distance the formula diverges: the answer is then D, the
    most there can be, with standard error NaN. Other values may exceed D by chance.
    """
    radii = graph.distances
    spread = (radii[:, -1:] / radii).log().sum(dim=1)
    count = torch.full_like(spread, graph.k - 1)
    return zero_at_copies(graph, *_gamma_fit(count, spread, graph.points.shape[1]))


def two_nn(graph: NeighborGraph) -> LidEstimate:
    """Estimate LID from the ratios of second to first neighbor distance around each point.

    `mu = r2 / r1` of a point has `P(mu > m) = m^-lid` (Facco et al. 2017). One ratio says
    little, so the LID is fitted to those of the k neighbors, whose own two nearest are sought in
    all the data. The largest tenth is censored: with n ratios of which r are kept, `lid = (r - 1)
    / (sum_{j <= r} log mu_j + (n - r) log mu_r)` is unbiased and scatters less than Facco's line
    through the empirical distribution; standard error `lid / sqrt(r - 1)`.

    Ratios with `r1 = 0`, of neighbors that have exact copies, are left out; with fewer than three
    others there are hardly any but copies around and the LID is 0. Mutual nearest neighbors share
    a distance, so the true error is somewhat larger than the standard error.
    """
    rows, position = torch.unique(graph.indices, return_inverse=True)
    count, total = _censored(_log_ratios(graph, rows)[position])
    return zero_at_copies(graph, *_gamma_fit(count, total, graph.points.shape[1]))


def local_pca(graph: NeighborGraph, threshold: float = 0.05) -> LidEstimate:
    """Count the eigenvalues of the neighborhood covariance above `threshold` times the largest.

    Fukunaga & Olsen 1971. An integer in 0 to min(D, k - 1); 0 where all neighbors coincide.
    Standard error NaN. A direction counts or not by its width relative to the widest one, so a
    thin manifold loses directions, and curvature over a large neighborhood adds one.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold={threshold}: it must lie between 0 and 1, both excluded.")
    lid = torch.empty_like(graph.distances[:, 0])
    for rows, offsets in neighborhoods(graph):
        # Covariance and Gram matrix have the same positive eigenvalues: take the smaller one.
        wide = offsets.shape[2] > offsets.shape[1]
        matrix = offsets @ offsets.mT if wide else offsets.mT @ offsets
        eigenvalues = torch.linalg.eigvalsh(matrix)
        lid[rows] = (eigenvalues > threshold * eigenvalues[:, -1:]).sum(dim=1)
    return zero_at_copies(graph, lid, torch.full_like(lid, torch.nan))


def concordance(estimate: Tensor, truth: Tensor, *, block_bytes: int = BLOCK_BYTES) -> float:
    """Return the probability that of two points the one of larger true LID is ranked higher.

    Harrell's C over all pairs whose truths differ, in 0 to 1; a tie of the two estimates counts
    one half, so that a constant predictor gets .5 (a published implementation gives it 1). Both
    are (N,); NaN in `truth` marks an unknown LID and takes the point out. It judges order and not
    size. Raises ValueError for unequal lengths, a NaN estimate and if no two truths differ.
    """
    if estimate.ndim != 1 or estimate.shape != truth.shape:
        shapes = f"{tuple(estimate.shape)} and {tuple(truth.shape)}"
        raise ValueError(f"estimate and truth have shapes {shapes}: both must be (N,).")
    has_truth = ~truth.isnan()
    if estimate[has_truth].isnan().any():
        raise ValueError("estimate holds NaN: every point needs a value to be ranked.")
    # Only order counts, and short integers are compared several times faster than floats.
    ranks = torch.unique(estimate[has_truth], return_inverse=True)[1].to(torch.int32)
    levels = torch.unique(truth[has_truth], return_inverse=True)[1].to(torch.int32)
    pairs = twice_won = 0
    size = max(1, block_bytes // max(1, len(ranks)))
    for rank, level in zip(torch.split(ranks, size), torch.split(levels, size), strict=True):
        above = level[:, None] > levels
        pairs += int(above.count_nonzero())
        for won in (rank[:, None] > ranks, rank[:, None] >= ranks):
            twice_won += int(won.logical_and_(above).count_nonzero())
    if pairs == 0:
        raise ValueError(f"no two of the {len(levels)} known truths differ: nothing to rank.")
    return twice_won / (2 * pairs)


def _log_ratios(graph: NeighborGraph, rows: Tensor) -> Tensor:
    """Return log(r2 / r1) of rows of the points, infinite or NaN where r1 = 0."""
    if graph.queries is None:
        radii = graph.distances[rows, :2]
    else:
        _, radii = nearest(graph.points, graph.points[rows], 2, rows)
    return (radii[:, 1] / radii[:, 0]).log()


def _censored(log_ratios: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers of ratios kept and their sums, censored at the largest kept, per row."""
    ordered = log_ratios.sort(dim=1).values  # infinity and NaN come last
    valid = ordered.isfinite().sum(dim=1).to(torch.float64)
    kept = (valid * (1 - DISCARDED)).floor()
    rank = torch.arange(ordered.shape[1], device=ordered.device)
    total = ordered.where(rank < kept[:, None], 0.0).sum(dim=1)
    largest = ordered.gather(1, (kept - 1).clamp(min=0).long()[:, None])[:, 0]
    return kept, total + (valid - kept) * largest


def _gamma_fit(count: Tensor, total: Tensor, ambient_dim: int) -> tuple[Tensor, Tensor]:
    """Return lid and standard error for a total distributed as Gamma(count, lid).

    With fewer than two counts the total says nothing, and may be NaN: lid 0.
    """
    lid = (count - 1) / total
    error = lid / (count - 1).sqrt()
    # A total within the rounding error of distances is that of equal ones.
    flat = total <= 16 * count * torch.finfo(torch.float64).eps
    lid = lid.masked_fill(flat, ambient_dim).masked_fill(count < 2, 0.0)
    return lid, error.masked_fill(flat | (count < 2), torch.nan)
