"""Tests of the von Mises mixture and the spiral."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ive

from mmh_core.manifolds.curves import spiral, von_mises_angles, von_mises_mixture


def mixture(count, generator, **changes):
    options = {"locations": (0.0, 2.0), "concentrations": (50.0, 5.0), "weights": (3, 1)}
    return von_mises_mixture(count, **(options | changes), generator=generator)


def test_points_lie_on_the_unit_circle(generator):
    radii = mixture(5_000, generator).points.double().norm(dim=1)
    # Rounding two coordinates to float32 moves the radius by at most 2^-24 sqrt 2, about 8e-8.
    assert (radii - 1).abs().max() < 1e-7


@pytest.mark.parametrize("kappa", [0.0, 1e-6, 0.01, 0.5, 2.0, 30.0, 1e5])
def test_mean_resultant_length_is_the_ratio_of_bessel_functions(kappa, generator):
    count = 50_000
    angles = von_mises_angles(count, location=0.7, concentration=kappa, generator=generator)
    expected = ive(1, kappa) / ive(0, kappa)
    cosine = (angles - 0.7).cos()
    # Four standard errors of a mean of `count` draws, from the sample's own spread.
    assert abs(cosine.mean() - expected) < 4 * cosine.std() / math.sqrt(count)


@pytest.mark.parametrize("kappa", [0.0, 0.3, 4.0, 200.0])
def test_angles_follow_the_von_mises_distribution(kappa, generator):
    angles = von_mises_angles(20_000, location=0.0, concentration=kappa, generator=generator)
    reference = stats.vonmises(kappa).cdf if kappa else stats.uniform(-math.pi, 2 * math.pi).cdf
    assert stats.kstest(angles.numpy(), reference).pvalue > 1e-3


def test_each_component_has_its_share_and_its_location(generator):
    samples = mixture(4_000, generator)
    assert samples.component_names == ("arc 1", "arc 2")
    assert samples.component.bincount().tolist() == [3_000, 1_000]
    for k, location in enumerate((0.0, 2.0)):
        mean = samples.points[samples.component == k].mean(dim=0)
        # The mean direction of n draws varies by about 1 / sqrt(n kappa), at most .014 here.
        assert torch.atan2(mean[1], mean[0]).item() == pytest.approx(location, abs=0.06)
    assert torch.equal(samples.lid, torch.ones(4_000))


@pytest.mark.parametrize(
    "changes",
    [
        {"locations": (0.0,)},
        {"weights": (1.0, -1.0)},
        {"weights": (0.0, 0.0)},
        {"concentrations": (1.0, -1.0)},
        {"concentrations": (1.0, math.nan)},
        {"locations": (0.0, math.inf)},
        {"locations": (), "concentrations": (), "weights": ()},
    ],
)
def test_impossible_mixtures_are_refused(changes, generator):
    with pytest.raises(ValueError, match=r"must|at least"):
        mixture(100, generator, **changes)


@pytest.mark.parametrize(("turns", "inner"), [(2.0, 0.2), (0.5, 0.05), (6.0, 0.5)])
def test_spiral_points_satisfy_the_equation(turns, inner, generator):
    points = spiral(3_000, turns=turns, inner=inner, generator=generator).points.double()
    radii = points.norm(dim=1)
    theta = radii / ((1 - inner) / (2 * math.pi * turns))
    expected = radii[:, None] * torch.stack([theta.cos(), theta.sin()], dim=1)
    # float32 rounding of the radius (6e-8) is amplified by theta / r = 2 pi turns / (1 - inner),
    # at most 75.
    assert (points - expected).abs().max() < 1e-5
    assert radii.min() >= inner - 1e-6
    assert radii.max() <= 1 + 1e-6


# The second spiral is so short that both terms of the closed form of the length matter.
@pytest.mark.parametrize(("turns", "inner"), [(2.0, 0.2), (0.5, 0.05)])
def test_spiral_is_uniform_by_arc_length(turns, inner, generator):
    samples = spiral(20_000, turns=turns, inner=inner, generator=generator)
    points = samples.points.double()
    growth = (1 - inner) / (2 * math.pi * turns)
    # The length from the inner end, by summing short chords of the curve itself.
    theta = np.linspace(inner / growth, 1 / growth, 200_001)
    x, y = growth * theta * np.cos(theta), growth * theta * np.sin(theta)
    length = np.concatenate([[0], np.hypot(np.diff(x), np.diff(y)).cumsum()])
    fraction = np.interp(points.norm(dim=1).numpy(), growth * theta, length / length[-1])
    assert stats.kstest(fraction, "uniform").pvalue > 1e-3


def test_curves_have_local_rank_one(generator, local_rank):
    for samples in (spiral(20_000, generator=generator), mixture(20_000, generator)):
        for row in (0, 1, 2):
            assert local_rank(samples.points, samples.points[row], 100) == samples.lid[row] == 1


@pytest.mark.parametrize(
    "options",
    [{"turns": 0.0}, {"turns": math.nan}, {"inner": 0.0}, {"inner": 1.0}, {"count": 1}],
)
def test_impossible_spirals_are_refused(options, generator):
    with pytest.raises(ValueError, match="it must be"):
        spiral(**({"count": 10} | options), generator=generator)
