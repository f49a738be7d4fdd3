"""The Bayes-optimal (MMSE) denoiser of a family of images, by importance sampling.

The noisy observation is `z = f(theta) + delta eps` with the parameters theta uniform in
[0, 1]^P. The Bayes-optimal denoiser is `D(z) = E[f(theta) | z]`, and the trace of its Jacobian is
`tr Cov[f(theta) | z] / delta^2`, by Tweedie's formula: the number of directions that it keeps,
each as far as it is wider than the noise. Its mean over z is the Bayes denoising error in units
of `delta^2`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Maps parameters (N, P) in [0, 1] to images or latents (N, D).
Renderer = Callable[[Array], Array]

#: Steps towards the mode, rounds in which the proposal is adapted, and draws of each.
MODE_STEPS, ROUNDS, ROUND_DRAWS = 8, 12, 400
#: Effective draws from which an estimate is taken for one.
ENOUGH = 50.0
#: Parameters stay this far from the ends of their range where a probit is taken.
_MARGIN = 1e-3
_STEP = 1e-3
#: How much wider than the fitted normal the proposal is, and the share of effective draws that a
#: round of adaptation keeps by tempering its weights.
_WIDER, _KEPT = 1.15, 0.25
#: How much wider than the fitted normal the tails of the proposal are, and the shares of draws of
#: the fitted normal, the wide one and the prior.
_TAILS, _SHARES = 2.5, (0.7, 0.15, 0.15)
#: Share of the way that a round moves the proposal.
_MOVE = 0.4


@dataclass(frozen=True)
class Posterior:
    """What is known of an image under noise.

    `denoised` (D,) is the posterior mean, `trace` the trace of the Jacobian of the
    Bayes-optimal denoiser, `effective` the effective sample size of the last round, of `draws`.
    """

    denoised: Array
    trace: float
    effective: float
    draws: int

    @property
    def enough(self) -> bool:
        """Return whether the effective sample is large enough to believe the figures."""
        return self.effective >= ENOUGH


def posterior(
    renderer: Renderer,
    observed: Array,
    delta: float,
    start: Array,
    rng: np.random.Generator,
    *,
    draws: int = 1_200,
) -> Posterior:
    """Return the posterior of one observation (D,), by self-normalized importance sampling.

    In coordinates u with theta = Phi(u) the prior is standard normal. The proposal begins as the
    normal approximation at the mode found from `start` (P,), best the true parameters, and is
    adapted in a few rounds (adaptive importance sampling: Cappe et al. 2004). Only the last round
    counts, so the estimate is consistent. `trace` is biased by about its value over `effective`.
    Caveat: a mode far from `start` that no draw reaches is missed.
    """
    if delta <= 0:
        raise ValueError(f"delta must be above 0, got {delta!r}.")
    if not len(start):
        only = renderer(np.zeros((1, 0)))[0]
        return Posterior(only, 0.0, float(draws), draws)
    problem = _Problem(renderer, observed, delta)
    mean, covariance = problem.approximation(_probit(start))
    for _ in range(ROUNDS):
        points, weights, _ = problem.weighed(mean, covariance, ROUND_DRAWS, rng)
        if weights.sum() ** 2 / (weights**2).sum() > _KEPT * ROUND_DRAWS:
            break
        mean, covariance = _adapted(points, weights, mean, covariance)
    _, weights, images = problem.weighed(mean, covariance, draws, rng)
    weights = weights / weights.sum()
    denoised = weights @ images
    spread = float(weights @ ((images - denoised) ** 2).sum(1))
    return Posterior(denoised, spread / delta**2, float(1 / (weights**2).sum()), draws)


def slopes_of(renderer: Renderer, theta: Array) -> Array:
    """Return d f / d theta (P, D) by differences that stay within the range."""
    steps = np.where(theta + _STEP <= 1, _STEP, -_STEP)
    images = renderer(np.concatenate([theta[None], theta + np.diag(steps)]))
    slopes: Array = (images[1:] - images[0]) / steps[:, None]
    return slopes


def wider_than(slopes: Array, delta: float) -> int:
    """Return in how many directions a family is wider than the noise.

    The width of a direction is the standard deviation of the image along it, over parameters
    uniform in their range: a singular value of the slopes (P, D) times 1 / sqrt(12).
    """
    if not slopes.size:
        return 0
    return int((np.linalg.svd(slopes, compute_uv=False) / np.sqrt(12) > delta).sum())


class _Problem:
    """One observation with its noise scale."""

    def __init__(self, renderer: Renderer, observed: Array, delta: float) -> None:
        self.renderer, self.observed, self.delta = renderer, observed, delta

    def log_target(self, points: Array, images: Array) -> Array:
        """Return the logarithm of prior times likelihood, but for a constant."""
        misfit = ((images - self.observed) ** 2).sum(1)
        density: Array = -misfit / (2 * self.delta**2) - (points**2).sum(1) / 2
        return density

    def approximation(self, point: Array) -> tuple[Array, Array]:
        """Return mean and covariance of the normal approximation at the mode.

        Damped Gauss-Newton steps; a step that makes things worse is made shorter.
        """
        damping = 1.0
        image = self.renderer(_uniform(point)[None])
        value = self.log_target(point[None], image)[0]
        precision, gradient = self._expansion(point, image[0])
        for _ in range(MODE_STEPS):
            damped = precision + (damping - 1) * np.diag(np.diag(precision))
            trial = point + np.linalg.solve(damped, gradient)
            rendered = self.renderer(_uniform(trial)[None])
            better = self.log_target(trial[None], rendered)[0]
            if better > value:
                moved = better - value
                point, value, damping = trial, better, max(1.0, damping / 4)
                precision, gradient = self._expansion(point, rendered[0])
                if moved < 1e-3:
                    break
            else:
                damping *= 4
        return point, np.asarray(np.linalg.inv(precision), np.float64)

    def _expansion(self, point: Array, image: Array) -> tuple[Array, Array]:
        """Return the Gauss-Newton precision and the gradient of the log target at a point."""
        # d theta / d u is the standard normal density.
        density = np.exp(-(point**2) / 2) / np.sqrt(2 * np.pi)
        slopes = slopes_of(self.renderer, _uniform(point)) * density[:, None]
        precision = slopes @ slopes.T / self.delta**2 + np.eye(len(point))
        gradient = slopes @ (self.observed - image) / self.delta**2 - point
        return precision, gradient

    def weighed(
        self, mean: Array, covariance: Array, draws: int, rng: np.random.Generator
    ) -> tuple[Array, Array, Array]:
        """Return draws (N, P) from the proposal with weights (N,) and images (N, D).

        A mixture: the fitted normal, the same much wider, and the prior, so that no part of the
        target has tails that the proposal lacks (defensive mixture: Hesterberg 1995).
        """
        size = len(mean)
        root = np.asarray(np.linalg.cholesky(covariance), np.float64)
        parts = ((mean, root * _WIDER), (mean, root * _TAILS), (np.zeros(size), np.eye(size)))
        counts = [round(share * draws) for share in _SHARES]
        points = np.concatenate(
            [
                center + rng.standard_normal((count, size)) @ root.T
                for (center, root), count in zip(parts, counts, strict=True)
            ]
        )
        densities = [
            math.log(count) + _log_normal(points, center, root)
            for (center, root), count in zip(parts, counts, strict=True)
        ]
        images = self.renderer(_uniform(points))
        log = self.log_target(points, images) - np.logaddexp.reduce(densities, axis=0)
        weights: Array = np.exp(log - log.max())
        return points, weights, images


def _log_normal(points: Array, center: Array, root: Array) -> Array:
    """Return the log density of a normal distribution, but for the same constant for all."""
    standard = np.linalg.solve(root, (points - center).T)
    density: Array = -(standard**2).sum(0) / 2 - np.log(np.diag(root)).sum()
    return density


def _adapted(points: Array, weights: Array, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Return mean and covariance moved towards those of tempered weights."""
    power = 1.0
    tempered = weights / weights.sum()
    while 1 / (tempered**2).sum() < _KEPT * len(weights) and power > 0.02:
        power *= 0.8
        tempered = weights**power
        tempered = tempered / tempered.sum()
    center = tempered @ points
    away = points - center
    spread = (tempered[:, None] * away).T @ away
    # Weights tempered much say little of the target's shape: they move it less.
    mixed = covariance + _MOVE * power * (spread - covariance)
    return mean + _MOVE * (center - mean), mixed


def _probit(theta: Array) -> Array:
    from scipy.special import ndtri

    normal: Array = ndtri(theta.clip(_MARGIN, 1 - _MARGIN))
    return normal


def _uniform(points: Array) -> Array:
    from scipy.special import ndtr

    uniform: Array = ndtr(points).clip(1e-15, 1 - 1e-15)
    return uniform
