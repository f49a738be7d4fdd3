"""Score norm: the length of the conditional prediction on pure noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from mmh_core.detectors.inputs import DetectorInputs, row_parts
from mmh_core.detectors.measurement import Measurement, Need, OneColumn
from mmh_core.dimension.scale import check_network
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class ScoreNorm(OneColumn):
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
    reference: ClassVar[str] = "this project"
    needs: ClassVar[Need] = "noise"

    @torch.no_grad()
    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the norms (B, 1)."""
        predictions = (
            model.score_model.eps(noise, self.t, cond).flatten(1)
            for noise, cond in row_parts(model, inputs)
        )
        norm = torch.cat([eps_c.norm(dim=1, keepdim=True).cpu() for eps_c in predictions])
        check_network(norm, model.name)
        return Measurement(norm, 1.0)
