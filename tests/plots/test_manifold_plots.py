"""Figures say what the records say: colors, ids, curves, bands, shares and images."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from mmh_core.memorization.hypothesis import VERDICTS
from mmh_core.memorization.verdict import POINT_ROWS
from mmh_core.plots import curves, manifold, panels, summaries, theme
from mmh_core.plots.cards import image_png
from mmh_core.plots.points import Coloring, PointPlace, point_of
from mmh_core.records import ManifoldSamples
from mmh_core.studies.manifolds.run import (
    EstimatorRow,
    ManifoldConfig,
    ManifoldRun,
    PointEstimates,
    Snapshot,
)

NAN = math.nan
SCALES = torch.tensor([0.01, 0.02, 0.05, 0.1]).log()


def estimates(points: Tensor, lid: list[float], verdict: list[int], true: float) -> PointEstimates:
    """Return estimates with a curve that climbs by 1 a scale from each point's LID."""
    n = len(points)
    climb = torch.tensor(lid)[:, None] + torch.arange(4.0)
    return PointEstimates(
        points=points,
        data_lid=torch.full((n,), true),
        curve=climb,
        curve_error=torch.full((n, 4), 0.25),
        lid=torch.tensor(lid),
        log_delta=torch.full((n,), math.log(0.03)),
        width=torch.full((n,), math.log(4.0)),
        status=torch.zeros(n, dtype=torch.int8),
        verdict=torch.tensor(verdict, dtype=torch.int8),
    )


def snapshot(step: int = 60) -> Snapshot:
    """Return a snapshot with three training points (rows 0, 2, 3 of the set) and two samples."""
    return Snapshot(
        step=step,
        epoch=1.0,
        loss=2.0,
        fits=True,
        band_low=math.log(0.02),
        band_high=math.log(0.1),
        fit_trained=torch.tensor([1.0, 1.5, 2.0, 0.5]),
        fit_held_out=torch.tensor([1.1, 1.6, 2.1, 0.6]),
        fit_baseline=torch.tensor([1.2, 1.7, 2.2, 0.7]),
        trained=estimates(TRAIN[[0, 2, 3]], [0.0, 1.0, 2.0], [3, 1, 2], 1.0),
        generated=estimates(torch.tensor([[0.5, 0.25], [2.0, -1.0]]), [1.5, 0.0], [1, 3], 2.0),
        nearest=torch.tensor([2, 3]),
        distance_ratio=torch.tensor([0.2, 0.9]),
        field=torch.zeros(2, 3, 3, 2),
    )


TRAIN = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])


def samples(points: Tensor, lid: float) -> ManifoldSamples:
    """Return points of two components, the last one "lone"."""
    component = torch.zeros(len(points), dtype=torch.long)
    component[-1] = 1
    return ManifoldSamples(
        "m", points, torch.full((len(points),), lid), component, ("arc", "lone")
    )


def a_run(*snapshots: Snapshot, true: float = 2.0) -> ManifoldRun:
    """Return a run of the plane on four training points, three of them shown."""
    return ManifoldRun(
        config=ManifoldConfig("m", 4, 0, 8, 16_000, 0),
        state="training",
        train=samples(TRAIN, true),
        shown=torch.tensor([0, 2, 3]),
        truth=samples(torch.tensor([[-2.0, -3.0], [2.0, 3.0]]), true),
        typical_lid=1.6,
        chance_memorized=0.125,
        lid_estimator="b",
        log_delta=SCALES,
        field_log_delta=torch.tensor([0.1, 0.3]).log(),
        field_extent=torch.tensor([[-1.0, -2.0], [1.0, 2.0]]),
        center=torch.zeros(2),
        axes=torch.eye(2, 3),
        losses=torch.tensor([[10.0, 3.0], [60.0, 2.5], [120.0, 2.0]]),
        seconds=1.0,
        snapshots=snapshots,
        estimators=(),
    )


def drawn(figure: Any) -> dict[int, tuple[Any, int]]:
    """Return where each id of a figure is drawn: its trace and its place in it."""
    found: dict[int, tuple[Any, int]] = {}
    for trace in figure.data:
        for place, point_id in enumerate(trace.customdata or ()):
            assert point_id not in found
            found[point_id] = (trace, place)
    return found


