"""Estimate the dimension of data by expected simplex skewness."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmh_core.dimension.knn import NeighborGraph, neighborhoods, zero_at_copies
from mmh_core.records import LidEstimate


def ess(graph: NeighborGraph) -> LidEstimate:
    """Estimate LID by how nearly orthogonal the neighbors' offsets are to one another.

    With offsets `v_i` from the mean of the neighborhood, `sum_{i<j} area(v_i, v_j) / sum_{i<j}
    |v_i| |v_j|` is compared with the mean sine of two uniform directions in R^n, `gamma(n/2)^2 /
    (gamma((n+1)/2) gamma((n-1)/2))`, interpolated linearly between integers n (Johnsson, Soneson
    & Fontes 2015, version a with d = 1). The squared areas of all pairs are `|v_i|^2 |v_j|^2 -
    (v_i . v_j)^2`, one Gram matrix per neighborhood. Standard error NaN.

    At least 1, collinear neighbors, except 0 where all neighbors coincide or the point has an
    exact copy. Offsets from their mean cannot all be orthogonal, so about (k - 1)^2 is the most
    it can say. Sines near 1 change little with n: the scatter grows with the dimension.
    """
    skewness = torch.empty_like(graph.distances[:, 0])
    for rows, offsets in neighborhoods(graph):
        gram = offsets @ offsets.mT
        squares = gram.diagonal(dim1=1, dim2=2).clone()
        areas = gram.square_().neg_().addcmul_(squares[:, :, None], squares[:, None, :])
        # Rounding would leave some area on the diagonal; each pair stands twice, off it.
        areas.diagonal(dim1=1, dim2=2).zero_()
        doubled = areas.clamp_(min=0).sqrt_().sum(dim=(1, 2))
        weights = squares.sqrt().sum(dim=1).square() - squares.sum(dim=1)
        skewness[rows] = doubled / weights
    return zero_at_copies(graph, _dimension_of(skewness), torch.full_like(skewness, torch.nan))


def _dimension_of(skewness: Tensor) -> Tensor:
    """Invert the mean sine, linearly between integer dimensions; NaN (no directions) gives 0."""
    finite = skewness.nan_to_num(nan=0.0)
    if not len(finite):
        return finite
    # The mean sine lies in 1 - 1/(2n) - 3/(2n(n+2)) to 1 - 1/(2n): this n is far enough.
    last = math.ceil(0.5 / (1 - min(float(finite.max()), 1 - 1e-6))) + 4
    sines = _mean_sines(last).to(finite.device)
    # sines[n - 1] belongs to n: the count of those not above is the integer part.
    whole = torch.searchsorted(sines, finite, right=True).clamp(max=last - 1)
    below, above = sines[whole - 1], sines[whole]
    return (whole + (finite - below) / (above - below)).where(~skewness.isnan(), 0.0)


def _mean_sines(last: int) -> Tensor:
    """Return the mean sine of two uniform directions in R^n for n = 1 to `last`, at least 3."""
    sines = torch.zeros(last, dtype=torch.float64)
    # Gamma functions overflow; from n to n + 2 their quotient grows by n^2 / (n^2 - 1).
    for first, start in ((2, 2 / math.pi), (3, math.pi / 4)):
        n = torch.arange(first, last - 1, 2, dtype=torch.float64)
        growth = torch.cat([torch.ones(1, dtype=torch.float64), n.square() / (n.square() - 1)])
        sines[first - 1 :: 2] = start * growth.cumprod(dim=0)
    return sines
