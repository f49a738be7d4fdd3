"""Denoising-loss LID: the error of the predicted noise, about one for each tangent direction.

Yeats et al. 2025 (arXiv 2510.12975): `E |eps - eps_hat(alpha x + sigma eps)|^2`. Noise along the
learned manifold looks like data to the network, noise across it does not. For an affine Gaussian
at its mean the value is `sum_i (l_i / (l_i + delta^2))^2`. Nothing is differentiated, so any
attention kernel and any precision will do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel, expand
from mmh_core.dimension.probes import Randomness, gaussian, mean_and_error
from mmh_core.dimension.scaled_points import ScaledPoints, scaled_points
from mmh_core.records import LidEstimate


def dsm_lid(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    draws: int = 8,
    generator: Randomness,
) -> LidEstimate:
    """Estimate LID by the denoising loss, over `draws` noises in antithetic pairs.

    `x` (B, *shape), `draws` even. Pairs eps and -eps cancel every odd term of the error; the
    standard error is over the pairs, NaN for one. An under-trained network guesses badly
    everywhere and is overestimated; at a point away from the learned mean the squared offset
    `|A (x - mean)|^2 / delta^2` is added.
    """
    points = scaled_points(model, x, log_delta, cond)
    lid, error = mean_and_error(_pair_errors(model, points, draws, generator))
    return LidEstimate(lid, error, float(draws), probes=draws // 2)


def _pair_errors(
    model: ScoreModel, points: ScaledPoints, draws: int, generator: Randomness
) -> Tensor:
    """Return `|eps - eps_hat|^2` averaged within antithetic pairs, (B, draws / 2)."""
    if draws < 2 or draws % 2:
        raise ValueError(f"draws must be an even number of at least 2, got {draws!r}.")
    alpha, sigma = expand(points.alpha, points.x0), expand(points.sigma, points.x0)
    noise = gaussian(points.x0, draws // 2, generator)
    pairs = []
    with torch.no_grad():
        for eps in noise.unbind(1):
            error = torch.zeros_like(points.alpha)
            for sign in (1, -1):
                noised = alpha * points.x0 + sign * sigma * eps
                guess = model.eps(noised, points.t, points.cond)
                error = error + (guess - sign * eps).flatten(1).square().sum(1)
            pairs.append(error / 2)
    return torch.stack(pairs, dim=1)
