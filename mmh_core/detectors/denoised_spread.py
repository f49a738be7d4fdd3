"""Spread of denoised images: by how much the noise at a coarse scale changes what comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmh_core.detectors.grids import LOG_DELTAS, Grid
from mmh_core.detectors.inputs import DetectorInputs, rows_at_once
from mmh_core.detectors.measurement import Measurement, Need, OneColumn
from mmh_core.dimension.scaled_points import check_network, scaled_points
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class DenoisedSpread(OneColumn):
    """Minus `E |D(x + delta n) - mean|^2 / delta^2`, the spread of denoised images over noises.

    D denoises with the prompt, n is standard normal noise, x the image and delta = exp of
    `log_delta`. For a Gaussian with variances l_i it is `sum_i (l_i / (l_i + delta^2))^2` at every
    x: the denoising-loss LID of Yeats et al. 2025 (arXiv 2510.12975) without its offset, of one
    image 0. Two things differ from LID at its own scale: it is coarse, so that it says whether the
    prompt at this image leads to one image or to many, and the network sees noised images, as in
    training, where a Jacobian is taken at the noise-free point. The `draws` noises come in pairs n
    and -n from `seed`, and are the same for all images. `draws` NFE.
    """

    log_delta: float = math.log(1.6)
    draws: int = 24
    seed: int = 0
    name: ClassVar[str] = "denoised_spread"
    label: ClassVar[str] = "Spread of denoised images"
    summary: ClassVar[str] = (
        "Minus the variance of the denoised image over noises at a coarse noise scale."
    )
    citation: ClassVar[str] = "this project, after Yeats et al. 2025"
    needs: ClassVar[Need] = "image"
    grid: ClassVar[Grid] = {"log_delta": LOG_DELTAS}

    def __post_init__(self) -> None:
        """Raise ValueError for an odd number of draws, which are no pairs."""
        if self.draws < 2 or self.draws % 2:
            raise ValueError(f"draws must be an even number of at least 2, got {self.draws!r}.")

    @torch.no_grad()
    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the spreads (B, 1)."""
        trace, score_model = inputs.generated(), model.score_model
        generator = torch.Generator().manual_seed(self.seed)
        half = torch.randn((self.draws // 2, *score_model.shape), generator=generator)
        noise = torch.cat([half, -half])
        delta, spreads = math.exp(self.log_delta), []
        for part in torch.split(torch.arange(len(inputs)), rows_at_once(model)):
            clean = trace.latents[part].to(model.device)
            cond = inputs.embeddings[inputs.prompt_index[part]].to(model.device)
            denoised = []
            for draw in noise.to(clean):
                points = scaled_points(score_model, clean + delta * draw, self.log_delta, cond)
                alpha = points.alpha.reshape(-1, *(1,) * len(score_model.shape))
                denoised.append(score_model.x0(alpha * points.x0, points.t, cond))
            # The mean over pairs is that of no noise where D is linear: it costs no degree of
            # freedom.
            parts = torch.stack(denoised).float().flatten(2)
            variance = parts.var(0, correction=0).sum(1, keepdim=True)
            spreads.append((variance / delta**2).cpu())
        spread = torch.cat(spreads)
        check_network(spread, model.name)
        return Measurement(spread, float(self.draws), trace.nfe)

    def score(self, values: Tensor) -> Tensor:
        """Return minus the spread."""
        return -values[:, 0]
