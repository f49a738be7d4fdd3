"""The data of the manifold study: training set, test set and true manifold."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.manifolds.catalogue import sample, sample_truth
from mmh_core.manifolds.digits import DIGIT_COUNT, split_digits
from mmh_core.manifolds.embedding import with_duplicates
from mmh_core.records import ManifoldSamples
from mmh_core.studies.manifolds.run import ManifoldConfig

#: Points of the true manifold that are drawn and looked up.
TRUTH_POINTS = 1_500
_HELD_OUT_POINTS = 512


def stream(seed: int, number: int) -> torch.Generator:
    """Return an independent stream of random numbers for one part of the study."""
    return torch.Generator().manual_seed(seed * 1_000 + number)


@dataclass(frozen=True)
class StudyData:
    """Training points, test points and the true manifold of a run."""

    train: ManifoldSamples
    held_out: Tensor
    truth: ManifoldSamples


def study_data(config: ManifoldConfig) -> StudyData:
    """Sample the points of a run, each part from a stream of its own."""
    name, dim = config.manifold, config.ambient_dim
    if name == "digits":
        truth = sample(name, DIGIT_COUNT, ambient_dim=dim, generator=stream(config.seed, 0))
        split = split_digits(config.points, generator=stream(config.seed, 0))
        train = with_duplicates(split.train, config.duplicates, 0)
        if config.duplicates:
            # One copy makes the point mass known; nobody knows the LID of the others.
            lid = torch.full((DIGIT_COUNT + 1,), math.nan)
            truth = replace(with_duplicates(truth, 1, train.points[0]), lid=lid)
        return StudyData(train, split.held_out.points, truth)
    train = sample(
        name,
        config.points,
        duplicates=config.duplicates,
        ambient_dim=dim,
        generator=stream(config.seed, 0),
    )
    truth = sample_truth(
        name, TRUTH_POINTS, ambient_dim=dim, training=train, generator=stream(config.seed, 1)
    )
    return StudyData(train, _held_out(config, train.points), truth)


def fresh_draws(config: ManifoldConfig) -> int:
    """Return how many fresh points the training set of a run is compared with."""
    return DIGIT_COUNT - config.points if config.manifold == "digits" else _HELD_OUT_POINTS


def _held_out(config: ManifoldConfig, train: Tensor) -> Tensor:
    """Return a fresh draw from what the training points are drawn from, copies in proportion.

    The copies are those of the training set: another draw would repeat other points.
    """
    generator = stream(config.seed, 2)
    share = config.duplicates / (config.points + config.duplicates)
    copies = min(round(share * _HELD_OUT_POINTS), _HELD_OUT_POINTS - 2)
    fresh = sample(
        config.manifold,
        _HELD_OUT_POINTS - copies,
        ambient_dim=config.ambient_dim,
        generator=generator,
    )
    if not copies:
        return fresh.points
    repeated = torch.randint(config.points, len(train), (copies,), generator=generator)
    return torch.cat([fresh.points, train[repeated]])
