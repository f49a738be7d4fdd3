"""Guidance norm: the length of the guidance vector `eps_c - eps_u`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmh_core.detectors.branches import BranchEstimate, BranchPredictions
from mmh_core.detectors.grids import TIMES, Grid
from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.detectors.measurement import Measurement, Need, OneColumn
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class GuidanceNorm(BranchEstimate):
    """The norm `|eps_c - eps_u|_2` on pure noise, at the first step; nothing is generated.

    Wen et al. 2024 (ICLR), with one step. A memorized prompt determines its image from noise
    alone, so the two branches differ from the first step on. False positives are names that steer
    strongly without being memorized.
    """

    t: float = 0.98
    name: ClassVar[str] = "guidance_norm"
    label: ClassVar[str] = "Guidance norm, first step"
    summary: ClassVar[str] = "The length of the guidance vector on pure noise, at the first step."
    citation: ClassVar[str] = "Wen et al. 2024, arXiv 2407.21720"
    needs: ClassVar[Need] = "noise"
    grid: ClassVar[Grid] = {"t": TIMES}

    def of_branches(self, branches: BranchPredictions) -> Tensor:
        """Return the norms (b, 1)."""
        delta, _ = branches.guidance_and_unconditional()
        length: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1, keepdim=True)
        return length


@dataclass(frozen=True)
class GuidanceTrace(OneColumn):
    """The mean of `|eps_c - eps_u|_2` over the first `steps` steps of a generation.

    Wen et al. 2024 (ICLR); None takes all steps. Free while generating.
    """

    steps: int | None = None
    summary: ClassVar[str] = (
        "The mean length of the guidance vector over the steps of a generation."
    )
    citation: ClassVar[str] = "Wen et al. 2024, arXiv 2407.21720"
    needs: ClassVar[Need] = "trace"

    def __post_init__(self) -> None:
        """Raise ValueError for a number of steps below 1."""
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1 or None, got {self.steps!r}.")

    @property
    def name(self) -> str:
        """Return guidance_norm_all, or the number of steps in place of all."""
        return f"guidance_norm_{self.steps or 'all'}"

    @property
    def label(self) -> str:
        """Return the name, with its steps."""
        steps = "all steps" if self.steps is None else f"first {self.steps} steps"
        return f"Guidance norm, {steps}"

    def lacking(self, model: TextToImage, seeds: int) -> str:
        """Return what a generation in fewer steps does not have."""
        if (self.steps or 0) <= model.steps:
            return ""
        return f"it needs {self.steps} sampling steps, and there are {model.steps}"

    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the mean norms (B, 1). Raises MMHError where fewer steps were made."""
        trace = inputs.generated()
        steps = trace.guidance_norm.shape[1]
        if self.steps is not None and self.steps > steps:
            raise MMHError(f"{self.label} needs more than {steps} steps: generate with more.")
        mean = trace.guidance_norm[:, : self.steps].mean(1, keepdim=True)
        return Measurement(mean, 0.0, trace.nfe)
