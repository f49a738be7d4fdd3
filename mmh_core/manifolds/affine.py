"""Affine mixtures of known dimensions, their curved version, and a Gaussian with many scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from mmh_core.manifolds.checks import MOST_DIMENSIONS, choice, point_count, real, whole
from mmh_core.manifolds.draws import Component, allocate, join, laplace, normal, uniform
from mmh_core.manifolds.embedding import orthonormal_frame
from mmh_core.records import ManifoldSamples

Distribution = Literal["uniform", "gaussian", "laplace"]


@dataclass(frozen=True)
class AffineGeometry:
    """The positions of K affine pieces in R^D, without any points on them.

    `frames`: K tensors (D, d_k) with orthonormal columns; `modes` (K, D): a point of each piece.
    Both are float64. Kept apart so that training points and truth can share it.
    """

    frames: tuple[Tensor, ...]
    modes: Tensor

    @property
    def dims(self) -> tuple[int, ...]:
        """Return the dimension of each piece."""
        return tuple(frame.shape[1] for frame in self.frames)


def affine_geometry(
    dims: Sequence[int], ambient_dim: int, *, distance: float = 10.0, generator: torch.Generator
) -> AffineGeometry:
    """Draw one random orthonormal frame per entry of `dims` and place the modes on a simplex.

    Modes are the vertices of a regular simplex of edge `distance` about the origin: `distance /
    sqrt(2)` times the first K unit vectors, minus their mean.
    Errors: ValueError for no dims, a dimension outside 1 to ambient_dim, more pieces than
    coordinates, an ambient_dim above 10,000 or a distance outside [0, 1e6].
    """
    whole("ambient_dim", ambient_dim, least=1, most=MOST_DIMENSIONS)
    whole("the number of dims", len(dims), least=1, most=ambient_dim)
    edge = real("distance", distance, least=0.0, most=1e6)
    frames = tuple(orthonormal_frame(ambient_dim, dim, generator=generator) for dim in dims)
    corners = torch.eye(len(dims), ambient_dim, dtype=torch.float64, device=generator.device) * (
        edge / math.sqrt(2)
    )
    return AffineGeometry(frames, corners - corners.mean(dim=0))


def affine_mixture(
    count: int,
    *,
    geometry: AffineGeometry,
    distribution: Distribution = "uniform",
    generator: torch.Generator,
) -> ManifoldSamples:
    """Sample a mixture of affine pieces, equal weights: `mode_k + frame_k u`, LID d_k.

    u has independent coordinates: uniform on [-1, 1] (not standardized), standard normal, or
    Laplace of scale 1 (variance 2). Points (count, D), rows shuffled, shares exact.
    The caveat: uniform pieces are bounded; Gaussian and Laplace ones fill their whole affine
    subspace, so two of them whose dimensions sum to D or more intersect, far from the bulk of at
    least one.
    Errors: ValueError for an unknown distribution.
    """
    point_count(count)
    choice("distribution", distribution, get_args(Distribution))
    parts = []
    shares = allocate(count, [1.0] * len(geometry.dims))
    for share, frame, mode in zip(shares, geometry.frames, geometry.modes, strict=True):
        size = (share, frame.shape[1])
        if distribution == "uniform":
            latent = uniform(size, low=-1.0, high=1.0, generator=generator)
        elif distribution == "gaussian":
            latent = normal(size, generator=generator)
        else:
            latent = laplace(size, generator=generator)
        parts.append(
            Component(
                f"{frame.shape[1]}-D",
                mode.to(latent) + latent @ frame.to(latent).T,
                float(size[1]),
            )
        )
    return join("affine", parts, shuffle=generator)


def squiggle(points: Tensor, *, amplitude: float = 0.4, frequency: float = 2.0) -> Tensor:
    """Bend space smoothly: `x_i + amplitude sin(frequency x_i)` in every coordinate.

    A diffeomorphism of R^D, since the Jacobian is diagonal with entries of at least `1 -
    amplitude * frequency > 0`; it therefore leaves every LID unchanged. Shape and dtype follow
    the input. Errors: ValueError unless |amplitude * frequency| < 1, both within [-1000, 1000].
    """
    a = real("amplitude", amplitude, least=-1e3, most=1e3)
    b = real("frequency", frequency, least=-1e3, most=1e3)
    if not abs(a * b) < 1:
        raise ValueError(
            f"amplitude * frequency is {a * b:g}; it must be above -1 and below 1, "
            "or the map folds."
        )
    return points + a * (b * points).sin()


def squiggly_mixture(
    count: int,
    *,
    geometry: AffineGeometry,
    distribution: Distribution = "uniform",
    amplitude: float = 0.4,
    frequency: float = 2.0,
    generator: torch.Generator,
) -> ManifoldSamples:
    """Sample the affine mixture and bend it with `squiggle`: curved pieces, the same LID.

    Errors: as for `affine_mixture` and `squiggle`.
    """
    flat = affine_mixture(count, geometry=geometry, distribution=distribution, generator=generator)
    bent = squiggle(flat.points.double(), amplitude=amplitude, frequency=frequency)
    return replace(flat, name="squiggly", points=bent.float())


def multiscale_gaussian(
    count: int,
    *,
    eigenvalues: Sequence[float],
    threshold: float,
    frame: Tensor | None = None,
    generator: torch.Generator,
) -> ManifoldSamples:
    """Sample a centered Gaussian whose covariance has the given eigenvalues.

    Points `frame (sqrt(l_i) z_i)`, (count, D) with D = len(eigenvalues); `frame` (D, D) holds the
    eigenvectors, by default the axes. LID is declared to be the number of eigenvalues above
    `threshold` (a variance): what an observer at scale delta = sqrt(threshold) sees. The caveat:
    every positive eigenvalue is a direction of the support, so there is no single true LID. A
    perfect model's FLIPD curve is `sum l_i / (l_i + delta^2)` (Kamkari et al. 2024), a staircase
    with one step at delta = sqrt(l) for each group of equal eigenvalues l.
    Errors: ValueError for no eigenvalue, one outside [0, 1e6], a threshold outside [0, 1e6], or a
    frame of another shape.
    """
    point_count(count)
    whole("the number of eigenvalues", len(eigenvalues), least=1, most=MOST_DIMENSIONS)
    spectrum = [real("an eigenvalue", value, least=0.0, most=1e6) for value in eigenvalues]
    limit = real("threshold", threshold, least=0.0, most=1e6)
    size = (len(spectrum), len(spectrum))
    if frame is not None and tuple(frame.shape) != size:
        raise ValueError(f"frame has shape {tuple(frame.shape)}; it must be {size}.")
    variances = torch.tensor(spectrum, dtype=torch.float64, device=generator.device)
    points = variances.sqrt() * normal((count, len(spectrum)), generator=generator)
    if frame is not None:
        points = points @ frame.to(points).T
    lid = sum(value > limit for value in spectrum)
    return join("multiscale", [Component("gaussian", points, float(lid))])
