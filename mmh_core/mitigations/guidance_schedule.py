"""Withhold guidance while the sample is in reach of a memorized picture.

Jain et al. 2025 (arXiv 2411.16738): early on every seed of a memorized prompt is drawn to the same
picture, which shows in a large `|delta_t| = |eps_c - eps_u|`; guidance that begins after that
follows the prompt and reaches other pictures. Scales are diffusers': 0 is the unconditional model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.record import NOTHING, Given, Mitigated, steered
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Branches, Mixing, Request

_REFERENCE = "Jain et al. 2025, arXiv 2411.16738"


@dataclass(frozen=True)
class GuidanceSchedule:
    """Use the scale `early` down to time `1 - strength`, then the usual one.

    `early` 0 is the static schedule, a negative one opposite guidance, away from the prompt.
    """

    strength: float = 0.5
    early: float = 0.0
    name: str = "static_guidance"
    label: str = "Guidance later"
    reference: str = _REFERENCE
    strength_label: str = "share of the time without guidance"
    strengths: tuple[float, ...] = (0.25, 0.5, 0.75)

    def cost(self, steps: int) -> float:
        """Return 0."""
        return 0.0

    def apply(self, model: TextToImage, request: Request, *, given: Given = NOTHING) -> Mitigated:
        """Return the request with a guidance schedule."""
        if not 0 <= self.strength <= 1:
            raise ValueError(f"The share must be from 0 to 1, got {self.strength!r}.")
        until, early, usual = 1 - self.strength, self.early, request.guidance

        def guidance_at(t: float) -> float:
            return early if t > until else usual

        return Mitigated(
            steered(request, guidance_at=guidance_at, mixing=None),
            request.prompt,
            f"The guidance scale was {early:g} until t = {until:.2f}, then {usual:g}.",
        )


@dataclass(frozen=True)
class DynamicGuidance:
    """Use the scale 0 until the first local minimum of `|delta_t|`, each picture at its own.

    The minimum is noticed at the first step whose norm is above the smallest so far by more than
    the share `strength`; 0 takes the first rise, larger values wait longer. A norm that never
    rises leaves the picture unguided.
    """

    strength: float = 0.0
    name: str = "dynamic_guidance"
    label: str = "Guidance after the dip"
    reference: str = _REFERENCE
    strength_label: str = "rise that ends the wait"
    strengths: tuple[float, ...] = (0.0, 0.1, 0.3)

    def cost(self, steps: int) -> float:
        """Return 0."""
        return 0.0

    def apply(self, model: TextToImage, request: Request, *, given: Given = NOTHING) -> Mitigated:
        """Return the request whose guidance is decided while drawing."""
        if self.strength < 0:
            raise ValueError(f"The rise must be at least 0, got {self.strength!r}.")
        return Mitigated(
            steered(request, mixing=lambda: _after_the_dip(self.strength)),
            request.prompt,
            "Guidance began, for each picture, after the first local minimum of its guidance "
            "norm.",
        )


def _after_the_dip(rise: float) -> Mixing:
    """Return the mixing of one generation, which remembers the smallest norm of each picture."""
    lowest: list[Tensor] = []
    begun: list[Tensor] = []

    def mix(branches: Branches) -> Tensor:
        norm = branches.guidance_norm
        if not lowest:
            lowest.append(norm)
            begun.append(torch.zeros_like(norm, dtype=torch.bool))
        begun[0] = begun[0] | (norm > lowest[0] * (1 + rise))
        lowest[0] = torch.minimum(lowest[0], norm)
        return branches.guided(branches.scale * begun[0])

    return mix
