"""Tests of the catalogue and of sampling by name."""

import math

import numpy as np
import pytest
import torch

from mmh_core.manifolds.catalogue import MANIFOLDS, sample, sample_truth
from mmh_core.manifolds.truth import lid_at

NAMES = list(MANIFOLDS)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def same(first, second):
    return (
        first.points.numpy().tobytes() == second.points.numpy().tobytes()
        and first.lid.numpy().tobytes() == second.lid.numpy().tobytes()
        and torch.equal(first.component, second.component)
        and (first.name, first.component_names) == (second.name, second.component_names)
    )


def test_the_catalogue_holds_what_the_pages_offer():
    assert set(NAMES) == {
        *("circle", "circle-duplicates", "od-exact", "od-line", "good-fit", "dd-exact"),
        *("dd-line", "poor-fit", "von-mises", "sphere", "torus", "swiss-roll", "spiral"),
        *("lollipop", "doughnut", "affine-10", "affine-10-gaussian", "affine-10-laplace"),
        *("affine-100", "affine-100-mid", "affine-800", "squiggly-10", "multiscale", "digits"),
    }
    labels = [spec.label for spec in MANIFOLDS.values()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_describes_its_samples(name):
    spec = MANIFOLDS[name]
    assert spec.name == name
    assert 2 <= spec.default_points <= spec.max_points
    assert math.prod(spec.shape) == spec.ambient_dim
    assert spec.blurb.endswith(".") and spec.blurb.count(". ") == 0
    dimensions = {"plane": 2, "space": 3}
    assert dimensions.get(spec.plot, spec.ambient_dim) == spec.ambient_dim
    for samples in (
        sample(name, 150, duplicates=12, generator=seeded(0)),
        sample_truth(name, 162, generator=seeded(0)),
    ):
        assert samples.name == name
        assert samples.points.shape == (162, *spec.shape)
        assert samples.points.dtype == samples.lid.dtype == torch.float32
        assert samples.lid.shape == samples.component.shape == (162,)
        assert samples.component.dtype == torch.int64
        assert int(samples.component.max()) < len(samples.component_names)
        assert bool(samples.points.isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes(name):
    first, second, other = (
        sample(name, 60, duplicates=5, generator=seeded(seed)) for seed in (3, 3, 4)
    )
    assert same(first, second) and not same(first, other)
    assert same(
        sample_truth(name, 60, generator=seeded(3)), sample_truth(name, 60, generator=seeded(3))
    )


@pytest.mark.parametrize("name", NAMES)
def test_global_random_state_is_neither_read_nor_changed(name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = sample(name, 30, generator=seeded(0))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(first, sample(name, 30, generator=seeded(0)))


@pytest.mark.parametrize("name", NAMES)
def test_duplicates_have_lid_zero_and_the_right_number(name):
    bare = sample(name, 80, generator=seeded(0))
    samples = sample(name, 80, duplicates=20, generator=seeded(0))
    assert torch.equal(samples.points[:80], bare.points)
    label = samples.component_names.index("duplicate")
    rows = samples.component == label
    # dd-exact has five places, every other manifold one.
    places = torch.unique(samples.points[rows].flatten(1), dim=0)
    assert len(places) == (5 if name == "dd-exact" else 1)
    assert int(rows.sum()) == 20 + len(places)
    assert (samples.lid[rows] == 0).all()
    expected = bare.lid.masked_fill(rows[:80], 0.0)
    assert torch.equal(samples.lid[:80].nan_to_num(-1), expected.nan_to_num(-1))


@pytest.mark.parametrize("ambient_dim", [25, 400])
def test_embedding_is_isometric_and_shared_by_training_and_truth(ambient_dim):
    options = {"duplicates": 6, "ambient_dim": ambient_dim}
    native = sample("doughnut", 200, duplicates=6, generator=seeded(0))
    training = sample("doughnut", 200, **options, generator=seeded(0))
    # Coordinates up to 1.5 in float32, rounded once.
    error = torch.pdist(native.points.double()) - torch.pdist(training.points.double())
    assert error.abs().max() < 1e-5
    assert torch.equal(native.lid, training.lid)
    truth = sample_truth(
        "doughnut", 3_000, ambient_dim=ambient_dim, training=training, generator=seeded(9)
    )
    both = torch.cat([training.points, truth.points]).double()
    # One 3-D subspace holds both; float32 rounding leaves at most sqrt(3,206 D) * 1e-7 = 1e-4.
    assert int((torch.linalg.svdvals(both) > 1e-3).sum()) == 3
    # 1,500 points on a torus of area 19.7 are about .1 apart; the circle is .5 from the torus.
    assert torch.equal(lid_at(training.points, truth, 0.4), training.lid)


@pytest.mark.parametrize("name", ["affine-10", "affine-100", "squiggly-10"])
def test_random_frames_belong_to_the_name_and_not_to_the_seed(name):
    first = sample(name, 600, generator=seeded(0))
    second = sample_truth(name, 600, generator=seeded(1))
    if name == "squiggly-10":
        # Undo the bend by a fixed-point iteration; its contraction factor is .8.
        first, second = (unbent(samples.points) for samples in (first, second))
    else:
        first, second = first.points, second.points
    lids = (
        sample(name, 600, generator=seeded(0)).lid,
        sample_truth(name, 600, generator=seeded(1)).lid,
    )
    for dim in lids[0].unique():
        own, other = first[lids[0] == dim].double(), second[lids[1] == dim].double()
        basis = torch.linalg.svd(own - own.mean(dim=0)).Vh[: int(dim)]
        offset = other - own.mean(dim=0)
        # Both lie in one affine subspace: what is left is rounding of float32.
        assert (offset - offset @ basis.T @ basis).abs().max() < 1e-4


def unbent(points):
    x = points.double()
    for _ in range(200):
        x = points.double() - 0.4 * (2 * x).sin()
    return x


def test_multiscale_lid_is_a_step_of_the_staircase():
    samples = sample("multiscale", 4_000, generator=seeded(0))
    eigenvalues = torch.linalg.eigvalsh(samples.points.double().T.cov())
    # sum l / (l + delta^2) is near 2, 5 and 10 between the scales; .2 is the slope of a step.
    for delta, dimension in [(0.3, 2), (0.01, 5), (1e-4, 10)]:
        assert abs((eigenvalues / (eigenvalues + delta**2)).sum() - dimension) < 0.4
    assert (samples.lid == 5).all()


def test_duplicates_of_training_join_the_truth():
    training = sample("torus", 100, duplicates=4, generator=seeded(0))
    truth = sample_truth("torus", 500, training=training, generator=seeded(1))
    assert len(truth.points) == 501
    assert truth.points[-1].tolist() == training.points[-1].tolist()
    assert truth.lid.tolist() == [2.0] * 500 + [0.0]
    assert truth.component_names == ("torus", "duplicate")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "donut"}, r"name is 'donut'; the choices are circle, .*digits\."),
        ({"count": 1}, "count is 1; it must be a whole number from 2 to 20000"),
        ({"count": 20_001}, "count is 20001"),
        ({"count": 10.0}, "count is 10.0"),
        ({"count": math.nan}, "count is nan"),
        ({"count": True}, "count is True"),
        ({"count": np.float64(3)}, "count is "),
        ({"name": "digits", "count": 1_798}, "from 2 to 1797"),
        ({"duplicates": -1}, "duplicates is -1; it must be a whole number from 0"),
        ({"duplicates": 1.5}, "duplicates is 1.5"),
        ({"duplicates": math.inf}, "duplicates is inf"),
        ({"ambient_dim": 2}, "ambient_dim is 2; it must be a whole number from 3 to 10000"),
        ({"ambient_dim": 10_001}, "ambient_dim is 10001"),
        ({"ambient_dim": math.nan}, "ambient_dim is nan"),
        ({"name": "digits", "ambient_dim": 65}, "ambient_dim is 65; .* from 64 to 64"),
        ({"count": 20_000, "ambient_dim": 10_000}, "is 200000000; .* to 100000000"),
    ],
)
def test_impossible_requests_are_refused_with_the_value_and_the_range(options, message):
    request = {"name": "torus", "count": 10, "generator": seeded(0)} | options
    with pytest.raises(ValueError, match=message):
        sample(**request)
    truth = {key: value for key, value in request.items() if key != "duplicates"}
    if len(truth) == len(request):
        with pytest.raises(ValueError, match=message):
            sample_truth(**truth)


def test_training_of_another_shape_is_refused():
    training = sample("torus", 10, duplicates=1, ambient_dim=7, generator=seeded(0))
    with pytest.raises(ValueError, match=r"shape \(7,\); it must be \(3,\)"):
        sample_truth("torus", 10, training=training, generator=seeded(0))
