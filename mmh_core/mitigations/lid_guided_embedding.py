"""LID-guided embedding: optimize the prompt's embedding until LID is that of reference prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.embedding_optimization import with_start_token
from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    LidBy,
    Mitigated,
    MitigationContext,
    Work,
    quantile_of,
    steered,
)
from mmh_core.mitigations.lid_loss import generated_latents, lid_of
from mmh_core.mitigations.optimization import descend
from mmh_core.text_to_image.generation import embeddings
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request


@dataclass(frozen=True)
class LidGuidedEmbedding:
    """AdamW on the prompt's embedding that raises the LID of the unmitigated image.

    Ross et al. 2025: the loss is -FLIPD, or in this variant by default minus the denoising-loss
    LID (Yeats et al. 2025), at the noise scale `log_delta` and the image of the unmitigated
    request; the target is the quantile `strength` of reference prompts' LIDs by the same estimator
    at the same scale. The start token's row is fixed. With selection seeds in the context, each
    seed takes the embedding of one of their images. Caveat: both estimators also grow with the
    distance of a point from the conditional mode, so the loss can be met by moving the mode away
    from the image instead of widening it: copies disappear, yet the LID of the new image may be as
    low as the old one's.
    """

    strength: float = 0.5
    by: LidBy = "denoising loss"
    log_delta: float = -0.2
    rate: float = 0.05
    most_steps: int = 10
    name: str = "raise_lid"
    label: str = "LID-guided embedding, variant"
    summary: str = (
        "Optimizes the prompt's embedding until the LID of the image is a quantile of that of "
        "reference prompts; LID by the denoising loss where the paper has FLIPD."
    )
    citation: str = "Ross et al. 2025, arXiv 2411.00113"
    strength_label: str = "share of reference prompts to rise above"
    strengths: tuple[float, ...] = (0.1, 0.5, 0.9)

    def cost(self, steps: int) -> float:
        """Return one generation and a forward and a backward of the estimator for every step."""
        return 2.0 * steps + 16 * self.most_steps

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request with an embedding per seed; MMHError without `reference_lids`."""
        yield
        lids = None
        if context.reference_lids is not None:
            lids = yield from context.reference_lids(self.by, self.log_delta)
        target = quantile_of(lids, self.strength, "LIDs")
        latents, generation_nfe = context.latents, 0.0
        if latents is None:
            latents, generation_nfe = yield from generated_latents(
                model, context.selecting(request)
            )
        cond = embeddings(model, request)[0].float()
        if len(cond) != len(latents):
            cond = cond[:1].expand(len(latents), -1, -1)
        lid = lid_of(model, latents, self.log_delta, self.by, request.prompt)

        def loss(behind: Tensor) -> Tensor:
            return -lid.values(with_start_token(cond, behind))

        descent = yield from descend(
            loss, cond[:, 1:], -target, rate=self.rate, steps=self.most_steps
        )
        rows = torch.arange(len(request.seeds)) % len(latents)
        return Mitigated(
            steered(request, embedding=with_start_token(cond, descent.values)[rows]),
            request.prompt,
            f"The embedding moved {descent.steps} steps; the LID of the image went from "
            f"{-descent.before.mean():.3g} to {-descent.after.mean():.3g} (target {target:.3g}).",
            generation_nfe + lid.nfe * (descent.steps + 0.5),
        )
