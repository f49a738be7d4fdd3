"""Score models: the one home of the parameterisation and of guidance.

A network predicts `y = p x0 + q eps` from `x_t = alpha x0 + sigma eps`; the pair (p, q) is what
distinguishes an eps-, x0-, v-, flow- or EDM-network. One solve gives everything else:

    d = alpha q - sigma p,   x0 = (q x_t - sigma y) / d,   eps = (alpha y - p x_t) / d,
    score = -eps / sigma.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from mmh_core.diffusion.schedule import Schedule

Target = Literal["eps", "x0", "v", "flow", "edm"]
Net = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def expand(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (B,) to (B, 1, ..., 1), so that it multiplies a batch of shape (B, *shape)."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


@dataclass(frozen=True)
class ScoreModel:
    """A trained network with its predictions in three forms: `eps`, `x0` and `score`.

    `net(x_t, t, cond)` takes (B, *shape), (B,) and a conditioning tensor or None (unconditional),
    and returns (B, *shape). `target` says what it predicts; (p, q) are eps (0, 1), x0 (1, 0),
    v (-sigma, alpha) (Salimans & Ho 2022), flow (-1, 1) (Liu et al. 2023) and those of
    `edm_mixture`, for which `data_scale` is sigma_data. `name` is for messages.

    `t` is a number or (B,). Times and the kernel are float32 at least, since half precision tells
    no two of the last thousand steps apart; results have the type of `x_t`. At the very ends the
    solve divides 0 by 0: x0 of an x0-network at sigma = 0, eps of an eps-network at alpha = 0.
    """

    net: Net
    schedule: Schedule
    target: Target
    shape: tuple[int, ...]
    data_scale: float = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse an unknown target, an empty shape and a data scale that is not positive."""
        if self.target not in get_args(Target):
            raise ValueError(f"Unknown target {self.target!r}; choose from {get_args(Target)}.")
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape must hold positive sizes, got {self.shape!r}.")
        if not (math.isfinite(self.data_scale) and self.data_scale > 0):
            raise ValueError(f"data_scale must be finite and above 0, got {self.data_scale!r}.")

    @property
    def ambient_dim(self) -> int:
        """Return D, the number of coordinates of one sample."""
        return math.prod(self.shape)

    def times(self, t: Tensor | float, x_t: Tensor) -> Tensor:
        """Return t as (B,) on the device of `x_t`, float32 or finer, checked against [0, 1]."""
        dtype = torch.promote_types(x_t.dtype, torch.float32)
        times = torch.as_tensor(t, dtype=dtype, device=x_t.device)
        if times.dim() > 1 or times.numel() not in (1, len(x_t)):
            raise ValueError(
                f"t must be one number or one per sample ({len(x_t)}), "
                f"got shape {tuple(times.shape)}."
            )
        if not bool(((times >= 0) & (times <= 1)).all()):
            raise ValueError(f"t must lie in [0, 1], got {t!r}.")
        return times.expand(len(x_t))

    def _kernel(self, t: Tensor | float, x_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        times = self.times(t, x_t)
        return (
            times,
            expand(self.schedule.alpha(times), x_t),
            expand(self.schedule.sigma(times), x_t),
        )

    def mixture(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return (p, q) of this model's target at the given kernel."""
        zero, unit = torch.zeros_like(alpha), torch.ones_like(alpha)
        if self.target == "eps":
            return zero, unit
        if self.target == "x0":
            return unit, zero
        if self.target == "v":
            return -sigma, alpha
        if self.target == "flow":
            return -unit, unit
        return edm_mixture(alpha, sigma, self.data_scale)

    def eps(self, x_t: Tensor, t: Tensor | float, cond: Tensor | None = None) -> Tensor:
        """Return the predicted noise, (B, *shape)."""
        times, alpha, sigma = self._kernel(t, x_t)
        p, q = self.mixture(alpha, sigma)
        y = self.net(x_t, times, cond)
        return ((alpha * y - p * x_t) / (alpha * q - sigma * p)).to(x_t.dtype)

    def x0(self, x_t: Tensor, t: Tensor | float, cond: Tensor | None = None) -> Tensor:
        """Return the predicted data, (B, *shape): the posterior mean for a perfect network."""
        times, alpha, sigma = self._kernel(t, x_t)
        p, q = self.mixture(alpha, sigma)
        y = self.net(x_t, times, cond)
        return ((q * x_t - sigma * y) / (alpha * q - sigma * p)).to(x_t.dtype)

    def score(self, x_t: Tensor, t: Tensor | float, cond: Tensor | None = None) -> Tensor:
        """Return `-eps / sigma`, the gradient of the log density of x_t.

        Raises ValueError where sigma is 0: data without noise have no density.
        """
        times, _, sigma = self._kernel(t, x_t)
        if not bool((sigma > 0).all()):
            raise ValueError(f"The score needs noise: t must be above 0, got {t!r}.")
        return (-self.eps(x_t, times, cond) / sigma).to(x_t.dtype)

    def target_of(self, x0: Tensor, eps: Tensor, t: Tensor | float) -> Tensor:
        """Return the network's training target: `p x0 + q eps`."""
        _, alpha, sigma = self._kernel(t, x0)
        p, q = self.mixture(alpha, sigma)
        return (p * x0 + q * eps).to(x0.dtype)

    def noised(self, x0: Tensor, eps: Tensor, t: Tensor | float) -> Tensor:
        """Return `x_t = alpha x0 + sigma eps`."""
        _, alpha, sigma = self._kernel(t, x0)
        return (alpha * x0 + sigma * eps).to(x0.dtype)


def guided(model: ScoreModel, scale: float) -> ScoreModel:
    """Return the classifier-free guided model: `eps_u + scale (eps_c - eps_u)`.

    Ho & Salimans 2022 in diffusers' convention: scale 1 is no guidance. All targets are affine in
    the network's output with the same coefficients, so mixing outputs mixes eps exactly. Both
    branches are differentiated. For scale other than 1 the result is the score of no density.
    """
    if not math.isfinite(scale):
        raise ValueError(f"The guidance scale must be a finite number, got {scale!r}.")

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        if cond is None:
            raise ValueError("A guided model needs a condition; use the model itself without one.")
        without = model.net(x_t, t, None)
        return without + scale * (model.net(x_t, t, cond) - without)

    return replace(model, net=net)


def _edm_root(alpha: Tensor, sigma: Tensor, data_scale: float) -> Tensor:
    return torch.sqrt(sigma.square() + (data_scale * alpha).square())


def edm_mixture(alpha: Tensor, sigma: Tensor, data_scale: float) -> tuple[Tensor, Tensor]:
    """Return (p, q) of EDM's `F = (x0 - c_skip x_t / alpha) / c_out`, at the given kernel.

    Karras et al. 2022, Table 1, give `c_skip` and `c_out`; inserting `x_t = alpha x0 + sigma eps`
    leaves `p = sigma / (data_scale r)` and `q = -data_scale alpha / r` with
    `r^2 = sigma^2 + (data_scale alpha)^2`.
    """
    root = _edm_root(alpha, sigma, data_scale)
    return sigma / (data_scale * root), -data_scale * alpha / root


def edm_input(network: Net, schedule: Schedule, data_scale: float) -> Net:
    """Wrap a raw EDM network F, which is fed `c_in x` and `c_noise`, as a `net(x_t, t, cond)`.

    Karras et al. 2022, Table 1: `c_in = 1 / sqrt(delta^2 + data_scale^2)` on `x_t / alpha`, and
    `c_noise = log(delta) / 4`.
    """

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        root = expand(_edm_root(schedule.alpha(t), schedule.sigma(t), data_scale), x_t)
        return network(x_t / root, schedule.log_delta(t) / 4, cond)

    return net
