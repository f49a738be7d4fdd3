"""Spectral counts: how many eigenvalues of the tangent projector are near 1.

P of `jacobian` has eigenvalues `l / (l + delta^2)` for an affine Gaussian: above 1/2 where the
learned manifold is wider than delta. A network's errors push eigenvalues outside [0, 1]; a
trace adds the excess up, a count does not see it. P is symmetrized: a true score has a
symmetric Jacobian, and what is left over, the asymmetry, measures the misfit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.jacobian import jacobian, linearize_for, matrices_at_once
from mmh_core.dimension.lanczos import Effort, spectral_measure
from mmh_core.dimension.probes import Randomness, rademacher
from mmh_core.dimension.scaled_points import ScaledPoints, check_exact, scaled_points
from mmh_core.records import LidEstimate

SOFT_EFFORT = Effort(probes=8, steps=5)
LHSD_EFFORT = Effort(probes=8, steps=10)


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues (B, D), ascending, of the symmetrized projector of B points.

    `asymmetry` (B,) is `|P - P'|_F / |P + P'|_F`, 0 for a true score; at a memorized point P is
    nearly 0, so there it weighs small errors heavily. `nfe` is the cost per point.
    """

    eigenvalues: Tensor
    asymmetry: Tensor
    nfe: float


def soft_step(eigenvalues: Tensor, width: float = 0.07) -> Tensor:
    """Return the logistic step at 1/2, rescaled to be exactly 0 at 0 and 1 at 1.

    Without the rescaling each of the D normal directions would add `sigmoid(-1 / (2 width))`, in
    all D / 1,260: 13 dimensions in the latent space of Stable Diffusion.
    """
    floor = torch.sigmoid(eigenvalues.new_tensor(-0.5 / width))
    return (torch.sigmoid((eigenvalues - 0.5) / width) - floor) / (1 - 2 * floor)


def lhsd_step(eigenvalues: Tensor, cutoff: float = 0.1) -> Tensor:
    """Return LHSD's filter, `1 / (1 + ((1 - p) / cutoff)^4)`.

    Osada 2026 (arXiv 2605.01221): `f(l) = 1 / (1 + (|l| / kappa)^4)` on the Hessian of the log
    density, `H = (P - I) / sigma^2`, with `kappa = cutoff / sigma^2`.
    """
    return 1 / (1 + ((1 - eigenvalues) / cutoff) ** 4)


def spectrum(
    model: ScoreModel, x: Tensor, log_delta: Tensor | float, *, cond: Tensor | None = None
) -> Spectrum:
    """Compute the whole spectrum by D reverse passes, for D up to 4096.

    Raises ValueError beyond. At most 256 MiB of matrices are held at a time.
    """
    check_exact(model, "spectrum", "soft_spectral_count")
    points = scaled_points(model, x, log_delta, cond)
    values, asymmetry, cost = [], [], 0.0
    for part in points.split(matrices_at_once(model.ambient_dim)):
        matrix, at = jacobian(model, part)
        odd = (matrix - matrix.mT).flatten(1).norm(dim=1)
        even = matrix + matrix.mT
        asymmetry.append(odd / even.flatten(1).norm(dim=1).clamp(min=1e-30))
        values.append(torch.linalg.eigvalsh(even / 2))
        cost += at.nfe(model.ambient_dim) * len(part.x0)
    return Spectrum(torch.cat(values), torch.cat(asymmetry), cost / len(points.x0))


def spectral_count(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    generator: Randomness | None = None,
) -> LidEstimate:
    """Count the eigenvalues of the projector above 1/2; the generator is not used.

    The reference estimator of this project. It moves in whole steps along the noise scale: a
    direction is counted exactly while its standard deviation exceeds delta. For D up to 4096.
    """
    full = spectrum(model, x, log_delta, cond=cond)
    return _exact(full, (full.eigenvalues > 0.5).to(full.eigenvalues.dtype))


def soft_spectral_count_exact(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    generator: Randomness | None = None,
) -> LidEstimate:
    """Sum `soft_step` over the whole spectrum: what `soft_spectral_count` tends to; D to 4096."""
    full = spectrum(model, x, log_delta, cond=cond)
    return _exact(full, soft_step(full.eigenvalues))


def soft_spectral_count(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    effort: Effort = SOFT_EFFORT,
    generator: Randomness,
) -> LidEstimate:
    """Estimate `tr f(P)` with f = `soft_step` by stochastic Lanczos quadrature, at any D.

    The standard error is that of the probes (an upper bound, see `ProbeValues`) and does not see
    the bias of few steps. Directions about as wide as delta count in part, so along the noise
    scale it moves smoothly.
    """
    points = scaled_points(model, x, log_delta, cond)
    return _quadrature(model, points, soft_step, effort, generator)


def lhsd(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    effort: Effort = LHSD_EFFORT,
    generator: Randomness,
) -> LidEstimate:
    """Estimate LHSD, `tr f(P)` with f = `lhsd_step`, by stochastic Lanczos quadrature.

    Osada 2026 (arXiv 2605.01221). It counts only directions at least 3 times wider than
    delta, and eigenvalues that errors push above 1.1 are lost to it. Few steps blur it:
    the filter is narrow.
    """
    points = scaled_points(model, x, log_delta, cond)
    return _quadrature(model, points, lhsd_step, effort, generator)


