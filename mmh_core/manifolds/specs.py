"""The entries of the catalogue of manifolds, and how they are made from samplers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from mmh_core.manifolds.affine import affine_geometry, multiscale_gaussian
from mmh_core.manifolds.embedding import orthonormal_frame, with_duplicates
from mmh_core.records import ManifoldSamples

Sampler = Callable[..., ManifoldSamples]
Training = Callable[[int, int, torch.Generator], ManifoldSamples]
Truth = Callable[[int, torch.Generator], ManifoldSamples]
Plot = Literal["plane", "space", "projection", "images"]

GEOMETRY_SEED = 2411


@dataclass(frozen=True)
class ManifoldSpec:
    """One manifold of the catalogue.

    `training(count, duplicates, generator)` samples `count` points and adds `duplicates` exact
    copies; `truth(count, generator)` samples the true support. `ambient_dim` and `shape` are those
    of one point before any embedding; `plot` is the kind of chart. `preset` marks the
    cases that illustrate the hypothesis, as opposed to manifolds for measuring estimators.
    """

    name: str
    label: str
    blurb: str
    ambient_dim: int
    shape: tuple[int, ...]
    default_points: int
    default_duplicates: int
    max_points: int
    training: Training
    truth: Truth
    preset: bool
    plot: Plot


def geometry_generator() -> torch.Generator:
    """Return the generator of everything that belongs to a manifold and not to a sample.

    The seed is constant: training points, truth and held-out points of one name must share their
    frames, whichever generator draws the points.
    """
    return torch.Generator().manual_seed(GEOMETRY_SEED)


def plain(
    name: str, label: str, blurb: str, *, ambient_dim: int, plot: Plot, sampler: Sampler
) -> ManifoldSpec:
    """Return the entry of a manifold whose truth is its sampler: 2,000 points by default."""
    return ManifoldSpec(
        name=name,
        label=label,
        blurb=blurb,
        ambient_dim=ambient_dim,
        shape=(ambient_dim,),
        default_points=2_000,
        default_duplicates=0,
        max_points=20_000,
        training=partial(copied, sampler),
        truth=partial(sampled, sampler),
        preset=False,
        plot=plot,
    )


def copied(
    sampler: Sampler, count: int, duplicates: int, generator: torch.Generator
) -> ManifoldSamples:
    """Draw from a sampler and copy its first point whose LID is not already known to be 0."""
    samples = sampler(count, generator=generator)
    # NaN != 0 holds, so unknown LID counts as copyable; argmax takes the first.
    row = int((samples.lid != 0).int().argmax())
    return with_duplicates(samples, duplicates, row)


def sampled(sampler: Sampler, count: int, generator: torch.Generator) -> ManifoldSamples:
    """Return samples; the generator is positional here, as in `ManifoldSpec.truth`."""
    return sampler(count, generator=generator)


def affine_in(sampler: Sampler, dims: tuple[int, ...], ambient_dim: int) -> Sampler:
    """Bind an affine sampler to the catalogue's frames for `dims` in R^ambient_dim.

    The frames are drawn at each call, not here: nothing is computed at import.
    """
    return partial(_affine, sampler, dims, ambient_dim)


def multiscale_with(eigenvalues: tuple[float, ...], threshold: float) -> Sampler:
    """Bind the multiscale Gaussian to its eigenvalues and to the catalogue's frame."""
    return partial(_multiscale, eigenvalues, threshold)


def _affine(
    sampler: Sampler,
    dims: tuple[int, ...],
    ambient_dim: int,
    count: int,
    *,
    generator: torch.Generator,
) -> ManifoldSamples:
    geometry = affine_geometry(dims, ambient_dim, generator=geometry_generator())
    return sampler(count, geometry=geometry, generator=generator)


def _multiscale(
    eigenvalues: tuple[float, ...],
    threshold: float,
    count: int,
    *,
    generator: torch.Generator,
) -> ManifoldSamples:
    dim = len(eigenvalues)
    return multiscale_gaussian(
        count,
        eigenvalues=eigenvalues,
        threshold=threshold,
        frame=orthonormal_frame(dim, dim, generator=geometry_generator()),
        generator=generator,
    )
