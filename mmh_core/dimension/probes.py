"""Random probes of the estimators, and the mean and standard error over them.

Numbers are drawn on the generator's own device, sample after sample: with a generator on the CPU a
batch gives what a loop over its samples gives, and a GPU what the CPU gives. With one generator
per sample a sample's numbers do not depend on its company at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: What is drawn from: one generator for all samples in turn, or one for each of them.
Randomness = torch.Generator | Sequence[torch.Generator]


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuse a number of draws below `least`."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}.")


def rademacher(x: Tensor, probes: int, generator: Randomness) -> Tensor:
    """Draw `probes` vectors of signs for each point of `x` (B, *shape): (B, probes, *shape).

    Signs are the probes of Hutchinson 1990: `v'v = D` exactly, and the diagonal adds no variance.
    """
    check_count("probes", probes)
    if not isinstance(generator, torch.Generator):
        parts = zip(torch.split(x, 1), generator, strict=True)
        return torch.cat([rademacher(points, probes, own) for points, own in parts])
    size, device = (len(x), probes, *x.shape[1:]), generator.device
    # Whole numbers are drawn one after the other: no loop is needed to match one.
    return (2 * torch.randint(2, size, generator=generator, device=device) - 1).to(x)


def gaussian(x: Tensor, draws: int, generator: Randomness) -> Tensor:
    """Draw `draws` standard normal vectors for each point of `x`: (B, draws, *shape)."""
    check_count("draws", draws)
    if not isinstance(generator, torch.Generator):
        parts = zip(torch.split(x, 1), generator, strict=True)
        return torch.cat([gaussian(points, draws, own) for points, own in parts])
    size, device = (draws, *x.shape[1:]), generator.device
    noise = [
        torch.randn(size, generator=generator, device=device, dtype=x.dtype) for _ in range(len(x))
    ]
    return torch.stack(noise).to(x.device)


def mean_and_error(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard error (B,) of samples (B, K); the error of one sample is NaN."""
    count = samples.shape[1]
    mean = samples.mean(1)
    if count == 1:
        return mean, torch.full_like(mean, torch.nan)
    return mean, samples.std(1) / count**0.5
