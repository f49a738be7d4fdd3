"""Orthonormal frames, isometric embedding, and exact duplicates."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mmh_core.manifolds.checks import MOST_DIMENSIONS, MOST_POINTS, whole
from mmh_core.manifolds.draws import normal
from mmh_core.records import ManifoldSamples

DUPLICATE = "duplicate"


def orthonormal_frame(ambient_dim: int, dim: int, *, generator: torch.Generator) -> Tensor:
    """Draw `dim` orthonormal columns (ambient_dim, dim) uniformly, in float64.

    QR of a Gaussian matrix with the diagonal of R made positive: without that the signs would be
    the linear-algebra library's, and the distribution not the uniform one (Mezzadri 2007).
    Errors: ValueError for ambient_dim outside 1 to 10,000 or dim outside 1 to ambient_dim.
    """
    whole("ambient_dim", ambient_dim, least=1, most=MOST_DIMENSIONS)
    whole("dim", dim, least=1, most=ambient_dim)
    q, r = torch.linalg.qr(normal((ambient_dim, dim), generator=generator))
    frame: Tensor = q * r.diagonal().sign()
    return frame


def embed(samples: ManifoldSamples, *, frame: Tensor) -> ManifoldSamples:
    """Embed samples in R^D isometrically: x -> frame x, distances and LID unchanged.

    `frame` (D, d) has orthonormal columns, d the number of coordinates of one point; points become
    (N, D). Pass the same frame for training and evaluation points, or they lie on different
    manifolds.
    Equal rows stay equal bit for bit. Errors: ValueError if the frame does not fit the samples or
    its columns are not orthonormal.
    """
    flat = samples.points.flatten(1)
    if frame.ndim != 2 or frame.shape[1] != flat.shape[1]:
        raise ValueError(
            f"frame has shape {tuple(frame.shape)}; it must be (D, {flat.shape[1]}), one column "
            "per coordinate of the samples."
        )
    frame = frame.to(flat.device, torch.float64)
    identity = torch.eye(frame.shape[1], dtype=frame.dtype, device=frame.device)
    error = (frame.T @ frame - identity).abs().max().item()
    if not error < 1e-6:
        raise ValueError(
            f"frame is off an orthonormal one by {error:.3g}; it must be within 1e-06."
        )
    # Some libraries round equal rows of a product differently; duplicates must stay exact copies.
    rows, back = torch.unique(flat, dim=0, return_inverse=True)
    return replace(samples, points=(rows.double() @ frame.T).float()[back])


def with_duplicates(
    samples: ManifoldSamples, extra_duplicates: int, at: int | Tensor
) -> ManifoldSamples:
    """Add `extra_duplicates` of one point to the samples, which then are a point mass there.

    `at` is the index of a row or the coordinates (*shape) of a point, which need not be among the
    samples. A location that is drawn more than once is a point mass of the data distribution, so
    the true LID of every row there, the original included, becomes 0, and its component
    "duplicate". With 0 of them the samples are returned unchanged.
    Errors: ValueError for a number outside 0 to 1,000,000, an index outside the samples, or
    coordinates of another shape or not finite.
    """
    extra_duplicates = whole("extra_duplicates", extra_duplicates, least=0, most=MOST_POINTS)
    if isinstance(at, Tensor):
        if tuple(at.shape) != samples.shape or not bool(at.isfinite().all()):
            raise ValueError(
                f"at has shape {tuple(at.shape)}; it must be one finite point of shape "
                f"{samples.shape}."
            )
        point = at.to(samples.points)
    else:
        point = samples.points[whole("at", at, least=0, most=len(samples.points) - 1)]
    if extra_duplicates == 0:
        return samples
    names = samples.component_names
    names = names if DUPLICATE in names else (*names, DUPLICATE)
    label = names.index(DUPLICATE)
    points = torch.cat([samples.points, point.expand(extra_duplicates, *samples.shape)])
    same = (points == point).flatten(1).all(dim=1)
    lid = torch.cat([samples.lid, samples.lid.new_zeros(extra_duplicates)])
    component = torch.cat(
        [samples.component, samples.component.new_full((extra_duplicates,), label)]
    )
    return ManifoldSamples(
        samples.name,
        points,
        lid.masked_fill(same, 0.0),
        component.masked_fill(same, label),
        names,
    )


def duplicate_locations(samples: ManifoldSamples) -> Tensor:
    """Return the distinct points (K, *shape) of the component "duplicate", K = 0 without one."""
    if DUPLICATE not in samples.component_names:
        return samples.points[:0]
    rows = samples.component == samples.component_names.index(DUPLICATE)
    locations: Tensor = torch.unique(samples.points[rows], dim=0)
    return locations
