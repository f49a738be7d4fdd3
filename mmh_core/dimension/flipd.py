"""FLIPD: LID from the trace of the score's Jacobian.

Kamkari et al. 2024 (arXiv 2406.03537), Eq. 7: `LID = D + sigma^2 (tr grad s + |s|^2)` at
`y = alpha x`. With the tangent projector of `jacobian` this is `tr P + |eps_hat|^2` for every
parameterisation, without the difference of two large numbers. For a Gaussian with variances l_i,
at offset c_i from its mean, it is the sum over i of
`l_i / (l_i + delta^2) + delta^2 c_i^2 / (l_i + delta^2)^2`. A network's errors push eigenvalues
of P outside [0, 1] and the trace adds them up, so an under-trained network gives negative values:
then prefer the counts of `spectral`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.jacobian import jacobian, linearize, matrices_at_once
from mmh_core.dimension.probes import Randomness, mean_and_error, rademacher
from mmh_core.dimension.scaled_points import ScaledPoints, check_exact, scaled_points
from mmh_core.records import LidEstimate


def flipd(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    probes: int = 8,
    generator: Randomness,
) -> LidEstimate:
    """Estimate LID by FLIPD, the trace by Hutchinson's estimator with Rademacher probes.

    `x` (B, *shape), `log_delta` a number or (B,). The standard error is that of the trace over the
    probes, `sqrt(2 (|S|_F^2 - sum_i S_ii^2) / probes)` in expectation with S the symmetric part of
    P; NaN for one probe. Cost: one forward and `probes` reverse passes. A guided model is the
    score of no density; its value compares prompts, it counts no dimension.
    """
    points = scaled_points(model, x, log_delta, cond)
    samples = _samples(model, points, rademacher(points.x0, probes, generator))
    lid, error = mean_and_error(samples)
    return LidEstimate(lid, error, 1.0 + probes, probes=probes)


def flipd_exact(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    generator: Randomness | None = None,
) -> LidEstimate:
    """Compute FLIPD with the full trace, by D reverse passes; the generator is not used.

    For D up to 4096; raises ValueError beyond. The standard error is 0.
    """
    check_exact(model, "flipd_exact", "flipd")
    points = scaled_points(model, x, log_delta, cond)
    lids, cost = [], 0.0
    for part in points.split(matrices_at_once(model.ambient_dim)):
        matrix, linearization = jacobian(model, part)
        lids.append(matrix.diagonal(dim1=1, dim2=2).sum(1) + _square(linearization.eps))
        cost += linearization.nfe(model.ambient_dim) * len(part.x0)
    lid = torch.cat(lids)
    return LidEstimate(lid, torch.zeros_like(lid), cost / len(lid))


def window_flipd(
    model: ScoreModel,
    x: Tensor,
    log_deltas: Tensor,
    *,
    cond: Tensor | None = None,
    probes: int = 8,
    generator: Randomness,
) -> LidEstimate:
    """Average FLIPD over a window of log delta, given by its nodes, with the trapezoid rule.

    `log_deltas` (K,) or (K, B), increasing, K at least 2. It is what the regression of LIDL
    (Tempczyk et al. 2022) computes, without the bias of its Euler step. All nodes share their
    probes, so the standard error is taken over the probes' averages. The mean over a window
    that holds the end of a plateau is no dimension.
    """
    nodes = log_deltas if log_deltas.dim() == 2 else log_deltas.reshape(-1, 1)
    if nodes.shape[1] not in (1, len(x)):
        raise ValueError(f"log_deltas must be (K,) or (K, {len(x)}), got {tuple(nodes.shape)}.")
    if len(nodes) < 2 or not bool((nodes.diff(dim=0) > 0).all()):
        raise ValueError(f"log_deltas must hold at least 2 increasing scales, got {log_deltas!r}.")
    points_by_node = [scaled_points(model, x, node.expand(len(x)), cond) for node in nodes]
    signs = rademacher(points_by_node[0].x0, probes, generator)
    values = torch.stack([_samples(model, points, signs) for points in points_by_node])
    weights = _trapezoid(nodes.diff(dim=0)).to(values)[:, :, None]
    lid, error = mean_and_error((weights * values).sum(0))
    return LidEstimate(lid, error, len(nodes) * (1.0 + probes), probes=probes)


def _trapezoid(gaps: Tensor) -> Tensor:
    """Return the weights (K, B or 1), with sum 1, of the trapezoid rule over K - 1 gaps."""
    end = torch.zeros_like(gaps[:1])
    return (torch.cat([gaps, end]) + torch.cat([end, gaps])) / (2 * gaps.sum(0))


def _square(eps: Tensor) -> Tensor:
    return eps.flatten(1).square().sum(1)


def _samples(model: ScoreModel, points: ScaledPoints, signs: Tensor) -> Tensor:
    """Return one value of FLIPD per probe, (B, K), from one forward pass."""
    linearization = linearize(model, points.x0, points.t, points.cond)
    traces = (linearization.pullbacks(signs) * signs).flatten(2).sum(2)
    return _square(linearization.eps)[:, None] + traces
