"""Draw how well detectors separate: areas with intervals, ROC curves, scores by kind, causes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
import torch
from torch import Tensor

from mmh_core.counting import plural
from mmh_core.memorization.cause import UNIDENTIFIED
from mmh_core.plots import theme
from mmh_core.statistics.agreement import reliability as reliability_bins
from mmh_core.statistics.areas import area_under_curve, roc_points
from mmh_core.studies.detection.benchmark_run import BenchmarkRun, CauseResults, DetectorRow
from mmh_core.studies.detection.figures import group_sides, plain_sides

_LINES = (theme.ACCENT, theme.SECOND, "#8a7a3c", theme.TRUTH_LINE, "#d55e00")
#: Fills of cells that carry white figures on a light and on a dark page: contrast 5 and more.
_MIDDLE, _FULL = "#15758f", "#0d5a70"
#: Share of the largest count above which a cell is filled so.
_DARK = 0.25
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
#: How text alone is drawn: beneath all others.
_BASELINE = {"color": theme.NEUTRAL, "dash": "dot", "width": 3}


def separations(rows: Sequence[DetectorRow]) -> go.Figure:
    """Draw each detector's AUC and TPR at 1 % FPR with 95 % intervals, the best on top.

    Of equal ones the cheapest is the best.
    """
    order = sorted(rows, key=lambda row: row.merit)
    labels = [theme.escaped(row.label) for row in order]
    lines = [theme.label_in_lines(row.label) for row in order]
    best = order[-1] if order else None
    figure = theme.base(
        "Areas under the ROC curve of all detectors"
        + (f"; the largest is {best.all.auc:.3f}, of {best.label}." if best else "."),
        height=90 + 30 * len(order),
    )
    # The two of a detector one above the other: where both are 1 they would hide each other.
    for name, symbol, color, lift, values in (
        (
            "TPR at 1 % FPR",
            "diamond",
            theme.SECOND,
            -0.17,
            [row.all.tpr_at_1_percent for row in order],
        ),
        (
            "AUC",
            "circle",
            theme.ACCENT,
            0.17,
            [row.all.area for row in order],
        ),
    ):
        figure.add_trace(
            go.Scatter(
                x=[area.value for area in values],
                y=[row + lift for row in range(len(order))],
                text=labels,
                mode="markers",
                name=name,
                marker={"symbol": symbol, "size": 8, "color": color},
                error_x=theme.whiskers(values, color),
                hovertemplate=f"%{{text}}<br>{name} %{{x:.3f}}<extra></extra>",
            )
        )
    figure.update_xaxes(theme.axis("", range=[-0.02, 1.02]))
    places = list(range(len(order)))
    ends = [-0.7, len(order) - 0.3]
    figure.update_yaxes(
        theme.axis("", range=ends, showgrid=False, tickvals=places, ticktext=lines)
    )
    return figure


def roc(run: BenchmarkRun, names: Sequence[str], group: str = "", baseline: str = "") -> go.Figure:
    """Draw the ROC curves of some detectors over all test prompts, or of one group of them.

    A group of one label is set against all prompts of the other.

    `baseline` is the row of text alone, drawn dotted and grey beneath the others. The dashed
    diagonal is chance.
    """
    detector_rows = [row for row in run.rows if row.name in names and row.name != baseline]
    text_rows = [row for row in run.rows if row.name == baseline]
    curves = [(row, *_sides(run, row, group)) for row in (*text_rows, *detector_rows)]
    figure = theme.base(
        f"ROC curves{f' of the group {group}' if group else ''}: "
        + ", ".join(f"{row.label} with an AUC of {_area(*sides):.3f}" for row, *sides in curves)
        + ".",
        height=400,
    )
    theme.diagonal(figure)
    for number, (row, yes, no) in enumerate(curves, -len(text_rows)):
        if not len(yes) or not len(no):
            continue
        side = torch.arange(len(yes) + len(no)) < len(yes)
        false, true = roc_points(torch.cat([yes, no]), side)
        style = {"color": _LINES[number % len(_LINES)], "dash": _DASHES[number % len(_DASHES)]}
        figure.add_trace(
            go.Scatter(
                x=false,
                y=true,
                mode="lines",
                name=theme.escaped(row.label),
                line={"shape": "hv", "width": 2, **(_BASELINE if number < 0 else style)},
                hovertemplate="true-positive rate %{y:.1%}<br>false-positive rate "
                f"%{{x:.1%}}<extra>{theme.escaped(row.label)}</extra>",
            )
        )
    figure.update_xaxes(
        theme.axis(
            "false-positive rate",
            range=[-0.01, 1.01],
            tickformat=".0%",
        )
    )
    figure.update_yaxes(theme.axis("true-positive rate", range=[-0.01, 1.02], tickformat=".0%"))
    return figure


def _sides(run: BenchmarkRun, row: DetectorRow, group: str) -> tuple[Tensor, Tensor]:
    """Return the scores of the memorized and of the reference prompts, all or a group's."""
    read = row.scores.isfinite()
    for sides in group_sides(run) if group else ():
        if sides.group == group:
            return row.scores[sides.positive & read], row.scores[sides.negative & read]
    positive, negative = plain_sides(run)
    return row.scores[positive & read], row.scores[negative & read]


