"""GUARD: guide towards the prompt with attenuated attention and away from the original prompt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.cross_attention import CrossAttention
from mmh_core.mitigations.interface import NO_CONTEXT, Mitigated, MitigationContext, Work, steered
from mmh_core.text_to_image.generation import embeddings
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Branches, Mixing, Request

#: The published repulsion of 2 was set beside the usual guidance scale.
_PUBLISHED_GUIDANCE = 7.5
#: Beyond it the prompt would be repelled more than it attracts.
STRONGEST = 3.75


@dataclass(frozen=True)
class AttentionAttenuation:
    """Guidance by `eps_u + s (eps_plus - eps_u) - r (eps_minus - eps_u)`, three branches a step.

    Zhao et al. 2026 (GUARD, arXiv 2603.00133). In `eps_plus` the share `strength` of the attention
    on spiky tokens is removed (a factor of .3 by default), without renormalizing; `eps_minus`
    is conditioned on the original prompt. A token is spiky, in one layer and image, when its
    attention averaged over heads and positions exceeds the mean over tokens by `spread` standard
    deviations; the start token, which has most of the attention, is no candidate. In this variant
    `r` is `repulsion` at the guidance scale 7.5 and in proportion at others, so that r never
    outweighs s. Above a strength of 1 all spiky attention is removed and `repulsion` is
    multiplied by the strength, for models on which the published one is too little.
    """

    strength: float = 0.7
    repulsion: float = 2.0
    spread: float = 1.0
    name: str = "attention_attenuation"
    label: str = "Attention attenuation (GUARD), variant"
    summary: str = (
        "Attenuates attention that concentrates on few tokens, and repels from the original "
        "prompt; the repulsion grows with the guidance scale, which the paper leaves fixed."
    )
    citation: str = "Zhao et al. 2026 (GUARD), arXiv 2603.00133"
    strength_label: str = "attenuation (above 1: more repulsion)"
    strengths: tuple[float, ...] = (0.3, 0.7, 1.0, 2.0)

    def cost(self, steps: int) -> float:
        """Return one further branch at every step."""
        return float(steps)

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request with three branches."""
        yield
        if not 0 <= self.strength <= STRONGEST:
            raise ValueError(
                f"The strength must be from 0 to {STRONGEST:g}, got {self.strength!r}."
            )
        original = embeddings(model, request)[0]
        repulsion = self.repulsion * max(1.0, self.strength) / _PUBLISHED_GUIDANCE
        factor = max(0.0, 1 - self.strength)

        def weighting(logits: Tensor) -> Tensor:
            return attenuated(logits.softmax(-1), factor, self.spread)

        def mix(branches: Branches) -> Tensor:
            away = branches.predict(original) - branches.without
            return branches.guided(branches.scale) - repulsion * branches.scale * away

        def mixing() -> Mixing:
            return mix

        return Mitigated(
            steered(
                request,
                mixing=mixing,
                attention=lambda leading: CrossAttention(model.unet, weighting, leading),
            ),
            request.prompt,
            f"Spiky attention was multiplied by {factor:.2g}, and the original prompt "
            f"repelled with scale {repulsion * request.sampling.scale:.2g}.",
            branches=3.0,
        )


def attenuated(weights: Tensor, factor: float, spread: float) -> Tensor:
    """Multiply the attention (R, heads, queries, tokens) on spiky tokens by a factor."""
    mass = weights.mean(dim=(1, 2))[:, 1:]
    limit = mass.mean(1, keepdim=True) + spread * mass.std(1, keepdim=True)
    factors = torch.where(mass > limit, factor, 1.0)
    factors = torch.cat([torch.ones_like(factors[:, :1]), factors], dim=1)
    return weights * factors[:, None, None]
