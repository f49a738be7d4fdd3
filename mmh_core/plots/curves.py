"""Draw what changes along noise scales and along training."""

from __future__ import annotations

import math

import plotly.graph_objects as go
import torch
from torch import Tensor

from mmh_core.plots import noise, panels, theme
from mmh_core.plots.points import point_of
from mmh_core.studies.manifolds.run import STATUSES, ManifoldRun, Snapshot

_HEIGHT = 300
#: Up to this many components each gets a line of its own.
_COMPONENTS = 4


def lid_curve(run: ManifoldRun, snapshot: Snapshot, point_id: int) -> go.Figure:
    """Draw LID over the noise scale at one point, `point_id` as in the images.

    The curve with a ribbon of one standard error where the estimator draws at random, the trusted
    band shaded, the chosen plateau as a thick segment, the data's LID dashed, and the median curve
    of the training points faint behind. Errors: ValueError for an id of no point.
    """
    point = point_of(run, snapshot, point_id)
    estimates, row = point.estimates(snapshot), point.index
    lid, data = float(estimates.lid[row]), float(estimates.data_lid[row])
    status = STATUSES[int(estimates.status[row])]
    figure = theme.base(
        f"LID over the noise scale at {point.kind} {point.number_in(run)}: "
        f"{theme.lid_text(lid)} at δ = {math.exp(float(estimates.log_delta[row])):.2g} "
        f"({status}); {theme.data_lid_name(run)} {theme.lid_text(data)}.",
        height=_HEIGHT,
    )
    noise.shade_band(figure, snapshot)
    center, half = float(estimates.log_delta[row]), float(estimates.width[row]) / 2
    noise.mark_chosen(figure, lid, (center - half, center + half), status)
    x, middle = noise.scales(run), snapshot.trained.curve.nanmedian(dim=0).values
    style: dict[str, object] = {"color": theme.FAINT, "width": 1.5}
    noise.line(figure, x, middle, "median of the training points", style)
    curve = estimates.curve[row]
    name = f"this {point.kind}"
    if estimates.curve_error.shape[1]:
        error = estimates.curve_error[row]
        noise.ribbon(figure, x, curve + error, curve - error)
        name += " (± 1 standard error)"
    style = {"color": theme.ACCENT, "width": 2}
    noise.line(figure, x, curve, name, style, markers=True)
    if not math.isnan(data):
        style = {"color": theme.TRUTH_LINE, "width": 1.5, "dash": "dash"}
        name = f"{theme.data_lid_name(run)} {theme.lid_text(data)}"
        noise.line(figure, x, torch.full_like(curve, data), name, style)
    values = torch.cat([curve, middle, torch.tensor([lid, data, 0.0, 1.0])])
    values = values[values.isfinite()]
    low, high = float(values.min()), float(values.max())
    figure.update_xaxes(noise.axis(run))
    # Room above the curve for the name of the chosen plateau.
    ends = [low - 0.04 * high, 1.22 * high]
    figure.update_yaxes(theme.axis("LID", range=ends, **theme.whole_ticks(high - low)))
    return figure


def fit(run: ManifoldRun, snapshot: Snapshot) -> go.Figure:
    """Draw the denoising errors over the noise scale, and the band that is trusted.

    In units of delta^2, in which the error of a perfect model is about its LID: the model's on
    training and on held-out points, and that of the better of two simple denoisers. Where the
    model is no better than these, its LID has no meaning. The axis is logarithmic where a model
    that has memorized errs a hundred times more on points that it has not seen.
    """
    low, high = math.exp(snapshot.band_low), math.exp(snapshot.band_high)
    trust = f"trusted from {low:.2g} to {high:.2g}" if snapshot.fits else "trusted nowhere"
    figure = theme.base(
        f"Denoising error over the noise scale after {snapshot.step:,} steps: {trust}.",
        height=_HEIGHT,
    )
    noise.shade_band(figure, snapshot)
    lines: list[tuple[str, Tensor, dict[str, object]]] = [
        ("simple denoiser", snapshot.fit_baseline, {"color": theme.NEUTRAL, "dash": "dot"}),
        ("held-out points", snapshot.fit_held_out, {"color": theme.SECOND, "dash": "dash"}),
        ("training points", snapshot.fit_trained, {"color": theme.ACCENT}),
    ]
    x = noise.scales(run)
    for name, errors, line in lines:
        noise.line(figure, x, errors, name, {"width": 2, **line})
    figure.update_xaxes(noise.axis(run))
    figure.update_yaxes(_error_axis(torch.cat([errors for _, errors, _ in lines])))
    return figure


