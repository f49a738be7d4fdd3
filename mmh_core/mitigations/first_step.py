"""Both branches at the first step of a request, where memorization shows before any drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.mitigations.objectives import guidance_norms
from mmh_core.mitigations.record import Scan
from mmh_core.text_to_image.generation import embeddings, first_input, generate
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request


@dataclass(frozen=True, eq=False)
class FirstStep:
    """Hold the first input `x_t` (B, C, h, w) at `t` and the embedding of each picture.

    `cond` and `without` are (B, tokens, width).
    """

    model: TextToImage
    x_t: Tensor
    t: float
    cond: Tensor
    without: Tensor

    def eps_c(self, cond: Tensor) -> Tensor:
        """Return the prediction with the prompt, for any embedding."""
        return self.model.score_model.eps(self.x_t, self.t, cond)

    def eps_u(self) -> Tensor:
        """Return the prediction without the prompt."""
        with torch.no_grad():
            return self.model.score_model.eps(self.x_t, self.t, self.without)


def first_step(model: TextToImage, request: Request) -> FirstStep:
    """Return what the first step of a request is computed from."""
    with torch.no_grad():
        x_t, t = first_input(model, request)
        cond, without = (
            each.to(model.device, torch.float32).expand(len(x_t), -1, -1)
            for each in embeddings(model, request)
        )
    return FirstStep(model, x_t, t, cond, without)


def delta_of_noise(model: TextToImage, request: Request) -> Callable[[Tensor], Tensor]:
    """Return `eps_c - eps_u` at the first step as a differentiable function of `x_t`."""
    at = first_step(model, request)

    def delta(x_t: Tensor) -> Tensor:
        eps_u = model.score_model.eps(x_t, at.t, at.without)
        return model.score_model.eps(x_t, at.t, at.cond) - eps_u

    return delta


def guidance_norm_scan(model: TextToImage, request: Request) -> Scan:
    """Score a request by its first-step guidance norm, averaged over its seeds: 2 forwards.

    It sees the prompt, embeddings, noise and attention, not what is decided later.
    """
    # Guidance 1 would spare the branch that is compared with.
    steps = generate(model, _guided(request))
    norm = next(steps).guidance_norm
    steps.close()  # type: ignore[attr-defined]
    return Scan(float(norm.mean()), 2.0)


def normal_norms(model: TextToImage, request: Request, prompts: tuple[str, ...]) -> Tensor:
    """Return the first-step guidance norms (N * B,) of normal prompts at the request's seeds.

    Everything but the prompt is as in the request; steering is left out.
    """
    found = []
    for prompt in prompts:
        at = first_step(model, replace(request, prompt=prompt, steering=None))
        with torch.no_grad():
            found.append(guidance_norms(at.eps_c(at.cond), at.eps_u()))
    return torch.cat(found)


def _guided(request: Request) -> Request:
    return replace(request, guidance=2.0) if request.guidance == 1 else request
