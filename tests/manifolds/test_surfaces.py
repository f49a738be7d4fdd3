"""Tests of spheres, torus, Swiss roll, lollipop and doughnut."""

import math

import pytest
import torch
from scipy import stats

from mmh_core.manifolds.surfaces import doughnut, lollipop, sphere, swiss_roll, torus

# A point in float32 is off by at most 6e-8 times its size; a few such errors add up.
ROUNDING = 1e-6


def rows(samples, name):
    return samples.points[samples.component == samples.component_names.index(name)].double()


def tube_angle(points, major):
    return torch.atan2(points[:, 2], points[:, :2].norm(dim=1) - major)


@pytest.mark.parametrize(("dim", "radius"), [(1, 1.0), (2, 1.0), (9, 2.5)])
def test_sphere_points_satisfy_the_equation(dim, radius, generator):
    samples = sphere(2_000, dim=dim, radius=radius, generator=generator)
    assert (samples.points.double().norm(dim=1) - radius).abs().max() < ROUNDING
    assert samples.ambient_dim == dim + 1
    assert torch.equal(samples.lid, torch.full((2_000,), float(dim)))


def test_sphere_is_uniform_by_area(generator):
    points = sphere(20_000, generator=generator).points
    # Archimedes: each coordinate of a uniform point of S^2 is uniform on [-1, 1].
    for axis in range(3):
        assert stats.kstest(points[:, axis].numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_high_dimensional_sphere_is_isotropic(generator):
    points = sphere(40_000, dim=5, generator=generator).points.double()
    # Covariance I / 6; an entry's standard error is at most sqrt(var x^2 / n), about 1e-3.
    assert (points.T @ points / len(points) - torch.eye(6) / 6).abs().max() < 5e-3


@pytest.mark.parametrize(("major", "minor"), [(1.0, 0.5), (3.0, 0.2)])
def test_torus_points_satisfy_the_equation(major, minor, generator):
    points = torus(5_000, major=major, minor=minor, generator=generator).points.double()
    ring = points[:, :2].norm(dim=1) - major
    assert ((ring**2 + points[:, 2] ** 2).sqrt() - minor).abs().max() < ROUNDING


def test_torus_is_uniform_by_area(generator):
    points = torus(20_000, generator=generator).points.double()
    tube = tube_angle(points, 1.0) % (2 * math.pi)
    # The area up to tube angle a is proportional to a + (minor / major) sin a.
    area = (tube + 0.5 * tube.sin()) / (2 * math.pi)
    around = torch.atan2(points[:, 1], points[:, 0]) / (2 * math.pi) + 0.5
    assert stats.kstest(area.numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(around.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_swiss_roll_points_invert_to_their_parameters(scale, generator):
    points = swiss_roll(5_000, scale=scale, generator=generator).points.double() / scale
    t = points[:, [0, 2]].norm(dim=1)
    # Rounding errors of t, at most 1e-6, are amplified by t <= 14.2.
    assert (points[:, 0] - t * t.cos()).abs().max() < 2e-5
    assert (points[:, 2] - t * t.sin()).abs().max() < 2e-5
    # The two parameters are uniform on their ranges, which bounds them as well.
    assert stats.kstest(t.numpy(), stats.uniform(1.5 * math.pi, 3 * math.pi).cdf).pvalue > 1e-3
    assert stats.kstest(points[:, 1].numpy(), stats.uniform(0, 21).cdf).pvalue > 1e-3


def test_lollipop_has_its_ratio_its_pieces_and_their_lid(generator):
    samples = lollipop(7_000, generator=generator)
    assert samples.component_names == ("disc", "stick", "dot")
    assert samples.component.bincount().tolist() == [4_000, 2_000, 1_000]
    assert torch.equal(samples.lid, 2.0 - samples.component)
    assert torch.equal(rows(samples, "dot"), torch.zeros(1_000, 2, dtype=torch.float64))
    disc, stick = rows(samples, "disc"), rows(samples, "stick")
    # Uniform by area: the squared distance to the center is uniform on [0, 1].
    squares = ((disc - 3) ** 2).sum(dim=1).numpy()
    assert stats.kstest(squares, "uniform").pvalue > 1e-3
    assert torch.equal(stick[:, 0], stick[:, 1])
    # From (1.5, 1.5) to the point of the disc nearest to the origin, 3 - 1 / sqrt 2.
    end = 3 - math.sqrt(0.5)
    assert stats.kstest(stick[:, 0].numpy(), stats.uniform(1.5, end - 1.5).cdf).pvalue > 1e-3


def test_lollipop_rows_are_shuffled(generator):
    # The first half would otherwise be the disc only.
    assert set(lollipop(700, generator=generator).component[:350].tolist()) == {0, 1, 2}


def test_doughnut_is_half_torus_half_circle(generator):
    samples = doughnut(8_000, generator=generator)
    shell, string = rows(samples, "torus"), rows(samples, "circle")
    assert len(shell) == len(string) == 4_000
    ring = shell[:, :2].norm(dim=1) - 1
    assert ((ring**2 + shell[:, 2] ** 2).sqrt() - 0.5).abs().max() < ROUNDING
    assert (string[:, :2].norm(dim=1) - 1).abs().max() < ROUNDING
    assert torch.equal(string[:, 2], torch.zeros(4_000, dtype=torch.float64))
    assert torch.equal(samples.lid, 2.0 - samples.component)
    tube = tube_angle(shell, 1.0) % (2 * math.pi)
    area = (tube + 0.5 * tube.sin()) / (2 * math.pi)
    assert stats.kstest(area.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("sampler", [sphere, torus, swiss_roll, doughnut, lollipop])
def test_local_rank_is_the_declared_lid(sampler, generator, local_rank):
    samples = sampler(20_000, generator=generator)
    for component in range(len(samples.component_names)):
        own = samples.points[samples.component == component]
        lid = int(samples.lid[samples.component == component][0])
        if lid == 0:
            assert torch.equal(own, own[:1].expand_as(own))
        else:
            assert all(local_rank(own, own[row], 60) == lid for row in range(5))


def test_sphere_of_dimension_three_has_local_rank_three(generator, local_rank):
    samples = sphere(20_000, dim=3, generator=generator)
    assert all(local_rank(samples.points, samples.points[row], 40) == 3 for row in range(5))


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        (sphere, {"dim": 0}),
        (sphere, {"dim": 2.0}),
        (sphere, {"radius": -1.0}),
        (torus, {"minor": 1.0}),
        (torus, {"major": math.nan}),
        (doughnut, {"minor": 0.0}),
        (swiss_roll, {"scale": math.inf}),
        (lollipop, {"count": 1}),
        (lollipop, {"count": 2.5}),
    ],
)
def test_impossible_surfaces_are_refused(sampler, options, generator):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"^{name} is {value}; it must be"):
        sampler(**({"count": 10} | options), generator=generator)
