"""Random draws that the samplers share, and the joining of components to one record.

Everything is drawn in float64 on the generator's device and rounded once, to float32, by `join`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.manifolds.checks import real
from mmh_core.records import ManifoldSamples

UNKNOWN_LID = math.nan


@dataclass(frozen=True)
class Component:
    """One component of a mixture: its name, its points (n, *shape) and the LID they share."""

    name: str
    points: Tensor
    lid: float


def uniform(
    size: tuple[int, ...], *, low: float = 0.0, high: float = 1.0, generator: torch.Generator
) -> Tensor:
    """Draw from the uniform distribution on [low, high), in float64."""
    unit = torch.rand(size, generator=generator, dtype=torch.float64, device=generator.device)
    return low + (high - low) * unit


def stratified(count: int, *, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw one value per cell of an even division of [low, high) into `count` cells, in order.

    Uniform on average, and no gap is wider than two cells: it covers an interval evenly.
    """
    cells = torch.arange(count, dtype=torch.float64, device=generator.device)
    unit = (cells + uniform((count,), generator=generator)) / max(count, 1)
    return low + (high - low) * unit


def normal(size: tuple[int, ...], *, generator: torch.Generator) -> Tensor:
    """Draw from the standard normal distribution, in float64."""
    return torch.randn(size, generator=generator, dtype=torch.float64, device=generator.device)


def laplace(size: tuple[int, ...], *, generator: torch.Generator) -> Tensor:
    """Draw from the Laplace distribution of scale 1 (variance 2), in float64.

    A difference of two exponentials: unlike the inverse of the distribution function it never
    meets log 0.
    """
    pair = torch.empty((2, *size), dtype=torch.float64, device=generator.device)
    pair.exponential_(generator=generator)
    return pair[0] - pair[1]


def accepted(count: int, propose: Callable[[int], tuple[Tensor, Tensor]]) -> Tensor:
    """Return the first `count` accepted values of a rejection sampler.

    `propose(n)` returns n candidates and a boolean mask (n,). The result is exact: candidates are
    independent, so keeping the first ones that pass introduces no bias.
    """
    kept = [propose(0)[0]]
    missing = count
    while missing > 0:
        candidates, mask = propose(2 * missing + 8)
        kept.append(candidates[mask][:missing])
        missing -= len(kept[-1])
    return torch.cat(kept)


def allocate(count: int, weights: Sequence[float]) -> tuple[int, ...]:
    """Share `count` points among components in proportion to `weights`, exactly.

    Largest remainders, the earlier component first at a tie. The shares are fixed, not
    multinomial, so that a ratio such as 4:2:1 holds in every sample. The caveat: component labels
    are therefore not independent of one another, and a small count may leave a component empty.

    Errors: ValueError for a negative or non-finite weight, or weights that sum to 0.
    """
    checked = [real("a weight", weight, least=0.0, most=1e9) for weight in weights]
    total = sum(checked)
    if not total > 0:
        raise ValueError(f"weights are {tuple(weights)!r}; at least one must be above 0.")
    quotas = [count * weight / total for weight in checked]
    shares = [math.floor(quota) for quota in quotas]
    # Rounding 0.1-like weights must not decide who gets the next point: hence round(..., 9).
    order = sorted(range(len(quotas)), key=lambda i: (-round(quotas[i] - shares[i], 9), i))
    for i in order[: count - sum(shares)]:
        shares[i] += 1
    return tuple(shares)


def join(
    name: str, parts: Sequence[Component], *, shuffle: torch.Generator | None = None
) -> ManifoldSamples:
    """Return one record of all parts, in float32, in random order if a generator is given."""
    points = torch.cat([part.points for part in parts]).float()
    sizes = torch.tensor([len(part.points) for part in parts], device=points.device)
    lids = torch.tensor([part.lid for part in parts], dtype=torch.float32, device=points.device)
    component = torch.arange(len(parts), device=points.device).repeat_interleave(sizes)
    if shuffle is not None:
        order = torch.randperm(len(points), generator=shuffle, device=points.device)
        points, component = points[order], component[order]
    names = tuple(part.name for part in parts)
    return ManifoldSamples(name, points, lids[component], component, names)
