"""Checked points and noise scales: what every estimator accepts.

The shared axis is `log delta` with `delta = sigma / alpha`, the noise scale in data units; a
schedule turns it into its own time. Estimators look at the scaled, noise-free point
`y = alpha(t) x`, or at noise drawn around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.records import MMHError

# Exact methods hold D x D matrices and differentiate D times: 64 MiB a matrix at this limit.
EXACT_LIMIT = 4096
_REACH = 1e-2


@dataclass(frozen=True, eq=False)
class ScaledPoints:
    """B noise-free points, each with the noise kernel at its noise scale.

    `x0` (B, *shape) in float32 or float64, not scaled by alpha yet; `t`, `alpha` and `sigma` (B,)
    in the same type; `cond` (B, ...) or None.
    """

    x0: Tensor
    t: Tensor
    alpha: Tensor
    sigma: Tensor
    cond: Tensor | None

    def split(self, size: int) -> Iterator[ScaledPoints]:
        """Yield the points in groups of at most `size`."""
        for start in range(0, len(self.x0), size):
            part = slice(start, start + size)
            cond = None if self.cond is None else self.cond[part]
            yield ScaledPoints(
                self.x0[part], self.t[part], self.alpha[part], self.sigma[part], cond
            )


def scaled_points(
    model: ScoreModel, x: Tensor, log_delta: Tensor | float, cond: Tensor | None = None
) -> ScaledPoints:
    """Check points (B, *shape) and noise scales, a number or (B,), and return them with times.

    Half precision is raised to float32: traces and norms need it, and a network in half precision
    casts its own input. Raises ValueError for non-finite input, a wrong shape, and a scale that
    the schedule cannot reach within .01 of log delta.
    """
    if x.shape[1:] != model.shape or not len(x):
        raise ValueError(
            f"x must be at least one point of shape {model.shape}, got {tuple(x.shape)}."
        )
    if not x.is_floating_point() or not bool(torch.isfinite(x).all()):
        raise ValueError(f"x must hold finite floating-point numbers, got dtype {x.dtype}.")
    if cond is not None and len(cond) != len(x):
        raise ValueError(f"cond must hold one condition per point, got {len(cond)} for {len(x)}.")
    x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    scales = torch.as_tensor(log_delta, dtype=x.dtype, device=x.device).detach()
    if scales.shape not in ((), (len(x),)) or not bool(torch.isfinite(scales).all()):
        raise ValueError(
            f"log_delta must be finite, a number or one per point ({len(x)}), got {log_delta!r}."
        )
    t = _time(model, scales.expand(len(x)))
    return ScaledPoints(x, t, model.schedule.alpha(t), model.schedule.sigma(t), cond)


def _time(model: ScoreModel, log_delta: Tensor) -> Tensor:
    """Return the time of each scale; refuse those at which the schedule has no time."""
    t = model.schedule.time_at(log_delta)
    reached = (model.schedule.log_delta(t) - log_delta).abs() <= _REACH
    if not bool(reached.all()):
        ends = model.schedule.log_delta(t.new_tensor([0.0, 1.0])).tolist()
        raise ValueError(
            f"log_delta must lie between {ends[0]:.4g} and {ends[1]:.4g}, the range of this "
            f"schedule, got {log_delta[~reached][0].item():.4g}."
        )
    return t


def check_network(numbers: Tensor, name: str = "") -> None:
    """Raise MMHError for a network's output that is not finite, which a count would hide.

    `name` is that of the model, where it is known.
    """
    if not bool(torch.isfinite(numbers).all()):
        of = f" of {name}" if name else ""
        raise MMHError(
            f"The network{of} returned numbers that are not finite at this noise scale: try "
            "float32 weights, or a larger scale."
        )


def check_exact(model: ScoreModel, name: str, instead: str) -> None:
    """Refuse a dimension for which D pullbacks and a D x D matrix are too much."""
    if model.ambient_dim > EXACT_LIMIT:
        raise ValueError(
            f"{name} needs D <= {EXACT_LIMIT} and this model has D = {model.ambient_dim}; "
            f"use {instead} instead."
        )
