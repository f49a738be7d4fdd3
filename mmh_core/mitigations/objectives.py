"""Detector scores that can be differentiated with respect to the prompt embedding or the noise.

All are (B,), one value per row, each row a function of its own embedding alone. `cond` is the
embedding of the prompt.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmh_core.diffusion.score_model import ScoreModel, expand
from mmh_core.dimension.probes import Randomness, gaussian, rademacher
from mmh_core.dimension.scaled_points import scaled_points

#: Probes of one LID, which takes one evaluation of the network more than that, and noise draws of
#: one denoising error, which takes as many; a gradient takes as many again.
PROBES, DRAWS = 4, 8


def guidance_norms(eps_c: Tensor, eps_u: Tensor) -> Tensor:
    """Return `|eps_c - eps_u|_2` of predictions (B, *shape): Wen et al. 2024."""
    norms: Tensor = torch.linalg.vector_norm((eps_c - eps_u).flatten(1), dim=1)
    return norms


def guided_score_norms(
    model: ScoreModel, eps_c: Tensor, eps_u: Tensor, t: float, scale: float
) -> Tensor:
    """Return `|eps_u + scale (eps_c - eps_u)|_2 / sigma(t)`, the norm of the guided score."""
    mixed = (eps_u + scale * (eps_c - eps_u)).flatten(1)
    sigma = model.schedule.sigma(model.times(t, eps_c))
    norms: Tensor = torch.linalg.vector_norm(mixed, dim=1)
    return norms / sigma


def flipd_values(
    model: ScoreModel, x: Tensor, log_delta: float, cond: Tensor, signs: Tensor
) -> Tensor:
    """Return FLIPD of points (B, *shape) given `cond`, with a graph to `cond`.

    `D - sigma tr(d eps_hat) + |eps_hat|^2` at `alpha x` (Kamkari et al. 2024, Eq. 7), the trace
    over the Rademacher probes `signs` (B, K, *shape). Both the trace and the norm depend on
    `cond`. The graph holds second derivatives, which fused attention does not have.
    """
    points = scaled_points(model, x, log_delta)
    sigma = expand(points.sigma, points.x0)
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        y = (expand(points.alpha, points.x0) * points.x0).requires_grad_()
        eps = model.eps(y, points.t, cond)
        trace = torch.zeros_like(points.sigma)
        for sign in signs.unbind(1):
            (product,) = torch.autograd.grad(eps, y, sigma * sign, create_graph=True)
            trace = trace + (product * sign).flatten(1).sum(1) / signs.shape[1]
        return model.ambient_dim - trace + eps.flatten(1).square().sum(1)


def dsm_values(
    model: ScoreModel, x: Tensor, log_delta: float, cond: Tensor, noises: Tensor
) -> Tensor:
    """Return the denoising-loss LID of points given `cond`, with a graph to `cond`.

    `E |eps - eps_hat(alpha x + sigma eps)|^2` (Yeats et al. 2025) over `noises` (B, K, *shape),
    each with its negative.
    """
    points = scaled_points(model, x, log_delta)
    alpha, sigma = expand(points.alpha, points.x0), expand(points.sigma, points.x0)
    loss = torch.zeros_like(points.sigma)
    for noise in noises.unbind(1):
        for eps in (noise, -noise):
            guess = model.eps(alpha * points.x0 + sigma * eps, points.t, cond)
            loss = loss + (guess - eps).flatten(1).square().sum(1)
    return loss / (2 * noises.shape[1])


def signs_for(x: Tensor, generator: Randomness) -> Tensor:
    """Return the random probes of `flipd_values`."""
    return rademacher(x, PROBES, generator)


def noises_for(x: Tensor, generator: Randomness) -> Tensor:
    """Return the random noises of `dsm_values`: with their negatives as many as `DRAWS`."""
    return gaussian(x, DRAWS // 2, generator)
