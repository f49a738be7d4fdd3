"""The points of an image: their ids, their styles and what is said about each.

A point has an id that stays the same for a run: the training points shown come first, then the
generated samples. It travels as `customdata`, so that a selection leads back to a record.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mmh_core.memorization.hypothesis import VERDICTS
from mmh_core.memorization.verdict import POINT_ROWS
from mmh_core.plots import theme
from mmh_core.studies.manifolds.run import ManifoldRun, PointEstimates, Snapshot

Coloring = Literal["model LID", "true LID", "verdict"]
PointKind = Literal["training point", "generated sample"]


@dataclass(frozen=True)
class PointPlace:
    """The position of a point in the record: row `index` of the estimates of its kind."""

    kind: PointKind
    index: int

    def estimates(self, snapshot: Snapshot) -> PointEstimates:
        """Return the estimates that the point is a row of."""
        return snapshot.trained if self.kind == "training point" else snapshot.generated

    def number_in(self, run: ManifoldRun) -> int:
        """Return the row of the training set, or the number of the sample."""
        return int(run.shown[self.index]) if self.kind == "training point" else self.index

    def points(self, run: ManifoldRun, snapshot: Snapshot | None) -> Tensor:
        """Return the points (n, *shape) that the point is a row of."""
        if snapshot is None:
            return run.train.points[run.shown]
        return self.estimates(snapshot).points


@dataclass(frozen=True)
class Group:
    """The points of one kind that share a style: rows of the estimates, legend entry, marker.

    `marker` is the style in the plane, `spatial` what differs in space; groups of higher `rank`
    lie on top. No point stands in the legend itself (one on a color scale has no color to show
    there): see `legend`.
    """

    kind: PointKind
    rows: Tensor
    name: str
    marker: dict[str, Any]
    spatial: dict[str, Any]
    rank: int = 0

    def style(self, dimensions: int) -> dict[str, Any]:
        """Return the marker's style in the plane (2) or in space (3)."""
        return self.marker if dimensions == 2 else self.marker | self.spatial


def point_of(run: ManifoldRun, snapshot: Snapshot | None, point_id: int) -> PointPlace:
    """Return the point behind an id of `customdata`: training points first, then samples.

    Row `index` of `snapshot.trained` is row `run.shown[index]` of `run.train`. Errors: ValueError
    for an id that no point of this snapshot has.
    """
    training = len(run.shown)
    count = training + (len(snapshot.generated.points) if snapshot else 0)
    if isinstance(point_id, bool) or not isinstance(point_id, int) or not 0 <= point_id < count:
        raise ValueError(
            f"point_id must be a whole number from 0 to {count - 1}, got {point_id!r}."
        )
    if point_id < training:
        return PointPlace("training point", point_id)
    return PointPlace("generated sample", point_id - training)


def ids(run: ManifoldRun, group: Group) -> list[int]:
    """Return the ids of a group's points; the inverse of `point_of`."""
    first = 0 if group.kind == "training point" else len(run.shown)
    return [first + row for row in group.rows.tolist()]


def groups(run: ManifoldRun, snapshot: Snapshot | None, color: Coloring) -> Iterator[Group]:
    """Yield all points, group by group, from back to front.

    Without a snapshot these are the training points alone, in grey. Errors: ValueError for an
    unknown `color`.
    """
    if color not in get_args(Coloring):
        raise ValueError(f"Unknown color {color!r}; choose from {', '.join(get_args(Coloring))}.")
    kinds: tuple[PointKind, ...] = ("generated sample", "training point")
    if snapshot is None:
        grey = {"symbol": "x", "size": 7, "color": theme.NEUTRAL}
        rows = torch.arange(len(run.shown))
        yield Group("training point", rows, "training point", grey, {"symbol": "circle-open"})
        return
    estimates = {kind: PointPlace(kind, 0).estimates(snapshot) for kind in kinds}
    if color == "verdict":
        grouped = [g for kind, r in estimates.items() for g in _by_verdict(kind, r.verdict)]
        # What is memorized lies on top, whichever kind it is.
        yield from sorted(grouped, key=lambda group: group.rank)
        return
    for kind, read in estimates.items():
        yield from _by_lid(kind, read.lid if color == "model LID" else read.data_lid)


