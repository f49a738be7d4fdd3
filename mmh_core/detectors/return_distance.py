"""Return distance: how far from an image its denoising ends after noise at a coarse scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from mmh_core.detectors.grids import Grid
from mmh_core.detectors.inputs import DetectorInputs, rows_at_once
from mmh_core.detectors.measurement import Measurement, Need, OneColumn
from mmh_core.diffusion.score_model import ScoreModel, guided
from mmh_core.dimension.probes import gaussian
from mmh_core.dimension.scaled_points import check_network, scaled_points
from mmh_core.text_to_image.image_probes import probe_generators
from mmh_core.text_to_image.model import TextToImage

#: The noise scale of the last step, in units of the latents' spread.
LAST = 0.1


@dataclass(frozen=True)
class ReturnDistance(OneColumn):
    """Minus the log of `E |R(x + delta n) - x|^2 / D`, R the guided way back from the noise.

    The image x is noised to delta = exp of `log_delta` and denoised with its prompt and guidance
    by `steps` deterministic steps, `z <- x0_hat + (z - x0_hat) end / start` (Song et al. 2021,
    DDIM), whose noise scales fall by one factor to `LAST`, the last step to 0: where the prompt
    holds one image, what comes back is that image. The nearest paper is Li et al. 2024 (ReDiffuse,
    arXiv 2405.20771), who noise and denoise a candidate for the training set several times and
    take the distance of the mean of what comes back. Variant: the mean of the squared distances,
    which counts what differs from noise to noise too, of generated images, guided, from coarser
    noise. The error of Wang et al. 2023 (DIRE, arXiv 2303.09295) is that of a way back from the
    image's own inversion, without noise. For a Gaussian with mean m and variances l, not guided, a
    step multiplies z - m by `(l + start end) / (l + start^2)`; with F the product, the expected
    square along an axis is `(1 - F)^2 (x - m)^2 + F^2 delta^2`, 0 at a point mass. Each image has
    its own `draws` noises, in pairs n and -n (`text_to_image.image_probes`), the same at all
    scales. `2 steps draws` NFE.
    """

    log_delta: float = math.log(1.6)
    steps: int = 8
    draws: int = 4
    name: ClassVar[str] = "return_distance"
    label: ClassVar[str] = "Return distance (ReDiffuse variant)"
    summary: ClassVar[str] = (
        "Minus the log of the squared distance to what comes back from coarse noise, guided."
    )
    citation: ClassVar[str] = "Li et al. 2024, arXiv 2405.20771"
    needs: ClassVar[Need] = "image"
    grid: ClassVar[Grid] = {"log_delta": tuple(math.log(delta) for delta in (1.6, 0.55, 0.8, 1.1))}

    def __post_init__(self) -> None:
        """Raise ValueError for an odd number of draws, no step, and noise below `LAST`."""
        if self.draws < 2 or self.draws % 2:
            raise ValueError(f"draws must be an even number of at least 2, got {self.draws!r}.")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps!r}.")
        if not math.log(LAST) < self.log_delta < math.inf:
            delta = math.exp(self.log_delta)
            raise ValueError(f"The noise scale must be finite and above {LAST}, got {delta:g}.")

    @torch.no_grad()
    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the mean squared distances per number of the latents, (B, 1)."""
        trace = inputs.generated()
        score_model = guided(model.score_model, trace.guidance)
        distances = []
        for part in torch.split(torch.arange(len(inputs)), rows_at_once(model)):
            clean = trace.latents[part].to(model.device)
            cond = inputs.embeddings[inputs.prompt_index[part]].to(model.device)
            texts = [inputs.text(row) for row in part.tolist()]
            own = probe_generators(model, self.name, texts, trace.images[part])
            half = gaussian(clean, self.draws // 2, own)
            squares = [
                (self._returned(score_model, clean, noise, cond) - clean).square()
                for noise in torch.cat([half, -half], dim=1).unbind(1)
            ]
            distances.append(torch.stack(squares).mean(0).flatten(1).mean(1, keepdim=True).cpu())
        distance = torch.cat(distances).float()
        check_network(distance, model.name)
        return Measurement(distance, float(2 * self.steps * self.draws), trace.nfe)

    def _returned(self, model: ScoreModel, clean: Tensor, noise: Tensor, cond: Tensor) -> Tensor:
        """Return what the noised images (B, *shape) come back to."""
        log_deltas = torch.linspace(self.log_delta, math.log(LAST), self.steps).tolist()
        z = clean + math.exp(self.log_delta) * noise
        for start, end in pairwise([*log_deltas, -math.inf]):
            points = scaled_points(model, clean, start, cond)
            alpha = points.alpha.reshape(-1, *(1,) * len(model.shape))
            data = model.x0(alpha * z, points.t, cond)
            z = data + (z - data) * math.exp(end - start)
        return z

    def score(self, values: Tensor) -> Tensor:
        """Return minus the log of the distance, that of the least positive number for 0."""
        return -values[:, 0].clamp(min=torch.finfo(values.dtype).tiny).log()
