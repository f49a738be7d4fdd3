"""Tests of the noise schedules: closed forms, precision, inverses and diffusers' tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath  # type: ignore[import-untyped]
import pytest
import torch
from torch import Tensor

from mmh_core.diffusion.schedule import (
    Discrete,
    RectifiedFlow,
    Schedule,
    VarianceExploding,
    VariancePreserving,
)

TrainingSet = Callable[[mpmath.mpf], tuple[mpmath.mpf, mpmath.mpf]]


def scaled_linear() -> Discrete:
    """Return Stable Diffusion's table, from the formula instead of from diffusers."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    return Discrete(tuple((1 - betas).cumprod(0).tolist()))


def variance_preserving(t: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Integrate beta(s) = .1 + 19.9 s numerically instead of by its formula."""
    total = mpmath.quad(lambda s: mpmath.mpf("0.1") + mpmath.mpf("19.9") * s, [0, t])
    return mpmath.exp(-total / 2), mpmath.sqrt(1 - mpmath.exp(-total))


def variance_exploding(t: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Interpolate between .002 and 80 geometrically."""
    return mpmath.mpf(1), mpmath.mpf("0.002") ** (1 - t) * mpmath.mpf(80) ** t


CONTINUOUS: dict[str, tuple[Schedule, TrainingSet]] = {
    "variance preserving": (VariancePreserving(), variance_preserving),
    "variance exploding": (VarianceExploding(), variance_exploding),
    "rectified flow": (RectifiedFlow(), lambda t: (1 - t, t)),
}
SCHEDULES: dict[str, Schedule] = {name: pair[0] for name, pair in CONTINUOUS.items()}
SCHEDULES["discrete"] = scaled_linear()

of_all = pytest.mark.parametrize("name", SCHEDULES)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("time", [1e-6, 1e-4, 0.01, 0.3, 0.7, 0.999])
def test_float32_keeps_its_digits_at_every_time(name: str, time: float) -> None:
    schedule, reference = CONTINUOUS[name]
    t = torch.tensor([time])
    with mpmath.workdps(40):
        alpha, sigma = reference(mpmath.mpf(t.item()))  # The float32 time itself, to 40 digits.
        log_delta = mpmath.log(sigma / alpha)
    # The exponents and logarithms are up to 7 large, so their rounding (6e-8 of that) moves alpha
    # and sigma by at most 4e-7 of their values.
    assert schedule.alpha(t).item() == pytest.approx(float(alpha), rel=1e-6)
    assert schedule.sigma(t).item() == pytest.approx(float(sigma), rel=1e-6)
    assert schedule.log_delta(t).item() == pytest.approx(float(log_delta), rel=1e-6, abs=5e-7)


def test_the_naive_formula_loses_digits_that_ours_keeps() -> None:
    t = torch.tensor([1e-6])
    with mpmath.workdps(40):
        truth = float(variance_preserving(mpmath.mpf(t.item()))[1])
    naive = torch.sqrt(1 - torch.exp(-(0.1 * t + 19.9 * t.square() / 2))).item()
    # 1 - exp(-1e-7) has the one digit that float32 keeps of it: 1.19e-7 instead of 1.0e-7.
    assert abs(naive / truth - 1) == pytest.approx(0.09, abs=0.005)
    assert abs(VariancePreserving().sigma(t).item() / truth - 1) < 1e-6


@pytest.mark.parametrize("name", ["variance preserving", "discrete"])
def test_the_variance_stays_1(name: str) -> None:
    t = torch.linspace(0, 1, 1001)
    total = SCHEDULES[name].alpha(t).square() + SCHEDULES[name].sigma(t).square()
    # Four roundings to float32 of numbers up to 1.
    torch.testing.assert_close(total, torch.ones_like(t), atol=5e-7, rtol=0)


@of_all
def test_log_delta_is_the_logarithm_of_the_ratio_and_rises(name: str) -> None:
    schedule = SCHEDULES[name]
    t = torch.linspace(1e-3, 1 - 1e-6, 5001, dtype=torch.float64)
    log_delta = schedule.log_delta(t)
    ratio = torch.log(schedule.sigma(t) / schedule.alpha(t))
    torch.testing.assert_close(log_delta, ratio, atol=1e-9, rtol=0)  # float64, 1e-16 / (1 - t).
    assert bool((log_delta.diff() > 0).all())
    assert bool((schedule.sigma(t).diff() > 0).all())
    assert bool((schedule.alpha(t).diff() <= 0).all())


@of_all
def test_time_at_inverts_log_delta(name: str) -> None:
    schedule = SCHEDULES[name]
    low = 1e-3 if name == "discrete" else 1e-6  # The table starts at t = 1 / 1000.
    t = torch.cat([torch.logspace(math.log10(low), -1, 100), torch.linspace(0.1, 0.999, 100)])
    t = t.double().clamp(min=low)
    torch.testing.assert_close(schedule.time_at(schedule.log_delta(t)), t, atol=1e-12, rtol=1e-9)
    wanted = torch.linspace(-3.5, 2.6, 200, dtype=torch.float64)
    found = schedule.log_delta(schedule.time_at(wanted))
    torch.testing.assert_close(found, wanted, atol=1e-9, rtol=0)
    single = schedule.log_delta(schedule.time_at(wanted.float()))
    # A float32 time near 1 is rounded by 6e-8 and log delta has slopes up to 20 there.
    torch.testing.assert_close(single, wanted.float(), atol=1e-5, rtol=0)


@of_all
def test_time_at_clips_what_the_schedule_does_not_reach(name: str) -> None:
    ends = SCHEDULES[name].time_at(torch.tensor([-math.inf, -1e4, 1e4, math.inf]))
    first = 1e-3 if name == "discrete" else 0.0
    torch.testing.assert_close(ends, torch.tensor([first, first, 1.0, 1.0]), atol=1e-9, rtol=0)


@of_all
def test_functions_act_elementwise_and_keep_the_type(name: str) -> None:
    schedule = SCHEDULES[name]
    t = torch.tensor([[0.1, 0.5, 0.9], [0.2, 0.6, 0.8]])
    for function in (schedule.alpha, schedule.sigma, schedule.log_delta, schedule.time_at):
        for kind in (torch.float32, torch.float64):
            values = function(t.to(kind))
            assert values.dtype == kind
            alone = torch.stack([function(one.to(kind)) for one in t.flatten()])
            # The vectorized exponential and the one for the remainder may round differently.
            torch.testing.assert_close(values.flatten(), alone, atol=0, rtol=5e-7)


def test_a_steep_schedule_does_not_overflow() -> None:
    # B(1) = 250, whose exponential float32 cannot hold; log delta is then B / 2.
    schedule = VariancePreserving(100.0, 400.0)
    assert schedule.log_delta(torch.ones(1)).item() == pytest.approx(125, rel=1e-6)
    assert schedule.time_at(torch.tensor([125.0])).item() == pytest.approx(1, rel=1e-6)


SCHEDULERS: dict[str, dict[str, Any]] = {
    "stable diffusion": {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
    },
    "linear": {"beta_schedule": "linear"},
    "squared cosine": {"beta_schedule": "squaredcos_cap_v2"},
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_discrete_equals_the_tables_of_diffusers(name: str) -> None:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    for scheduler in (DDPMScheduler(**SCHEDULERS[name]), DDIMScheduler(**SCHEDULERS[name])):
        table: Tensor = scheduler.alphas_cumprod
        schedule = Discrete(tuple(table.tolist()))
        steps = torch.arange(1000)
        t = schedule.time_of_step(steps)
        assert t[-1].item() == 1
        # 1000 t is rounded by 6e-5 of a step, and delta moves by at most 1 % a step.
        torch.testing.assert_close(schedule.alpha(t), table.sqrt(), atol=1e-6, rtol=0)
        noise = (1 - table.double()).sqrt().float()
        torch.testing.assert_close(schedule.sigma(t), noise, atol=1e-6, rtol=0)
        torch.testing.assert_close(schedule.step_at(t), steps.float(), atol=1e-4, rtol=0)


def test_discrete_equals_the_noising_of_diffusers() -> None:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    scheduler = DDPMScheduler(**SCHEDULERS["stable diffusion"])
    schedule = scaled_linear()
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 1000, 3, generator=generator)
    steps = torch.arange(1000)
    t = schedule.time_of_step(steps)[:, None]
    # Our table was added up in float64, that of diffusers in float32.
    torch.testing.assert_close(
        schedule.alpha(t) * x0 + schedule.sigma(t) * eps,
        scheduler.add_noise(x0, eps, steps),
        atol=1e-5,
        rtol=0,
    )


def test_discrete_interpolates_log_delta_and_holds_its_first_entry() -> None:
    schedule = Discrete((0.9, 0.5, 0.1))
    deltas = [math.log(math.sqrt((1 - a) / a)) for a in (0.9, 0.5, 0.1)]
    t = torch.tensor([0.0, 0.2, 1 / 3, 0.5, 5 / 6, 1.0], dtype=torch.float64)
    a, b, c = deltas
    expected = torch.tensor([a, a, a, (a + b) / 2, (b + c) / 2, c], dtype=torch.float64)
    torch.testing.assert_close(schedule.log_delta(t), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(
        schedule.step_at(t), torch.tensor([0, 0, 0, 0.5, 1.5, 2]).double(), atol=1e-12, rtol=0
    )
    assert schedule.steps == 3


def test_discrete_first_used_in_inference_mode_can_be_differentiated() -> None:
    schedule = Discrete((0.9, 0.5, 0.1))
    with torch.inference_mode():
        schedule.alpha(torch.tensor([0.5]))
    x = torch.ones(1, requires_grad=True)
    (slope,) = torch.autograd.grad(schedule.alpha(torch.tensor([2 / 3])) * x, x)
    assert slope.item() == pytest.approx(math.sqrt(0.5), abs=1e-6)


def test_equal_tables_are_equal_schedules() -> None:
    used, fresh = Discrete((0.9, 0.5, 0.1)), Discrete((0.9, 0.5, 0.1))
    used.alpha(torch.tensor([0.5]))
    assert used == fresh
    assert hash(used) == hash(fresh)


def test_rectified_flow_equals_the_noising_of_diffusers() -> None:
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )

    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(10)
    x0, eps = torch.randn(2, 10, 3, generator=torch.Generator().manual_seed(0))
    # Its sigma is our t; the timestep the network is fed is 1000 t.
    t = scheduler.sigmas[:-1, None]
    torch.testing.assert_close(t[:, 0], scheduler.timesteps / 1000, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        RectifiedFlow().alpha(t) * x0 + RectifiedFlow().sigma(t) * eps,
        scheduler.scale_noise(x0, scheduler.timesteps, eps),
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: VariancePreserving(0.0), "beta_min must be a finite number above 0, got 0.0"),
        (lambda: VariancePreserving(1.0, math.inf), "beta_max must be .* got inf"),
        (lambda: VariancePreserving(2.0, 2.0), "beta_max must be above beta_min, got 2.0"),
        (lambda: VarianceExploding(math.nan), "sigma_min must be .* got nan"),
        (lambda: VarianceExploding(1.0, -1.0), "sigma_max must be .* got -1.0"),
        (lambda: VarianceExploding(2.0, 1.0), "sigma_max must be above sigma_min, got 1.0"),
        (lambda: Discrete((0.5,)), "at least 2 numbers"),
        (lambda: Discrete((0.5, 0.5)), "fall strictly"),
        (lambda: Discrete((0.4, 0.5)), "fall strictly"),
        (lambda: Discrete((1.0, 0.5)), r"within \(0, 1\)"),
        (lambda: Discrete((0.5, 0.0)), r"within \(0, 1\)"),
        (lambda: Discrete((0.5, math.nan)), r"within \(0, 1\)"),
    ],
)
def test_bad_parameters_are_refused(make: Callable[[], Schedule], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