def _by_lid(kind: PointKind, lid: Tensor) -> Iterator[Group]:
    shape: dict[str, Any] = {"symbol": "circle", "size": 6.5}
    spatial: dict[str, Any] = {"symbol": "circle", "size": 3.5, "line": {"width": 0}}
    if kind == "training point":
        shape = {"symbol": "x", "size": 7.5}
        spatial = {"symbol": "circle-open", "size": 5}
    shape["line"] = {"width": 0.7, "color": theme.OUTLINE}
    has_lid = ~lid.isnan()
    rows, others = has_lid.nonzero()[:, 0], (~has_lid).nonzero()[:, 0]
    scale = {"color": theme.numbers(lid[rows]), "coloraxis": "coloraxis"}
    yield Group(kind, rows, kind, shape | scale, spatial)
    if len(others):
        grey = shape | {"color": theme.NEUTRAL}
        yield Group(kind, others, kind, grey, spatial)


def _by_verdict(kind: PointKind, codes: Tensor) -> Iterator[Group]:
    for code, verdict in enumerate(VERDICTS):
        rows = (codes == code).nonzero()[:, 0]
        if not len(rows):
            continue
        style = POINT_ROWS[verdict]
        marker: dict[str, Any] = {"symbol": style.symbol, "size": style.size, "color": style.color}
        spatial: dict[str, Any] = {"symbol": style.spatial, "size": 0.6 * style.size}
        if kind == "training point":
            thick = 1.5 if style.training.endswith("open") else 0
            marker |= {"symbol": style.training, "size": style.size + 1, "line": {"width": thick}}
            spatial |= {"symbol": style.spatial.removesuffix("-open") + "-open"}
        yield Group(kind, rows, verdict, marker, spatial, rank=code)


def legend(point_groups: Sequence[Group], dimensions: int) -> dict[str, dict[str, Any]]:
    """Return the legend entries of groups: name and marker, in drawing order.

    One entry per kind for points on the color scale, in grey; one per verdict otherwise, and what
    tells training points from samples.
    """
    entries: dict[str, dict[str, Any]] = {}
    for group in point_groups:
        marker = {k: v for k, v in group.style(dimensions).items() if k != "coloraxis"}
        if group.name == group.kind:
            marker |= {"color": theme.NEUTRAL}
        entries.setdefault(group.name, marker)
    if any(group.name != group.kind for group in point_groups):
        name, symbol = "training point (outline)", "circle-open"
        if dimensions == 2:
            name, symbol = "training point (cross or outline)", "x"
        entries[name] = {"symbol": symbol, "size": 7, "color": theme.NEUTRAL}
    return entries


def hover_text(run: ManifoldRun, snapshot: Snapshot | None, point: PointPlace) -> str:
    """Say in a few short lines what is known about a point."""
    data_lid = theme.data_lid_name(run)
    if snapshot is None:
        row = int(run.shown[point.index])
        lid = theme.lid_text(float(run.train.lid[row]))
        return f"<b>training point {row}</b><br>{data_lid} {lid}"
    estimates = point.estimates(snapshot)
    lines = [
        f"<b>{point.kind} {point.number_in(run)}</b>",
        f"model LID {theme.lid_text(float(estimates.lid[point.index]))}",
        f"{data_lid} {theme.lid_text(float(estimates.data_lid[point.index]))}",
        VERDICTS[int(estimates.verdict[point.index])],
    ]
    if point.kind == "generated sample":
        ratio, nearest = (
            float(x[point.index]) for x in (snapshot.distance_ratio, snapshot.nearest)
        )
        near = (
            "" if math.isnan(ratio) else f", at {ratio:.2f} of the distance to the second nearest"
        )
        lines.append(f"nearest training point {nearest:.0f}{near}")
    return "<br>".join(lines)
