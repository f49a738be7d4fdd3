"""Guidance norm: how strongly the prompt pulls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmh_core.detectors.branches import read_branches
from mmh_core.detectors.inputs import Evidence
from mmh_core.detectors.measurement import Measurement, Need
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class GuidanceNorm:
    """Score by `|eps_c - eps_u|_2` on pure noise, at the first step; nothing is generated.

    Wen et al. 2024 (ICLR), with one step. A memorized prompt knows its image from noise alone,
    so the two branches differ from the start. A name that steers strongly without being
    memorized is its false alarm.
    """

    t: float = 0.98
    name: ClassVar[str] = "guidance_norm"
    label: ClassVar[str] = "Guidance norm, first step"
    reference: ClassVar[str] = "Wen et al. 2024"
    needs: ClassVar[Need] = "noise"

    @property
    def estimates(self) -> tuple[GuidanceNorm]:
        """Return itself: one column."""
        return (self,)

    def measure(self, model: TextToImage, evidence: Evidence) -> Measurement:
        """Return the norms (B, 1)."""

        def norm(delta: Tensor, eps_u: Tensor) -> Tensor:
            found: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1, keepdim=True)
            return found

        return read_branches(model, evidence, self.t, norm)

    def score(self, values: Tensor) -> Tensor:
        """Return the norm."""
        return values[:, 0]


@dataclass(frozen=True)
class GuidanceTrace:
    """Score by the mean of `|eps_c - eps_u|_2` over the first `steps` steps of a generation.

    Wen et al. 2024 (ICLR); None takes all steps. Free while generating.
    """

    steps: int | None = None
    reference: ClassVar[str] = "Wen et al. 2024"
    needs: ClassVar[Need] = "trace"

    def __post_init__(self) -> None:
        """Refuse a number of steps below 1."""
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1 or None, got {self.steps!r}.")

    @property
    def name(self) -> str:
        """Return guidance_norm_all, or the number of steps in place of all."""
        return f"guidance_norm_{self.steps or 'all'}"

    @property
    def label(self) -> str:
        """Return the name for people."""
        steps = "all steps" if self.steps is None else f"first {self.steps} steps"
        return f"Guidance norm, {steps}"

    @property
    def estimates(self) -> tuple[GuidanceTrace]:
        """Return itself: one column."""
        return (self,)

    def measure(self, model: TextToImage, evidence: Evidence) -> Measurement:
        """Return the mean norms (B, 1). Raises MMHError where fewer steps were made."""
        trace = evidence.drawn()
        made = trace.guidance_norm.shape[1]
        if self.steps is not None and self.steps > made:
            raise MMHError(
                f"{self.label} cannot be read from {made} steps: generate with more of them."
            )
        mean = trace.guidance_norm[:, : self.steps].mean(1, keepdim=True)
        return Measurement(mean, 0.0, trace.nfe)

    def score(self, values: Tensor) -> Tensor:
        """Return the mean norm."""
        return values[:, 0]
