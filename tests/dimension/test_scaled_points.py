"""Points and noise scales are checked before anything is computed."""

from __future__ import annotations

import math

import pytest
import torch

from mmh_core.diffusion.schedule import (
    Discrete,
    RectifiedFlow,
    Schedule,
    VarianceExploding,
    VariancePreserving,
)
from mmh_core.dimension.scaled_points import check_exact, check_network, scaled_points
from mmh_core.records import MMHError
from tests.dimension.closed_forms import gaussian

SCHEDULES: list[Schedule] = [
    VariancePreserving(),
    VarianceExploding(),
    RectifiedFlow(),
    Discrete(tuple(torch.linspace(0.999, 0.005, 100, dtype=torch.float64).tolist())),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_kernel_has_the_wanted_ratio(schedule: Schedule) -> None:
    """Return alpha and sigma with sigma / alpha = delta, one scale per point."""
    model = gaussian(torch.ones(3), schedule=schedule)
    wanted = torch.tensor([-2.0, 0.0, 1.0])
    points = scaled_points(model, torch.zeros(3, 3), wanted)
    # float32 times resolve log delta to about 1e-4 here.
    torch.testing.assert_close(torch.log(points.sigma / points.alpha), wanted, atol=1e-3, rtol=0)


def test_a_scale_out_of_reach_is_refused_with_the_range() -> None:
    """Name the range of the schedule instead of answering at its clipped end."""
    model = gaussian(torch.ones(3), schedule=VarianceExploding(0.01, 10.0))
    low, high = math.log(0.01), math.log(10.0)
    scaled_points(model, torch.zeros(1, 3), low)
    scaled_points(model, torch.zeros(1, 3), high)
    with pytest.raises(ValueError, match=r"between -4\.605 and 2\.303.*got 2\.403"):
        scaled_points(model, torch.zeros(2, 3), torch.tensor([0.0, high + 0.1]))
    with pytest.raises(ValueError, match=r"got -4\.705"):
        scaled_points(model, torch.zeros(1, 3), low - 0.1)


def test_a_cosine_schedule_with_an_infinite_end_says_so() -> None:
    """Refuse a scale at which alpha rounds to 0, and print the infinite range."""
    model = gaussian(torch.ones(3), schedule=RectifiedFlow())
    with pytest.raises(ValueError, match="between -inf and inf"):
        scaled_points(model, torch.zeros(1, 3), 60.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    """Refuse NaN and infinity in points and in scales."""
    model = gaussian(torch.ones(3))
    with pytest.raises(ValueError, match="finite"):
        scaled_points(model, torch.tensor([[0.0, bad, 0.0]]), 0.0)
    with pytest.raises(ValueError, match="log_delta must be finite"):
        scaled_points(model, torch.zeros(1, 3), bad)


def test_shapes_that_do_not_fit_are_refused() -> None:
    """Name the shape wanted and the one given."""
    model = gaussian(torch.ones(3))
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(2, 4\)"):
        scaled_points(model, torch.zeros(2, 4), 0.0)
    with pytest.raises(ValueError, match=r"got \(0, 3\)"):
        scaled_points(model, torch.zeros(0, 3), 0.0)
    with pytest.raises(ValueError, match=r"one per point \(2\)"):
        scaled_points(model, torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="got 3 for 2"):
        scaled_points(model, torch.zeros(2, 3), 0.0, torch.zeros(3, 1))
    with pytest.raises(ValueError, match="int64"):
        scaled_points(model, torch.zeros(2, 3, dtype=torch.long), 0.0)


def test_half_precision_is_raised_and_double_kept() -> None:
    """Trace in float32 or better."""
    model = gaussian(torch.ones(3))
    kinds = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
    raised = [scaled_points(model, torch.zeros(1, 3, dtype=k), 0.0).t.dtype for k in kinds]
    assert raised == [torch.float32] * 3 + [torch.float64]


def test_splitting_keeps_each_point_with_its_scale_and_condition() -> None:
    """Cut all fields at the same places."""
    model = gaussian(torch.ones(2))
    x, scale = torch.arange(10.0).reshape(5, 2), torch.linspace(-1, 1, 5)
    whole = scaled_points(model, x, scale, torch.arange(5))
    parts = list(whole.split(2))
    assert [len(part.x0) for part in parts] == [2, 2, 1]
    for name in ("x0", "t", "alpha", "sigma", "cond"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(whole, name))


def test_a_large_dimension_is_refused_with_the_way_out() -> None:
    """Name D, the limit and the estimator to use."""
    check_exact(gaussian(torch.ones(4096)), "spectrum", "soft_spectral_count")
    with pytest.raises(ValueError, match=r"D <= 4096.*D = 4097; use soft_spectral_count"):
        check_exact(gaussian(torch.ones(4097)), "spectrum", "soft_spectral_count")


def test_a_network_that_overflows_is_reported_to_the_user() -> None:
    """Stop with the next step to take."""
    check_network(torch.ones(2), "tiny")
    with pytest.raises(MMHError, match="The network of tiny returned numbers that are not finite"):
        check_network(torch.tensor([1.0, math.inf]), "tiny")
    with pytest.raises(MMHError, match="float32"):
        check_network(torch.tensor([1.0, math.nan]))
