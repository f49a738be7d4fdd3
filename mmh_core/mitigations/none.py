"""No mitigation: the baseline of every comparison, through the same code."""

from __future__ import annotations

from dataclasses import dataclass

from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    Mitigated,
    Mitigation,
    MitigationContext,
    Work,
)
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request


@dataclass(frozen=True)
class NoMitigation(Mitigation):
    """The unchanged request."""

    strength: float = 0.0
    name: str = "none"
    label: str = "No mitigation"
    summary: str = "Changes nothing: the baseline of every comparison."
    citation: str = "baseline"
    strength_label: str = "nothing to set"
    strengths: tuple[float, ...] = (0.0,)

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request itself."""
        yield
        return Mitigated(
            request,
            request.prompt,
            "Nothing was changed.",
        )
