"""Push the image in the making away from the training image that it comes to resemble."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.record import NOTHING, Given, Mitigated, steered
from mmh_core.mitigations.work import Work
from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import Embedder
from mmh_core.retrieval.index import Index, check_same_embedder, search
from mmh_core.text_to_image.generation import score_model_of_output
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Branches, Mixing, Request

#: One push is at most this share of the length of standard normal latents.
_LONGEST = 0.5
#: How far below a copy's similarity to aim: decoding and later steps move the image again.
_MARGIN = 0.05
#: Network evaluations of the denoiser that take as long as one push, with the embedded model on
# one thread.
_PUSH = 5.0


@dataclass(frozen=True)
class AntiMemorizationGuidance:
    """Correct `x0_hat` at every step while its nearest training image is too similar.

    Chen et al. 2024 (arXiv 2404.00922), dissimilarity guidance. With s the cosine of the
    descriptors of the decoded `x0_hat` and its nearest training image, and g the gradient of s
    with respect to the latents, `x0_hat <- x0_hat - strength (s - threshold) g / |g|^2` where s
    exceeds `threshold`: strength 1 is the step after which s would be the threshold if it were
    linear. `threshold` None is a margin below the similarity at which an image counts as a copy.
    Works for any guidance scale, and without a prompt. Caveat: the image is pushed, the model is
    not: around it the prompt goes on to ask for the copy alone, so that its LID stays low.
    """

    strength: float = 1.0
    threshold: float | None = None
    name: str = "anti_memorization_guidance"
    label: str = "Pushed off training images"
    reference: str = "Chen et al. 2024, arXiv 2404.00922"
    strength_label: str = "weight of the push"
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0)

    def cost(self, steps: int) -> float:
        """Return what decoding and describing take, forth and back, in the time of NFE."""
        return _PUSH * steps

    def apply(
        self, model: TextToImage, request: Request, *, given: Given = NOTHING
    ) -> Work[Mitigated]:
        """Return the request that is corrected while drawing; MMHError without an index."""
        yield
        if given.index is None or given.embedder is None:
            raise MMHError(
                "Anti-memorization guidance needs an index of the training images: build one "
                "or choose another mitigation."
            )
        check_same_embedder(given.index, given.embedder)
        threshold = self.threshold
        if threshold is None:
            threshold = given.copy_similarity - _MARGIN
        push = Push(model, given.index, given.embedder, self.strength, threshold)

        def mixing() -> Mixing:
            return push.mix

        return Mitigated(
            steered(request, mixing=mixing),
            request.prompt,
            f"At every step the image was pushed off its nearest training image while their "
            f"similarity exceeded {threshold:.2g}.",
            nfe_per_step=2.0 + _PUSH,
        )


@dataclass(frozen=True, eq=False)
class Push:
    """Hold what a push is computed from: it remembers nothing between steps."""

    model: TextToImage
    index: Index
    embedder: Embedder
    weight: float
    threshold: float

    def mix(self, branches: Branches) -> Tensor:
        """Return the guided output with its `x0_hat` corrected, in the network's own terms."""
        output = branches.guided(branches.scale)
        said = score_model_of_output(self.model, output)
        x0_hat = said.x0(branches.x_t, branches.t)
        pushed = self.pushed(x0_hat)
        times = said.times(branches.t, x0_hat)
        alpha = said.schedule.alpha(times)[:, None, None, None]
        sigma = said.schedule.sigma(times)[:, None, None, None]
        # Only what moved is computed again: there is no rounding where nothing is pushed.
        eps = (branches.x_t - alpha * pushed) / sigma
        again = said.target_of(pushed, eps, times).to(output.dtype)
        moved = (pushed != x0_hat).flatten(1).any(1)[:, None, None, None]
        return torch.where(moved, again, output)

    def pushed(self, x0_hat: Tensor) -> Tensor:
        """Return latents (B, C, h, w) after one push each where it is needed."""
        with torch.inference_mode(False), torch.enable_grad():
            latents = x0_hat.detach().clone().requires_grad_()
            described = self.embedder(self.model.decode(latents))
            similarity = (described * self._nearest(described)).sum(1)
            (gradient,) = torch.autograd.grad(similarity.sum(), latents)
        excess = (similarity.detach() - self.threshold).clamp(min=0)
        lengths = torch.linalg.vector_norm(gradient.flatten(1), dim=1).clamp(min=1e-12)
        longest = _LONGEST * x0_hat[0].numel() ** 0.5
        steps = (self.weight * excess / lengths).clamp(max=longest)
        moved: Tensor = x0_hat - (steps / lengths)[:, None, None, None] * gradient
        return moved

    def _nearest(self, described: Tensor) -> Tensor:
        found = search(self.index, described.detach(), k=1)
        vectors = self.index.vectors[found.rows[:, 0].numpy()]
        return torch.from_numpy(vectors.copy()).to(described)
