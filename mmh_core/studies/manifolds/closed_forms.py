"""Every estimator on models whose answer is a formula: any difference is the estimator's own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.diffusion.analytic import as_target, gaussian_flipd, gaussian_on_subspace
from mmh_core.diffusion.schedule import VariancePreserving
from mmh_core.diffusion.score_model import ScoreModel, Target
from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.dimension.spectral import lhsd_step, soft_step

TARGETS: tuple[Target, ...] = ("eps", "x0", "v", "flow", "edm")


@dataclass(frozen=True)
class AnalyticRow:
    """One estimator on one model with a known answer.

    `expected` is the closed form of what the estimator estimates (its bias included), `true_lid`
    the dimension, `measured` the mean over 400 points with its standard error over them,
    `deviation` the difference from `expected` in units of that error (of 1e-3 for a deterministic
    estimator), `across_targets` the largest difference between the five parameterisations.
    """

    model: str
    estimator: str
    true_lid: float
    expected: float
    measured: float
    standard_error: float
    deviation: float
    across_targets: float


def analytic_rows() -> Iterator[AnalyticRow]:
    """Yield every estimator on three Gaussians, each in five parameterisations.

    A narrow and a wide subspace Gaussian in R^10 and a two-scale one, at the mean and with delta
    between the scales where there are two.
    """
    frame, _ = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(1)))
    cases = {
        "Gaussian, d = 3 in R^10": torch.ones(3),
        "Gaussian, d = 7 in R^10": torch.linspace(0.5, 2.0, 7),
        "Two scales, 4 wide and 3 narrow": torch.tensor([1.0] * 4 + [1e-6] * 3),
    }
    for seed, (label, variances) in enumerate(cases.items()):
        base = gaussian_on_subspace(
            torch.zeros(10), frame[:, : len(variances)], variances, VariancePreserving()
        )
        yield from _analytic(label, base, variances, seed)


def _analytic(label: str, base: ScoreModel, variances: Tensor, seed: int) -> Iterator[AnalyticRow]:
    log_delta, points = math.log(0.05), torch.zeros(400, base.ambient_dim)
    for name, spec in ESTIMATORS.items():
        means, expected = [], expected_lid(name, variances, log_delta)
        for target in TARGETS:
            estimate = spec.run(
                as_target(base, target),
                points,
                log_delta,
                generator=torch.Generator().manual_seed(seed),
            )
            means.append(estimate.lid)
        first = means[TARGETS.index("x0")]
        # The standard error of the mean over independent points, from the points themselves.
        error = float(first.std()) / math.sqrt(len(first))
        yield AnalyticRow(
            model=label,
            estimator=spec.label,
            true_lid=float((variances > math.exp(2 * log_delta)).sum()),
            expected=expected,
            measured=float(first.mean()),
            standard_error=error,
            deviation=abs(float(first.mean()) - expected) / max(error, 1e-3),
            across_targets=max(float((m - first).abs().max()) for m in means),
        )


def expected_lid(name: str, variances: Tensor, log_delta: float) -> float:
    """Return what an estimator tends to at the mean of a Gaussian: its bias is in the formula.

    With `p_i = l_i / (l_i + delta^2)` the eigenvalues of the projector: FLIPD sums p, the soft
    count a step of p, the count those above 1/2, LHSD its filter of p, the denoising loss p^2.
    """
    shares = variances / (variances + math.exp(2 * log_delta))
    formulas = {
        "spectral_count": (shares > 0.5).float().sum(),
        "normal_bundle": (shares > 0.5).float().sum(),
        "soft_spectral_count": soft_step(shares).sum(),
        "soft_spectral_count_exact": soft_step(shares).sum(),
        "lhsd": lhsd_step(shares).sum(),
        "dsm": shares.square().sum(),
        "window_flipd": _window_flipd(variances, log_delta),
    }
    flipd = gaussian_flipd(variances, torch.zeros(1, len(variances)), math.exp(log_delta))[0]
    return float(formulas.get(name, flipd))


def _window_flipd(variances: Tensor, log_delta: float) -> Tensor:
    """Return the trapezoid of FLIPD over log delta +- .5, five nodes."""
    nodes = torch.linspace(log_delta - 0.5, log_delta + 0.5, 5)
    values = (variances / (variances + torch.exp(2 * nodes)[:, None])).sum(1)
    return torch.trapezoid(values, nodes)
