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


def check_gaussian(frame: Tensor, variances: Tensor) -> None:
    """Raise ValueError for a frame that is not orthonormal, or a negative variance."""
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
    check_gaussian(frame, variances)

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        alpha, sigma = (expand(f(t), x_t) for f in (schedule.alpha, schedule.sigma))
        gain = alpha * variances / (alpha.square() * variances + sigma.square())
        return mean + ((x_t - alpha * mean) @ frame * gain) @ frame.T

    return ScoreModel(net, schedule, "x0", tuple(mean.shape))


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
