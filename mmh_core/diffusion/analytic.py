"""Score models with known answers: every estimator is tested against these.

All are exact denoisers `x0_hat = E[x0 | x_t]`, so they are ScoreModels with target x0 whose
Jacobian, score and LID curve have closed forms.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from mmh_core.diffusion.schedule import Schedule
from mmh_core.diffusion.score_model import ScoreModel, Target, expand


def _check_gaussian(frame: Tensor, variances: Tensor) -> None:
    gram = frame.mT @ frame
    identity = torch.eye(frame.shape[-1], dtype=frame.dtype, device=frame.device)
    # Frames come from float32 QR factorizations, whose columns are orthonormal to about 1e-6.
    if not torch.allclose(gram, identity.expand_as(gram), atol=1e-4):
        raise ValueError("The columns of a frame must be orthonormal.")
    if not bool((variances >= 0).all()):
        raise ValueError(f"variances must not be negative, got {variances.min().item()!r}.")


def gaussian_on_subspace(
    mean: Tensor, frame: Tensor, variances: Tensor, schedule: Schedule
) -> ScoreModel:
    """Return the exact model of a Gaussian on an affine subspace.

    `mean` (D,), `frame` (D, d) with orthonormal columns, `variances` (d,). In the frame each
    coordinate shrinks by the Wiener factor: `x0_hat = mean + U diag(l / (l + delta^2)) U' (x_t /
    alpha - mean)`. Its FLIPD at the mean is `sum l_i / (l_i + delta^2)`.
    """
    _check_gaussian(frame, variances)

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        alpha, sigma = (expand(f(t), x_t) for f in (schedule.alpha, schedule.sigma))
        gain = alpha * variances / (alpha.square() * variances + sigma.square())
        return mean + ((x_t - alpha * mean) @ frame * gain) @ frame.T

    return ScoreModel(net, schedule, "x0", tuple(mean.shape))


def gaussian_mixture(
    log_weights: Tensor, means: Tensor, frames: Tensor, variances: Tensor, schedule: Schedule
) -> ScoreModel:
    """Return the exact model of a mixture of K Gaussians, each full or degenerate.

    `log_weights` (K,), `means` (K, D), `frames` (K, D, D) orthogonal, `variances` (K, D), zero in
    normal directions. Each component denoises as a Gaussian; they are averaged with their
    posterior weights `w_k N(x_t; alpha m_k, alpha^2 C_k + sigma^2 I)`. A component whose variances
    are all zero is a point mass of weight `w_k`. Memory is O(B K D).
    """
    _check_gaussian(frames, variances)

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


def as_target(model: ScoreModel, target: Target, data_scale: float = 1.0) -> ScoreModel:
    """Express a model in another parameterisation, exactly: the same score, another network.

    One call of the new network is two of the old one.
    """
    converted = replace(model, target=target, data_scale=data_scale)

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return converted.target_of(model.x0(x_t, t, cond), model.eps(x_t, t, cond), t)

    return replace(converted, net=net)


def gaussian_flipd(variances: Tensor, coordinates: Tensor, delta: float) -> Tensor:
    """Return FLIPD of a Gaussian in closed form, at points given by tangent coordinates (B, d).

    `sum_i l_i / (l_i + delta^2) + delta^2 c_i^2 / (l_i + delta^2)^2` with l (d,) the variances and
    c the offset from the mean: the first part is the trace, the second `|eps|^2`. A point off the
    subspace by n adds `|n|^2 / delta^2`, which is left out.
    """
    if not (math.isfinite(delta) and delta > 0):
        raise ValueError(f"delta must be finite and above 0, got {delta!r}.")
    total = variances + delta**2
    return (variances / total).sum() + (delta * coordinates / total).square().sum(-1)
