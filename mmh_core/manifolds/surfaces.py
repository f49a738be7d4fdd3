"""Spheres, the torus, the Swiss roll, and two mixtures of pieces of different dimension."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmh_core.manifolds.checks import MOST_DIMENSIONS, point_count, real, whole
from mmh_core.manifolds.curves import on_circle
from mmh_core.manifolds.draws import Component, accepted, allocate, join, normal, uniform
from mmh_core.records import ManifoldSamples

STICK_START = 1.5
DISC_CENTER = 3.0
DISC_RADIUS = 1.0
LOLLIPOP_RATIO = (4, 2, 1)


def sphere(
    count: int, *, dim: int = 2, radius: float = 1.0, generator: torch.Generator
) -> ManifoldSamples:
    """Sample the sphere S^dim of the given radius in R^(dim + 1), uniformly by area.

    A standard normal vector divided by its norm. Points (count, dim + 1), LID dim.
    Errors: ValueError for `dim` outside 1 to 9,999 or `radius` outside [0.001, 1000].
    """
    point_count(count)
    whole("dim", dim, least=1, most=MOST_DIMENSIONS - 1)
    radius = real("radius", radius, least=1e-3, most=1e3)
    direction = normal((count, dim + 1), generator=generator)
    points = radius * direction / direction.norm(dim=1, keepdim=True)
    return join("sphere", [Component("sphere", points, float(dim))])


def on_torus(around: Tensor, tube: Tensor, *, major: float, minor: float) -> Tensor:
    """Return the points (n, 3) of a torus at its two angles (n,), in radians.

    `((major + minor cos tube) cos around, (major + minor cos tube) sin around, minor sin tube)`.
    """
    rim = major + minor * tube.cos()
    return torch.cat([rim[:, None] * on_circle(around), (minor * tube.sin())[:, None]], dim=1)


def torus(
    count: int, *, major: float = 1.0, minor: float = 0.5, generator: torch.Generator
) -> ManifoldSamples:
    """Sample a torus in R^3, uniformly by area.

    Radius `major` of the central circle, `minor` of the tube. The area element is proportional to
    `major + minor cos tube`, so the angle of the tube is drawn by rejection; drawing both angles
    uniformly would crowd the inner side. Points (count, 3), LID 2.
    Errors: ValueError unless major is in [0.001, 1000] and minor in [0.001, .99 major].
    """
    point_count(count)
    points = _torus_points(count, major=major, minor=minor, generator=generator)
    return join("torus", [Component("torus", points, 2.0)])


def _torus_points(count: int, *, major: float, minor: float, generator: torch.Generator) -> Tensor:
    major = real("major", major, least=1e-3, most=1e3)
    # At minor = major the hole closes and the surface stops being a manifold.
    minor = real("minor", minor, least=1e-3 * major, most=0.99 * major)

    def propose(n: int) -> tuple[Tensor, Tensor]:
        tube = uniform((n,), high=2 * math.pi, generator=generator)
        level = uniform((n,), high=major + minor, generator=generator)
        return tube, level <= major + minor * tube.cos()

    tube = accepted(count, propose)
    around = uniform((count,), high=2 * math.pi, generator=generator)
    return on_torus(around, tube, major=major, minor=minor)


def swiss_roll(count: int, *, scale: float = 0.1, generator: torch.Generator) -> ManifoldSamples:
    """Sample the Swiss roll in R^3: `scale * (t cos t, 21 w, t sin t)`.

    t is uniform on [1.5 pi, 4.5 pi) and w on [0, 1): the customary roll, at scale 1 that of
    scikit-learn without noise. It is uniform in t and not by area, so the inner winding is denser.
    Points (count, 3), LID 2; the windings are about `2 pi scale` apart.
    Errors: ValueError for `scale` outside [0.001, 1000].
    """
    point_count(count)
    scale = real("scale", scale, least=1e-3, most=1e3)
    t = uniform((count,), low=1.5 * math.pi, high=4.5 * math.pi, generator=generator)
    height = uniform((count,), high=21.0, generator=generator)
    points = scale * torch.stack([t * t.cos(), height, t * t.sin()], dim=1)
    return join("swiss-roll", [Component("roll", points, 2.0)])


def lollipop(count: int, *, generator: torch.Generator) -> ManifoldSamples:
    """Sample the lollipop in R^2: a disc (LID 2), a stick (LID 1) and a dot (LID 0), 4:2:1.

    The disc has center (3, 3) and radius 1 (uniform by area), the stick runs from (1.5, 1.5) to
    where it touches the disc, the dot is the origin (Tempczyk et al. 2022, LIDL; Kamkari et al.
    2024). Points (count, 2), rows shuffled, shares exact. LID of a point near the end of the stick
    is that of its own piece; an estimator with a wide view sees the disc from there.
    """
    point_count(count)
    disc, stick, dot = allocate(count, LOLLIPOP_RATIO)
    radii = DISC_RADIUS * uniform((disc,), generator=generator).sqrt()
    angles = uniform((disc,), high=2 * math.pi, generator=generator)
    end = DISC_CENTER - DISC_RADIUS / math.sqrt(2)
    along = uniform((stick,), low=STICK_START, high=end, generator=generator)
    parts = [
        Component("disc", DISC_CENTER + radii[:, None] * on_circle(angles), 2.0),
        Component("stick", along[:, None].expand(-1, 2), 1.0),
        Component("dot", along.new_zeros(dot, 2), 0.0),
    ]
    return join("lollipop", parts, shuffle=generator)


def doughnut(
    count: int, *, major: float = 1.0, minor: float = 0.5, generator: torch.Generator
) -> ManifoldSamples:
    """Sample a string within a doughnut: a torus (LID 2) and the circle in its middle (LID 1).

    Half of the points each; the circle has radius `major` and is `minor` away from the surface.
    Both are uniform, by area and by length. Points (count, 3), rows shuffled.
    Errors: as for `torus`.
    """
    point_count(count)
    surface, string = allocate(count, (1, 1))
    shell = _torus_points(surface, major=major, minor=minor, generator=generator)
    circle = on_circle(uniform((string,), high=2 * math.pi, generator=generator))
    middle = torch.cat([major * circle, circle.new_zeros(string, 1)], dim=1)
    parts = [Component("torus", shell, 2.0), Component("circle", middle, 1.0)]
    return join("doughnut", parts, shuffle=generator)
