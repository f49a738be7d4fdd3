"""Sample the manifolds of this project by name, training points or truth.

A name stands for one fixed manifold: random frames (of the affine pieces, of the embedding) come
from a constant seed and not from the caller's generator, so that training points, truth and
held-out points drawn at different times lie on the same one.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from mmh_core.manifolds.checks import MOST_DIMENSIONS, MOST_POINTS, choice, whole
from mmh_core.manifolds.embedding import (
    duplicate_locations,
    embed,
    orthonormal_frame,
    with_duplicates,
)
from mmh_core.manifolds.entries import MANIFOLDS
from mmh_core.manifolds.specs import ManifoldSpec, geometry_generator
from mmh_core.records import ManifoldSamples

__all__ = ["MANIFOLDS", "ManifoldSpec", "sample", "sample_truth"]

# Coordinates of one sample: 400 MB in float32.
MOST_NUMBERS = 100_000_000


def sample(
    name: str,
    count: int,
    *,
    duplicates: int = 0,
    ambient_dim: int | None = None,
    generator: torch.Generator,
) -> ManifoldSamples:
    """Draw `count` training points of the manifold `name` and add `duplicates` exact copies.

    Points (count + duplicates, *shape), or (count + duplicates, ambient_dim) after an isometric
    embedding when `ambient_dim` exceeds the manifold's own.
    Errors: ValueError for an unknown name, a count outside 2 to the manifold's max_points,
    duplicates outside 0 to 1,000,000, an ambient_dim below the manifold's own or above 10,000 (or
    any other than its own for images), or more than 100 million coordinates in all.
    """
    spec = _checked(name, count, duplicates, ambient_dim)
    return _placed(spec, spec.training(count, duplicates, generator), ambient_dim)


def sample_truth(
    name: str,
    count: int,
    *,
    ambient_dim: int | None = None,
    training: ManifoldSamples | None = None,
    generator: torch.Generator,
) -> ManifoldSamples:
    """Draw `count` points of the true support of the manifold `name`, with its true LID.

    With `training`, a sample of the same name and ambient_dim, its duplicated points join the
    truth as point masses of LID 0, one row each. Errors: ValueError as for `sample`, and for
    training points of another shape.
    """
    spec = _checked(name, count, 0, ambient_dim)
    truth = _placed(spec, spec.truth(count, generator), ambient_dim)
    if training is not None:
        if training.shape != truth.shape:
            raise ValueError(
                f"training has points of shape {training.shape}; it must be {truth.shape}."
            )
        for point in duplicate_locations(training):
            truth = with_duplicates(truth, 1, point)
    return truth


def _checked(name: str, count: int, duplicates: int, ambient_dim: int | None) -> ManifoldSpec:
    spec = MANIFOLDS[choice("name", name, MANIFOLDS)]
    whole("count", count, least=2, most=spec.max_points)
    whole("duplicates", duplicates, least=0, most=MOST_POINTS)
    # An image that has been rotated is no image: digits stay in their own space.
    most = spec.ambient_dim if spec.plot == "images" else MOST_DIMENSIONS
    dim = spec.ambient_dim if ambient_dim is None else ambient_dim
    whole("ambient_dim", dim, least=spec.ambient_dim, most=most)
    numbers = (count + duplicates) * dim
    whole("(count + duplicates) * ambient_dim", numbers, least=2, most=MOST_NUMBERS)
    return spec


def _placed(
    spec: ManifoldSpec, samples: ManifoldSamples, ambient_dim: int | None
) -> ManifoldSamples:
    samples = replace(samples, name=spec.name)
    if ambient_dim is None or ambient_dim == spec.ambient_dim:
        return samples
    frame = orthonormal_frame(ambient_dim, spec.ambient_dim, generator=geometry_generator())
    return embed(samples, frame=frame)
