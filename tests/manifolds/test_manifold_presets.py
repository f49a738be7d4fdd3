"""Tests of the cases of the hypothesis: places, gaps, counts, and what is true."""

import math

import pytest
import torch

from mmh_core.manifolds import presets
from mmh_core.manifolds.catalogue import MANIFOLDS
from mmh_core.manifolds.truth import lid_at

CASES = ["od-exact", "od-line", "good-fit", "dd-exact", "dd-line", "poor-fit"]
CURVED = [*CASES, "circle", "circle-duplicates"]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def training(name, seed=0, duplicates=None):
    spec = MANIFOLDS[name]
    copies = spec.default_duplicates if duplicates is None else duplicates
    return spec.training(spec.default_points, copies, seeded(seed))


def part(samples, name):
    return samples.points[samples.component == samples.component_names.index(name)].double()


@pytest.mark.parametrize("case", CASES)
def test_all_points_lie_on_the_sheet_with_a_gap(case):
    for samples in (training(case), presets.sheet_truth(case, 2_000, seeded(1))):
        points = samples.points.double()
        height = 0.25 * (1.5 * points[:, 0]).sin() + 0.2 * (1.5 * points[:, 1]).cos()
        # Coordinates below 2 in float32, rounded once.
        assert (points[:, 2] - height).abs().max() < 1e-6
        right = samples.component == 0
        assert points[:, 0].abs().max() <= 1.5 and points[:, 1].abs().max() <= 1
        # The gap in u bounds the distance from below, whatever the sample.
        assert points[right, 0].min() - points[~right, 0].max() >= 0.65 - 1e-6


@pytest.mark.parametrize("case", ["od-exact", "dd-exact"])
def test_five_isolated_points_are_far_from_everything(case):
    samples = training(case, duplicates=0)
    left = samples.points[samples.component == 1].double()
    assert len(left) == 5 and len(samples.points) == 505
    assert torch.pdist(left).min() >= 0.7
    assert torch.cdist(left, part(samples, "main")).min() >= 0.65


@pytest.mark.parametrize("kind", ["exact", "line"])
def test_od_and_dd_train_on_the_same_points_and_differ_in_truth(kind):
    od, dd = training(f"od-{kind}", duplicates=0), training(f"dd-{kind}", duplicates=0)
    assert torch.equal(od.points, dd.points)
    left = od.component == 1
    assert (od.lid == 2).all() and (dd.lid[~left] == 2).all()
    assert (dd.lid[left] == (0 if kind == "exact" else 1)).all()


def test_duplicates_are_shared_among_the_five_places():
    samples = training("dd-exact", duplicates=47)
    _, counts = torch.unique(part(samples, "duplicate"), dim=0, return_counts=True)
    assert sorted(counts.tolist()) == [10, 10, 10, 11, 11]
    assert len(samples.points) == 505 + 47
    assert torch.equal(samples.lid == 0, samples.component == 1)


@pytest.mark.parametrize("name", ["od-exact", "od-line", "good-fit", "dd-line", "circle"])
def test_duplicates_elsewhere_copy_the_first_main_point(name):
    samples = training(name, duplicates=20)
    copies = part(samples, "duplicate")
    assert len(copies) == 21
    assert torch.equal(copies, samples.points[:1].double().expand_as(copies))
    assert (
        samples.lid[samples.component == samples.component_names.index("duplicate")] == 0
    ).all()


def test_the_line_is_a_curve_with_dense_points(local_rank):
    line = part(training("dd-line"), "line")
    assert len(line) == 100
    v = line[:, 1].sort().values
    # One point in each of 100 cells of .018: no gap above two cells.
    assert v.diff().max() <= 0.036 + 1e-6
    u = -1 + 0.3 * (math.pi * line[:, 1]).sin()
    assert (line[:, 0] - u).abs().max() < 1e-6
    # The curve turns: it does not lie on a straight line.
    assert torch.linalg.svdvals(line - line.mean(dim=0))[1] > 0.5
    dense = presets.sheet_truth("dd-line", 12_000, seeded(0))
    curve = part(dense, "line")
    assert all(local_rank(curve, curve[row], 40) == 1 for row in (100, 900, 1_700))


@pytest.mark.parametrize("case", ["good-fit", "poor-fit"])
def test_both_parts_are_equally_dense(case):
    samples = training(case)
    left, main = part(samples, "left"), part(samples, "main")
    # Areas in (u, v): 1 * 2 and 1.35 * 2; shares are rounded to whole points.
    assert len(left) / len(main) == pytest.approx(1 / 1.35, rel=0.01)
    # The patch is filled: its spread is that of the uniform law, within four standard errors.
    for axis, half in [(0, 0.5), (1, 1.0)]:
        assert left[:, axis].var().item() == pytest.approx(half**2 / 3, rel=0.25)


def test_poor_fit_trains_on_the_points_of_good_fit():
    assert torch.equal(training("good-fit").points, training("poor-fit").points)


def test_the_sheet_has_rank_two_everywhere():
    points = torch.rand(200, 2, generator=seeded(0), dtype=torch.float64) * 3 - 1.5
    for u, v in points:
        jacobian = torch.autograd.functional.jacobian(
            lambda uv: presets.sheet(uv[:1], uv[1:])[0], torch.stack([u, v])
        )
        values = torch.linalg.svdvals(jacobian)
        assert values[1] > 0.9
        # The area element, which the docstring says to vary by 11 %.
        assert 1 <= values.prod() < 1.12


