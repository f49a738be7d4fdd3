"""True LID at any points, by the nearest sample of the true manifold."""

from __future__ import annotations

import torch
from torch import Tensor

from mmh_core.manifolds.checks import real
from mmh_core.records import ManifoldSamples

# Entries of one block of the distance matrix: 64 MiB in float64.
_BLOCK = 2**23


def lid_at(
    points: Tensor, truth: ManifoldSamples, within: float, *, block: int = _BLOCK
) -> Tensor:
    """Return the true LID (B,) at `points` (B, *shape): that of the nearest sample of the truth.

    NaN where the nearest sample is farther than `within` (in data units) or the point is not
    finite: the point is off the manifold and has no true LID. Distances are Euclidean over all
    coordinates. Choose `within` well above the distance between neighboring samples of `truth` and
    below the distance between its components; near a point mass that lies on a larger component,
    the nearest sample decides, so the 0 reaches halfway to the next sample.
    Errors: ValueError if shapes differ, the truth is empty, or within is outside [0, 1e9].
    """
    limit = real("within", within, least=0.0, most=1e9)
    if tuple(points.shape[1:]) != truth.shape or points.ndim < 2:
        raise ValueError(
            f"points have shape {tuple(points.shape)}; it must be (B, *{truth.shape})."
        )
    if len(truth.points) == 0:
        raise ValueError("truth has 0 points; it must have at least 1.")
    # float64, because the fast form of a distance loses small ones to rounding in float32.
    true_points = truth.points.flatten(1).to(points.device, torch.float64)
    lid = truth.lid.to(points.device)
    step = max(1, block // len(true_points))
    lids = [lid.new_empty(0)]
    for start in range(0, len(points), step):
        some = points[start : start + step].flatten(1).double()
        nearest = torch.cdist(some, true_points).argmin(dim=1)
        # Recomputed from the difference, exact to rounding; a NaN fails the comparison.
        close = (some - true_points[nearest]).norm(dim=1) <= limit
        lids.append(lid[nearest].where(close, torch.nan))
    return torch.cat(lids)
