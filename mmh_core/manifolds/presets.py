"""The cases of the memorization hypothesis as training points and truth.

Six cases on a curved sheet in R^3 (after Ross et al. 2025, Fig. 1) and two on the unit circle.
`truth` samples the true support evenly rather than by its density: it is there to be plotted and
to look up true LID (`truth.lid_at`), where thin regions count as much as dense ones.

The places of the isolated points of a sheet are fixed, so that `od-exact` and `dd-exact`, like
`od-line` and `dd-line`, train on the same points and differ only in what is true.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from mmh_core.manifolds.checks import MOST_POINTS, choice, point_count, whole
from mmh_core.manifolds.curves import on_circle, von_mises_angles
from mmh_core.manifolds.draws import Component, allocate, join, stratified, uniform
from mmh_core.manifolds.embedding import DUPLICATE, with_duplicates
from mmh_core.records import ManifoldSamples

SheetCase = Literal["od-exact", "od-line", "good-fit", "dd-exact", "dd-line", "poor-fit"]

# The sheet over (u, v): two parts, LEFT and RIGHT in u, with a gap of .65 between them.
LEFT = (-1.5, -0.5)
RIGHT = (0.15, 1.5)
DEPTH = (-1.0, 1.0)
ISOLATED = ((-1.35, -0.8), (-1.35, 0.8), (-0.65, -0.8), (-0.65, 0.8), (-1.0, 0.0))
LINE_END = 0.9
# One point in six: enough for the model to see the left part in every batch.
LEFT_SHARE = 6
# 1 / g and 1 / g^2 with g the plastic number: the rates of the most even sequence in the plane.
_PLASTIC = (0.7548776662466927, 0.5698402909980532)

ARC_CONCENTRATION = 30.0
# Angles up to here belong to the arc: 5.5 standard deviations of it.
ARC_EDGE = 1.0
_ARC_DRAWS = 15
CIRCLE_ISOLATED = 7
_REST_START = 1.25
_REST_JITTER = 0.06


def sheet(u: Tensor, v: Tensor) -> Tensor:
    """Return the points (n, 3) of the sheet over (u, v): height .25 sin 1.5u + .2 cos 1.5v."""
    return torch.stack([u, v, 0.25 * (1.5 * u).sin() + 0.2 * (1.5 * v).cos()], dim=1)


def left_line(v: Tensor) -> Tensor:
    """Return the points (n, 3) of the curve on the left part: u = -1 + .3 sin(pi v)."""
    return sheet(-1 + 0.3 * (math.pi * v).sin(), v)


def sheet_training(
    case: SheetCase, count: int, duplicates: int, generator: torch.Generator
) -> ManifoldSamples:
    """Return the training points of one case: `count` distinct ones and `duplicates` copies.

    LID is the true one, LID_*. Main part (right, LID 2) first, then the left part: `*-exact` five
    fixed isolated points at least .7 apart, whatever the count; `*-line` a sixth of the points
    along a curve; `good-fit` and `poor-fit` the whole left part, as dense as the right. Points are
    even in (u, v); the area element varies by 11 % over the sheet. Duplicates are shared among
    the isolated points in `dd-exact` and copy the first main point elsewhere. `poor-fit` differs
    from `good-fit` only in how briefly a model should be trained.
    Errors: ValueError for an unknown case, count below 2 or duplicates below 0.
    """
    _check(case, count, duplicates)
    left = _left_training(case, count, generator)
    main = _patch(count - len(left.points), RIGHT, generator)
    samples = join(case, [Component("main", main, 2.0), left])
    rows = [0]
    if case == "dd-exact":
        rows = list(range(len(main), count))
    for i, row in enumerate(rows):
        # Share as evenly as whole numbers allow, earlier places first.
        copies = duplicates // len(rows) + (i < duplicates % len(rows))
        samples = with_duplicates(samples, copies, row)
    return samples


def sheet_truth(case: SheetCase, count: int, generator: torch.Generator) -> ManifoldSamples:
    """Return points of the true manifold of one case, with LID_*.

    The left part is the whole patch (LID 2) in `od-exact`, `od-line`, `good-fit` and `poor-fit`,
    five point masses (LID 0) in `dd-exact`, a curve (LID 1) in `dd-line`.
    Errors: ValueError for an unknown case or count below 2.
    """
    _check(case, count, 0)
    if case == "dd-exact":
        isolated = _isolated(generator.device)
        share = max(min(len(isolated), count // 2), count // LEFT_SHARE)
        rows = torch.arange(share, device=generator.device) % len(isolated)
        left = Component(DUPLICATE, isolated[rows], 0.0)
    elif case == "dd-line":
        left = Component("line", _line(max(1, count // LEFT_SHARE), generator), 1.0)
    else:
        left = Component("left", _patch(_left_area(count), LEFT, generator), 2.0)
    main = _patch(count - len(left.points), RIGHT, generator)
    return join(case, [Component("main", main, 2.0), left])


def circle_training(count: int, duplicates: int, generator: torch.Generator) -> ManifoldSamples:
    """Return a dense arc on the unit circle and seven isolated points on the rest of it.

    The truth is a von Mises mixture: an arc (kappa 30, about 85 %) and a broad second component.
    The isolated points stand for the second one: a seventh of the default count, one per cell of
    an even division, at least .4 apart. They stay seven for any larger count, so that the case
    keeps its meaning: this is not an independent sample of the truth. LID_* is 1 everywhere; a
    model trained for long has LID 0 at the isolated points (OD-Mem). Points (count, 2), arc first;
    duplicates copy the first point of the arc. Errors: ValueError for count below 2 or duplicates
    below 0.
    """
    point_count(count)
    isolated = min(CIRCLE_ISOLATED, count // 2)
    cell = 2 * (math.pi - _REST_START) / isolated
    cells = torch.arange(isolated, dtype=torch.float64, device=generator.device) + 0.5
    jitter = uniform((isolated,), low=-_REST_JITTER, high=_REST_JITTER, generator=generator)
    rest = Component("isolated", on_circle(_REST_START + cell * cells + jitter), 1.0)
    samples = join("circle", [_arc(count - isolated, generator), rest])
    return with_duplicates(samples, duplicates, 0)


def circle_truth(count: int, generator: torch.Generator) -> ManifoldSamples:
    """Return the whole unit circle, evenly: LID 1, components "arc" (|angle| < 1) and "rest"."""
    point_count(count)
    angles = stratified(count, low=-math.pi, high=math.pi, generator=generator)
    inside = angles.abs() < ARC_EDGE
    parts = [
        Component("arc", on_circle(angles[inside]), 1.0),
        Component("rest", on_circle(angles[~inside]), 1.0),
    ]
    return join("circle", parts)


def circle_duplicates_training(
    count: int, duplicates: int, generator: torch.Generator
) -> ManifoldSamples:
    """Return the arc (LID 1) and, opposite to it, one point with `duplicates` copies (LID 0).

    The point mass belongs to the truth, so a model that reproduces it is right (DD-Mem). `count`
    includes the point once. Errors: ValueError for count below 2 or duplicates below 0.
    """
    point_count(count)
    parts = [_arc(count - 1, generator), Component(DUPLICATE, _opposite(1, generator.device), 0.0)]
    return with_duplicates(join("circle-duplicates", parts), duplicates, count - 1)


def circle_duplicates_truth(count: int, generator: torch.Generator) -> ManifoldSamples:
    """Return the arc out to 1 radian, evenly (LID 1), and the point mass opposite to it (LID 0).

    The caveat: a von Mises density is positive on the whole circle; the support is cut where about
    2e-7 of its mass is left.
    """
    point_count(count)
    copies = max(1, count // LEFT_SHARE)
    angles = stratified(count - copies, low=-ARC_EDGE, high=ARC_EDGE, generator=generator)
    point = Component(DUPLICATE, _opposite(copies, generator.device), 0.0)
    return join("circle-duplicates", [Component("arc", on_circle(angles), 1.0), point])


def _check(case: str, count: int, duplicates: int) -> None:
    choice("case", case, get_args(SheetCase))
    point_count(count)
    whole("duplicates", duplicates, least=0, most=MOST_POINTS)


def _left_training(case: SheetCase, count: int, generator: torch.Generator) -> Component:
    if case in ("od-exact", "dd-exact"):
        isolated = _isolated(generator.device)[: count // 2]
        return (
            Component("isolated", isolated, 2.0)
            if case == "od-exact"
            else Component(DUPLICATE, isolated, 0.0)
        )
    if case in ("od-line", "dd-line"):
        line = _line(max(1, count // LEFT_SHARE), generator)
        return Component("line", line, 2.0 if case == "od-line" else 1.0)
    return Component("left", _patch(_left_area(count), LEFT, generator), 2.0)


def _left_area(count: int) -> int:
    return allocate(count, (LEFT[1] - LEFT[0], RIGHT[1] - RIGHT[0]))[0]


def _patch(count: int, across: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Return points (count, 3) that cover a part of the sheet evenly, from a random start.

    A Kronecker sequence with the plastic number (Roberts 2018) leaves no holes as large as those
    of independent points, in which an overfitted model would copy the main part as well and blur
    what the case is meant to show. Each point then moves at random within its own share of the
    area: two draws must not sit on one lattice, or the distances between them say nothing.
    """
    start = uniform((2, 1), low=0.0, high=1.0, generator=generator)
    steps = torch.arange(count, dtype=torch.float64, device=generator.device)
    rates = torch.tensor(_PLASTIC, dtype=torch.float64, device=generator.device)[:, None]
    move = uniform((2, count), low=-0.5, high=0.5, generator=generator) / max(count, 1) ** 0.5
    u, v = (start + rates * steps + move) % 1
    return sheet(across[0] + (across[1] - across[0]) * u, DEPTH[0] + (DEPTH[1] - DEPTH[0]) * v)


def _isolated(device: torch.device) -> Tensor:
    return sheet(*torch.tensor(ISOLATED, dtype=torch.float64, device=device).T)


def _line(count: int, generator: torch.Generator) -> Tensor:
    return left_line(stratified(count, low=-LINE_END, high=LINE_END, generator=generator))


def _arc(count: int, generator: torch.Generator) -> Component:
    """Return the arc evenly by its density: the middle one of every `_ARC_DRAWS` angles in order.

    Among independent angles those in the tails are isolated points themselves, and the case would
    not say which part of it stands for what.
    """
    angles = von_mises_angles(
        count * _ARC_DRAWS, location=0.0, concentration=ARC_CONCENTRATION, generator=generator
    )
    return Component("arc", on_circle(angles.sort().values[_ARC_DRAWS // 2 :: _ARC_DRAWS]), 1.0)


def _opposite(count: int, device: torch.device) -> Tensor:
    return torch.tensor([[-1.0, 0.0]], dtype=torch.float64, device=device).expand(count, 2)
