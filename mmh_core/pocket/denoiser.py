"""Training of the denoiser: a UNet on latents, conditioned on captions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from mmh_core.pocket.batches import Precision, computing
from mmh_core.pocket.clip import Captioned
from mmh_core.pocket.fit import Fitted, Fitting, Loss, fit
from mmh_core.pocket.folder import Place
from mmh_core.text_to_image.components import alphas_cumprod, new_unet

#: The error that is minimized: of the noise, or of the velocity `v = alpha eps - sigma x0`
#: (Salimans and Ho, arXiv 2202.00512), which is the noise's times `1 / alpha^2`.
Weighting = Literal["noise", "velocity"]


@dataclass(frozen=True)
class DenoiserConfig:
    """Shape of the network, training noise, and length of training.

    Half of the steps t are uniform, half normal in log delta around `noise` (in units of the
    latents' spread) with `noise_spread`: where images take shape and LID is estimated. `empty` is
    the share of captions that are left out, for guidance. The noise's error hardly weighs high
    noise, where the caption decides which image it becomes; the velocity's does.
    """

    fitting: Fitting = field(
        default_factory=lambda: Fitting(steps=4_800, batch=128, rate=1e-3, warm_up=300)
    )
    channels: tuple[int, ...] = (96, 160)
    layers: int = 1
    heads: int = 4
    groups: int = 32
    empty: float = 0.1
    noise: float = 0.35
    noise_spread: float = 1.0
    weighting: Weighting = "noise"

    def network(self, side: int, context: int) -> dict[str, Any]:
        """Return UNet2DConditionModel's configuration for latents of this side."""
        levels = len(self.channels)
        # At full size attention would take a third of the step, and the next level has it too.
        down = ("DownBlock2D", *("CrossAttnDownBlock2D",) * (levels - 1))
        up = (*("CrossAttnUpBlock2D",) * (levels - 1), "UpBlock2D")
        return {
            "sample_size": side,
            "in_channels": 4,
            "out_channels": 4,
            "layers_per_block": self.layers,
            "block_out_channels": self.channels,
            "down_block_types": down,
            "up_block_types": up,
            "cross_attention_dim": context,
            # diffusers reads this as the number of heads.
            "attention_head_dim": self.heads,
            "norm_num_groups": self.groups,
        }


@dataclass(frozen=True)
class LatentSet:
    """The training set of the denoiser.

    `latents` (N, 4, h, w) have unit spread; `copies` (N,) is how often each is in the
    training set; `texts` are the captions and `contexts` (C, LENGTH, width) their embeddings, of
    which `nothing` (1, LENGTH, width) is the empty one's.
    """

    latents: Tensor
    copies: Tensor
    texts: Captioned
    contexts: Tensor
    nothing: Tensor

    def __post_init__(self) -> None:
        """Refuse latents that the schedule is not meant for."""
        spread = float(self.latents.std())
        if not 0.8 < spread < 1.25:
            raise ValueError(f"Latents must have a spread near 1, got {spread:.3f}.")


@torch.no_grad()
def contexts(text_encoder: Any, ids: Tensor, batch: int = 256) -> Tensor:
    """Return what the denoiser attends to (C, LENGTH, width), as StableDiffusionPipeline does."""
    device = next(iter(text_encoder.parameters())).device
    parts = [
        text_encoder(part.to(device)).last_hidden_state.cpu() for part in torch.split(ids, batch)
    ]
    return torch.cat(parts)


def step_shares(config: DenoiserConfig) -> Tensor:
    """Return the probabilities (1000,), in float64, with which the steps are drawn."""
    table = alphas_cumprod().double()
    log_delta = (torch.log1p(-table) - table.log()) / 2
    width = torch.gradient(log_delta)[0]
    z = (log_delta - math.log(config.noise)) / config.noise_spread
    bell = torch.exp(-z.square() / 2) * width
    return (bell / bell.sum() + 1 / len(table)) / 2


def draw_steps(shares: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return random steps (count,) with these probabilities, spread evenly over the distribution.

    One draw in each of `count` parts of equal probability, which halves the noise of the loss.
    """
    part = (
        torch.arange(count) + torch.rand(count, generator=generator, dtype=torch.float64)
    ) / count
    return torch.searchsorted(shares.cumsum(0), part).clamp(max=len(shares) - 1)


def train_denoiser(
    data: LatentSet, config: DenoiserConfig, place: Place, precision: Precision
) -> Iterator[Fitted]:
    """Train `E w(t) |eps - eps_hat(alpha x0 + sigma eps, t, caption)|^2`, one yield a step.

    w is 1, or `1 / alpha^2` where the velocity's error is minimized.
    An image is drawn in proportion to its copies, its caption uniformly among its own. t follows
    `step_shares` and is not weighted back: that gives low noise its share.
    """
    generator = torch.Generator().manual_seed(place.seed)
    side, context = data.latents.shape[-1], data.contexts.shape[-1]
    with place.seeded():
        unet = new_unet(config.network(side, context)).to(place.device)
    yield from fit(
        unet,
        _loss(unet, data, config, place.device, precision),
        config.fitting,
        generator=generator,
        checkpoint=place.checkpoint,
        stamp=place.stamp,
    )


def _loss(
    unet: Any,
    data: LatentSet,
    config: DenoiserConfig,
    device: torch.device,
    precision: Precision,
) -> Loss:
    alpha, sigma = (root.float() for root in _roots())
    shares, copies = step_shares(config), data.copies.double().cumsum(0)
    weights = alpha**-2 if config.weighting == "velocity" else torch.ones_like(alpha)

    def loss(generator: torch.Generator) -> Tensor:
        batch = config.fitting.batch
        position = torch.rand(batch, generator=generator, dtype=torch.float64) * copies[-1]
        chosen = torch.searchsorted(copies, position, right=True).clamp(max=len(copies) - 1)
        context = data.contexts[data.texts.draw(chosen, generator)]
        empty = torch.rand(batch, generator=generator) < config.empty
        context = torch.where(empty[:, None, None], data.nothing, context).float().to(device)
        # The strata are in order; images are not, so t and image are independent.
        t = draw_steps(shares, batch, generator)
        x0 = data.latents[chosen]
        eps = torch.randn(x0.shape, generator=generator)
        x_t = alpha[t][:, None, None, None] * x0 + sigma[t][:, None, None, None] * eps
        with computing(device, precision):
            prediction: Tensor = unet(x_t.to(device), t.to(device), context).sample
        errors = (prediction.float() - eps.to(device)).square().mean((1, 2, 3))
        return (weights[t].to(device) * errors).mean()

    return loss


def _roots() -> tuple[Tensor, Tensor]:
    """Return alpha and sigma (1000,) in float64."""
    table = alphas_cumprod().double()
    return table.sqrt(), (1 - table).sqrt()
