"""Prompt-embedding optimization: lower the guidance norm of the first step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.first_step import first_step
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
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request


@dataclass(frozen=True)
class EmbeddingOptimization:
    """AdamW on the prompt's embedding, with `|eps_c - eps_u|` at the first step as its loss.

    Wen et al. 2024 (arXiv 2407.21720): rate .05, at most 10 steps, the start token's row fixed.
    The target is the quantile `1 - strength` of the norms of reference prompts: at 1 the lowest of
    them. Each seed has its own noise, hence its own embedding. Caveat: it acts only on prompts
    whose norm is above the target. At the first step, memorized prompts of the shipped model have
    no larger guidance norms than reference prompts, so only a strength of 1 changes their images.
    """

    strength: float = 1.0
    rate: float = 0.05
    most_steps: int = 10
    name: str = "embedding_optimization"
    label: str = "Prompt-embedding optimization"
    summary: str = (
        "Optimizes the prompt's embedding until the guidance norm of the first step is a quantile "
        "of that of reference prompts."
    )
    citation: str = "Wen et al. 2024, arXiv 2407.21720"
    strength_label: str = "share of reference prompts to go below"
    strengths: tuple[float, ...] = (0.5, 0.9, 1.0)

    def cost(self, steps: int) -> float:
        """Return a forward and a backward for every step of the optimizer."""
        return 2.0 + 2 * self.most_steps

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request with an embedding per seed; MMHError without `reference_norms`."""
        yield
        target = quantile_of(context.reference_norms, 1 - self.strength, "guidance norms")
        at = first_step(model, request)
        eps_u = at.eps_u()

        def loss(rows: Tensor) -> Tensor:
            return guidance_norms(at.eps_c(with_start_token(at.cond, rows)), eps_u)

        descent = yield from descend(
            loss, at.cond[:, 1:], target, rate=self.rate, steps=self.most_steps
        )
        return Mitigated(
            steered(request, embedding=with_start_token(at.cond, descent.values)),
            request.prompt,
            f"The embedding moved {descent.steps} steps; the guidance norm went from "
            f"{descent.before.mean():.3g} to {descent.after.mean():.3g} (target {target:.3g}).",
            # The unconditional branch once, then forward and backward, then the last check.
            1.0 + 2 * descent.steps + 1,
        )


def with_start_token(cond: Tensor, rows: Tensor) -> Tensor:
    """Return embeddings whose first row is that of `cond` and whose others are `rows`."""
    return torch.cat([cond[:, :1], rows], dim=1)
