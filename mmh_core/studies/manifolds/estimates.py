"""LID and verdict of a model at given points, for every snapshot of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.curve import lid_curve, plateau
from mmh_core.dimension.ess import ess
from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.dimension.knn import NeighborGraph, default_k, knn_graph
from mmh_core.manifolds.truth import lid_at
from mmh_core.memorization.hypothesis import verdicts
from mmh_core.records import ManifoldSamples
from mmh_core.studies.manifolds.run import STATUSES, PointEstimates

#: Up to this dimension the exact spectral count is as cheap as any estimator.
EXACT_DIM = 16


@dataclass(frozen=True)
class EvaluationContext:
    """The data, noise scales and estimator by which all snapshots of one run are evaluated."""

    train: ManifoldSamples
    held_out: Tensor
    truth: ManifoldSamples
    shown: Tensor
    generated: int
    log_delta: Tensor
    typical_lid: float
    estimator: str
    seed: int

    def field_log_delta(self, model: ScoreModel) -> Tensor:
        """Return the noise scales of the score field: a tenth, a third, and all of the data's."""
        return math.log(model.data_scale) + torch.tensor([0.1, 0.3, 1.0]).log()


def estimator_for(model: ScoreModel) -> str:
    """Return the estimator of LID: the exact count while it is cheap."""
    return "spectral_count" if model.ambient_dim <= EXACT_DIM else "soft_spectral_count"


def scales_for(model: ScoreModel) -> Tensor:
    """Return the noise scales (K,) of all curves: from a hundredth to all of the data's own."""
    many = 16 if model.ambient_dim <= EXACT_DIM else 9
    return math.log(model.data_scale) + torch.linspace(math.log(0.01), 0.0, many)


def data_lid_at(points: Tensor, truth: ManifoldSamples) -> Tensor:
    """Return the data's LID (n,) at points: the truth where it is known, ESS where it is not.

    The truth is that of the nearest sample of the true manifold, however far: a generated sample
    is judged by the part of the data that it imitates. For real data LID_* is estimated with
    Expected Simplex Skewness among all known images, at the nearest of them: 0 where it is there
    twice.
    """
    if bool(truth.lid.isnan().all()):
        nearest, _ = nearest_training(points, truth.points)
        graph = without_itself(truth.points, truth.points[nearest], default_k(len(truth.points)))
        return ess(graph).lid.to(points.dtype)
    return lid_at(points, truth, 1e9).to(points.dtype)


def without_itself(references: Tensor, points: Tensor, k: int) -> NeighborGraph:
    """Return the k nearest of `references` to each point, leaving one exact match out.

    A point that is itself among the references is no neighbor of its own; a second copy of it is,
    and makes its data LID 0.
    """
    graph = knn_graph(references, k + 1, queries=points)
    itself = graph.distances[:, :1] == 0
    indices = torch.where(itself, graph.indices[:, 1:], graph.indices[:, :-1])
    distances = torch.where(itself, graph.distances[:, 1:], graph.distances[:, :-1])
    return replace(graph, indices=indices, distances=distances)


def estimate_points(
    model: ScoreModel, points: Tensor, context: EvaluationContext, band: tuple[float, float] | None
) -> PointEstimates:
    """Return LID curve, plateau and verdict at points (n, *shape); `band` None for a poor fit."""
    generator = torch.Generator().manual_seed(context.seed * 1_000 + 9)
    curve = lid_curve(
        ESTIMATORS[context.estimator].run, model, points, context.log_delta, generator=generator
    )
    chosen = plateau(curve, band, prefer="finest")
    data = data_lid_at(points, context.truth)
    codes = verdicts(chosen.lid, data, typical_lid=context.typical_lid, fits=band is not None)
    return PointEstimates(
        points=points,
        data_lid=data,
        curve=curve.lid,
        curve_error=_error_or_none(curve.standard_error),
        lid=chosen.lid,
        log_delta=chosen.log_delta,
        width=chosen.width,
        status=torch.tensor([STATUSES.index(s) for s in chosen.status], dtype=torch.int8),
        verdict=codes,
    )


def _error_or_none(error: Tensor) -> Tensor:
    """Return the standard errors, or none (n, 0) of an estimator that draws nothing."""
    return error if bool((error != 0).any()) else error[:, :0]


def nearest_training(points: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest training row (n,) and d1 / d2 (n,), copies of one place counted once.

    With duplicates in the training set the second neighbor is a copy of the first and d1 / d2
    would be 1 at a perfect copy; d2 is therefore the distance to the nearest *other* place.
    """
    places, place_of = torch.unique(train.flatten(1), dim=0, return_inverse=True)
    first_row = torch.full((len(places),), len(train)).scatter_reduce(
        0, place_of, torch.arange(len(train)), "amin"
    )
    if len(places) < 2:
        return first_row[torch.zeros(len(points), dtype=torch.long)], torch.full(
            (len(points),), math.nan
        )
    distances, index = torch.cdist(points.flatten(1).double(), places.double()).topk(
        2, largest=False
    )
    ratio = distances[:, 0] / distances[:, 1].clamp(min=1e-12)
    return first_row[index[:, 0]], ratio.to(points.dtype)
