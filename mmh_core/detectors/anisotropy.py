"""Anisotropy: whether the prompt pulls where the model would go anyway."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from mmh_core.detectors.branches import read_branches
from mmh_core.detectors.inputs import Evidence
from mmh_core.detectors.measurement import Measurement, Need
from mmh_core.text_to_image.model import TextToImage

#: Changes of the prediction below this share of it are rounding.
_NOTHING = 1e-6


@dataclass(frozen=True)
class Anisotropy:
    """Score by the cosine of `eps_u` and `eps_c - eps_u`, averaged over the latent channels.

    The angular half of Asthana & Belagiannis 2026 (arXiv 2601.20642): pure noise is shown to the
    network as if it were almost an image (t about .04), and for memorized prompts guidance and
    the unconditional score line up. Eps or score make no difference: both change sign.
    """

    t: float = 0.04
    name: ClassVar[str] = "anisotropy"
    label: ClassVar[str] = "Anisotropy (cosine at low noise)"
    reference: ClassVar[str] = "Asthana & Belagiannis 2026"
    needs: ClassVar[Need] = "noise"

    @property
    def estimates(self) -> tuple[Anisotropy]:
        """Return itself: one column."""
        return (self,)

    def measure(self, model: TextToImage, evidence: Evidence) -> Measurement:
        """Return the mean cosines (B, 1), NaN where the prompt changes nothing."""

        def cosine(delta: Tensor, eps_u: Tensor) -> Tensor:
            each = cosine_similarity(eps_u.flatten(2), delta.flatten(2), dim=2)
            length = delta.flatten(1).norm(dim=1) / eps_u.flatten(1).norm(dim=1)
            return torch.stack([each.mean(1), length], dim=1)

        found = read_branches(model, evidence, self.t, cosine)
        mean, length = found.values.unbind(1)
        values = torch.where(length > _NOTHING, mean, torch.nan)
        return replace(found, values=values[:, None])

    def score(self, values: Tensor) -> Tensor:
        """Return the mean cosine."""
        return values[:, 0]