@pytest.mark.parametrize("name", CURVED)
@pytest.mark.parametrize("duplicates", [0, None])
def test_training_points_carry_the_lid_of_the_truth(name, duplicates):
    samples = training(name, duplicates=duplicates)
    truth = MANIFOLDS[name].truth(8_000, seeded(1))
    # .1 is several times the spacing of 8,000 truth points and far below the gap of .65.
    assert torch.equal(lid_at(samples.points, truth, 0.1), samples.lid)


@pytest.mark.parametrize(
    ("case", "lid"), [("od-exact", 2), ("od-line", 2), ("dd-exact", 0), ("dd-line", 1)]
)
def test_truth_on_the_left_is_what_the_case_says(case, lid):
    truth = presets.sheet_truth(case, 3_000, seeded(0))
    left = truth.points[:, 0] < 0
    assert (truth.lid[left] == lid).all() and (truth.lid[~left] == 2).all()
    distinct = torch.unique(truth.points[left], dim=0)
    assert len(distinct) == (5 if case == "dd-exact" else int(left.sum()))
    if lid == 2:
        # The left sheet is there fully: every cell of a 5 x 10 grid holds a point.
        cells = ((truth.points[left, :2] - torch.tensor([-1.5, -1.0])) / 0.2).floor()
        assert len(torch.unique(cells.clamp(min=0), dim=0)) == 50


@pytest.mark.parametrize("seed", range(20))
def test_circle_has_an_arc_and_seven_isolated_points(seed):
    samples = presets.circle_training(140, 0, seeded(seed))
    arc, isolated = part(samples, "arc"), part(samples, "isolated")
    assert (len(arc), len(isolated)) == (133, 7)
    # Rounding two coordinates to float32 moves the radius by at most 8e-8.
    assert (samples.points.double().norm(dim=1) - 1).abs().max() < 1e-7
    assert torch.pdist(isolated).min() >= 0.4
    assert torch.cdist(isolated, arc).min() >= 0.4
    # Standard deviation .18 of the angle at kappa 30, and half a percent of slack per seed.
    assert torch.atan2(arc[:, 1], arc[:, 0]).std().item() == pytest.approx(0.184, abs=0.05)
    assert (samples.lid == 1).all()


@pytest.mark.parametrize("seed", range(20))
def test_no_point_of_the_arc_is_as_lonely_as_the_isolated_ones(seed):
    arc = part(presets.circle_training(47, 0, seeded(seed)), "arc")
    gaps = torch.atan2(arc[:, 1], arc[:, 0]).sort().values.diff()
    # Isolated points are .4 apart. Of 40 independent angles one seed in nine has a gap above .2.
    assert gaps.max() < 0.2


def test_most_points_of_the_circle_are_on_the_arc_by_default():
    count = MANIFOLDS["circle"].default_points
    # About 85 %: seven isolated points, and few enough others to make the seven matter.
    assert 0.8 < 1 - presets.CIRCLE_ISOLATED / count < 0.95


def test_circle_truth_covers_the_whole_circle_evenly():
    truth = presets.circle_truth(1_000, seeded(0))
    angles = torch.atan2(truth.points[:, 1].double(), truth.points[:, 0].double())
    gaps = angles.sort().values.diff()
    # At most two cells of 2 pi / 1,000.
    assert gaps.max() < 2 * 2 * math.pi / 1_000 + 1e-6
    assert torch.equal(truth.component == 0, angles.abs() < presets.ARC_EDGE)
    assert (truth.lid == 1).all()


def test_circle_duplicates_are_one_point_mass_opposite_the_arc():
    samples = presets.circle_duplicates_training(140, 30, seeded(0))
    copies = part(samples, "duplicate")
    assert torch.equal(copies, torch.tensor([[-1.0, 0.0]], dtype=torch.float64).expand(31, 2))
    assert len(samples.points) == 140 + 30
    assert torch.equal(samples.lid, 1.0 - samples.component)
    truth = presets.circle_duplicates_truth(600, seeded(0))
    assert len(part(truth, "duplicate")) == 100 and len(part(truth, "arc")) == 500
    assert torch.equal(truth.lid, 1.0 - truth.component)


@pytest.mark.parametrize("name", CURVED)
@pytest.mark.parametrize("count", [2, 3, 5, 11])
def test_small_counts_still_have_both_parts(name, count):
    spec = MANIFOLDS[name]
    samples = spec.training(count, 0, seeded(0))
    assert len(samples.points) == count
    assert samples.component.unique().tolist() == [0, 1]
    assert len(spec.truth(count, seeded(0)).points) == count


@pytest.mark.parametrize(
    ("case", "count", "duplicates", "message"),
    [
        ("od", 10, 0, "case is 'od'; the choices are od-exact, od-line"),
        ("od-exact", 1, 0, "count is 1; it must be"),
        ("od-exact", 10, -1, "duplicates is -1; it must be"),
        ("dd-exact", 10.0, 0, "count is 10.0; it must be"),
    ],
)
def test_impossible_cases_are_refused(case, count, duplicates, message, generator):
    with pytest.raises(ValueError, match=message):
        presets.sheet_training(case, count, duplicates, generator)
