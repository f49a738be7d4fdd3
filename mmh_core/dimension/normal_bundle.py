"""Normal bundle: scores around a point span the directions across the manifold.

Stanczuk et al. 2022 (arXiv 2212.12611): the score at points noised from x points back to the
manifold, so a matrix of K of them has as many large singular values as there are normal
directions, and LID is D minus their number, read off at the largest gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel, expand
from mmh_core.dimension.probes import Randomness, check_count, gaussian
from mmh_core.dimension.scaled_points import ScaledPoints, check_exact, scaled_points
from mmh_core.records import LidEstimate

if TYPE_CHECKING:
    pass

_NUMBERS_PER_PASS = 2**17
_FEWEST_DRAWS = 64


@dataclass(frozen=True)
class NormalBundle:
    """The singular values (B, D), falling, of centered noise predictions around B points.

    They are scaled by `1 / sqrt(K - 1)`, so that a normal direction has one near 1 and a tangent
    one near `delta^2 / (l + delta^2)`. `lid` (B,) is that at the largest gap, and `gap` (B,) is
    its size: near 1 is a clear answer, below about .3 a guess.
    """

    singular_values: Tensor
    lid: Tensor
    gap: Tensor
    nfe: float


def normal_bundle_at(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    draws: int | None = None,
    generator: Randomness,
) -> NormalBundle:
    """Compute the singular values around each point of `x` (B, *shape), and their largest gap.

    `draws` is K, by default 4 D and at least 64; it must exceed D. The scores are centered:
    otherwise a constant bias of the score becomes the largest singular value and the answer D - 1.
    The list of values is closed by 1 above and 0 below, so that D and 0 can be answers as well.
    For D up to 4096; raises ValueError beyond.
    """
    check_exact(model, "normal_bundle", "soft_spectral_count")
    points = scaled_points(model, x, log_delta, cond)
    dim = model.ambient_dim
    count = max(4 * dim, _FEWEST_DRAWS) if draws is None else draws
    check_count("draws", count, dim + 1)
    values = []
    size = max(1, _NUMBERS_PER_PASS // (count * dim))
    for number, part in enumerate(points.split(size)):
        own = generator
        if not isinstance(own, torch.Generator):
            own = own[number * size : (number + 1) * size]
        scores = _noise_predictions(model, part, count, own)
        centered = scores - scores.mean(1, keepdim=True)
        values.append(torch.linalg.svdvals(centered) / (count - 1) ** 0.5)
    singular = torch.cat(values)
    lid, gap = _largest_gap(singular)
    return NormalBundle(singular, lid, gap, float(count))


def normal_bundle(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    draws: int | None = None,
    generator: Randomness,
) -> LidEstimate:
    """Estimate LID by the normal bundle; see `normal_bundle_at` for options and limits.

    The standard error is NaN: one set of draws gives one whole number.
    """
    bundle = normal_bundle_at(model, x, log_delta, cond=cond, draws=draws, generator=generator)
    return LidEstimate(bundle.lid, torch.full_like(bundle.lid, torch.nan), bundle.nfe)


def _noise_predictions(
    model: ScoreModel, points: ScaledPoints, count: int, generator: Randomness
) -> Tensor:
    """Return `eps_hat` (B, K, D) at K points noised from each point: its scores times -sigma."""
    noise = gaussian(points.x0, count, generator).flatten(0, 1)
    owner = torch.arange(len(points.x0), device=noise.device).repeat_interleave(count)
    size = max(1, _NUMBERS_PER_PASS // model.ambient_dim)
    predictions = []
    with torch.no_grad():
        for rows in torch.split(torch.arange(len(noise)), size):
            at = owner[rows]
            x, cond = points.x0[at], None if points.cond is None else points.cond[at]
            noised = expand(points.alpha[at], x) * x + expand(points.sigma[at], x) * noise[rows]
            predictions.append(model.eps(noised, points.t[at], cond).flatten(1))
    return torch.cat(predictions).reshape(len(points.x0), count, -1)


def _largest_gap(singular: Tensor) -> tuple[Tensor, Tensor]:
    """Return D minus the rank above the largest gap, and the gap, for falling values (B, D)."""
    top = singular[:, :1].clamp(min=1)
    closed = torch.cat([top, singular, torch.zeros_like(top)], dim=1)
    gap, rank = (-closed.diff(dim=1)).max(dim=1)
    return (singular.shape[1] - rank).to(singular.dtype), gap
