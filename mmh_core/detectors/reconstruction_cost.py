"""Reconstruction cost: what one step up and down the deterministic path changes at the image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from mmh_core.detectors.grids import IMAGE_TIMES, Grid
from mmh_core.detectors.inputs import DetectorInputs, rows_at_once
from mmh_core.detectors.measurement import Measurement, Need, OneColumn
from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.scaled_points import check_network
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class ReconstructionCost(OneColumn):
    """Minus the error `|psi(phi(x_t)) - x_t|_2` of one deterministic step up and down again.

    Duan et al. 2023 (SecMI, arXiv 2302.01316), their t-error: the image is taken to `t` by
    deterministic (DDIM) steps of `step`, then one step further (phi) and back (psi); members of
    the training set have smaller errors. Conditional on the prompt. For a Gaussian with variance l
    along an axis a step from s to u multiplies `x_s - alpha_s m` by
    `(alpha_u alpha_s l + sigma_u sigma_s) / (alpha_s^2 l + sigma_s^2)`, so the error of a point
    mass is 0. `t / step + 2` NFE.
    """

    t: float = 0.1
    step: float = 0.01
    name: ClassVar[str] = "reconstruction_cost"
    label: ClassVar[str] = "Reconstruction cost (SecMI t-error)"
    summary: ClassVar[str] = (
        "Minus the error of one deterministic step up in noise and back at the image."
    )
    citation: ClassVar[str] = "Duan et al. 2023, arXiv 2302.01316"
    needs: ClassVar[Need] = "image"
    grid: ClassVar[Grid] = {"t": IMAGE_TIMES}

    @torch.no_grad()
    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the errors (B, 1)."""
        trace, score_model = inputs.generated(), model.score_model
        first = 1 / model.schedule.steps
        climbs = max(1, round(self.t / self.step))
        times = [first, *(self.step * number for number in range(1, climbs + 2))]
        errors = []
        for part in torch.split(torch.arange(len(inputs)), rows_at_once(model)):
            cond = inputs.embeddings[inputs.prompt_index[part]].to(model.device)
            # The image stands for the point of least noise, as in inversion by DDIM.
            x = trace.latents[part].to(model.device)
            for start, end in pairwise(times[:-1]):
                x = ddim_step(score_model, x, start, end, cond)
            up = ddim_step(score_model, x, times[-2], times[-1], cond)
            back = ddim_step(score_model, up, times[-1], times[-2], cond)
            errors.append((back - x).flatten(1).norm(dim=1, keepdim=True).float().cpu())
        cost = torch.cat(errors)
        check_network(cost, model.name)
        return Measurement(cost, float(len(times)), trace.nfe)

    def score(self, values: Tensor) -> Tensor:
        """Return minus the error."""
        return -values[:, 0]


def ddim_step(
    model: ScoreModel, x: Tensor, start: float, end: float, cond: Tensor | None
) -> Tensor:
    """Return x (B, *shape) at the time `end`, from x at `start`, by one deterministic step.

    `alpha_end x0_hat + sigma_end eps_hat` (Song et al. 2021, DDIM with eta = 0).
    """
    at = torch.tensor([start, end], dtype=torch.float64)
    alphas, sigmas = model.schedule.alpha(at).tolist(), model.schedule.sigma(at).tolist()
    eps = model.eps(x, start, cond)
    data = (x - sigmas[0] * eps) / alphas[0]
    ahead: Tensor = alphas[1] * data + sigmas[1] * eps
    return ahead
