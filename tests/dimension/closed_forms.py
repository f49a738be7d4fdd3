"""Score models whose Jacobian is known, written out independently of the code under test."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from mmh_core.diffusion.schedule import Schedule, VariancePreserving
from mmh_core.diffusion.score_model import ScoreModel, Target, expand

TARGETS: tuple[Target, ...] = get_args(Target)
SCHEDULE = VariancePreserving()


def seeded(seed: int = 0) -> torch.Generator:
    """Return a generator with a constant seed."""
    return torch.Generator().manual_seed(seed)


def rotation(dim: int, seed: int = 0) -> Tensor:
    """Return an orthogonal matrix in double precision."""
    square = torch.randn(dim, dim, generator=seeded(seed), dtype=torch.float64)
    frame: Tensor = torch.linalg.qr(square).Q
    return frame


def from_x0(
    x0_hat: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor],
    dim: int,
    target: Target = "x0",
    schedule: Schedule = SCHEDULE,
) -> ScoreModel:
    """Return the model of a denoiser `x0_hat(x_t, alpha, sigma, cond)` in any parameterisation."""
    shown = ScoreModel(lambda x, t, c: x, schedule, target, (dim,), 0.7)

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        alpha, sigma = expand(schedule.alpha(t), x_t), expand(schedule.sigma(t), x_t)
        x0 = x0_hat(x_t, alpha, sigma, cond)
        p, q = shown.mixture(alpha, sigma)
        return p * x0 + q * (x_t - alpha * x0) / sigma

    return ScoreModel(net, schedule, target, (dim,), 0.7)


def gaussian(
    variances: Tensor,
    frame: Tensor | None = None,
    mean: float = 0.0,
    target: Target = "x0",
    schedule: Schedule = SCHEDULE,
) -> ScoreModel:
    """Return the exact model of N(mean, Q diag(variances) Q'), zero variances included."""
    dim = len(variances)
    axes = torch.eye(dim, dtype=torch.float64) if frame is None else frame

    def x0_hat(x_t: Tensor, alpha: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        basis, spread = axes.to(x_t), variances.to(x_t)
        shrink = alpha * spread / (alpha.square() * spread + sigma.square())
        return mean + (shrink * ((x_t - alpha * mean) @ basis)) @ basis.T

    return from_x0(x0_hat, dim, target, schedule)


def mixture(centers: Tensor, variance: float, target: Target = "x0") -> ScoreModel:
    """Return the exact model of equal round Gaussians: a score that is not affine."""

    def x0_hat(x_t: Tensor, alpha: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        means = centers.to(x_t)
        total = alpha.square() * variance + sigma.square()
        gap = x_t[:, None] - alpha[:, None] * means
        share = (-gap.square().sum(2) / (2 * total)).softmax(1)
        center = share @ means
        return center + alpha * variance / total * (x_t - alpha * center)

    return from_x0(x0_hat, centers.shape[1], target)


def projector_spectrum(variances: Tensor, delta: float) -> Tensor:
    """Return the eigenvalues `l / (l + delta^2)` of P of a Gaussian."""
    return variances / (variances + delta**2)
