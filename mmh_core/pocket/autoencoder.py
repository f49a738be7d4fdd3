"""Training of the autoencoder: 64 x 64 images to 8 x 8 latents of 4 channels and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmh_core.pocket.batches import Precision, as_unit, computing
from mmh_core.pocket.fit import Fitted, Fitting, Loss, fit
from mmh_core.pocket.folder import Place
from mmh_core.text_to_image.components import new_autoencoder


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of the network, weights of the loss, and length of training.

    `noise` is the standard deviation of the noise added to the decoder's input, in units of the
    latents' spread: it makes latents smooth, so that small errors of the denoiser do not show.
    """

    fitting: Fitting = field(default_factory=lambda: Fitting(steps=10_000, batch=8, rate=2e-3))
    channels: tuple[int, ...] = (16, 32, 64, 128)
    groups: int = 8
    noise: float = 0.07
    edges: float = 0.5
    divergence: float = 1e-6

    def network(self, size: int) -> dict[str, Any]:
        """Return AutoencoderKL's configuration for images of this side."""
        return {
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": ("DownEncoderBlock2D",) * len(self.channels),
            "up_block_types": ("UpDecoderBlock2D",) * len(self.channels),
            "block_out_channels": self.channels,
            "layers_per_block": 1,
            "latent_channels": 4,
            "norm_num_groups": self.groups,
            "mid_block_add_attention": False,
            "sample_size": size,
        }


def train_autoencoder(
    images: Tensor, config: AutoencoderConfig, place: Place, precision: Precision
) -> Iterator[Fitted]:
    """Train on uint8 images (N, 3, H, W), each mirrored half of the time; one yield a step."""
    generator = torch.Generator().manual_seed(place.seed)
    with place.seeded():
        vae = new_autoencoder(config.network(images.shape[-1])).to(place.device)
    yield from fit(
        vae,
        _loss(vae, images, config, place.device, precision),
        config.fitting,
        generator=generator,
        checkpoint=place.checkpoint,
        stamp=place.stamp,
    )


def reconstruction_loss(decoded: Tensor, target: Tensor, edges: float) -> Tensor:
    """Return `|e|_1 + 10 e^2 + edges |grad e|_1` of the error e, averaged over the numbers."""
    error = decoded - target
    across, down = error.diff(dim=3), error.diff(dim=2)
    gradient = across.abs().mean() + down.abs().mean()
    return error.abs().mean() + 10 * error.square().mean() + edges * gradient


def _loss(
    vae: Any,
    images: Tensor,
    config: AutoencoderConfig,
    device: torch.device,
    precision: Precision,
) -> Loss:
    def loss(generator: torch.Generator) -> Tensor:
        batch = config.fitting.batch
        chosen = torch.randint(len(images), (batch,), generator=generator)
        mirrored = torch.rand(batch, generator=generator) < 0.5
        x = as_unit(images[chosen], device) * 2 - 1
        x = torch.where(mirrored.to(device)[:, None, None, None], x.flip(3), x)
        with computing(device, precision):
            posterior = vae.encode(x).latent_dist
            mean = posterior.mean.float()
            draw = torch.randn(mean.shape, generator=generator).to(device)
            spread = config.noise * mean.detach().std()
            noise = torch.sqrt(posterior.var.float() + spread**2) * draw
            decoded = vae.decode(mean + noise).sample.float()
        divergence: Tensor = posterior.kl().float().mean()
        return reconstruction_loss(decoded, x, config.edges) + config.divergence * divergence

    return loss


@torch.no_grad()
def encode(vae: Any, images: Tensor, batch: int = 64) -> Tensor:
    """Return latents (N, 4, h, w), the means of the posterior, times the scaling factor.

    `images` is uint8 (N, 3, H, W); the latents are float32 on the CPU.
    """
    device = next(iter(vae.parameters())).device
    parts = [
        vae.encode(as_unit(part, device) * 2 - 1).latent_dist.mean.float().cpu()
        for part in torch.split(images, batch)
    ]
    return torch.cat(parts) * float(vae.config.scaling_factor)


@torch.no_grad()
def decode(vae: Any, latents: Tensor, batch: int = 64) -> Tensor:
    """Return images (N, 3, H, W) in [0, 1] for scaled latents."""
    device = next(iter(vae.parameters())).device
    parts = [
        vae.decode(part.to(device) / vae.config.scaling_factor).sample.float().cpu()
        for part in torch.split(latents, batch)
    ]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


def set_scale(vae: Any, images: Tensor) -> float:
    """Set the scaling factor to 1 / std of these images' latents, and return it."""
    vae.register_to_config(scaling_factor=1.0)
    scale = 1 / float(encode(vae, images).std())
    vae.register_to_config(scaling_factor=scale)
    return scale


def psnr(vae: nn.Module, images: Tensor) -> float:
    """Return `-10 log10` of the mean squared error of reconstructions, in dB."""
    decoded = decode(vae, encode(vae, images))
    error = (decoded - as_unit(images, torch.device("cpu"))).square().mean()
    return float(-10 * torch.log10(error))