@dataclass(frozen=True, eq=False)
class ProbeValues:
    """The quadratic forms of K probes v at B points: `v' f(P) v` and `v' f(P)^2 v`, both (B, K).

    `products` (B, K, D) are `f(P) v`; `nfe` is the cost per point.
    """

    counts: Tensor
    squares: Tensor
    products: Tensor
    nfe: float

    def point(self, index: int) -> ProbeValues:
        """Return those at one of the points."""
        at = slice(index, index + 1)
        return ProbeValues(self.counts[at], self.squares[at], self.products[at], self.nfe)

    def estimate(self, dim: int) -> LidEstimate:
        """Return the trace of f(P) for P of `dim` rows, with the standard error of its mean.

        Rademacher probes have the variance `2 (tr F^2 - sum_i F_ii^2)` for F = f(P), of which
        `tr F^2` is estimated by the same probes and the sum is at least `(tr F)^2 / D`. That is an
        upper bound, and far steadier than the scatter of a few values, which are skewed.
        """
        lid, count = self.counts.mean(1), self.counts.shape[1]
        variance = 2 * (self.squares.mean(1) - lid.square() / dim).clamp(min=0)
        return LidEstimate(lid, (variance / count).sqrt(), self.nfe, probes=count)

    def estimate_beside(self, control: ProbeValues, dim: int) -> LidEstimate:
        """Estimate the trace from few probes by its difference to another one that has more.

        `control` holds `v' f(P) v` for another P at the same points, its first K probes being
        these ones. Control variates with the coefficient 1 (Hammersley and Handscomb 1964,
        "Monte Carlo Methods", 5.5): the mean of all N probes of `control` plus the mean
        difference over the K that both have, of the variance
        `V / N + V_difference (1 / K - 1 / N)`. `V`, for this trace, and that of the difference
        are the upper bounds of `estimate`. `draws` is K.
        """
        few, many = self.counts.shape[1], control.counts.shape[1]
        change = (self.counts - control.counts[:, :few]).mean(1)
        lid = control.counts.mean(1) + change
        apart = (self.products - control.products[:, :few]).square().sum(2).mean(1)
        variance = 2 * (self.squares.mean(1) - lid.square() / dim).clamp(min=0) / many
        # The square of a noisy difference is above its own by a K-th of this very variance.
        difference = (
            2 * (apart - change.square() / dim).clamp(min=0) / max(0.5, 1 - 2 / (few * dim))
        )
        variance += difference * (1 / few - 1 / many)
        return LidEstimate(lid, variance.sqrt(), self.nfe, probes=few)


def joined_probes(parts: Sequence[ProbeValues]) -> ProbeValues:
    """Put the probes of the same points together."""
    return ProbeValues(
        torch.cat([part.counts for part in parts], dim=1),
        torch.cat([part.squares for part in parts], dim=1),
        torch.cat([part.products for part in parts], dim=1),
        sum(part.nfe for part in parts),
    )


def soft_spectral_probes(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    effort: Effort = SOFT_EFFORT,
    generator: Randomness,
) -> Iterator[ProbeValues]:
    """Yield the values of `soft_spectral_count`'s probes, as many at a time as fit in one pass.

    All share one forward pass. Whoever stops listening spares the rest.
    """
    points = scaled_points(model, x, log_delta, cond)
    signs = rademacher(points.x0, effort.probes, generator)
    return _probes(model, points, soft_step, signs, effort.steps)


def soft_spectral_values(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    signs: Tensor,
    steps: int = SOFT_EFFORT.steps,
) -> Iterator[ProbeValues]:
    """Yield the values of these probes, `signs` (B, K, *shape), as `soft_spectral_probes` does."""
    return _probes(model, scaled_points(model, x, log_delta, cond), soft_step, signs, steps)


def _exact(full: Spectrum, counted: Tensor) -> LidEstimate:
    lid = counted.sum(1)
    return LidEstimate(lid, torch.zeros_like(lid), full.nfe, full.asymmetry)


def _quadrature(
    model: ScoreModel,
    points: ScaledPoints,
    f: Callable[[Tensor], Tensor],
    effort: Effort,
    generator: Randomness,
) -> LidEstimate:
    """Estimate `tr f(P)`: the mean of `v' f(P) v` over Rademacher probes."""
    signs = rademacher(points.x0, effort.probes, generator)
    parts = list(_probes(model, points, f, signs, effort.steps))
    return joined_probes(parts).estimate(model.ambient_dim)


def _probes(
    model: ScoreModel,
    points: ScaledPoints,
    f: Callable[[Tensor], Tensor],
    signs: Tensor,
    steps: int,
) -> Iterator[ProbeValues]:
    at = linearize_for(model, points, signs.shape[1])
    steps = min(steps, model.ambient_dim)

    def pullbacks(v: Tensor) -> Tensor:
        return at.pullbacks(v.reshape(*v.shape[:2], *model.shape)).flatten(2)

    # The forward pass is counted once, with the first probes.
    spent = 0.0
    for part in torch.split(signs.flatten(2), at.copies, dim=1):
        measure = spectral_measure(pullbacks, part, steps)
        cost = at.nfe(part.shape[1], steps) - spent
        spent = float(at.copies)
        yield ProbeValues(
            measure.integral(f).to(points.x0.dtype),
            measure.integral(lambda e: f(e).square()).to(points.x0.dtype),
            measure.applied(f).to(points.x0.dtype),
            cost,
        )
