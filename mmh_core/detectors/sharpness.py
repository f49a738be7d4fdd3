"""Sharpness: the difference of the Hessians along the guidance vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmh_core.detectors.grids import TIMES, Grid
from mmh_core.detectors.inputs import DetectorInputs, row_parts, rows_at_once
from mmh_core.detectors.measurement import Measurement, Need, OneColumn
from mmh_core.diffusion.score_model import expand
from mmh_core.dimension.jacobian import linearize
from mmh_core.dimension.scaled_points import check_network
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class Sharpness(OneColumn):
    """The norm `|H_c d - H_u d|_2` on pure noise at the first step, `d = s_c - s_u`.

    Jeon et al. 2025 (arXiv 2412.04140), H the Jacobian of the score. With the tangent projector
    `P = I + sigma^2 H` it is `|P_c d - P_u d| / sigma^2`. In reverse mode, `d'P` in place of
    `P d`: equal for a true score, whose Jacobian is symmetric, and possible with every attention
    kernel and in half precision, where differences of neighboring points are rounding. 2 network
    evaluations and 2 reverse passes per row.
    """

    t: float = 0.98
    name: ClassVar[str] = "sharpness"
    label: ClassVar[str] = "Sharpness"
    summary: ClassVar[str] = (
        "The difference of the Hessians with and without the prompt along the guidance vector."
    )
    citation: ClassVar[str] = "Jeon et al. 2025, arXiv 2412.04140"
    needs: ClassVar[Need] = "noise"
    grid: ClassVar[Grid] = {"t": TIMES}

    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the sharpness (B, 1)."""
        values, cost = [], 0.0
        # A graph keeps the activations: half the rows.
        for noise, cond in row_parts(model, inputs, max(1, rows_at_once(model) // 2)):
            norms, nfe = self._sharpness(model, noise, cond)
            values.append(norms.float().cpu())
            cost += nfe * len(noise)
        sharpness = torch.cat(values)[:, None]
        check_network(sharpness, model.name)
        return Measurement(sharpness, cost / len(inputs))

    def _sharpness(self, model: TextToImage, x_t: Tensor, cond: Tensor) -> tuple[Tensor, float]:
        """Return the sharpness (b,) at x_t (b, *shape), and its cost per row."""
        score_model = model.score_model
        t = score_model.times(self.t, x_t)
        alpha = expand(score_model.schedule.alpha(t), x_t)
        sigma = expand(score_model.schedule.sigma(t), x_t)
        with_prompt = linearize(score_model, x_t / alpha, t, cond)
        without = linearize(score_model, x_t / alpha, t)
        d = (without.eps - with_prompt.eps) / sigma
        difference = (with_prompt.pullback(d) - without.pullback(d)) / sigma.square()
        return difference.flatten(1).norm(dim=1), with_prompt.nfe(1) + without.nfe(1)
