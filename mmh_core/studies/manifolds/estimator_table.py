"""All estimators side by side on one model: each chooses its own scale without the truth."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.curve import lid_curve, plateau
from mmh_core.dimension.ess import ess
from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.dimension.fit import fit_curve
from mmh_core.dimension.knn import default_k
from mmh_core.dimension.neighbors import concordance, local_pca, mle, two_nn
from mmh_core.records import LidEstimate
from mmh_core.studies.manifolds.estimates import EvaluationContext, data_lid_at, without_itself
from mmh_core.studies.manifolds.run import EstimatorRow

#: Estimators whose cost grows with D are left out of the live table beyond this dimension.
LIVE_DIM = 64
_GROWING = ("spectral_count", "soft_spectral_count_exact", "flipd_exact", "normal_bundle")
_DATA = {
    "ess": ("ESS", ess),
    "local_pca": ("Local PCA", local_pca),
    "mle": ("MLE", mle),
    "two_nn": ("TwoNN", two_nn),
}


def estimator_table(
    model: ScoreModel,
    context: EvaluationContext,
    queries: Tensor,
    *,
    largest_exact: int = LIVE_DIM,
    generator: torch.Generator,
) -> Iterator[EstimatorRow]:
    """Yield a row per estimator, model side first, at the points `queries` (n, *shape).

    Every estimator runs over the same noise scales and takes its own plateau within the band in
    which the model fits, the finest of several; the truth is used for the error column alone. The
    data side reads the training points around each query; a query that is a training point is no
    neighbor of itself.
    """
    has_truth = not bool(context.truth.lid.isnan().all())
    truth = data_lid_at(queries, context.truth) if has_truth else None
    fit = fit_curve(
        model, context.train.points, context.held_out, context.log_delta, generator=generator
    )
    for name, spec in ESTIMATORS.items():
        if name in _GROWING and model.ambient_dim > largest_exact:
            continue
        started = time.perf_counter()
        curve = lid_curve(spec.run, model, queries, context.log_delta, generator=generator)
        chosen = plateau(curve, fit.band(), prefer="finest")
        error = curve.standard_error.nanmedian(1).values
        estimated = LidEstimate(chosen.lid, error, curve.nfe)
        yield _row((name, spec.label), estimated, truth, time.perf_counter() - started)
    yield from _data_rows(context.train.points, queries, truth)


def _data_rows(train: Tensor, queries: Tensor, truth: Tensor | None) -> Iterator[EstimatorRow]:
    if len(train) < 8:
        return
    started = time.perf_counter()
    graph = without_itself(train, queries, min(default_k(len(train)), len(train) - 2))
    shared = time.perf_counter() - started
    for name, (label, estimate) in _DATA.items():
        started = time.perf_counter()
        estimated = estimate(graph)
        seconds = shared + time.perf_counter() - started
        yield _row((name, label), estimated, truth, seconds, data=True)


def _row(
    name: tuple[str, str],
    estimate: LidEstimate,
    truth: Tensor | None,
    seconds: float,
    *,
    data: bool = False,
) -> EstimatorRow:
    lid = estimate.lid.float()
    error = concord = float("nan")
    if truth is not None:
        error = float((lid - truth).abs().mean())
        if bool((truth != truth[0]).any()):
            concord = concordance(lid, truth)
    return EstimatorRow(
        name=name[0],
        label=name[1],
        side="data" if data else "model",
        lid=lid,
        mean_abs_error=error,
        concordance=concord,
        standard_error=float(estimate.standard_error.float().nanmedian()),
        nfe=estimate.nfe,
        seconds=seconds,
    )
