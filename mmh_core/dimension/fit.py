"""The gate of fit: the noise scales at which a model denoises well enough for its LID to count.

A model's denoising error on its training points is compared with two baselines without a network:
the best affine denoiser, and the kernel denoiser of the other training points (the empirical
posterior mean that leaves the point itself out). A model that does not reach the better of the two
at a scale has learned no manifold there. Below the distances between the points, and with few
points everywhere, the baselines are no better than shrinking towards the mean, and neither is an
untrained model: a model passes only where it is better than that. Training points are used because
a model that has overfitted fits them well and must be judged, not excused; its error on held-out
points stands beside, and the gap between both is the overfitting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel

#: A model may exceed the better baseline by this factor: sampling noise of the medians.
TOLERANCE = 1.15
#: Errors below this, in dimensions, are as good as none: copies leave the baseline without any.
NEGLIGIBLE = 0.1
#: A model has learned something where its error is at most this share of that of shrinking.
LEARNED = 0.9
#: Scales at which it must have, in a trusted band.
_FEWEST_LEARNED = 2
_POINTS, _DRAWS, _OTHERS = 256, 4, 2_000


@dataclass(frozen=True)
class FitCurve:
    """Median denoising errors over the noise scales `log_delta` (K,), in units of delta^2.

    In these units the error of a perfect model is about its LID. `trained` and `held_out` are the
    model's on training and held-out points, `baseline` the better of the two baselines.
    `shrinking` is the error of shrinking towards the mean, given the data's mean and
    variance per coordinate, s^2: `mean + s^2 / (s^2 + delta^2) (noisy - mean)`.
    """

    log_delta: Tensor
    trained: Tensor
    held_out: Tensor
    baseline: Tensor
    shrinking: Tensor

    @property
    def ratio(self) -> Tensor:
        """Return trained / baseline (K,): below 1 the model is better than the baselines."""
        return self.trained / self.baseline.clamp(min=NEGLIGIBLE)

    def band(self, fewest: int = 3) -> tuple[float, float] | None:
        """Return the longest run of scales at which the model fits, None for a poor fit.

        A run counts from `fewest` scales, at two of which the model is better than shrinking by a
        tenth; of equally long ones the larger scales win. Caveat: data that are an isotropic
        Gaussian in all D dimensions allow no better, so a model of them never passes.
        """
        good = (self.ratio <= TOLERANCE).tolist()
        learned = (self.trained <= LEARNED * self.shrinking).tolist()
        best, start = (0, 0), 0
        for i, ok in enumerate([*good, False]):
            if not ok:
                if sum(learned[start:i]) >= _FEWEST_LEARNED:
                    best = max(best, (i - start, start))
                start = i + 1
        length, first = best
        if length < fewest:
            return None
        return float(self.log_delta[first]), float(self.log_delta[first + length - 1])


def fit_curve(
    model: ScoreModel,
    train: Tensor,
    held_out: Tensor,
    log_delta: Tensor,
    *,
    generator: torch.Generator,
) -> FitCurve:
    """Measure the fit at each scale on up to 256 points of each set, 4 noises a point.

    `train` (N, *shape), `held_out` (M, *shape), `log_delta` (K,). Medians over points, so that a
    few isolated ones do not decide for all.
    """
    order = torch.randperm(len(train), generator=generator)
    measured, others = order[:_POINTS], order[:_OTHERS]
    most = max(len(measured), min(len(held_out), _POINTS))
    noise = torch.randn(_DRAWS, most, *model.shape, generator=generator)
    # The rows of a sample may come in order of its parts.
    chosen = torch.randperm(len(held_out), generator=generator)[:_POINTS]
    x, unseen = train[measured], held_out[chosen]
    kernel = _LeaveOneOut(train[others].flatten(1), len(measured))
    # Beyond some thousand dimensions the whole set would take minutes.
    affine = _Affine(train[others].flatten(1) if model.ambient_dim > _OTHERS else train.flatten(1))
    rows = []
    for scale in log_delta.tolist():
        delta = math.exp(scale)
        noisy = [x + delta * eps[: len(x)] for eps in noise]
        noisy_unseen = [unseen + delta * eps[: len(unseen)] for eps in noise]
        simple = [
            _median_error([guess(n.flatten(1), delta) for n in noisy], x)
            for guess in (kernel, affine, affine.shrunk)
        ]
        own = _median_error(_denoised(model, noisy, scale), x)
        other = _median_error(_denoised(model, noisy_unseen, scale), unseen)
        rows.append([value / delta**2 for value in (own, other, min(simple[:2]), simple[2])])
    return FitCurve(log_delta, *torch.tensor(rows).T)


def _median_error(guesses: Sequence[Tensor], truth: Tensor) -> float:
    """Return the median over points of the squared error averaged over draws."""
    errors = [(guess.flatten(1) - truth.flatten(1)).square().sum(1) for guess in guesses]
    return float(torch.stack(errors).mean(0).median())


def _denoised(model: ScoreModel, draws: Sequence[Tensor], log_delta: float) -> tuple[Tensor, ...]:
    """Denoise all draws (n, *shape) in one pass; a small network waits more than it computes."""
    noisy = torch.cat(list(draws))
    t = model.schedule.time_at(torch.full((len(noisy),), log_delta))
    alpha = model.schedule.alpha(t).reshape(-1, *[1] * len(model.shape))
    with torch.no_grad():
        return torch.split(model.x0(alpha * noisy, t), len(draws[0]))


class _LeaveOneOut:
    """The denoiser of the first `seen` points by all others: the empirical posterior mean."""

    def __init__(self, points: Tensor, seen: int) -> None:
        self.points = points
        self.itself = torch.arange(seen)

    def __call__(self, noisy: Tensor, delta: float) -> Tensor:
        logits = -torch.cdist(noisy, self.points).square() / (2 * delta**2)
        logits[self.itself, self.itself] = -torch.inf
        return logits.softmax(1) @ self.points


class _Affine:
    """The Wiener filter of the training points' covariance, as a denoiser."""

    def __init__(self, points: Tensor) -> None:
        self.mean = points.mean(0)
        centered = points - self.mean
        if len(points) > points.shape[1]:
            # The small side: several times faster than the singular values of many points.
            variances, frame = torch.linalg.eigh((centered.T @ centered / len(points)).double())
            self.variances, self.frame = variances.clamp(min=0).to(points), frame.to(points)
        else:
            _, values, rows = torch.linalg.svd(centered, full_matrices=False)
            self.variances, self.frame = values.square() / len(points), rows.T

    def __call__(self, noisy: Tensor, delta: float) -> Tensor:
        gain = self.variances / (self.variances + delta**2)
        shrunk: Tensor = ((noisy - self.mean) @ self.frame * gain) @ self.frame.T
        return self.mean + shrunk

    def shrunk(self, noisy: Tensor, delta: float) -> Tensor:
        """Denoise alike in all directions, by the mean variance per coordinate."""
        variance = self.variances.sum() / len(self.mean)
        shrunk: Tensor = self.mean + variance / (variance + delta**2) * (noisy - self.mean)
        return shrunk
