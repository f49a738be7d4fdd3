"""A small variational autoencoder: a generator whose LID is the rank of its Jacobian.

The decoder maps a latent to a point, so its learned manifold is the decoder's image and the rank
of the decoder's Jacobian is its dimension there (`dimension.jacobian_rank`). It needs no noise
scale of a diffusion model and checks the same hypothesis on a different family.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class SmallVAE(nn.Module):
    """A variational autoencoder of vectors whose decoder has a learned noise."""

    center: Tensor

    def __init__(self, points: Tensor, *, latent_dim: int, width: int = 128) -> None:
        """Build for points (N, D), centered and scaled by their own spread."""
        super().__init__()
        dim = points.shape[1]
        self.latent_dim = latent_dim
        self.scale = float((points - points.mean(0)).square().mean().sqrt().clamp(min=1e-3))
        self.register_buffer("center", points.mean(0))
        self.encoder = nn.Sequential(
            nn.Linear(dim, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2 * latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, dim),
        )
        self.log_noise = nn.Parameter(torch.tensor(-2.0))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of the latent, each (B, latent_dim)."""
        mean, log_std = self.encoder((x - self.center) / self.scale).chunk(2, dim=1)
        return mean, log_std.clamp(-12, 2)

    def decode(self, z: Tensor) -> Tensor:
        """Return points (B, D) for latents (B, latent_dim)."""
        answer: Tensor = self.center + self.scale * self.decoder(z)
        return answer

    @property
    def noise(self) -> float:
        """Return the decoder's standard deviation in data units: below it the model is blind."""
        return float(self.log_noise.detach().exp()) * self.scale


@dataclass(frozen=True)
class VAEStep:
    """One optimizer step.

    `loss` is the negative evidence lower bound per point, in nats for data in units of the model's
    scale and without the constant D / 2 log 2 pi.
    """

    step: int
    steps: int
    loss: float


def train_vae(
    vae: SmallVAE,
    points: Tensor,
    *,
    steps: int,
    batch: int = 256,
    rate: float = 2e-3,
    generator: torch.Generator,
) -> Iterator[VAEStep]:
    """Maximize the evidence lower bound (Kingma & Welling 2014), one yield a step.

    `log N(x; G(z), noise^2) - KL(q(z|x) || N(0, 1))` with the decoder's noise learned (Rybkin et
    al. 2021), which prunes the latent directions that the data does not use.
    """
    if steps < 1 or batch < 1:
        raise ValueError(f"steps and batch must be at least 1, got {steps!r} and {batch!r}.")
    # A short memory of the squared gradients: those of the noise are huge at first, and Adam's
    # usual thousand steps of memory would keep it from moving afterwards.
    optimizer = torch.optim.Adam(vae.parameters(), lr=rate, betas=(0.9, 0.99), fused=True)
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2 + 1e-3 * rate
        x = points[torch.randint(len(points), (batch,), generator=generator)]
        mean, log_std = vae.encode(x)
        z = mean + log_std.exp() * torch.randn(mean.shape, generator=generator)
        error = ((vae.decode(z) - x) / vae.scale).square()
        misfit = (error / (2 * torch.exp(2 * vae.log_noise)) + vae.log_noise).sum(1)
        divergence = (mean.square() + torch.exp(2 * log_std) - 1 - 2 * log_std).sum(1) / 2
        loss = (misfit + divergence).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            vae.log_noise.clamp_(min=-7.0)
        yield VAEStep(step, steps, loss.item())
