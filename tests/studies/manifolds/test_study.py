"""The manifold study: what it accepts, what each record of a run holds, and how it may be left."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.manifolds.catalogue import MANIFOLDS
from mmh_core.memorization.hypothesis import VERDICTS
from mmh_core.records import Progress
from mmh_core.store.archive import load_record, save_record
from mmh_core.studies.manifolds.config import DEFAULT_STEPS, STEPS, checked, default_config
from mmh_core.studies.manifolds.data import _held_out
from mmh_core.studies.manifolds.estimates import data_lid_at, nearest_training
from mmh_core.studies.manifolds.run import STATUSES, ManifoldConfig, ManifoldRun
from mmh_core.studies.manifolds.study import manifold_study, snapshot_steps

ASSETS = Path(__file__).resolve().parents[3] / "assets" / "manifolds"

#: 105 points, one of them the place opposite to the arc, and 15 copies of it: 60 steps.
SHORT = ManifoldConfig("circle-duplicates", 105, 15, width=16, epochs=128, seed=1)
#: One step on few points.
TINY = ManifoldConfig("circle", 7, 0, width=8, epochs=1, seed=5)


@pytest.fixture(scope="module")
def progress() -> list[Progress[ManifoldRun]]:
    """Return everything that one short run yields."""
    return list(manifold_study(SHORT))


@pytest.fixture(scope="module")
def run(progress: list[Progress[ManifoldRun]]) -> ManifoldRun:
    """Return the finished run."""
    return progress[-1].partial


def begun(config: ManifoldConfig) -> ManifoldRun:
    """Return the run before its first step: all data, no model yet."""
    return next(manifold_study(config)).partial


def without_seconds(value: Any) -> Any:
    """Return a record as nested tuples, bytes for tensors, without measured times."""
    if isinstance(value, Tensor):
        return (value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes())
    if dataclasses.is_dataclass(value):
        return tuple(
            (f.name, without_seconds(getattr(value, f.name)))
            for f in dataclasses.fields(value)
            if f.name != "seconds"
        )
    if isinstance(value, tuple):
        return tuple(without_seconds(item) for item in value)
    return repr(value)


@pytest.mark.parametrize("name", MANIFOLDS)
def test_the_default_of_every_manifold_is_accepted_and_takes_its_steps(name: str) -> None:
    config = default_config(name, seed=3)
    assert checked(config) == config
    assert (config.points, config.seed) == (MANIFOLDS[name].default_points, 3)
    assert config.duplicates == MANIFOLDS[name].default_duplicates
    # Whole epochs: up to half a pass over the data more or fewer.
    rows = config.points + config.duplicates
    assert abs(config.steps - STEPS.get(name, DEFAULT_STEPS)) <= rows / 512 + 1
    # And one epoch at least, where that is more.
    most = checked(default_config(name, points=MANIFOLDS[name].max_points - 2))
    wanted = max(STEPS.get(name, DEFAULT_STEPS), (most.points + most.duplicates) / 256)
    assert abs(most.steps - wanted) <= most.points / 512 + 1


@pytest.mark.parametrize(
    ("points", "duplicates", "epochs", "steps"),
    [(107, 0, 3_589, 1_501), (256, 0, 1, 1), (257, 0, 1, 2), (2, 0, 1, 1), (128, 128, 3, 3)],
)
def test_steps_are_epochs_in_batches_of_256_rounded_up(
    points: int, duplicates: int, epochs: int, steps: int
) -> None:
    assert ManifoldConfig("circle", points, duplicates, 16, epochs, 0).steps == steps


@pytest.mark.parametrize("steps", [1, 2, 10, 19, 60, 1_200, 1_500, 6_001, 200_000])
def test_snapshots_run_from_the_first_steps_to_the_last(steps: int) -> None:
    marks = sorted(snapshot_steps(steps))
    assert marks[-1] == steps
    assert marks[0] == min(60, max(1, steps // 20))
    assert len(marks) <= 12
    if steps >= 1_200:
        # Even on a logarithmic axis, up to rounding to whole steps.
        ratios = [b / a for a, b in pairwise(marks)]
        assert len(marks) == 10 and max(ratios) / min(ratios) < 1.05


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"manifold": "moebius"}, r"'moebius'; choose from circle, .*digits\."),
        ({"points": 1}, r"points must be a whole number from 2 to 20,000, got 1\."),
        ({"points": 20_001}, r"points .* got 20001\."),
        ({"points": 2.5}, r"points .* got 2\.5\."),
        ({"points": True}, r"points .* got True\."),
        ({"duplicates": -1}, r"duplicates .* from 0 to 1,000,000, got -1\."),
        ({"duplicates": 1_000_001}, r"duplicates .* got 1000001\."),
        ({"duplicates": 1.5}, r"duplicates .* got 1\.5\."),
        ({"width": 7}, r"width .* from 8 to 1,024, got 7\."),
        ({"width": 1_025}, r"width .* got 1025\."),
        ({"epochs": 0}, r"epochs .* got 0\."),
        ({"epochs": math.nan}, r"epochs .* got nan\."),
        ({"epochs": 2_000_000}, r"2,000,000 epochs are 367,188 training steps of 256 points"),
        ({"seed": -1}, r"seed .* got -1\."),
        ({"seed": 2**31}, r"seed .* from 0 to 2,147,483,647, got 2147483648\."),
        ({"ambient_dim": 1}, r"ambient_dim is 1; it must be a whole number from 2 to 10000\."),
        ({"ambient_dim": 10_001}, r"ambient_dim is 10001;"),
        ({"points": 20_000, "epochs": 1, "ambient_dim": 9_999}, r"ambient_dim is 199980000;"),
        ({"manifold": "digits", "points": 1_796}, r"at most 1,795 for digits.* got 1796\."),
        ({"manifold": "digits", "ambient_dim": 100}, r"ambient_dim is 100; .* from 64 to 64\."),
    ],
)
def test_a_parameter_out_of_range_is_named(changes: dict[str, Any], sentence: str) -> None:
    config = dataclasses.replace(default_config("circle"), **changes)
    with pytest.raises(ValueError, match=sentence) as caught:
        next(manifold_study(config))
    assert str(caught.value).count(". ") == 0


def test_an_unknown_manifold_has_no_default() -> None:
    with pytest.raises(ValueError, match=r"'moebius'; choose from circle"):
        default_config("moebius")


def test_progress_runs_up_to_one_and_the_state_is_complete_at_the_end(
    progress: list[Progress[ManifoldRun]],
) -> None:
    fractions = [each.fraction for each in progress]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert [p.partial.state for p in progress[:-1]] == ["training"] * (len(progress) - 1)
    assert (progress[-1].partial.state, progress[-1].message) == ("complete", "Finished")
    seconds = [each.partial.seconds for each in progress]
    assert seconds == sorted(seconds) and seconds[-1] > 0


def test_every_step_and_every_estimator_is_a_chance_to_stop(
    progress: list[Progress[ManifoldRun]],
) -> None:
    """60 steps and 13 rows, a line before each part and one at the end.

    Each record holds what is known by then, no less.
    """
    assert len(progress) == 1 + 60 + 1 + 13 + 1
    assert [len(p.partial.losses) for p in progress] == [*range(61), *[60] * 15]
    assert [len(p.partial.estimators) for p in progress] == [0] * 61 + [*range(14), 13]
    marks = sorted(snapshot_steps(60))
    for step, each in enumerate(progress[:61]):
        assert [s.step for s in each.partial.snapshots] == [m for m in marks if m <= step]


def test_the_loss_is_smoothed_and_each_snapshot_has_its_own(run: ManifoldRun) -> None:
    assert run.losses[:, 0].tolist() == [float(i) for i in range(1, 61)]
    kept = dict(run.losses.tolist())
    for snapshot in run.snapshots:
        assert snapshot.loss == pytest.approx(kept[float(snapshot.step)])
        assert snapshot.epoch == pytest.approx(snapshot.step * 256 / 120)
    # A fiftieth of the way to each new loss: no step moves it by more than a few percent.
    moves = run.losses[:, 1].diff().abs() / run.losses[:-1, 1]
    assert float(moves.max()) < 0.05
    assert float(run.losses[-1, 1]) < float(run.losses[0, 1])


def test_the_data_are_those_of_the_config(run: ManifoldRun) -> None:
    """The copies are rows 105 to 119 and lie, like row 104, at LID 0; the arc has LID 1."""
    assert run.config == SHORT
    assert run.train.points.shape == (120, 2)
    assert run.train.lid.tolist() == [1.0] * 104 + [0.0] * 16
    assert bool((run.train.points[104:] == torch.tensor([-1.0, 0.0])).all())
    assert run.shown.tolist() == list(range(120))
    assert run.typical_lid == 1.0
    assert run.lid_estimator == "spectral_count"
    last = run.snapshots[-1]
    assert torch.equal(last.trained.points, run.train.points)
    assert torch.equal(last.trained.data_lid, run.train.lid)
    assert last.generated.points.shape == (500, 2)


def test_generated_samples_know_their_nearest_training_point(run: ManifoldRun) -> None:
    for snapshot in (run.snapshots[0], run.snapshots[-1]):
        nearest, ratio = nearest_training(snapshot.generated.points, run.train.points)
        assert torch.equal(snapshot.nearest, nearest)
        assert torch.equal(snapshot.distance_ratio, ratio)
        share = sum(r < 1 / 3 for r in ratio.tolist()) / 500
        assert snapshot.low_ratio_share == pytest.approx(share)
    # All snapshots start from the same noise, and training moves where it leads.
    assert not torch.equal(run.snapshots[0].generated.points, run.snapshots[-1].generated.points)


def test_no_verdict_is_given_before_the_model_fits(run: ManifoldRun) -> None:
    """A run of 60 steps begins poor; what the gate says and what the verdicts say agree."""
    assert not run.snapshots[0].fits
    low, high = float(run.log_delta[0]), float(run.log_delta[-1])
    for snapshot in run.snapshots:
        assert low <= snapshot.band_low < snapshot.band_high <= high
        for estimates in (snapshot.trained, snapshot.generated):
            poor = estimates.verdict == VERDICTS.index("fit too poor to say")
            assert bool(poor.all()) != snapshot.fits
            assert bool(poor.any()) != snapshot.fits
        if not snapshot.fits:
            assert (snapshot.band_low, snapshot.band_high) == (low, high)


def test_the_table_asks_points_of_every_part(run: ManifoldRun) -> None:
    """50 of 120 rows, evenly: 6 or 7 of the last 16, where ESS must say 0 by the theorem."""
    rows = {row.name: row for row in run.estimators}
    assert list(rows) == [*ESTIMATORS, "ess", "local_pca", "mle", "two_nn"]
    assert [row.side for row in run.estimators] == ["model"] * 9 + ["data"] * 4
    copies = sum(i * 120 // 50 >= 104 for i in range(50))
    for row in run.estimators:
        assert row.lid.shape == (50,)
        assert math.isfinite(row.mean_abs_error) and 0 <= row.concordance <= 1
        if row.side == "data":
            assert int((row.lid == 0).sum()) == copies
    # The truth is 1 on the arc and 0 at the copies, and local PCA of an arc sees one direction.
    assert rows["local_pca"].mean_abs_error == pytest.approx(0.0, abs=0.02)
    assert rows["local_pca"].concordance == pytest.approx(1.0, abs=0.02)
    truth = torch.tensor([0.0 if i * 120 // 50 >= 104 else 1.0 for i in range(50)])
    error = float((rows["mle"].lid - truth).abs().mean())
    assert rows["mle"].mean_abs_error == pytest.approx(error)


def test_the_field_pulls_towards_the_data(run: ManifoldRun) -> None:
    """At the scale of the data denoising goes half way to the mean; the grid has 15 % of rim."""
    field = run.snapshots[-1].field
    assert field.shape == (3, 21, 21, 2)
    both = torch.cat([run.train.points, run.truth.points])
    low, high = both.amin(0), both.amax(0)
    torch.testing.assert_close(
        run.field_extent, torch.stack([low - 0.15 * (high - low), high + 0.15 * (high - low)])
    )
    corner = run.field_extent[0] - run.train.points.mean(0)
    assert float((field[2, 0, 0] * corner).sum()) < 0
    opposite = run.field_extent[1] - run.train.points.mean(0)
    assert float((field[2, -1, -1] * opposite).sum()) < 0
    scales = run.field_log_delta.exp()
    torch.testing.assert_close(scales / scales[2], torch.tensor([0.1, 0.3, 1.0]))


def test_tables_agree_with_the_records(run: ManifoldRun) -> None:
    table = run.frame()
    last = run.snapshots[-1]
    assert table["step"].tolist() == [s.step for s in run.snapshots]
    row = table.iloc[-1]
    assert row["fraction_memorized"] == last.low_ratio_share
    assert row["median_lid_trained"] == float(last.trained.lid.median())
    memorized = [VERDICTS[v] not in VERDICTS[:2] for v in last.generated.verdict.tolist()]
    assert row["fraction_memorized_by_lid"] == pytest.approx(sum(memorized) / 500)
    points = last.trained.frame()
    assert list(points.columns[:2]) == ["x0", "x1"]
    assert points["x0"].tolist() == run.train.points[:, 0].tolist()
    assert points["verdict"].tolist() == [VERDICTS[v] for v in last.trained.verdict.tolist()]
    assert points["plateau"].tolist() == [STATUSES[v] for v in last.trained.status.tolist()]


def test_a_plane_is_shown_in_its_own_coordinates(run: ManifoldRun) -> None:
    shown = run.projected(run.train.points)
    assert torch.equal(shown[:, :2], run.train.points)
    assert bool((shown[:, 2] == 0).all())


def test_a_record_can_be_kept(run: ManifoldRun, tmp_path: Path) -> None:
    save_record(tmp_path / "run.safetensors", run)
    found = load_record(tmp_path / "run.safetensors", ManifoldRun)
    assert without_seconds(found) == without_seconds(run)
    assert found.seconds == run.seconds


def test_the_same_config_gives_the_same_numbers_and_leaves_the_global_generator() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = (list(manifold_study(TINY))[-1].partial for _ in range(2))
    assert without_seconds(first) == without_seconds(second)
    assert torch.equal(torch.get_rng_state(), state)
    other = begun(dataclasses.replace(TINY, seed=6))
    assert not torch.equal(other.train.points, first.train.points)
    # Seven points are too few for the estimators that look at neighbors.
    assert [row.name for row in first.estimators] == list(ESTIMATORS)


def test_a_run_that_is_left_early_is_kept_as_far_as_it_came(tmp_path: Path) -> None:
    study = manifold_study(SHORT)
    assert isinstance(study, Generator)
    for each in study:
        if len(each.partial.snapshots) == 2:
            break
    study.close()
    assert next(study, None) is None
    left = each.partial
    assert (left.state, len(left.snapshots), left.estimators) == ("training", 2, ())
    assert len(left.frame()) == 2
    save_record(tmp_path / "left.safetensors", left)
    found = load_record(tmp_path / "left.safetensors", ManifoldRun)
    assert without_seconds(found) == without_seconds(left)


@pytest.mark.parametrize("name", ["circle", "sphere"])
def test_many_copies_change_neither_the_usual_dimension_nor_the_place_held_out(
    name: str,
) -> None:
    """2,000 copies of one of 100 points: the usual LID is that of the others, and 488 of 512
    fresh draws repeat the copied point exactly, so that by chance 95 % or more are copies."""
    run = begun(ManifoldConfig(name, 100, 2_000, 16, 1, 0))
    assert run.typical_lid == {"circle": 1.0, "sphere": 2.0}[name]
    assert 0.95 <= run.chance_memorized <= 1.0
    place = run.train.points[100]
    assert bool((run.train.points[100:] == place).all())
    assert float(data_lid_at(place[None], run.truth)) == 0.0
    held_out = _held_out(run.config, run.train.points)
    assert held_out.shape == (512, run.train.ambient_dim)
    assert int((held_out == place).all(1).sum()) == 488
    assert not bool((held_out[:24, None] == run.train.points).all(-1).any())


def test_chance_is_far_from_zero_in_few_dimensions_and_near_it_in_many() -> None:
    """Between even neighbors at distance 1 a draw at u < 1/2 has d1 / d2 = u / (1 - u): half of
    all are below 1/3.

    512 draws: standard error .02, and the arc is not quite even. In R^10 two neighbors are about
    equally far.
    """
    assert begun(default_config("circle")).chance_memorized == pytest.approx(0.5, abs=0.06)
    assert begun(default_config("affine-10", points=500)).chance_memorized < 0.15


def test_digits_have_no_known_dimension_but_copies_have_none() -> None:
    """A copy joins the known images once, and the estimate there is 0; elsewhere it is not."""
    config = dataclasses.replace(default_config("digits", points=30), duplicates=4)
    run = begun(config)
    assert run.train.points.shape == (34, 1, 8, 8)
    assert bool((run.train.points[30:] == run.train.points[0]).all())
    assert run.truth.points.shape == (1_798, 1, 8, 8)
    assert bool(run.truth.lid.isnan().all())
    lid = data_lid_at(run.train.points[[0, 33, 1, 2]], run.truth)
    assert lid[:2].tolist() == [0.0, 0.0]
    assert bool((lid[2:] > 2).all())
    # Known images of digits have estimates from about 5 to 15.
    assert 5 < run.typical_lid < 15
    assert run.lid_estimator == "soft_spectral_count"
    assert len(begun(default_config("digits", points=30)).truth.points) == 1_797


def test_an_embedding_keeps_all_distances_and_is_shown_along_its_plane() -> None:
    """R^5 holds the circle isometrically; its three principal axes hold all of the plane."""
    flat = begun(dataclasses.replace(TINY, points=40))
    run = begun(dataclasses.replace(TINY, points=40, ambient_dim=5))
    assert run.train.points.shape == (40, 5)
    expected = torch.cdist(flat.train.points, flat.train.points)
    # float32 points of length 1; cdist squares.
    torch.testing.assert_close(
        torch.cdist(run.train.points, run.train.points), expected, atol=1e-3, rtol=0
    )
    shown = run.projected(run.train.points)
    torch.testing.assert_close(torch.cdist(shown, shown), expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(run.axes.T @ run.axes, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(run.train.lid, flat.train.lid)
    assert run.field_log_delta.numel() == run.field_extent.numel() == 0


def test_two_points_in_many_dimensions_are_shown_along_their_only_axis() -> None:
    run = begun(ManifoldConfig("affine-10", 2, 0, 8, 1, 0))
    shown = run.projected(run.train.points)
    apart = (run.train.points[0] - run.train.points[1]).norm()
    torch.testing.assert_close((shown[0] - shown[1]).norm(), apart)


def holds_the_hypothesis(run: ManifoldRun) -> None:
    """Assert what the circle is there to show.

    Samples within .05 of an isolated training point (these are .4 apart or more) have lost their
    dimension; those within two standard deviations of the middle of the arc (kappa 30: .36
    radians) keep theirs. A few samples on the way to a point stop short of it, a few on the arc
    lie at one of its gaps.
    """
    generated = run.snapshots[-1].generated
    isolated = run.train.points[run.train.component == run.train.component_names.index("isolated")]
    near = torch.cdist(generated.points, isolated).amin(1) < 0.05
    arc = torch.atan2(generated.points[:, 1], generated.points[:, 0]).abs() < 0.36
    assert int(near.sum()) >= 10 and int(arc.sum()) >= 300
    assert float((generated.lid[near] < 0.3).float().mean()) >= 0.95
    assert float(((generated.lid[arc] > 0.7) & (generated.lid[arc] < 1.3)).float().mean()) >= 0.95
    copied = generated.verdict[near] == VERDICTS.index("OD-Mem, exact")
    free = generated.verdict[arc] == VERDICTS.index("not memorized")
    assert float(copied.float().mean()) >= 0.95 and float(free.float().mean()) >= 0.95
    assert run.snapshots[-1].fits


def test_the_shipped_circle_shows_the_hypothesis() -> None:
    run = load_record(ASSETS / "circle.safetensors", ManifoldRun)
    assert run.config == default_config("circle")
    assert run.state == "complete"
    holds_the_hypothesis(run)


@pytest.mark.slow
def test_a_circle_trained_anew_shows_the_hypothesis() -> None:
    for each in manifold_study(default_config("circle", seed=1)):
        if each.partial.snapshots and each.partial.snapshots[-1].step == each.partial.config.steps:
            break
    holds_the_hypothesis(each.partial)


@pytest.mark.slow
def test_a_majority_of_copies_is_the_fault_of_the_data() -> None:
    """Two rows in three repeat one point: the model fits, and what it repeats is DD-Mem."""
    config = dataclasses.replace(default_config("circle-duplicates"), duplicates=200, epochs=600)
    for each in manifold_study(config):
        if each.partial.snapshots and each.partial.snapshots[-1].step == config.steps:
            break
    last = each.partial.snapshots[-1]
    assert last.fits
    copies = last.trained.data_lid == 0
    assert int(copies.sum()) == 201
    exact = last.trained.verdict[copies] == VERDICTS.index("DD-Mem, exact")
    assert bool(exact.all())
    assert float(last.trained.memorized[~copies].float().mean()) < 0.2