def named(figure: Any, name: str) -> Any:
    """Return the one trace of that name that draws something."""
    (trace,) = [t for t in figure.data if t.name == name and len(t.x) and t.x[0] is not None]
    return trace


def texts(figure: Any) -> list[str]:
    """Return what is written into a figure."""
    return [note.text for note in figure.layout.annotations]


def close(values: Any, wanted: list[float]) -> bool:
    """Compare with float32 records: seven digits."""
    return list(values) == pytest.approx(wanted, rel=1e-6, abs=1e-6)


# Points, ids and colors


@pytest.mark.parametrize("color", get_args(Coloring))
@pytest.mark.parametrize("draw", [manifold.plane_figure, manifold.space])
def test_every_point_is_drawn_once_where_its_id_leads(draw: Any, color: Coloring) -> None:
    now = snapshot()
    run = a_run(now)
    figure = draw(run, now, color)
    places = drawn(figure)
    assert sorted(places) == [0, 1, 2, 3, 4]
    for point_id, (trace, i) in places.items():
        place = point_of(run, now, point_id)
        assert (trace.x[i], trace.y[i]) == tuple(place.estimates(now).points[place.index].tolist())
        assert "unselected" not in trace or trace.unselected.marker.opacity == trace.marker.opacity


def test_ids_lead_to_training_points_first_and_then_to_samples() -> None:
    now = snapshot()
    run = a_run(now)
    assert point_of(run, now, 2) == PointPlace("training point", 2)
    assert point_of(run, now, 3) == PointPlace("generated sample", 0)
    assert torch.equal(now.trained.points, run.train.points[run.shown])
    wrong_ids: list[Any] = [-1, 5, True, 1.0]
    for wrong in wrong_ids:
        with pytest.raises(ValueError, match="from 0 to 4"):
            point_of(run, now, wrong)
    with pytest.raises(ValueError, match="from 0 to 2"):
        point_of(run, None, 3)


@pytest.mark.parametrize("draw", [manifold.plane_figure, manifold.space])
def test_colors_are_the_lids_on_one_scale_for_the_whole_run(draw: Any) -> None:
    early, late = snapshot(60), snapshot(120)
    late = replace(late, generated=replace(late.generated, lid=torch.tensor([7.0, 0.0])))
    run = a_run(early, late)
    learned, true = draw(run, late), draw(run, late, "true LID")
    wanted = [0.0, 1.0, 2.0, 7.0, 0.0]
    for figure, lids in ((learned, wanted), (true, [1.0] * 3 + [2.0] * 2)):
        for point_id, (trace, i) in drawn(figure).items():
            assert trace.marker.color[i] == lids[point_id]
            assert trace.marker.coloraxis == "coloraxis"
    axes = [draw(run, s).layout.coloraxis for s in (early, late)]
    assert axes[0] == axes[1]
    # The truth of this run has two dimensions: what is at least as free has the last color.
    assert (axes[0].cmin, axes[0].cmax) == (0, 2)
    assert axes[0].colorbar.title.text == "LID"
    assert list(axes[0].colorbar.ticktext) == ["0", "1", "≥ 2"]


def test_the_color_scale_ends_at_the_typical_lid_where_the_truth_is_unknown() -> None:
    assert theme.lid_top(a_run(true=NAN)) == 2  # 1.6, rounded up
    assert theme.lid_top(replace(a_run(true=NAN), typical_lid=NAN)) == 1
    assert theme.lid_top(a_run(true=0.0)) == 1
    mixed = replace(a_run().truth, lid=torch.tensor([3.0, NAN, 1.0]))
    assert theme.lid_top(replace(a_run(), truth=mixed)) == 3
    bar: Any = theme.lid_colors(a_run(true=64.0))["colorbar"]
    assert bar["tickvals"] == [0, 20, 40, 64]


