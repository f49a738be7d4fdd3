"""Anti-memorization guidance: steer each step away from the nearest training image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.interface import NO_CONTEXT, Mitigated, MitigationContext, Work, steered
from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import Embedder
from mmh_core.retrieval.index import Index, check_same_embedder, search
from mmh_core.text_to_image.generation import score_model_of_output
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Branches, Mixing, Request

#: One correction is at most this share of the length of standard normal latents.
_LONGEST = 0.5
#: How far below a copy's similarity to aim: decoding and later steps move the image again.
_MARGIN = 0.05
#: Network evaluations of the denoiser that take as long as one correction, with the shipped
#: model on one thread.
_CORRECTION_NFE = 5.0


@dataclass(frozen=True)
class AntiMemorizationGuidance:
    """A correction of `x0_hat` at every step while its nearest training image is too similar.

    Chen et al. 2024 (arXiv 2404.00922). The paper has three guidance terms (despecification,
    caption deduplication, dissimilarity) and a threshold that follows a schedule; this variant
    has the dissimilarity term and one threshold. With s the cosine of the descriptors of the
    decoded `x0_hat` and its nearest training image, and g the gradient of s with respect to
    the latents, `x0_hat <- x0_hat - strength (s - threshold) g / |g|^2` where s exceeds
    `threshold`: after a step of strength 1, s would equal the threshold if it were linear.
    `threshold` None is a margin below the similarity at which an image counts as a copy. Works
    for any guidance scale, and without a prompt. Caveat: the image is moved, the model is not:
    the conditional distribution around it stays concentrated on the copy, so the LID of the
    image stays low.
    """

    strength: float = 1.0
    threshold: float | None = None
    name: str = "anti_memorization_guidance"
    label: str = "Anti-memorization guidance (AMG), variant"
    summary: str = (
        "Steers every step away from the nearest training image; AMG's dissimilarity term alone, "
        "taken as a Newton step on the denoised image."
    )
    citation: str = "Chen et al. 2024, arXiv 2404.00922"
    strength_label: str = "weight of the correction"
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0)

    def cost(self, steps: int) -> float:
        """Return the NFE that take as long as decoding, embedding and their backward pass."""
        return _CORRECTION_NFE * steps

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request with a correction at every step; MMHError without an index."""
        yield
        if context.index is None or context.embedder is None:
            raise MMHError(
                "Anti-memorization guidance needs an index of the training images: build one "
                "or choose another mitigation."
            )
        check_same_embedder(context.index, context.embedder)
        threshold = self.threshold
        if threshold is None:
            threshold = context.copy_similarity - _MARGIN
        correction = Dissimilarity(
            model, context.index, context.embedder, self.strength, threshold
        )

        def mixing() -> Mixing:
            return correction.mix

        return Mitigated(
            steered(request, mixing=mixing),
            request.prompt,
            "At every step the image was steered away from its nearest training image while "
            f"their similarity exceeded {threshold:.2g}.",
            branches=2.0 + _CORRECTION_NFE,
        )


@dataclass(frozen=True, eq=False)
class Dissimilarity:
    """The dissimilarity guidance of one model and index; it has no state between steps."""

    model: TextToImage
    index: Index
    embedder: Embedder
    weight: float
    threshold: float

    def mix(self, branches: Branches) -> Tensor:
        """Return the guided output with its `x0_hat` corrected, in the network's own terms."""
        output = branches.guided(branches.scale)
        prediction = score_model_of_output(self.model, output)
        x0_hat = prediction.x0(branches.x_t, branches.t)
        corrected = self.corrected(x0_hat)
        times = prediction.times(branches.t, x0_hat)
        alpha = prediction.schedule.alpha(times)[:, None, None, None]
        sigma = prediction.schedule.sigma(times)[:, None, None, None]
        # Only what moved is computed again: there is no rounding where nothing is corrected.
        eps = (branches.x_t - alpha * corrected) / sigma
        again = prediction.target_of(corrected, eps, times).to(output.dtype)
        moved = (corrected != x0_hat).flatten(1).any(1)[:, None, None, None]
        return torch.where(moved, again, output)

    def corrected(self, x0_hat: Tensor) -> Tensor:
        """Return latents (B, C, h, w) after one correction each where it is needed."""
        with torch.inference_mode(False), torch.enable_grad():
            latents = x0_hat.detach().clone().requires_grad_()
            descriptors = self.embedder(self.model.decode(latents))
            similarity = (descriptors * self._nearest(descriptors)).sum(1)
            (gradient,) = torch.autograd.grad(similarity.sum(), latents)
        excess = (similarity.detach() - self.threshold).clamp(min=0)
        lengths = torch.linalg.vector_norm(gradient.flatten(1), dim=1).clamp(min=1e-12)
        longest = _LONGEST * x0_hat[0].numel() ** 0.5
        steps = (self.weight * excess / lengths).clamp(max=longest)
        moved: Tensor = x0_hat - (steps / lengths)[:, None, None, None] * gradient
        return moved

    def _nearest(self, descriptors: Tensor) -> Tensor:
        nearest = search(self.index, descriptors.detach(), k=1)
        vectors = self.index.vectors[nearest.rows[:, 0].numpy()]
        return torch.from_numpy(vectors.copy()).to(descriptors)
