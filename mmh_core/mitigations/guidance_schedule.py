"""Guidance that starts at a transition point, after the attraction basin of a memorized image.

Jain et al. 2025 (arXiv 2411.16738): early on, guidance takes every seed of a memorized prompt
into the basin of one image, which shows in a large `|delta_t| = |eps_c - eps_u|`; guidance that
begins later reaches other images. Scales are those of diffusers: 0 is the unconditional model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    Mitigated,
    Mitigation,
    MitigationContext,
    Work,
    check_share,
    steered,
)
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Branches, Mixing, Request

_CITATION = "Jain et al. 2025, arXiv 2411.16738"


@dataclass(frozen=True)
class GuidanceSchedule(Mitigation):
    """Guidance at `initial_scale` down to time `1 - strength`, then at the request's own scale.

    An `initial_scale` of 0 is the static transition point; a negative one is opposite guidance,
    away from the prompt. Caveat: it acts on every prompt, memorized or not; reference prompts of
    the shipped model lose alignment from a strength of about .5 on.
    """

    strength: float = 0.5
    initial_scale: float = 0.0
    name: str = "static_guidance"
    label: str = "Static transition point"
    summary: str = "Applies no guidance before a fixed transition point."
    citation: str = _CITATION
    strength_label: str = "share of the time without guidance"
    strengths: tuple[float, ...] = (0.25, 0.5, 0.75)

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request with a guidance schedule."""
        yield
        check_share(self.strength)
        until, initial, usual = 1 - self.strength, self.initial_scale, request.sampling.scale

        def guidance_at(t: float) -> float:
            return initial if t > until else usual

        return Mitigated(
            steered(request, guidance_at=guidance_at, mixing=None),
            request.prompt,
            f"The guidance scale was {initial:g} until t = {until:.2f}, then {usual:g}.",
        )


@dataclass(frozen=True)
class DynamicGuidance(Mitigation):
    """Guidance from the first local minimum of `|delta_t|` on, the scale 0 before it.

    Each image has its own minimum, detected one step later, when the norm rises after a fall.
    Without one, guidance begins at time `1 - strength`; at strength 1 it never does.
    """

    strength: float = 1.0
    name: str = "dynamic_guidance"
    label: str = "Dynamic transition point"
    summary: str = (
        "Applies no guidance before the first local minimum of the guidance norm, image by image."
    )
    citation: str = _CITATION
    strength_label: str = "share of the time without guidance at most"
    strengths: tuple[float, ...] = (0.5, 0.75, 1.0)

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request whose guidance starts at a point found during generation."""
        yield
        check_share(self.strength)
        until = 1 - self.strength
        return Mitigated(
            steered(request, mixing=lambda: _after_the_minimum(until)),
            request.prompt,
            "Guidance began, for each image, after the first local minimum of its guidance "
            f"norm, and at t = {until:.2f} at the latest.",
        )


def _after_the_minimum(until: float) -> Mixing:
    """Return the mixing of one generation, which keeps the norms of its last steps."""
    norms: list[Tensor] = []
    begun: list[Tensor] = []

    def mix(branches: Branches) -> Tensor:
        norms.append(branches.guidance_norm)
        now = torch.full_like(norms[-1], branches.t <= until, dtype=torch.bool)
        if len(norms) > 2:
            now = now | ((norms[-2] < norms[-3]) & (norms[-1] > norms[-2]))
        begun.append(begun[-1] | now if begun else now)
        return branches.guided(branches.scale * begun[-1])

    return mix
