"""Draw what a benchmark shows beyond areas: groups, rates at fixed thresholds, doses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from mmh_core.counting import plural
from mmh_core.plots import theme
from mmh_core.statistics.intervals import Interval
from mmh_core.studies.detection.benchmark_run import BenchmarkRun, DetectorRow
from mmh_core.studies.detection.doses import COPY_RATE, EXACT, DoseCurve
from mmh_core.studies.detection.figures import RowFigures, group_figures

#: How far the marks of two rows stand apart, so that neither hides the other.
_LIFT = 0.17
_PALE_LINE = "rgba(11,143,179,0.35)"


def group_areas(run: BenchmarkRun, row: DetectorRow, text: DetectorRow | None) -> go.Figure:
    """Draw the area of a detector in every group, with text alone beside it as the baseline."""
    rows = [row] if text is None or text.name == row.name else [text, row]
    figures = [group_figures(run, each, ()) for each in rows]
    groups = figures[-1][::-1]
    names = [
        f"{theme.escaped(each.group, 40)} ({each.memorized + each.reference})" for each in groups
    ]
    figure = theme.base(
        f"Areas of {' and '.join(each.label for each in reversed(rows))} in "
        f"{plural(len(groups), 'group')} of prompts.",
        height=100 + 26 * len(groups),
    )
    for number, (each, counted) in enumerate(zip(rows, figures, strict=True)):
        lift = 0.0 if len(rows) == 1 else _LIFT * (2 * number - 1)
        areas = [group.area for group in counted[::-1]]
        text_only = each is text
        _dots(
            figure,
            each.label,
            areas,
            [place + lift for place in range(len(areas))],
            symbol="circle-open" if text_only else "circle",
            color=theme.NEUTRAL if text_only else theme.ACCENT,
            hover=[f"{group.group}, against {group.against}" for group in counted[::-1]],
        )
    theme.upright(figure, 0.5)
    figure.update_xaxes(theme.axis("AUC; dashed: chance", range=[-0.02, 1.02]))
    _named_rows(figure, names)
    return figure


def fixed_thresholds(
    run: BenchmarkRun, figures: Sequence[RowFigures], share: float, *, memorized: bool
) -> go.Figure:
    """Draw how many prompts exceed thresholds that were set beforehand to flag a stated share.

    Of the reference prompts that is the realized false-positive rate, with the stated one as a
    dashed line; of the `memorized` ones the true-positive rate.
    """
    labels = {row.name: row.label for row in run.rows}
    pairs = [
        (labels[each.name], next(rates for rates in each.realized if rates.target_fpr == share))
        for each in figures
    ]
    pairs.sort(key=lambda pair: (pair[1].tpr.count, -pair[1].fpr.count))
    rates = [pair[1].tpr if memorized else pair[1].fpr for pair in pairs]
    side = "memorized" if memorized else "reference"
    figure = theme.base(
        f"Share of {side} prompts above thresholds set to flag {share:.0%} of reference prompts, "
        f"for {plural(len(rates), 'detector')}.",
        height=90 + 30 * len(rates),
        legend=False,
    )
    _dots(
        figure,
        f"{side} prompts flagged",
        [rate.share for rate in rates],
        list(range(len(rates))),
        symbol="diamond" if memorized else "circle",
        color=theme.SECOND if memorized else theme.ACCENT,
        hover=[f"{rate.count} of {rate.among}" for rate in rates],
        percent=True,
    )
    top = 1.02
    if not memorized:
        theme.upright(figure, share)
        highest = [rate.high for rate in rates if math.isfinite(rate.high)]
        top = min(1.02, 1.05 * max([share, *highest]))
    figure.update_xaxes(theme.axis("", range=[-0.02 * top, top], tickformat=".0%"))
    _named_rows(figure, [theme.label_in_lines(label) for label, _ in pairs])
    return figure


def dose_response(run: BenchmarkRun, measure: str, *, legend: bool = True) -> go.Figure:
    """Draw one response against the occurrences k of an image, a line for each way of repetition.

    Whiskers are 95 % intervals over prompts; pale lines are the other networks of a merged file.
    """
    curves = [curve for curve in run.doses if curve.measure == measure]
    if not curves:
        return theme.empty(f"The {measure} was not measured by dose.", height=300)
    others = () if run.networks is None else run.networks.doses[1:]
    pale = [c for network in others for c in network if (c.measure, c.series) == (measure, EXACT)]
    doses = sorted({level.multiplicity for curve in (*curves, *pale) for level in curve.levels})
    figure = theme.base(_words(measure, curves), height=440 if legend else 300, legend=legend)
    for number, curve in enumerate(pale):
        figure.add_trace(_pale(curve, doses, number))
    styles = theme.styles(curve.series for curve in curves)
    for number, curve in enumerate(curves):
        figure.add_trace(_curve(curve, doses, styles[curve.series], number, len(curves)))
    figure.update_xaxes(
        theme.axis(
            "occurrences k of an image in the training set",
            tickvals=list(range(len(doses))),
            ticktext=[str(dose) for dose in doses],
            range=[-0.5, len(doses) - 0.5],
            showgrid=False,
        )
    )
    shares = {"range": [-0.03, 1.03], "tickformat": ".0%"} if measure == COPY_RATE else {}
    figure.update_yaxes(theme.axis(measure, rangemode="tozero", **shares))
    return figure


def _words(measure: str, curves: Sequence[DoseCurve]) -> str:
    """Return what a figure of dose and response shows, by the ends of its first curve."""
    first, last = curves[0].levels[0], curves[0].levels[-1]
    return (
        f"The {measure} of {curves[0].series} goes from {first.response.value:.2f} at k = "
        f"{first.multiplicity} to {last.response.value:.2f} at k = {last.multiplicity}, "
        "with 95 % intervals."
    )


def _curve(
    curve: DoseCurve, doses: Sequence[int], style: theme.Style, number: int, count: int
) -> go.Scatter:
    """Return the trace of a curve; curves stand a little beside one another, none hides one."""
    main = curve.series == EXACT
    color = theme.ACCENT if main else style.color
    offset = 0.0 if count == 1 else 0.36 * (number / (count - 1) - 0.5)
    levels = [(level, level.response) for level in curve.levels]
    return go.Scatter(
        x=[doses.index(level.multiplicity) + offset for level, _ in levels],
        y=[response.value for _, response in levels],
        mode="lines+markers" if len(levels) > 2 else "markers",
        name=theme.escaped(curve.series),
        customdata=[[level.multiplicity, level.prompts] for level, _ in levels],
        line={"color": color, "width": 2.5 if main else 1.2, "dash": "solid" if main else "dot"},
        marker={"symbol": "circle" if main else style.symbol, "size": 9 if main else 8},
        error_y=theme.whiskers([response for _, response in levels], color),
        hovertemplate="k = %{customdata[0]}: %{y:.3g}, %{customdata[1]} prompts"
        f"<extra>{theme.escaped(curve.series)}</extra>",
    )


def _pale(curve: DoseCurve, doses: Sequence[int], number: int) -> go.Scatter:
    return go.Scatter(
        x=[doses.index(level.multiplicity) for level in curve.levels],
        y=[level.response.value for level in curve.levels],
        mode="lines",
        name="other networks",
        legendgroup="other networks",
        showlegend=number == 0,
        line={"color": _PALE_LINE, "width": 1.5},
        hovertemplate="k = %{x}: %{y:.3g}<extra>another network</extra>",
    )


def _dots(
    figure: go.Figure,
    name: str,
    figures: Sequence[Interval],
    heights: Sequence[float],
    *,
    symbol: str,
    color: str,
    hover: Sequence[str],
    percent: bool = False,
) -> None:
    """Add figures as marks with whiskers, one a row."""
    figure.add_trace(
        go.Scatter(
            x=[each.value for each in figures],
            y=list(heights),
            mode="markers",
            name=theme.escaped(name),
            text=[theme.escaped(each) for each in hover],
            marker={"symbol": symbol, "size": 8, "color": color},
            error_x=theme.whiskers(figures, color),
            hovertemplate=f"%{{x:{'.1%' if percent else '.3f'}}}, %{{text}}<extra></extra>",
        )
    )


def _named_rows(figure: go.Figure, names: Sequence[str]) -> None:
    figure.update_yaxes(
        theme.axis(
            "",
            range=[-0.7, len(names) - 0.3],
            showgrid=False,
            tickvals=list(range(len(names))),
            ticktext=list(names),
        )
    )
