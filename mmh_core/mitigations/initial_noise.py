"""Initial-noise adjustment: starting noise outside the basin of the memorized image.

Han et al. 2025 (arXiv 2510.08625): how long a sample stays in the attraction basin of a memorized
image depends on its starting noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.first_step import delta_of_noise
from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    Mitigated,
    MitigationContext,
    Work,
    quantile_of,
    steered,
)
from mmh_core.mitigations.objectives import guidance_norms
from mmh_core.mitigations.optimization import descend
from mmh_core.text_to_image.generation import first_input
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request

Delta = Callable[[Tensor], Tensor]

_CITATION = "Han et al. 2025, arXiv 2510.08625"
#: The published step of 50, in latents of 4 x 64 x 64 whose noise has the length 128.
_REACH = 50 / 128


@dataclass(frozen=True)
class NoiseAdjustment:
    """Starting noise moved `strength` times by forward passes only, with guidance starting late.

    With `e = reach delta / |delta|`, `x_T <- x_T - step (delta(x_T + e) - delta(x_T))`, a finite
    difference along delta; no guidance (scale 0) for t above `free_until`. `reach` is 50 in
    latents of 4 x 64 x 64 and the same share of the noise's length, sqrt(D), in others. Caveat:
    the two rounds of the paper move the noise of the shipped model by 4 % of its length, which
    changes nothing there; eight move it by 15 %, after which some copies are gone.
    """

    strength: float = 2.0
    step: float = 0.7
    free_until: float = 0.9
    name: str = "noise_adjustment"
    label: str = "Initial-noise adjustment"
    summary: str = (
        "Moves the starting noise by finite differences of the guidance vector, and starts "
        "guidance late."
    )
    citation: str = _CITATION
    strength_label: str = "rounds"
    strengths: tuple[float, ...] = (2.0, 8.0, 16.0)

    def cost(self, steps: int) -> float:
        """Return two branches at two points in every round."""
        return 4 * self.strength

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request with adjusted noise and late guidance."""
        yield
        delta = delta_of_noise(model, request)
        usual, until = request.sampling.scale, self.free_until

        def guidance_at(t: float) -> float:
            return 0.0 if t > until else usual

        start, scale = first_noise(model, request)
        x_t = start
        for _ in range(round(self.strength)):
            x_t = yield from self._moved(x_t, delta)
        return Mitigated(
            steered(request, noise=x_t / scale, guidance_at=guidance_at, mixing=None),
            request.prompt,
            f"The starting noise moved by {_share(x_t - start, start):.1%} of its length, and "
            f"guidance began at t = {until:g}.",
            4.0 * round(self.strength),
        )

    def _moved(self, x_t: Tensor, delta: Delta) -> Work[Tensor]:
        """Return the noise after one round; `delta` is evaluated twice."""
        with torch.no_grad():
            here = delta(x_t)
        yield
        lengths = torch.linalg.vector_norm(here.flatten(1), dim=1).clamp(min=1e-12)
        reach = _REACH * math.sqrt(x_t[0].numel())
        e = reach * here / lengths[:, None, None, None]
        with torch.no_grad():
            there = delta(x_t + e)
        yield
        return x_t - self.step * (there - here)


@dataclass(frozen=True)
class NoiseOptimization:
    """AdamW on the starting noise, with `|eps_c - eps_u|` at the first step as its loss.

    Rate .01, each seed on its own, until the target is reached: the quantile `1 - strength` of the
    norms of reference prompts, at 1 the lowest of them. Caveat: a step moves the noise by at most
    1 % of its length, and images of the shipped model change from about 20 % on.
    """

    strength: float = 1.0
    rate: float = 0.01
    most_steps: int = 50
    name: str = "noise_optimization"
    label: str = "Initial-noise optimization"
    summary: str = (
        "Optimizes the starting noise until the guidance norm of the first step is a quantile of "
        "that of reference prompts."
    )
    citation: str = _CITATION
    strength_label: str = "share of reference prompts to go below"
    strengths: tuple[float, ...] = (0.5, 0.9, 1.0)

    def cost(self, steps: int) -> float:
        """Return two branches forward and backward for every step of the optimizer."""
        return 2.0 + 4 * self.most_steps

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request with optimized noise; MMHError without `reference_norms`."""
        yield
        target = quantile_of(context.reference_norms, 1 - self.strength, "guidance norms")
        delta = delta_of_noise(model, request)
        start, scale = first_noise(model, request)

        def loss(x_t: Tensor) -> Tensor:
            both = delta(x_t)
            return guidance_norms(both, torch.zeros_like(both))

        descent = yield from descend(loss, start, target, rate=self.rate, steps=self.most_steps)
        return Mitigated(
            steered(request, noise=descent.values / scale),
            request.prompt,
            f"The starting noise moved by {_share(descent.values - start, start):.1%} of its "
            f"length in {descent.steps} steps; the guidance norm went from "
            f"{descent.before.mean():.3g} to {descent.after.mean():.3g} (target {target:.3g}).",
            4.0 * descent.steps + 2,
        )


def first_noise(model: TextToImage, request: Request) -> tuple[Tensor, float]:
    """Return the first input of the network and its length in units of the starting noise."""
    x_t, _ = first_input(model, request)
    ones = torch.ones_like(x_t)
    scaled, _ = first_input(model, steered(request, noise=ones))
    return x_t, float(scaled.flatten()[0])


def _share(difference: Tensor, of: Tensor) -> float:
    return float(difference.norm() / of.norm())
