"""Heun's sampler and its grid of times.

It integrates the probability-flow equation in the coordinates `u = x_t / alpha` over
`delta = sigma / alpha`, where it reads `du / d delta = eps(u)` for every schedule (Karras et al.
2022, Eq. 1 and 4). The last step goes to delta = 0 and lands on the denoised sample.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from mmh_core.diffusion.schedule import Schedule
from mmh_core.diffusion.score_model import ScoreModel, expand

#: Where the times of a grid lie: the larger, the more of them at little noise.
_RHO = 7.0


def time_grid(
    schedule: Schedule,
    steps: int,
    *,
    lowest: float = 2e-3,
    highest: float = 80.0,
) -> Tensor:
    """Return `steps + 1` falling times: `steps` that are even in `delta^(1 / 7)`, then 0.

    Karras et al. 2022, Eq. 5. The first time has the noise scale `highest`, the last but one
    `lowest`, both in data units and clipped to what the schedule reaches. The defaults suit data
    of standard deviation near 1: scale them with the data. A network that was trained on integer
    steps is evaluated between them.
    """
    if steps < 2:
        raise ValueError(f"steps must be at least 2, got {steps!r}.")
    if not (0 < lowest < highest and math.isfinite(highest)):
        raise ValueError(f"lowest must be above 0 and below highest, got {lowest!r}, {highest!r}.")
    # Not from t = 0, which is the end of the grid: a schedule may still have noise there.
    ends = schedule.log_delta(torch.tensor([1e-6, 1.0], dtype=torch.float64)).exp().tolist()
    bottom, top = max(lowest, ends[0]) ** (1 / _RHO), min(highest, ends[1]) ** (1 / _RHO)
    roots = torch.linspace(top, bottom, steps, dtype=torch.float64)
    times = schedule.time_at(_RHO * roots.log())
    grid = torch.cat([times, torch.zeros(1, dtype=torch.float64)]).float()
    if not bool((grid.diff() < 0).all()):
        raise ValueError(
            f"{steps} steps do not fit between noise {lowest!r} and {highest!r} on a schedule "
            f"that runs from {ends[0]:.3g} to {ends[1]:.3g}."
        )
    return grid


def _kernel(model: ScoreModel, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha and delta at t; 1 and 0 at t = 0, whatever the schedule says of it."""
    if float(t) == 0.0:
        return like.new_ones(()), like.new_zeros(())
    times = model.times(t, like)[0]
    return model.schedule.alpha(times), model.schedule.log_delta(times).exp()


def initial(model: ScoreModel, noise: Tensor, grid: Tensor) -> Tensor:
    """Return the start `x_T = sigma(T) noise`, the data's own part being negligible there.

    Raises ValueError for a grid that does not fall, or that starts where alpha is 0: there
    `x_t / alpha` has no value.
    """
    if grid.dim() != 1 or len(grid) < 2 or not bool((grid.diff() < 0).all()):
        raise ValueError(f"The grid must hold at least two falling times, got {grid.tolist()!r}.")
    times = model.times(grid[0], noise)
    if not bool((model.schedule.alpha(times) > 0).all()):
        raise ValueError(
            f"The grid must start where alpha is above 0, got t = {float(grid[0])!r}."
        )
    return (expand(model.schedule.sigma(times), noise) * noise).to(noise.dtype)


@torch.no_grad()
def heun(model: ScoreModel, noise: Tensor, grid: Tensor) -> Tensor:
    """Return samples (B, *shape) by Heun's second-order steps from noise of that shape.

    Karras et al. 2022, Alg. 1; two NFE a step. The last step, to delta = 0, is an Euler step,
    since the slope has no value there.
    """
    x_t = initial(model, noise, grid)
    for t, s in pairwise(grid):
        (alpha_t, delta_t), (alpha_s, delta_s) = _kernel(model, t, x_t), _kernel(model, s, x_t)
        u, slope = x_t / alpha_t, model.eps(x_t, t)
        x_t = alpha_s * (u + (delta_s - delta_t) * slope)
        if float(s) > 0:
            slope = (slope + model.eps(x_t, s)) / 2
            x_t = alpha_s * (u + (delta_s - delta_t) * slope)
    return x_t
