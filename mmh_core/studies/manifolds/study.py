"""The manifold study: train a small diffusion model and follow its LID.

A frozen config goes in; progress records come out, each with the run as far as it is known, so
that a page, a job and the command line share one code path and can stop it anywhere.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mmh_core.diffusion.sampling import heun, time_grid
from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.diffusion.training import HIGHEST_NOISE, denoiser, train
from mmh_core.dimension.fit import fit_curve
from mmh_core.records import Progress
from mmh_core.studies.manifolds.config import DEFAULT_WIDTH, checked
from mmh_core.studies.manifolds.data import TRUTH_POINTS, StudyData, stream, study_data
from mmh_core.studies.manifolds.estimates import (
    EvaluationContext,
    data_lid_at,
    estimate_points,
    estimator_for,
    nearest_training,
    scales_for,
)
from mmh_core.studies.manifolds.estimator_table import estimator_table
from mmh_core.studies.manifolds.run import BATCH, ManifoldConfig, ManifoldRun, Snapshot

#: Learning rate at the default width; wider networks take the root of the ratio less.
RATE = 5e-3

_SNAPSHOTS = 10
_FIRST_SNAPSHOT = 60
_FIELD_SIDE = 21
_TABLE_POINTS, _TABLE_ROWS = 50, 13


def manifold_study(config: ManifoldConfig) -> Iterator[Progress[ManifoldRun]]:
    """Train on a manifold and yield the run as it grows; the last record is the finished run.

    Stopping early keeps everything up to the last record. The same config gives the same numbers
    on one machine (`seconds` excepted). Errors: ValueError for parameters out of range.
    """
    started = time.perf_counter()
    config = checked(config)
    data = study_data(config)
    points = data.train.points
    model = denoiser(points, width=config.width, seed=config.seed)
    context = _context(config, data, model)
    run = _empty_run(config, data, model, context)
    noise = torch.randn(context.generated, *points.shape[1:], generator=stream(config.seed, 4))
    marks = snapshot_steps(config.steps)
    every = max(1, config.steps // 200)
    smooth, losses = math.nan, []
    yield Progress(0.0, "Training starts", run)
    for step in train(
        model,
        points,
        steps=config.steps,
        batch=BATCH,
        rate=RATE * (DEFAULT_WIDTH / config.width) ** 0.5,
        generator=stream(config.seed, 5),
    ):
        smooth = step.loss if math.isnan(smooth) else smooth + 0.02 * (step.loss - smooth)
        if step.step % every == 0 or step.step in marks:
            losses.append((float(step.step), smooth))
            taken = run.snapshots
            if step.step in marks:
                taken = (
                    *taken,
                    _snapshot(config, context, step.model, (step.step, smooth), noise),
                )
            run = replace(
                run,
                losses=torch.tensor(losses),
                snapshots=taken,
                seconds=time.perf_counter() - started,
            )
            share = step.step / config.steps
            yield Progress(0.95 * share, f"Training, step {step.step:,} of {config.steps:,}", run)
    yield Progress(0.96, "Comparing the estimators", run)
    for row in estimator_table(
        step.model, context, _table_queries(context), generator=stream(config.seed, 6)
    ):
        run = replace(
            run, estimators=(*run.estimators, row), seconds=time.perf_counter() - started
        )
        share = len(run.estimators) / _TABLE_ROWS
        yield Progress(0.96 + 0.03 * share, f"Comparing the estimators, {row.label}", run)
    yield Progress(1.0, "Finished", replace(run, state="complete"))


def snapshot_steps(steps: int) -> frozenset[int]:
    """Return the steps of the snapshots of a run: about 12, evenly spaced in the logarithm."""
    first = min(_FIRST_SNAPSHOT, max(1, steps // 20))
    share = torch.linspace(0, 1, _SNAPSHOTS, dtype=torch.float64)
    return frozenset(round(first * (steps / first) ** float(s)) for s in share)


def _context(config: ManifoldConfig, data: StudyData, model: ScoreModel) -> EvaluationContext:
    """Return what every snapshot of the run is evaluated with."""
    many = 500 if model.ambient_dim <= 16 else 100
    order = torch.randperm(len(data.train.points), generator=stream(config.seed, 3))
    rows = order[:many].sort().values
    # Places and not rows: many copies of one point must not make its LID the usual one.
    places = torch.unique(data.train.points, dim=0)
    some = torch.randperm(len(places), generator=stream(config.seed, 10))[:TRUTH_POINTS]
    typical = data_lid_at(places[some], data.truth)
    return EvaluationContext(
        train=data.train,
        held_out=data.held_out,
        truth=data.truth,
        shown=rows,
        generated=many,
        log_delta=scales_for(model),
        typical_lid=float(typical.nanmedian()),
        estimator=estimator_for(model),
        seed=config.seed,
    )


def _table_queries(context: EvaluationContext) -> Tensor:
    """Return up to 50 of the points shown, evenly over their rows: these come in parts."""
    count = min(len(context.shown), _TABLE_POINTS)
    return context.train.points[context.shown[torch.arange(count) * len(context.shown) // count]]


def _empty_run(
    config: ManifoldConfig, data: StudyData, model: ScoreModel, context: EvaluationContext
) -> ManifoldRun:
    flat = data.train.points.flatten(1)
    center, axes = torch.zeros(flat.shape[1]), torch.zeros(flat.shape[1], 3)
    if flat.shape[1] <= 3:
        axes[: flat.shape[1], : flat.shape[1]] = torch.eye(flat.shape[1])
    else:
        center = flat.mean(0)
        generator = stream(config.seed, 8)
        some = flat[torch.randperm(len(flat), generator=generator)[:2_000]] - center
        axes = torch.linalg.svd(some, full_matrices=False).Vh[:3].T.contiguous()
        if axes.shape[1] < 3:
            axes = torch.nn.functional.pad(axes, (0, 3 - axes.shape[1]))
    planar = model.ambient_dim == 2
    _, chance = nearest_training(data.held_out, data.train.points)
    return ManifoldRun(
        config=config,
        state="training",
        train=data.train,
        shown=context.shown,
        truth=data.truth,
        typical_lid=context.typical_lid,
        chance_memorized=float((chance < 1 / 3).float().mean()),
        lid_estimator=context.estimator,
        log_delta=context.log_delta,
        field_log_delta=context.field_log_delta(model) if planar else torch.empty(0),
        field_extent=_field_extent(context) if planar else torch.empty(0, 2),
        center=center,
        axes=axes,
        losses=torch.empty(0, 2),
        seconds=0.0,
        snapshots=(),
        estimators=(),
    )


def _snapshot(
    config: ManifoldConfig,
    context: EvaluationContext,
    model: ScoreModel,
    at: tuple[int, float],
    noise: Tensor,
) -> Snapshot:
    grid = time_grid(
        model.schedule,
        18,
        lowest=0.01 * model.data_scale,
        highest=HIGHEST_NOISE * model.data_scale,
    )
    generated = heun(model, noise, grid)
    fit = fit_curve(
        model,
        context.train.points,
        context.held_out,
        context.log_delta,
        generator=stream(config.seed, 7),
    )
    band = fit.band()
    nearest, ratio = nearest_training(generated, context.train.points)
    low, high = (
        band if band is not None else (float(context.log_delta[0]), float(context.log_delta[-1]))
    )
    return Snapshot(
        step=at[0],
        epoch=at[0] * BATCH / len(context.train.points),
        loss=at[1],
        fits=band is not None,
        band_low=low,
        band_high=high,
        fit_trained=fit.trained,
        fit_held_out=fit.held_out,
        fit_baseline=fit.baseline,
        trained=estimate_points(model, context.train.points[context.shown], context, band),
        generated=estimate_points(model, generated, context, band),
        nearest=nearest,
        distance_ratio=ratio,
        field=_field(model, context),
    )


def _field_extent(context: EvaluationContext) -> Tensor:
    """Return the lowest and highest corner (2, 2) of the field's grid: the data and a rim."""
    both = torch.cat([context.train.points, context.truth.points])
    low, high = both.amin(0), both.amax(0)
    margin = 0.15 * (high - low)
    return torch.stack([low - margin, high + margin])


def _field(model: ScoreModel, context: EvaluationContext) -> Tensor:
    """Return `x0_hat - x` (F, G, G, 2) on a grid of the plane: the direction of denoising."""
    if model.ambient_dim != 2:
        return torch.empty(0, _FIELD_SIDE, _FIELD_SIDE, 2)
    low, high = _field_extent(context).tolist()
    sides = [torch.linspace(a, b, _FIELD_SIDE) for a, b in zip(low, high, strict=True)]
    x = torch.stack(torch.meshgrid(*sides, indexing="xy"), dim=-1).reshape(-1, 2)
    fields = []
    for log_delta in context.field_log_delta(model):
        t = model.schedule.time_at(log_delta.expand(len(x)))
        alpha = model.schedule.alpha(t)[:, None]
        with torch.no_grad():
            fields.append(model.x0(alpha * x, t) - x)
    return torch.stack(fields).reshape(-1, _FIELD_SIDE, _FIELD_SIDE, 2)
