"""Noise schedules: the one home of the noise kernel and of the direction of time.

Convention of the whole project: `t` runs from 0 (data) to 1 (noise) and
`x_t = alpha(t) x0 + sigma(t) eps`. The noise scale in data units is `delta = sigma / alpha`; every
estimator is a curve over `log delta`, so each schedule also gives `log_delta(t)` and its inverse
`time_at(log_delta)`. All formulas avoid the difference of two numbers close to one another:
`sigma = sqrt(1 - exp(-B))` written naively loses 9 % at t = 1e-6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor


class Schedule(Protocol):
    """A map from time in [0, 1] to the noise kernel; all functions act elementwise on a tensor."""

    def alpha(self, t: Tensor) -> Tensor:
        """Return the factor of the data."""

    def sigma(self, t: Tensor) -> Tensor:
        """Return the factor of the noise."""

    def log_delta(self, t: Tensor) -> Tensor:
        """Return `log(sigma / alpha)`, increasing in t."""

    def time_at(self, log_delta: Tensor) -> Tensor:
        """Return the time at which `log(sigma / alpha)` has this value, clipped to [0, 1]."""


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}.")


@dataclass(frozen=True)
class VariancePreserving:
    """The variance-preserving schedule: `alpha^2 = exp(-B)`, `sigma^2 = 1 - exp(-B)`.

    `B = beta_min t + (beta_max - beta_min) t^2 / 2` (Song et al. 2021, Eq. 32-33).
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        """Refuse a schedule that does not add noise at an increasing rate."""
        _positive("beta_min", self.beta_min)
        _positive("beta_max", self.beta_max)
        if self.beta_max <= self.beta_min:
            raise ValueError(f"beta_max must be above beta_min, got {self.beta_max!r}.")

    def _integral(self, t: Tensor) -> Tensor:
        return self.beta_min * t + (self.beta_max - self.beta_min) * t.square() / 2

    def alpha(self, t: Tensor) -> Tensor:
        """Return `exp(-B / 2)`."""
        return torch.exp(-self._integral(t) / 2)

    def sigma(self, t: Tensor) -> Tensor:
        """Return `sqrt(1 - exp(-B))`."""
        return torch.sqrt(-torch.expm1(-self._integral(t)))

    def log_delta(self, t: Tensor) -> Tensor:
        """Return `log(exp(B) - 1) / 2`, written so that a large B does not overflow."""
        integral = self._integral(t)
        return (integral + torch.log(-torch.expm1(-integral))) / 2

    def time_at(self, log_delta: Tensor) -> Tensor:
        """Solve the quadratic for `B = log(1 + delta^2)`, with the root that does not cancel."""
        integral = torch.logaddexp(torch.zeros_like(log_delta), 2 * log_delta)
        integral = integral.clamp(max=(self.beta_min + self.beta_max) / 2)
        slope = self.beta_max - self.beta_min
        root = torch.sqrt(self.beta_min**2 + 2 * slope * integral)
        return (2 * integral / (self.beta_min + root)).clamp(0, 1)


@dataclass(frozen=True)
class VarianceExploding:
    """The variance-exploding schedule: `alpha = 1`, `sigma = sigma_min (sigma_max / sigma_min)^t`.

    Song et al. 2021, Eq. 30. Also the kernel of EDM, whose own time is sigma itself.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        """Refuse a range of noise that is empty."""
        _positive("sigma_min", self.sigma_min)
        _positive("sigma_max", self.sigma_max)
        if self.sigma_max <= self.sigma_min:
            raise ValueError(f"sigma_max must be above sigma_min, got {self.sigma_max!r}.")

    def alpha(self, t: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Return the geometric interpolation between the two ends."""
        return torch.exp(self.log_delta(t))

    def log_delta(self, t: Tensor) -> Tensor:
        """Return `log sigma`, linear in t."""
        return math.log(self.sigma_min) + t * math.log(self.sigma_max / self.sigma_min)

    def time_at(self, log_delta: Tensor) -> Tensor:
        """Invert the line."""
        span = math.log(self.sigma_max / self.sigma_min)
        return ((log_delta - math.log(self.sigma_min)) / span).clamp(0, 1)


@dataclass(frozen=True)
class RectifiedFlow:
    """The schedule of rectified flow: `alpha = 1 - t`, `sigma = t` (Liu et al. 2023)."""

    def alpha(self, t: Tensor) -> Tensor:
        """Return `1 - t`."""
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        """Return t."""
        return t

    def log_delta(self, t: Tensor) -> Tensor:
        """Return the logit of t."""
        return torch.log(t) - torch.log1p(-t)

    def time_at(self, log_delta: Tensor) -> Tensor:
        """Return the logistic function."""
        return torch.sigmoid(log_delta)


@dataclass(frozen=True)
class Discrete:
    """The schedule of a table `alphas_cumprod` of T steps, as in diffusers' schedulers.

    Step n (0 to T - 1) sits at `t = (n + 1) / T`; t = 0 would be data without noise, which the
    table does not hold, so times below 1 / T read its first entry. Between steps log delta is
    interpolated linearly, which leaves alpha and sigma exact at the integer steps.
    """

    alphas_cumprod: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a table that is not strictly decreasing between 1 and 0."""
        table = self.alphas_cumprod
        inside = all(0 < a < 1 for a in table)
        falling = all(a > b for a, b in pairwise(table))
        if len(table) < 2 or not inside or not falling:
            raise ValueError(
                "alphas_cumprod must hold at least 2 numbers that fall strictly within (0, 1)."
            )

    @property
    def steps(self) -> int:
        """Return T, the number of steps the network was trained on."""
        return len(self.alphas_cumprod)

    def step_at(self, t: Tensor) -> Tensor:
        """Return the (fractional) step number that the network is fed at time t."""
        return (t * self.steps - 1).clamp(0, self.steps - 1)

    def time_of_step(self, step: Tensor) -> Tensor:
        """Return the time of a step number."""
        return (step + 1) / self.steps

    @cached_property
    def _log_deltas(self) -> Tensor:
        # Kept, because making a tensor of a thousand numbers takes longer than all the rest.
        bar = torch.tensor(self.alphas_cumprod, dtype=torch.float64)
        return (torch.log1p(-bar) - torch.log(bar)) / 2

    def log_delta(self, t: Tensor) -> Tensor:
        """Return the interpolated `log sqrt((1 - abar) / abar)`."""
        table = self._log_deltas.to(t.device)
        position = self.step_at(t.double())
        low = position.floor().long().clamp(max=self.steps - 2)
        share = position - low
        return torch.lerp(table[low], table[low + 1], share).to(t.dtype)

    def alpha(self, t: Tensor) -> Tensor:
        """Return `1 / sqrt(1 + delta^2)`."""
        return torch.sigmoid(-2 * self.log_delta(t.double())).sqrt().to(t.dtype)

    def sigma(self, t: Tensor) -> Tensor:
        """Return `delta / sqrt(1 + delta^2)`."""
        return torch.sigmoid(2 * self.log_delta(t.double())).sqrt().to(t.dtype)

    def time_at(self, log_delta: Tensor) -> Tensor:
        """Invert the interpolation; beyond the table's ends its last steps answer."""
        table = self._log_deltas.to(log_delta.device)
        log_delta64 = log_delta.double()
        low = (torch.searchsorted(table, log_delta64.contiguous()) - 1).clamp(0, self.steps - 2)
        share = ((log_delta64 - table[low]) / (table[low + 1] - table[low])).clamp(0, 1)
        return self.time_of_step(low + share).to(log_delta.dtype)
