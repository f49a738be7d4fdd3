"""Score norm: how little of pure noise the model takes for an image of the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmh_core.detectors.inputs import Evidence, rows_at_once
from mmh_core.detectors.measurement import Measurement, Need
from mmh_core.dimension.scale import check_network
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class ScoreNorm:
    """Score by `|eps_c|_2 = sigma |s_c|_2` on pure noise.

    The denoising loss read from noise instead of an image: along directions in which images of
    the prompt vary, noise passes for image and is not predicted, so for a Gaussian with
    variances l_i the expected square is `sum_i (sigma / (alpha^2 l_i + sigma^2))^2`, largest where
    the prompt leaves no freedom; a distant mean adds to it. 1 forward per row.
    """

    t: float = 0.98
    name: ClassVar[str] = "score_norm"
    label: ClassVar[str] = "Score norm with the prompt"
    reference: ClassVar[str] = "this project"
    needs: ClassVar[Need] = "noise"

    @property
    def estimates(self) -> tuple[ScoreNorm]:
        """Return itself: one column."""
        return (self,)

    @torch.no_grad()
    def measure(self, model: TextToImage, evidence: Evidence) -> Measurement:
        """Return the norms (B, 1)."""
        values, rows = [], 0
        for part in torch.split(torch.arange(len(evidence)), rows_at_once(model)):
            noise = evidence.noise[evidence.start[part]].to(model.device)
            cond = evidence.embeddings[evidence.prompt[part]].to(model.device)
            eps_c = model.score_model.eps(noise, self.t, cond)
            rows += len(eps_c)
            values.append(torch.linalg.vector_norm(eps_c.flatten(1), dim=1, keepdim=True).cpu())
        norm = torch.cat(values)
        check_network(norm, model.name)
        return Measurement(norm, rows / len(evidence))

    def score(self, values: Tensor) -> Tensor:
        """Return the norm."""
        return values[:, 0]
