"""Anisotropy: the alignment of the guidance vector with the unconditional prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from mmh_core.detectors.branches import BranchEstimate, BranchPredictions
from mmh_core.detectors.grids import TIMES, Grid
from mmh_core.detectors.measurement import Need

#: Guidance vectors shorter than this share of the prediction are rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Anisotropy(BranchEstimate):
    """The cosine of `eps_u` and `eps_c - eps_u`, averaged over the latent channels.

    The angular half of Asthana & Belagiannis 2026 (arXiv 2601.20642): the network gets pure noise
    at a time of low noise (t about .04), and for memorized prompts the guidance vector and the
    unconditional score are aligned. Eps or score make no difference: both change sign.
    """

    t: float = 0.04
    name: ClassVar[str] = "anisotropy"
    label: ClassVar[str] = "Anisotropy (cosine at low noise)"
    summary: ClassVar[str] = (
        "The cosine of the guidance vector and the unconditional prediction at low noise."
    )
    citation: ClassVar[str] = "Asthana & Belagiannis 2026, arXiv 2601.20642"
    needs: ClassVar[Need] = "noise"
    grid: ClassVar[Grid] = {"t": TIMES}

    def of_branches(self, branches: BranchPredictions) -> Tensor:
        """Return the mean cosines (b, 1), NaN where the prompt has no effect."""
        delta, eps_u = branches.guidance_and_unconditional()
        cosines = cosine_similarity(eps_u.flatten(2), delta.flatten(2), dim=2)
        length = delta.flatten(1).norm(dim=1) / eps_u.flatten(1).norm(dim=1)
        return torch.where(length > _ROUNDING, cosines.mean(1), torch.nan)[:, None]
