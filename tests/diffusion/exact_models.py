"""Exact denoisers of mixtures and of finite data sets, whose every answer is known."""

from __future__ import annotations

import torch
from torch import Tensor

from mmh_core.diffusion.analytic import check_gaussian
from mmh_core.diffusion.schedule import Schedule
from mmh_core.diffusion.score_model import ScoreModel


def gaussian_mixture(
    log_weights: Tensor, means: Tensor, frames: Tensor, variances: Tensor, schedule: Schedule
) -> ScoreModel:
    """Return the exact model of a mixture of K Gaussians, each full or degenerate.

    `log_weights` (K,), `means` (K, D), `frames` (K, D, D) orthogonal, `variances` (K, D), zero in
    normal directions. Each component denoises as a Gaussian; they are averaged with their
    posterior weights `w_k N(x_t; alpha m_k, alpha^2 C_k + sigma^2 I)`. A component whose variances
    are all zero is a point mass of weight `w_k`. Memory is O(B K D).
    """
    check_gaussian(frames, variances)

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        alpha, sigma = (f(t).reshape(-1, 1, 1) for f in (schedule.alpha, schedule.sigma))
        offset = x_t[:, None, :] - alpha * means
        local = torch.einsum("bkd,kde->bke", offset, frames)
        spread = alpha.square() * variances + sigma.square()
        logits = log_weights - (local.square() / spread + spread.log()).sum(-1) / 2
        each = means + torch.einsum("bke,kde->bkd", local * alpha * variances / spread, frames)
        return torch.einsum("bk,bkd->bd", logits.softmax(-1), each)

    return ScoreModel(net, schedule, "x0", (means.shape[1],))


def empirical_denoiser(
    points: Tensor, schedule: Schedule, log_weights: Tensor | None = None
) -> ScoreModel:
    """Return the exact model of a finite data set, which memorizes it perfectly.

    `points` (N, *shape). `x0_hat` is the average of the points under
    `softmax(log w_i - |x_t - alpha x_i|^2 / (2 sigma^2))`, the optimum of the training loss for a
    network without limits (Karras et al. 2022, App. B.3). Its LID tends to 0 at every point.
    Memory is O(B N). All is computed in float64: the squares of float32 numbers near 1 are off by
    1e-7, which is no longer small when it is divided by a `sigma^2` of 1e-6.
    """
    flat = points.flatten(1).double()
    half_squares = flat.square().sum(1) / 2
    weights = torch.zeros_like(half_squares) if log_weights is None else log_weights.double()

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        alpha, sigma = (f(t).double().reshape(-1, 1) for f in (schedule.alpha, schedule.sigma))
        # -|x_t - alpha x_i|^2 / 2 without |x_t|^2, which the softmax does not see.
        logits = alpha * (x_t.flatten(1).double() @ flat.T) - alpha.square() * half_squares
        attention = (weights + logits / sigma.square()).softmax(-1)
        return (attention @ flat).reshape(x_t.shape).to(x_t.dtype)

    return ScoreModel(net, schedule, "x0", tuple(points.shape[1:]))
