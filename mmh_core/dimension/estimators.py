"""The estimators of model LID, in one table for menus, studies and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.curve import Estimator
from mmh_core.dimension.dsm import dsm_lid
from mmh_core.dimension.flipd import flipd, flipd_exact, window_flipd
from mmh_core.dimension.normal_bundle import normal_bundle
from mmh_core.dimension.probes import Randomness
from mmh_core.dimension.scaled_points import EXACT_LIMIT
from mmh_core.dimension.spectral import (
    lhsd,
    soft_spectral_count,
    soft_spectral_count_exact,
    spectral_count,
)
from mmh_core.records import LidEstimate

#: The estimator of images that is always run; others come on request.
DEFAULT_ESTIMATOR = "soft_spectral_count"
_WINDOW = (-0.5, -0.25, 0.0, 0.25, 0.5)


@dataclass(frozen=True)
class EstimatorSpec:
    """One estimator: its label, its function, its cost and its limit.

    `cost` is in NFE per point at the default options, a backward pass counting as one;
    `max_dim` is the largest ambient dimension D, None for any.
    """

    label: str
    run: Estimator
    cost: str
    max_dim: int | None
    citation: str


def window_around(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    generator: Randomness,
) -> LidEstimate:
    """Run window FLIPD over five scales from log delta - .5 to log delta + .5."""
    center = torch.as_tensor(log_delta, dtype=torch.float32, device=x.device).reshape(1, -1)
    nodes = center + torch.tensor(_WINDOW, device=x.device)[:, None]
    return window_flipd(model, x, nodes, cond=cond, generator=generator)


ESTIMATORS: dict[str, EstimatorSpec] = {
    "spectral_count": EstimatorSpec(
        "Spectral count", spectral_count, "D + 1 to 2 D", EXACT_LIMIT, "this project"
    ),
    "soft_spectral_count": EstimatorSpec(
        "Soft spectral count", soft_spectral_count, "41 to 48", None, "this project"
    ),
    "soft_spectral_count_exact": EstimatorSpec(
        "Soft spectral count, whole spectrum",
        soft_spectral_count_exact,
        "D + 1 to 2 D",
        EXACT_LIMIT,
        "this project",
    ),
    "flipd": EstimatorSpec("FLIPD", flipd, "9", None, "Kamkari et al. 2024"),
    "flipd_exact": EstimatorSpec(
        "FLIPD, exact trace",
        flipd_exact,
        "D + 1 to 2 D",
        EXACT_LIMIT,
        "Kamkari et al. 2024",
    ),
    "window_flipd": EstimatorSpec(
        "Window FLIPD", window_around, "45", None, "Tempczyk et al. 2022; Kamkari et al. 2024"
    ),
    "lhsd": EstimatorSpec("LHSD", lhsd, "81 to 93", None, "Osada 2026"),
    "dsm": EstimatorSpec("Denoising-loss LID", dsm_lid, "8", None, "Yeats et al. 2025"),
    "normal_bundle": EstimatorSpec(
        "Normal bundle", normal_bundle, "4 D, at least 64", EXACT_LIMIT, "Stanczuk et al. 2022"
    ),
}