def _area(yes: Tensor, no: Tensor) -> float:
    return float(area_under_curve(yes, no)) if len(yes) and len(no) else math.nan


def scores(run: BenchmarkRun, row: DetectorRow, threshold: float) -> go.Figure:
    """Draw a detector's scores by kind, one mark per prompt, and the threshold."""
    kinds = list(dict.fromkeys(prompt.kind for prompt in run.prompts))[::-1]
    flagged = int((row.scores > threshold).sum())
    styles = theme.styles(kinds[::-1])
    figure = theme.base(
        f"Scores of {row.label} by kind of prompt; {flagged} of {len(run.prompts)} are above "
        f"the threshold {threshold:.3g}.",
        height=110 + 44 * len(kinds),
        legend=False,
    )
    for kind in kinds:
        places = [i for i, prompt in enumerate(run.prompts) if prompt.kind == kind]
        # Spread by place and not at random: the same figure each time.
        heights = [kinds.index(kind) + 0.5 * ((7 * n) % 11 / 10 - 0.5) for n in range(len(places))]
        figure.add_trace(
            go.Scatter(
                x=theme.numbers(row.scores[places]),
                y=heights,
                mode="markers",
                name=theme.escaped(kind),
                text=[theme.escaped(run.prompts[i].prompt) for i in places],
                customdata=places,
                marker={
                    "symbol": styles[kind].symbol,
                    "size": 8,
                    "color": styles[kind].color,
                    "opacity": 0.85,
                },
                hovertemplate="%{text}<br>score %{x:.3g}" + _aside(kind),
            )
        )
    figure.update_xaxes(theme.axis("score, higher = more memorized"))
    figure.update_yaxes(
        theme.axis(
            "",
            tickvals=list(range(len(kinds))),
            ticktext=[theme.escaped(kind) for kind in kinds],
            showgrid=False,
        )
    )
    theme.upright(figure, threshold, "threshold")
    figure.update_layout(margin={"t": 34})
    return figure