def _error_axis(errors: Tensor) -> dict[str, object]:
    """Return a linear axis from 0, or a logarithmic one where errors differ a hundredfold."""
    positive = errors[errors.isfinite() & (errors > 0)]
    if not len(positive):
        return theme.axis("error / δ²")
    low, high = float(positive.min()), float(positive.max())
    if high > 100 * low:
        return theme.log_axis("error / δ²", low / 1.5, high * 1.5)
    return theme.axis("error / δ²", range=[0, 1.22 * high])


def training(run: ManifoldRun, snapshot: Snapshot | None = None) -> go.Figure:
    """Draw loss, LID and copies over training steps; `snapshot` gets a vertical line.

    Three panels over one logarithmic axis: the smoothed loss; the mean LID of the training points
    by component (of all where there are many), with the typical data LID dotted; the share of
    samples whose distance ratio is below 1 / 3, against the share expected without copying
    (dashed), and the share that LID calls memorized.
    """
    if not len(run.losses):
        return theme.empty("Training has not begun.", height=420)
    figure = theme.base(_training_alt(run), height=420, legend=False)
    figure.update_layout(margin={"r": 130, "t": 26})
    steps, losses = (theme.numbers(column) for column in run.losses.T)
    axis = theme.log_axis(
        "training step", steps[0], max(run.config.steps, steps[-1], steps[0] + 1)
    )
    headings = ("training loss", "mean LID of the training points", "share of the samples")
    loss, lid, share = panels.stack(figure, headings, axis)
    curve = panels.Line("", steps, losses, "step %{x:,}: loss %{y:.3g}", markers=False)
    # From the lowest loss, not from 0: it never gets there, and its fall is what matters.
    panels.draw(figure, loss, [curve], from_zero=False)
    hover = f"median data LID {theme.lid_text(run.typical_lid)}"
    typical = panels.level(figure, run.typical_lid, "median data LID", hover)
    panels.draw(figure, lid, [*_lid_lines(run), typical])
    hover = f"{run.chance_memorized:.0%} of fresh data have d₁ / d₂ < ⅓"
    fresh = panels.level(figure, run.chance_memorized, "fresh data", hover)
    panels.draw(figure, share, [*_share_lines(run), fresh], percent=True)
    if snapshot is not None:
        theme.chosen_step(figure, snapshot.step)
    return figure


def _lid_lines(run: ManifoldRun) -> list[panels.Line]:
    """Return the mean LID of the training points over steps, by component where there are few."""
    if not run.snapshots:
        return []
    steps = [snapshot.step for snapshot in run.snapshots]
    component = run.train.component[run.shown]
    parts = {
        run.train.component_names[i]: component == i for i in torch.unique(component).tolist()
    }
    if len(parts) > _COMPONENTS:
        parts = {"all": component == component}
    return [
        panels.Line(
            name,
            steps,
            [float(s.trained.lid[rows].nanmean()) for s in run.snapshots],
            f"step %{{x:,}}: mean LID %{{y:.2f}} ({name}, {int(rows.sum())} points)",
        )
        for name, rows in parts.items()
    ]


def _share_lines(run: ManifoldRun) -> list[panels.Line]:
    """Return the shares of samples with a low distance ratio, and of those memorized by LID."""
    if not run.snapshots:
        return []
    steps = [snapshot.step for snapshot in run.snapshots]
    low_ratio = [snapshot.low_ratio_share for snapshot in run.snapshots]
    by_lid = [float(s.generated.memorized.float().mean()) for s in run.snapshots]
    return [
        panels.Line("d₁ / d₂ < ⅓", steps, low_ratio, "step %{x:,}: %{y:.0%} with d₁ / d₂ < ⅓"),
        panels.Line("memorized by LID", steps, by_lid, "step %{x:,}: %{y:.0%} by LID"),
    ]


def _training_alt(run: ManifoldRun) -> str:
    text = (
        f"Training loss over {int(run.losses[-1, 0]):,} steps, now {float(run.losses[-1, 1]):.3g}"
    )
    if not run.snapshots:
        return f"{text}."
    last = run.snapshots[-1]
    return (
        f"{text}; mean LID of the training points {float(last.trained.lid.nanmean()):.2g}; "
        f"{last.low_ratio_share:.0%} of the samples have d1 / d2 below 1 / 3, where fresh data "
        f"has {run.chance_memorized:.0%}."
    )
