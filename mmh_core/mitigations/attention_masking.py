"""Cross-attention masking: no attention to the padding, more to the start token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.cross_attention import CrossAttention
from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    Mitigated,
    Mitigation,
    MitigationContext,
    Work,
    steered,
)
from mmh_core.mitigations.tokens import padding_rows
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request


@dataclass(frozen=True)
class AttentionMasking(Mitigation):
    """Cross-attention with padding logits at minus infinity, the start token's times `strength`.

    Ren et al. 2024 (arXiv 2403.11052): memorized prompts concentrate their attention on the
    tokens that summarize them. Only rows of the batch that are conditioned on the prompt change.
    Caveat: the end token stays visible and summarizes the prompt as well; the shipped model has
    memorized its prompts by that token and their words, and copies them whatever the factor.
    """

    strength: float = 1.25
    name: str = "attention_masking"
    label: str = "Cross-attention masking"
    summary: str = (
        "Masks the padding tokens in cross-attention and raises the start token's logit."
    )
    citation: str = "Ren et al. 2024, arXiv 2403.11052"
    strength_label: str = "factor on the start token's logit"
    strengths: tuple[float, ...] = (1.0, 1.25, 1.5)

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request with masked cross-attention."""
        yield
        padding, factor = padding_rows(model, request.prompt).to(model.device), self.strength

        def weighting(logits: Tensor) -> Tensor:
            logits = logits.index_fill(-1, padding, -torch.inf)
            start = logits[..., :1] * factor
            return torch.cat([start, logits[..., 1:]], dim=-1).softmax(-1)

        return Mitigated(
            steered(
                request,
                attention=lambda leading: CrossAttention(model.unet, weighting, leading),
            ),
            request.prompt,
            f"Attention left out the {len(padding)} padding tokens, and the start token's logit "
            f"was multiplied by {factor:g}.",
        )