def test_points_of_unknown_lid_are_grey_and_off_the_scale() -> None:
    now = snapshot()
    now = replace(now, trained=replace(now.trained, lid=torch.tensor([0.0, NAN, 2.0])))
    places = drawn(manifold.plane_figure(a_run(now), now))
    trace, _ = places[1]
    assert (trace.marker.color, trace.marker.coloraxis) == (theme.NEUTRAL, None)
    trace, i = places[2]
    assert trace.marker.color[i] == 2.0


def test_verdicts_differ_in_color_and_in_symbol() -> None:
    now = snapshot()
    figure = manifold.plane_figure(a_run(now), now, "verdict")
    codes = [*now.trained.verdict.tolist(), *now.generated.verdict.tolist()]
    for point_id, (trace, _) in drawn(figure).items():
        verdict = VERDICTS[codes[point_id]]
        look = POINT_ROWS[verdict]
        trained = point_id < 3
        assert (trace.name, trace.marker.color) == (verdict, look.color)
        assert trace.marker.symbol == (look.training if trained else look.symbol)
    looks = [POINT_ROWS[verdict] for verdict in VERDICTS]
    symbols = [look.symbol for look in looks] + [look.training for look in looks]
    assert len(set(symbols)) == 2 * len(VERDICTS)
    assert len({look.color for look in looks}) == len(VERDICTS)
    assert len({(look.spatial, look.size) for look in looks}) >= len(VERDICTS) - 1


def test_memorized_points_lie_on_top() -> None:
    now = snapshot()
    order = [
        t.name for t in manifold.plane_figure(a_run(now), now, "verdict").data if t.customdata
    ]
    assert order == sorted(order, key=[*VERDICTS].index)


# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
_VISION = {
    "usual": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("vision", _VISION)
def test_the_lid_scale_grows_lighter_for_any_color_vision(vision: str) -> None:
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    lightness = []
    for color in theme.LID_SCALE:
        rgb = torch.tensor([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        seen = (torch.tensor(_VISION[vision]) @ linear).clamp(0, 1)
        lightness.append(116 * float(weights @ seen) ** (1 / 3) - 16)
    # CIE lightness; 2 is about the least that neighbors in a legend need to be told apart.
    assert all(later > earlier + 2 for earlier, later in pairwise(lightness))


def test_a_point_says_in_words_what_is_known_about_it() -> None:
    now = snapshot()
    places = drawn(manifold.plane_figure(a_run(now), now))
    trace, i = places[1]
    assert trace.hovertext[i].split("<br>") == [
        "<b>training point 2</b>",
        "model LID 1",
        "true LID 1",
        "not memorized",
    ]
    trace, i = places[3]
    assert trace.hovertext[i].split("<br>") == [
        "<b>generated sample 0</b>",
        "model LID 1.5",
        "true LID 2",
        "not memorized",
        "nearest training point 2, at 0.20 of the distance to the second nearest",
    ]
    unknown = manifold.plane_figure(a_run(now, true=NAN), now)
    trace, i = drawn(unknown)[1]
    assert "data LID (estimated) 1" in trace.hovertext[i]


def test_the_plane_has_one_unit_and_one_frame_for_all_snapshots() -> None:
    early, late = snapshot(), snapshot(120)
    far = late.generated.points + 100
    late = replace(late, generated=replace(late.generated, points=far))
    run = a_run(early, late)
    figures = [manifold.plane_figure(run, s).layout for s in (early, late, None)]
    for layout in figures:
        assert (layout.yaxis.scaleanchor, layout.yaxis.scaleratio) == ("x", 1)
        # Truth and training points reach from (-2, -3) to (2, 3); 12 % of the extent around it.
        assert close(layout.xaxis.range, [-2.48, 2.48])
        assert close(layout.yaxis.range, [-3.72, 3.72])
    scene = manifold.space(run, late).layout.scene
    assert scene.aspectmode == "data"
    assert close(scene.yaxis.range, [-3.72, 3.72])
    assert not scene.zaxis.visible  # This manifold is flat.


@pytest.mark.parametrize("draw", [manifold.plane_figure, manifold.space])
def test_the_chosen_point_has_a_ring(draw: Any) -> None:
    now = snapshot()
    ring = named(draw(a_run(now), now, chosen=4), "chosen")
    assert (ring.x[0], ring.y[0], ring.customdata) == (2.0, -1.0, None)
    assert ring.marker.symbol == "circle-open"
    assert not any(trace.name == "chosen" for trace in draw(a_run(now), now).data)


@pytest.mark.parametrize("draw", [manifold.plane_figure, manifold.space])
def test_before_training_there_are_truth_and_training_points(draw: Any) -> None:
    run = a_run()
    figure = draw(run, None, chosen=1)
    places = drawn(figure)
    assert sorted(places) == [0, 1, 2]
    for point_id, (trace, i) in places.items():
        assert (trace.x[i], trace.y[i]) == tuple(TRAIN[run.shown[point_id]].tolist())
    truth = named(figure, "true manifold")
    assert (list(truth.x), list(truth.y)) == ([-2.0, 2.0], [-3.0, 3.0])
    assert named(figure, "chosen").y[0] == 2.0
    with pytest.raises(ValueError, match="model LID, true LID, verdict"):
        draw(run, None, "loss")


# The score field


def field_run(pull: Tensor) -> tuple[ManifoldRun, Snapshot]:
    now = replace(snapshot(), field=torch.stack([torch.zeros_like(pull), pull]))
    return a_run(now), now


def test_arrows_start_on_the_grid_and_follow_the_field() -> None:
    # The pull depends on the row, that is on y: (0, .1), (.2, .1), (.4, .1) from below.
    pull = torch.zeros(3, 3, 2)
    pull[..., 0] = torch.tensor([0.0, 0.2, 0.4])[:, None]
    pull[..., 1] = 0.1
    figure = manifold.score_field(*field_run(pull), 1)
    trace = named(figure, "displacement by the denoiser at δ = 0.3")
    x, y = list(trace.x), list(trace.y)
    assert len(x) == 9 * 6
    assert x[5::6] == [None] * 9
    starts = list(zip(x[::6], y[::6], strict=True))
    assert starts == [(a, b) for b in (-2.0, 0.0, 2.0) for a in (-1.0, 0.0, 1.0)]
    for i, (a, b) in enumerate(starts):
        assert (x[6 * i + 1], y[6 * i + 1]) == pytest.approx((a + 0.1 * (b + 2), b + 0.1))


def test_no_arrow_is_longer_than_a_step_of_the_grid_and_heads_point_back() -> None:
    pull = torch.zeros(3, 3, 2)
    pull[1, 1] = torch.tensor([30.0, 40.0])
    trace = named(
        manifold.score_field(*field_run(pull), 1), "displacement by the denoiser at δ = 0.3"
    )
    x, y = (list(values)[24:29] for values in (trace.x, trace.y))
    # The step is 1 across and 2 up; the shorter one limits.
    assert (x[1], y[1]) == pytest.approx((0.6, 0.8))
    for i in (2, 4):
        back = (x[i] - x[1], y[i] - y[1])
        assert math.hypot(*back) == pytest.approx(0.35)
        assert back[0] * 0.6 + back[1] * 0.8 == pytest.approx(-0.35 * math.cos(0.5))
    assert (x[2], y[2]) != pytest.approx((x[4], y[4]))


def test_only_the_plane_has_a_field() -> None:
    run, now = field_run(torch.zeros(3, 3, 2))
    with pytest.raises(ValueError, match="from 0 to 1, got 2"):
        manifold.score_field(run, now, 2)
    with pytest.raises(ValueError, match="Only a manifold in the plane"):
        manifold.score_field(run, replace(now, field=torch.empty(0, 3, 3, 2)), 0)


# Curves over the noise scale


def test_the_curve_of_a_point_is_that_of_the_record() -> None:
    now = snapshot()
    figure = curves.lid_curve(a_run(now), now, 3)  # sample 0
    own = named(figure, "this generated sample (± 1 standard error)")
    assert close(own.x, [0.01, 0.02, 0.05, 0.1])
    assert close(own.y, [1.5, 2.5, 3.5, 4.5])
    (ribbon,) = (trace for trace in figure.data if trace.fill == "toself")
    assert close(ribbon.y[:4], [1.75, 2.75, 3.75, 4.75])
    assert close(ribbon.y[4:], [4.25, 3.25, 2.25, 1.25])
    assert close(ribbon.x[4:], [0.1, 0.05, 0.02, 0.01])
    # Training points start at 0, 1 and 2; the median one climbs from 1.
    assert close(named(figure, "median of the training points").y, [1, 2, 3, 4])
    truth = named(figure, "true LID 2")
    assert (set(truth.y), truth.line.dash) == ({2.0}, "dash")
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.title.text == "noise scale δ (data units)"


def test_the_chosen_plateau_and_the_trusted_band_end_where_the_record_says() -> None:
    now = snapshot()
    figure = curves.lid_curve(a_run(now), now, 0)
    plateau = named(figure, "chosen")
    # Centered at .03, log 4 wide: from .015 to .06.
    assert close(plateau.x, [0.015, 0.06])
    assert close(plateau.y, [0, 0])
    assert "chosen: <b>LID 0</b>" in texts(figure)
    (band,) = figure.layout.shapes
    assert close([band.x0, band.x1], [0.02, 0.1])
    (label,) = [note for note in figure.layout.annotations if note.text.startswith("trusted")]
    assert label.x == pytest.approx(math.log10(0.02))


def test_no_plateau_is_a_mark_and_a_poor_fit_has_no_band() -> None:
    now = snapshot()
    bare = replace(
        now.trained,
        width=torch.zeros(3),
        status=torch.full((3,), 2, dtype=torch.int8),
        curve_error=torch.empty(3, 0),
        data_lid=torch.full((3,), NAN),
    )
    now = replace(now, trained=bare, fits=False)
    figure = curves.lid_curve(a_run(now), now, 1)
    mark = named(figure, "chosen")
    assert (close(mark.x, [0.03]), mark.mode) == (True, "markers")
    assert "chosen: <b>LID 1</b> (no plateau)" in texts(figure)
    assert "no trusted noise scales: the fit is too poor" in texts(figure)
    assert not figure.layout.shapes
    names = [trace.name for trace in figure.data]
    assert names == ["chosen", "median of the training points", "this training point"]
    assert not curves.fit(a_run(now), now).layout.shapes


def test_the_fit_shows_three_errors_and_the_band() -> None:
    now = snapshot()
    figure = curves.fit(a_run(now), now)
    assert close(named(figure, "training points").y, [1.0, 1.5, 2.0, 0.5])
    assert close(named(figure, "held-out points").y, [1.1, 1.6, 2.1, 0.6])
    assert close(named(figure, "simple denoiser").y, [1.2, 1.7, 2.2, 0.7])
    assert close(named(figure, "held-out points").x, [0.01, 0.02, 0.05, 0.1])
    (band,) = figure.layout.shapes
    assert close([band.x0, band.x1], [0.02, 0.1])
    assert theme.alt_text(figure).endswith("trusted from 0.02 to 0.1.")
    assert figure.layout.yaxis.range[0] == 0
    far = replace(now, fit_held_out=torch.tensor([200.0, 30.0, 3.0, NAN]))
    axis = curves.fit(a_run(far), far).layout.yaxis
    # From .5 to 200, half as much again on both sides.
    assert axis.type == "log"
    assert close(axis.range, [math.log10(0.5 / 1.5), math.log10(300)])


# Training


def test_training_draws_loss_lid_by_component_and_shares() -> None:
    early, late = snapshot(60), snapshot(120)
    late = replace(
        late,
        trained=replace(late.trained, lid=torch.tensor([0.0, 0.5, 0.0])),
        distance_ratio=torch.tensor([0.3, 0.2]),
    )
    figure = curves.training(a_run(early, late), early)
    loss, arc, lone, typical, copies, by_lid, chance = figure.data
    assert (list(loss.x), list(loss.y)) == ([10, 60, 120], [3, 2.5, 2])
    # Rows 0 and 2 of the training set are "arc", row 3 is "lone".
    assert (arc.name, list(arc.x), list(arc.y)) == ("arc", [60, 120], [0.5, 0.25])
    assert (lone.name, list(lone.y)) == ("lone", [2.0, 0.0])
    assert (typical.name, list(typical.y)) == ("median data LID", [1.6, 1.6])
    assert (copies.name, list(copies.y)) == ("d₁ / d₂ < ⅓", [0.5, 1.0])
    assert (by_lid.name, list(by_lid.y)) == ("memorized by LID", [0.5, 0.5])
    assert (chance.name, list(chance.y), chance.line.dash) == ("fresh data", [0.125] * 2, "dash")
    assert [t.yaxis for t in figure.data] == ["y", *["y2"] * 3, *["y3"] * 3]
    # 16,000 epochs of four points in batches of 256 are 250 steps: the axis is ready for all.
    assert figure.layout.xaxis.type == "log"
    assert close(figure.layout.xaxis.range, [1.0, math.log10(250)])
    assert close(chance.x, [10, 250])
    (line,) = figure.layout.shapes
    assert (line.x0, line.x1, line.y0, line.y1, line.yref) == (60, 60, 0, 1, "paper")
    assert not curves.training(a_run(early, late)).layout.shapes


def test_many_components_share_one_line() -> None:
    now = snapshot()
    run = a_run(now)
    assert [t.name for t in curves.training(run).data[1:3]] == ["arc", "lone"]
    named_parts = tuple("abcdefg")
    points = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    train = replace(
        run.train, points=points, component=torch.arange(6), component_names=named_parts
    )
    trained = estimates(points, [0.0, 1.0, 2.0, 3.0, 4.0, NAN], [1] * 6, 1.0)
    now = replace(now, trained=trained)
    run = replace(run, train=train, shown=torch.arange(6), snapshots=(now,))
    every = curves.training(run).data[1]
    assert (every.name, list(every.y)) == ("all", [2.0])  # The unknown one counts in no mean.


def test_names_of_lines_that_end_together_move_apart() -> None:
    assert panels.spread([10, 10, 50], 14, 90) == [10, 24, 50]
    assert panels.spread([50, 10, 45], 14, 60) == [59, 10, 45]
    # At the ceiling the lower ones give way.
    assert panels.spread([80, 85, 88], 14, 90) == [62, 76, 90]
    assert panels.spread([], 14, 90) == []
    now = snapshot()
    now = replace(now, distance_ratio=torch.tensor([0.9, 0.9]))
    now = replace(now, generated=replace(now.generated, verdict=torch.ones(2, dtype=torch.int8)))
    figure = curves.training(replace(a_run(now), chance_memorized=0.0))
    shifts = [note.yshift for note in figure.layout.annotations if note.yref == "y3"]
    assert sorted(shifts) == [0, 14, 28]


def test_training_that_has_not_begun_says_so() -> None:
    run = replace(a_run(), losses=torch.empty(0, 2))
    figure = curves.training(run)
    assert (len(figure.data), texts(figure)) == (0, ["Training has not begun."])
    # A loss without a snapshot yet is drawn against the two levels.
    assert [t.name for t in curves.training(a_run()).data] == [
        "",
        "median data LID",
        "fresh data",
    ]


# Summaries


def test_the_histogram_counts_shares_in_bins_of_half_a_dimension() -> None:
    now = snapshot()
    now = replace(now, generated=replace(now.generated, lid=torch.tensor([NAN, 0.2])))
    run = a_run(now)
    figure = summaries.lid_histogram(run, now)
    bars, _, crosses = figure.data
    # The plane has no more than two dimensions.
    assert list(bars.x) == [0, 0.5, 1, 1.5, 2]
    assert list(figure.layout.xaxis.ticktext) == ["0", "1", "2"]
    # .2 is nearest to 0; the sample of unknown LID is in no bin, but one of two.
    assert list(bars.y) == [0.5, 0, 0, 0, 0]
    assert list(bars.marker.color) == list(bars.x)
    assert (list(crosses.x), list(crosses.y)) == ([0, 1, 2], [1 / 3] * 3)
    assert figure.layout.coloraxis.cmax == theme.lid_top(run)
    (line,) = figure.layout.shapes
    assert line.x0 == 1.6


def test_the_histogram_of_many_dimensions_ends_at_twice_the_usual_and_keeps_what_is_above() -> (
    None
):
    now = snapshot()
    now = replace(now, generated=replace(now.generated, lid=torch.tensor([64.0, 18.6])))
    images = replace(samples(torch.zeros(3, 1, 8, 8), NAN), name="digits")
    run = replace(a_run(now), train=images, truth=images, typical_lid=9.7)
    figure = summaries.lid_histogram(run, now)
    bars = figure.data[0]
    assert list(bars.x) == list(range(21))
    assert list(bars.y) == [0.0] * 19 + [0.5, 0.5]
    assert list(figure.layout.xaxis.ticktext) == ["0", "5", "10", "15", "≥ 20"]


def row(name: str, side: Any, lid: list[float], error: float) -> EstimatorRow:
    return EstimatorRow(name, name.upper(), side, torch.tensor(lid), error, NAN, 0.0, 8.0, 0.5)


def test_estimators_are_ordered_by_error_within_their_side() -> None:
    rows = (
        row("a", "model", [1.0, 2.0], 0.5),
        row("b", "model", [1.0, 2.0], 0.25),
        row("c", "data", [1.0, 2.0], 0.0),
        row("d", "data", [NAN, NAN], NAN),
    )
    figure = summaries.estimator_errors(replace(a_run(), estimators=rows))
    model, data = figure.data
    assert (list(model.x), list(model.y)) == ([0.25, 0.5], [0, -1])
    assert list(data.x) == [0.0]
    assert data.y[0] < -2  # A gap between the sides.
    assert list(figure.layout.yaxis.ticktext) == ["B · used by this app", "A", "C"]
    assert list(figure.layout.yaxis.tickvals) == [0, -1, data.y[0]]
    assert texts(figure) == ["0.25", "0.50", "0.00"]
    assert model.error_x.array is None
    assert "C has the smallest" in theme.alt_text(figure)
    assert texts(summaries.estimator_errors(a_run())) == [
        "The estimators are compared after training."
    ]


def test_without_a_truth_estimators_show_medians_and_quartiles() -> None:
    rows = (
        row("a", "model", [1.0, 2.0, 3.0, 4.0, 9.0], NAN),
        row("b", "model", [-2.0, -1.0, 0.0, 1.0, 2.0], NAN),
    )
    run = replace(a_run(true=NAN), estimators=rows)
    figure = summaries.estimator_errors(run)
    (model,) = figure.data
    assert list(model.x) == [0, 3]
    assert list(model.error_x.array) == [1, 1]
    assert list(model.error_x.arrayminus) == [1, 1]
    (line,) = figure.layout.shapes
    assert line.x0 == 1.6
    # All bars and the typical LID are inside: from -1 to the upper quartile 4, then to 40.
    assert close(figure.layout.xaxis.range, [-1 - 0.03 * 5, 4 + 0.15 * 5])
    far = summaries.estimator_errors(replace(run, typical_lid=39.0))
    assert close(far.layout.xaxis.range, [-1 - 0.03 * 40, 39 + 0.15 * 40])


def test_the_transition_orders_runs_by_their_number_of_images() -> None:
    few, many = snapshot(), snapshot()
    many = replace(many, distance_ratio=torch.tensor([0.9, 0.9]))
    many = replace(many, generated=replace(many.generated, lid=torch.tensor([8.0, 8.0])))
    runs = [
        replace(a_run(few, many), config=ManifoldConfig("digits", 1000, 0, 8, 1, 0)),
        replace(a_run(few), config=ManifoldConfig("digits", 10, 0, 8, 1, 0)),
        replace(a_run(), config=ManifoldConfig("digits", 100, 0, 8, 1, 0)),
    ]
    figure = summaries.digits_transition(runs)
    lid, typical, copies, chance = figure.data
    assert list(lid.x) == list(copies.x) == [10, 1000]
    assert list(lid.y) == [0.0, 8.0]  # The lower of two is torch's median.
    assert list(copies.y) == [0.5, 0.0]
    assert (list(typical.y), list(chance.y)) == ([1.6, 1.6], [0.125, 0.125])
    assert figure.layout.xaxis.type == "log"
    assert texts(summaries.digits_transition(runs[2:])) == ["No run has been opened yet."]


# Cards


def test_a_card_holds_the_image_pixel_by_pixel() -> None:
    from PIL import Image

    point = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    point[0, 0, :2] = torch.tensor([-3.0, 3.0])
    image = Image.open(io.BytesIO(image_png(point)))
    assert (image.format, image.size, image.mode) == ("PNG", (96, 96), "L")
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(96, 96)
    blocks = pixels.reshape(8, 12, 8, 12).permute(0, 2, 1, 3).reshape(8, 8, 144)
    assert torch.equal(blocks.amin(2), blocks.amax(2))  # Nearest neighbor: flat squares.
    small = blocks[..., 0].float() / 127.5 - 1
    # Half a gray level is 1 / 255.
    assert torch.allclose(small, point[0].clamp(-1, 1), atol=1.001 / 255)
    assert (int(blocks[0, 0, 0]), int(blocks[0, 1, 0])) == (0, 255)  # High is white ink.


@pytest.mark.parametrize(
    ("point", "side", "said"),
    [
        (torch.zeros(8, 8), 96, r"\(1, H, W\)"),
        (torch.zeros(3, 8, 8), 96, r"\(1, H, W\)"),
        (torch.full((1, 8, 8), NAN), 96, "finite"),
        (torch.zeros(1, 8, 8), 0, "side"),
    ],
)
def test_cards_refuse_what_is_no_image(point: Tensor, side: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        image_png(point, side=side)


# What all figures share


def all_figures() -> list[Any]:
    now = snapshot()
    run = a_run(now)
    rows = (row("a", "model", [1.0], 0.5),)
    return [
        manifold.plane_figure(run, now, "verdict"),
        manifold.space(run, now),
        manifold.score_field(run, now, 0),
        curves.lid_curve(run, now, 0),
        curves.fit(run, now),
        curves.training(run, now),
        summaries.lid_histogram(run, now),
        summaries.estimator_errors(replace(run, estimators=rows)),
        summaries.digits_transition([run]),
        theme.empty("nothing", height=100),
    ]


def test_figures_show_the_theme_behind_them_and_say_what_they_show() -> None:
    clear = "rgba(0,0,0,0)"
    for figure in all_figures():
        layout = figure.layout
        assert (layout.paper_bgcolor, layout.plot_bgcolor) == (clear, clear)
        assert layout.font.color is None
        assert all(note.font.color is None for note in layout.annotations)
        # The session's default template would bring its own background and colors.
        assert layout.template.layout.to_plotly_json() == {}
        assert layout.title.text is None
        assert len(theme.alt_text(figure)) > 20 or not figure.data


def test_ticks_of_logarithmic_axes_are_round_numbers() -> None:
    small = theme.log_axis("", 0.003, 0.33)["ticktext"]
    assert small == ["0.005", "0.01", "0.02", "0.05", "0.1", "0.2"]
    assert theme.log_axis("", 7, 1500)["ticktext"] == ["10", "100", "1,000"]
    assert theme.log_axis("", 60, 61)["ticktext"] == ["60", "61"]


def test_a_sentence_for_those_who_cannot_see_the_image_is_computed_from_the_data() -> None:
    now = snapshot()
    run = a_run(now)
    said = {
        color: theme.alt_text(manifold.plane_figure(run, now, color))
        for color in get_args(Coloring)
    }
    start = "2 generated samples and 3 training points after 60 training steps, colored by "
    assert said == {
        "model LID": f"{start}model LID: median 0 at the samples and 1 at the training points.",
        "true LID": f"{start}true LID: median 1 at the training points.",
        "verdict": f"{start}verdict: 50% of the samples and 67% of the training points are "
        "memorized.",
    }
    assert theme.alt_text(manifold.space(run, None)).startswith("3 training points before")
    assert theme.alt_text(curves.training(run)) == (
        "Training loss over 120 steps, now 2; mean LID of the training points 1; 50% of the "
        "samples have d1 / d2 below 1 / 3, where fresh data has 12%."
    )


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (1.25, "1.2"), (-0.04, "0"), (NAN, "unknown"), (10.0, "10")]
)
def test_lids_are_said_with_one_decimal_at_most(value: float, text: str) -> None:
    assert theme.lid_text(value) == text