def lid_against_truth(run: BenchmarkRun) -> go.Figure:
    """Draw each prompt's mean conditional LID against LID_* of its caption."""
    has_data_lid = ~run.data_lid.isnan()
    figure = theme.base(
        f"Model LID against the true LID of {plural(int(has_data_lid.sum()), 'caption')}.",
        height=380,
    )
    styles = theme.styles([prompt.kind for prompt in run.prompts])
    for kind in styles:
        places = [
            i for i, prompt in enumerate(run.prompts) if prompt.kind == kind and has_data_lid[i]
        ]
        if not places:
            continue
        figure.add_trace(
            go.Scatter(
                x=theme.numbers(run.data_lid[places]),
                y=theme.numbers(run.lid[places]),
                mode="markers",
                name=theme.escaped(kind),
                text=[theme.escaped(run.prompts[i].prompt) for i in places],
                marker={
                    "symbol": styles[kind].symbol,
                    "size": 9,
                    "color": styles[kind].color,
                },
                hovertemplate="%{text}<br>true %{x}, model %{y:.1f}" + _aside(kind),
            )
        )
    top = float(run.data_lid[has_data_lid].max()) if bool(has_data_lid.any()) else 1.0
    theme.diagonal(figure, top)
    figure.update_xaxes(theme.axis("true LID of the caption", range=[-0.8, top + 1]))
    figure.update_yaxes(theme.axis("LID of the model's images"))
    return figure


def _aside(name: str) -> str:
    """Return the part of a hover template that stands beside the label."""
    return f"<extra>{theme.escaped(name)}</extra>"


def causes(cause: CauseResults) -> go.Figure:
    """Draw the confusion matrix of the cause."""
    names = list(cause.causes)
    predictions = [*names, *([UNIDENTIFIED] if UNIDENTIFIED in cause.predicted else [])]
    pairs = list(zip(cause.true, cause.predicted, strict=True))
    counts = [[pairs.count((true, predicted)) for predicted in predictions] for true in names]
    largest = max(1, *(count for row in counts for count in row))
    figure = theme.base(
        f"Confusion matrix of the cause: balanced accuracy {cause.accuracy:.3f}.",
        height=230,
        legend=False,
    )
    figure.add_trace(
        go.Heatmap(
            z=counts,
            x=predictions,
            y=names,
            colorscale=[
                [0, "rgba(11,143,179,0.08)"],
                [_DARK, "rgba(11,143,179,0.2)"],
                [_DARK, _MIDDLE],
                [1, _FULL],
            ],
            zmin=0,
            zmax=largest,
            showscale=False,
            xgap=3,
            ygap=3,
            hovertemplate="actual %{y}, predicted %{x}: %{z}<extra></extra>",
        )
    )
    # White on what is dark on every page; elsewhere the theme's own color.
    for row, true in enumerate(names):
        for column, predicted in enumerate(predictions):
            dark = counts[row][column] > _DARK * largest
            theme.label(
                figure,
                str(counts[row][column]),
                x=predicted,
                y=true,
                xanchor="center",
                font={"size": 18} | ({"color": "#ffffff"} if dark else {}),
            )
    figure.update_xaxes(theme.axis("predicted cause", side="top", showgrid=False, showline=False))
    figure.update_yaxes(
        theme.axis("true cause", autorange="reversed", showgrid=False, showline=False)
    )
    return figure


def reliability(confidence: Tensor, right: Tensor) -> go.Figure:
    """Draw the share of right answers against their confidence; the dashed diagonal is calibrated.

    `confidence` (N,) and `right` (N,) bool; bins and error are those of `statistics.reliability`.
    """
    bins, error = reliability_bins(confidence, right)
    count = sum(each.count for each in bins)
    figure = theme.base(
        f"Share of right causes against their confidence, {plural(count, 'answer')} in "
        f"{plural(len(bins), 'group')}; expected calibration error {error:.3f}.",
        height=330,
        legend=False,
    )
    theme.diagonal(figure)
    figure.add_trace(
        go.Scatter(
            x=[each.confidence for each in bins],
            y=[each.right.value for each in bins],
            mode="markers",
            customdata=[each.count for each in bins],
            marker={"size": 9, "color": theme.ACCENT},
            error_y=theme.whiskers([each.right for each in bins], theme.ACCENT),
            hovertemplate="confidence %{x:.2f}<br>right %{y:.2f} of %{customdata}<extra></extra>",
        )
    )
    figure.update_xaxes(theme.axis("confidence", range=[-0.02, 1.02]))
    figure.update_yaxes(theme.axis("share right", range=[-0.02, 1.02]))
    return figure
