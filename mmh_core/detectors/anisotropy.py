"""Anisotropy: the alignment of the guidance vector with the unconditional prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from mmh_core.detectors.branches import evaluate_branches
from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.detectors.measurement import Measurement, Need, OneColumn
from mmh_core.text_to_image.model import TextToImage

#: Guidance vectors shorter than this share of the prediction are rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Anisotropy(OneColumn):
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
    reference: ClassVar[str] = "Asthana & Belagiannis 2026, arXiv 2601.20642"
    needs: ClassVar[Need] = "noise"

    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the mean cosines (B, 1), NaN where the prompt has no effect."""

        def cosine(delta: Tensor, eps_u: Tensor) -> Tensor:
            cosines = cosine_similarity(eps_u.flatten(2), delta.flatten(2), dim=2)
            length = delta.flatten(1).norm(dim=1) / eps_u.flatten(1).norm(dim=1)
            return torch.stack([cosines.mean(1), length], dim=1)

        both = evaluate_branches(model, inputs, self.t, cosine)
        mean, length = both.values.unbind(1)
        values = torch.where(length > _ROUNDING, mean, torch.nan)
        return replace(both, values=values[:, None])
