"""Zero the first padding embeddings, in which a prompt is remembered as a whole."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmh_core.mitigations.record import (
    NOTHING,
    Given,
    Mitigated,
    branches_per_step,
    check_share,
    steered,
)
from mmh_core.mitigations.tokens import check_end_padding, padding_rows
from mmh_core.mitigations.work import Work
from mmh_core.text_to_image.generation import embeddings
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request


@dataclass(frozen=True)
class PaddingFix:
    """Set the first `strength` (a share, rounded to rows) of the padding embeddings to zero.

    Kim & No 2026. Only the prompt's own embedding is changed. In encoders padded with the end
    token every padding row has attended to the whole prompt and repeats its summary. Caveat: so it
    does for prompts that are not memorized, which lose alignment too where all of it is zeroed.
    """

    strength: float = 0.7
    name: str = "padding_fix"
    label: str = "Padding set to zero"
    reference: str = "Kim & No 2026"
    strength_label: str = "share of the padding"
    strengths: tuple[float, ...] = (0.35, 0.7, 0.85, 1.0)

    def cost(self, steps: int) -> float:
        """Return 0."""
        return 0.0

    def apply(
        self, model: TextToImage, request: Request, *, given: Given = NOTHING
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
            nfe_per_step=branches_per_step(request),
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
