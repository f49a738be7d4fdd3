"""Score norm: the length of the conditional prediction on pure noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from mmh_core.detectors.branches import BranchEstimate, BranchPredictions
from mmh_core.detectors.grids import TIMES, Grid
from mmh_core.detectors.measurement import ModelSettings, Need


@dataclass(frozen=True)
class ScoreNorm(BranchEstimate):
    """The norm `|eps_c|_2 = sigma |s_c|_2` on pure noise.

    The denoising loss at noise instead of an image: along directions in which images of the prompt
    vary, noise and image cannot be told apart and little is predicted. So for a Gaussian with
    variances l_i the expected square is `sum_i (sigma / (alpha^2 l_i + sigma^2))^2`, largest where
    the prompt leaves no freedom; a distant mean adds to it. 1 NFE per row.
    """

    t: float = 0.98
    name: ClassVar[str] = "score_norm"
    label: ClassVar[str] = "Score norm with the prompt"
    summary: ClassVar[str] = "The length of the conditional prediction on pure noise."
    citation: ClassVar[str] = "this project"
    needs: ClassVar[Need] = "noise"
    grid: ClassVar[Grid] = {"t": TIMES}
    needs_both: ClassVar[bool] = False

    def adapted(self, settings: ModelSettings) -> ScoreNorm:
        """Return the norm at the high time of the model's early scan."""
        return self if settings.early is None else replace(self, t=settings.early[0])

    def of_branches(self, branches: BranchPredictions) -> Tensor:
        """Return the norms (b, 1)."""
        eps_c = branches.conditional.flatten(1)
        length: Tensor = torch.linalg.vector_norm(eps_c, dim=1, keepdim=True)
        return length
