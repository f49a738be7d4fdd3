"""Draw what training does to copying and to LID, with duplicates and without."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from mmh_core.plots import panels, theme
from mmh_core.plots.panels import Line
from mmh_core.studies.mitigation.training_run import (
    ARMS,
    REFERENCE,
    TrainingMitigationRun,
    TrainingMitigationSnapshot,
)

_HEIGHT = 460
#: Groups whose name in a sentence is not the word of the table.
_NAMES = {"duplicate": "duplicated", REFERENCE: "reference"}


def group_name(group: str) -> str:
    """Return what the captions of a group are called, such as duplicated."""
    return _NAMES.get(group, group)


def training_curves(
    run: TrainingMitigationRun,
    group: str,
    arms: tuple[str, ...],
    stopped: TrainingMitigationSnapshot | None = None,
) -> go.Figure:
    """Draw the share of copies and the median LID of a group's images over training steps.

    One line per arm; the grey one is that of reference captions in the first arm. A vertical line
    marks the step at which training is stopped.
    """
    if not run.snapshots:
        return theme.empty("No snapshot was evaluated yet.", height=160)
    figure = theme.base(
        f"Share of copies and median LID of {group_name(group)} captions over "
        f"{run.config.steps:,} training steps, {' and '.join(arms)}.",
        height=_HEIGHT,
        legend=False,
    )
    figure.update_layout(margin={"r": 130, "t": 26})
    steps = sorted({snapshot.step for snapshot in run.snapshots})
    ends = [math.log10(steps[0] / 1.15), math.log10(steps[-1] * 1.15)]
    style = theme.axis(
        "training step", type="log", range=ends, tickvals=steps, ticktext=[f"{s:,}" for s in steps]
    )
    above, below = panels.stack(figure, ["Copy rate", "Median LID"], style)
    panels.draw(figure, above, _lines(run, group, arms, copies=True), percent=True)
    panels.draw(figure, below, _lines(run, group, arms, copies=False))
    if stopped is not None:
        theme.chosen_step(figure, stopped.step)
    return figure


def _lines(
    run: TrainingMitigationRun, group: str, arms: tuple[str, ...], *, copies: bool
) -> list[Line]:
    """Return a line per arm, and that of reference captions in the first arm for comparison."""
    labels = {arm.name: arm.label for arm in ARMS}
    series = [(arm, group, labels[arm], False) for arm in arms]
    if group != REFERENCE:
        series.append((arms[0], REFERENCE, "reference captions", True))
    lines = []
    for arm, of, name, reference in series:
        snapshots = run.arm(arm)
        values = [
            snapshot.mean("copied", of) if copies else snapshot.median_lid(of)
            for snapshot in snapshots
        ]
        value_text = "%{y:.0%} copies" if copies else "LID %{y:.1f}"
        hover = f"{name}, step %{{x:,}}: {value_text}"
        lines.append(
            Line(
                name, [snapshot.step for snapshot in snapshots], values, hover, reference=reference
            )
        )
    return lines
