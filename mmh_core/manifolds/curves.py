"""Curves in the plane: von Mises mixtures on the unit circle, and a spiral. LID is 1 on both."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmh_core.manifolds.checks import point_count, real
from mmh_core.manifolds.draws import Component, accepted, allocate, join, uniform
from mmh_core.records import ManifoldSamples

# Below this concentration the density differs from the uniform one by less than rounding.
_FLAT = 1e-8


def on_circle(angles: Tensor) -> Tensor:
    """Return the points (n, 2) of the unit circle at `angles` (n,), in radians."""
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def von_mises_angles(
    count: int, *, location: float, concentration: float, generator: torch.Generator
) -> Tensor:
    """Draw angles (count,) with density proportional to exp(concentration cos(angle - location)).

    Best and Fisher 1979 ("Efficient simulation of the von Mises distribution"): rejection from a
    wrapped Cauchy distribution, exact for every concentration. Angles are in radians, within pi of
    `location`. Errors: ValueError for a location or concentration outside its range.
    """
    center = real("location", location, least=-1e3, most=1e3)
    kappa = real("concentration", concentration, least=0.0, most=1e6)
    if kappa < _FLAT:
        return center + uniform((count,), low=-math.pi, high=math.pi, generator=generator)
    root = math.sqrt(1 + 4 * kappa**2)
    tau = 1 + root
    # (tau - sqrt(2 tau)) / (2 kappa), written without the difference that cancels at small kappa.
    rho = 2 * kappa * math.sqrt(tau) / ((math.sqrt(tau) + math.sqrt(2)) * (root + 1))
    spread = (1 + rho**2) / (2 * rho)

    def propose(n: int) -> tuple[Tensor, Tensor]:
        first, second, side = uniform((3, n), generator=generator)
        turn = (math.pi * first).cos()
        cosine = (1 + spread * turn) / (spread + turn)
        excess = kappa * (spread - cosine)
        # Writing the bound as a logarithm: second <= excess * exp(1 - excess).
        mask = second.log() <= excess.log() + 1 - excess
        angle = cosine.clamp(-1, 1).acos()
        return torch.where(side < 0.5, -angle, angle), mask

    return center + accepted(count, propose)


def von_mises_mixture(
    count: int,
    *,
    locations: Sequence[float],
    concentrations: Sequence[float],
    weights: Sequence[float],
    generator: torch.Generator,
) -> ManifoldSamples:
    """Sample a mixture of von Mises distributions on the unit circle in R^2.

    One arc per entry of the three lists: `locations` in radians, `concentrations` kappa >= 0 (0 is
    uniform; the angular standard deviation is about 1 / sqrt(kappa) for a large one), `weights` in
    any unit. Points (count, 2), LID 1 everywhere, also where the density is tiny: LID is a
    property of the support. Rows are shuffled; shares are exact (see `allocate`).
    Errors: ValueError for lists of different lengths or a value outside its range.
    """
    point_count(count)
    if not len(locations) == len(concentrations) == len(weights) > 0:
        raise ValueError(
            f"locations, concentrations and weights have {len(locations)}, {len(concentrations)} "
            f"and {len(weights)} entries; they must have the same number, at least 1."
        )
    parts = []
    shares = allocate(count, weights)
    for i, (share, location, kappa) in enumerate(
        zip(shares, locations, concentrations, strict=True)
    ):
        angles = von_mises_angles(
            share, location=location, concentration=kappa, generator=generator
        )
        parts.append(Component(f"arc {i + 1}", on_circle(angles), 1.0))
    return join("von-mises", parts, shuffle=generator)


def spiral(
    count: int, *, turns: float = 2.0, inner: float = 0.2, generator: torch.Generator
) -> ManifoldSamples:
    """Sample an Archimedean spiral in R^2, uniformly by arc length.

    `r = b theta` from radius `inner` to radius 1 in `turns` turns, so b = (1 - inner) / (2 pi
    turns). The arc length from the origin, b / 2 (theta sqrt(1 + theta^2) + asinh theta), is
    inverted by Newton's method. Points (count, 2), LID 1. Consecutive windings are 2 pi b apart:
    an estimator that looks farther than that sees a surface.
    Errors: ValueError for `turns` outside [0.1, 20] or `inner` outside [0.01, 0.9].
    """
    point_count(count)
    turns = real("turns", turns, least=0.1, most=20.0)
    inner = real("inner", inner, least=0.01, most=0.9)
    growth = (1 - inner) / (2 * math.pi * turns)

    def length(theta: Tensor) -> Tensor:
        return (theta * (1 + theta**2).sqrt() + theta.asinh()) / 2

    ends = torch.tensor([inner, 1.0], dtype=torch.float64, device=generator.device) / growth
    low, high = length(ends).tolist()
    # One draw per cell of the length would be too even for a sample: these are independent.
    target = uniform((count,), low=low, high=high, generator=generator)
    # length is convex and increasing, so Newton from the right end decreases to the root.
    theta = ends[1].expand(count)
    for _ in range(30):
        theta = theta - (length(theta) - target) / (1 + theta**2).sqrt()
    points = growth * theta[:, None] * on_circle(theta)
    return join("spiral", [Component("spiral", points, 1.0)])
