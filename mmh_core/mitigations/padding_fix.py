"""Padding zeroing: the first padding embeddings, which summarize the prompt, set to zero."""

from __future__ import annotations

from dataclasses import dataclass

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
from mmh_core.mitigations.tokens import check_end_padding, padding_rows
from mmh_core.text_to_image.generation import embeddings
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request


@dataclass(frozen=True)
class PaddingFix(Mitigation):
    """The prompt's embedding with the first `strength` (a share) of its padding rows at zero.

    Kim & No 2026 (arXiv 2605.02908), the second of their two mitigations. The unconditional
    embedding is unchanged. In encoders padded with the end token every padding row has
    attended to the whole prompt and repeats its summary. Caveat: that holds for reference
    prompts too, which lose alignment where all of it is zeroed.
    """

    strength: float = 0.7
    name: str = "padding_fix"
    label: str = "Padding zeroing"
    summary: str = "Sets a share of the prompt's padding embeddings to zero."
    citation: str = "Kim & No 2026, arXiv 2605.02908"
    strength_label: str = "share of the padding"
    strengths: tuple[float, ...] = (0.35, 0.7, 0.85, 1.0)

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request with a changed embedding; MMHError for other encoders."""
        yield
        check_share(self.strength)
        embedding = without_padding(model, request, self.strength)
        padding = len(padding_rows(model, request.prompt))
        return Mitigated(
            steered(request, embedding=embedding),
            request.prompt,
            f"{round(self.strength * padding)} of the {padding} padding rows of the prompt's "
            "embedding were set to zero.",
        )


def without_padding(model: TextToImage, request: Request, share: float = 1.0) -> Tensor:
    """Return the prompt's embedding with the first `share` of its padding rows at zero.

    MMHError for an encoder whose padding is not the end token.
    """
    check_end_padding(model, "The padding fix")
    padding = padding_rows(model, request.prompt)
    embedding = embeddings(model, request)[0].clone()
    embedding[:, padding[: round(share * len(padding))]] = 0
    return embedding
