"""Tests of the samplers: closed forms, orders of convergence and diffusers' own steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmh_core.diffusion.analytic import gaussian_on_subspace
from mmh_core.diffusion.sampling import heun, time_grid
from mmh_core.diffusion.schedule import (
    Discrete,
    RectifiedFlow,
    Schedule,
    VarianceExploding,
    VariancePreserving,
)
from mmh_core.diffusion.score_model import ScoreModel
from tests.diffusion.exact_models import empirical_denoiser

SCHEDULES: dict[str, Schedule] = {
    "variance preserving": VariancePreserving(),
    "variance exploding": VarianceExploding(),
    "rectified flow": RectifiedFlow(),
}
FLOW = RectifiedFlow()
VARIANCES = torch.tensor([4.0, 1.0, 0.04], dtype=torch.float64)

of_all = pytest.mark.parametrize("name", SCHEDULES)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(schedule: Schedule, kind: torch.dtype = torch.float64) -> ScoreModel:
    """Return the exact model of a Gaussian around 0 with three different variances."""
    frame = torch.eye(3, dtype=kind)
    return gaussian_on_subspace(torch.zeros(3, dtype=kind), frame, VARIANCES.to(kind), schedule)


def scaled_linear() -> Discrete:
    """Return Stable Diffusion's table."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    return Discrete(tuple((1 - betas).cumprod(0).tolist()))


def error(schedule: Schedule, steps: int) -> float:
    """Return the largest error at the grid's last time above 0.

    With `du / d delta = delta u / (l + delta^2)` the probability flow is
    `u(delta) = u_T sqrt((l + delta^2) / (l + delta_T^2))`.
    """
    grid = time_grid(schedule, steps, lowest=0.05, highest=20.0)[:-1].double()
    noise = torch.randn(5, 3, generator=seeded(), dtype=torch.float64)
    x_t = heun(gaussian(schedule), noise, grid)
    delta = schedule.log_delta(grid[[0, -1]]).exp()
    ratio = ((VARIANCES + delta[1].square()) / (VARIANCES + delta[0].square())).sqrt()
    exact = delta[0] * noise * ratio
    return (x_t / schedule.alpha(grid[-1:]) - exact).abs().max().item()


@of_all
def test_the_sampler_follows_the_probability_flow_at_its_order(name: str) -> None:
    errors = [error(SCHEDULES[name], steps) for steps in (40, 80, 160)]
    # The error's next term is smaller by one power of the step: 4.16 at 40 steps.
    assert [errors[0] / errors[1], errors[1] / errors[2]] == pytest.approx([4, 4], rel=0.05)
    assert errors[2] < 0.03**2  # Of samples of size about 2.


@of_all
def test_the_last_step_lands_on_the_denoised_sample(name: str) -> None:
    model = gaussian(SCHEDULES[name])
    grid = time_grid(model.schedule, 20)
    noise = torch.randn(5, 3, generator=seeded(), dtype=torch.float64)
    # float64 with factors delta of up to 80.
    before = model.x0(heun(model, noise, grid[:-1]), grid[-2])
    torch.testing.assert_close(heun(model, noise, grid), before, atol=1e-11, rtol=0)


def test_samples_do_not_depend_on_the_schedule() -> None:
    """Check that all schedules walk the same path in `x_t / alpha` over delta."""
    samples = []
    for schedule in SCHEDULES.values():
        delta = torch.tensor([60.0, 10.0, 2.0, 0.5, 0.1], dtype=torch.float64)
        grid = torch.cat([schedule.time_at(delta.log()), torch.zeros(1).double()])
        # `initial` scales by sigma: undo it, so that all start at the same u.
        alpha = schedule.alpha(grid[:1])
        noise = torch.randn(4, 3, generator=seeded(), dtype=torch.float64)
        noise = noise * 60 * alpha / schedule.sigma(grid[:1])
        samples.append(heun(gaussian(schedule), noise, grid))
    for other in samples[1:]:
        # float64 times near 1 leave delta good to 1e-13.
        torch.testing.assert_close(other, samples[0], atol=1e-9, rtol=0)


@of_all
def test_the_grid_is_that_of_karras(name: str) -> None:
    schedule = SCHEDULES[name]
    grid = time_grid(schedule, 18, lowest=0.003, highest=70.0)
    assert grid.shape == (19,)
    assert grid[-1].item() == 0
    assert (grid.diff() < 0).all()
    delta = schedule.log_delta(grid[:-1].double()).exp()
    # Karras et al. 2022, Eq. 5. A float32 time near 1 leaves 1 - t, and so delta, good to 5e-6.
    expected = [
        (70 ** (1 / 7) + i / 17 * (0.003 ** (1 / 7) - 70 ** (1 / 7))) ** 7 for i in range(18)
    ]
    torch.testing.assert_close(delta, torch.tensor(expected).double(), atol=0, rtol=2e-5)


def test_the_grid_is_clipped_to_what_the_schedule_reaches() -> None:
    # Stable Diffusion reaches from .029 to 14.6: the default ends lie beyond both.
    schedule = scaled_linear()
    grid = time_grid(schedule, 30)
    assert grid[0].item() == 1
    assert grid[-2].item() == pytest.approx(1e-3, rel=1e-6)  # Its first step.
    delta = schedule.log_delta(grid[:-1].double()).exp()
    evenness = delta.pow(1 / 7).diff()
    # The float32 times are good to 6e-8, of which delta has slopes of 10, of steps of .03.
    torch.testing.assert_close(evenness, evenness.mean().expand(29), atol=0, rtol=1e-4)
    # A variance-exploding schedule has noise at t = 0; its own range is still a full grid.
    assert (time_grid(VarianceExploding(), 30).diff() < 0).all()
    assert (time_grid(VarianceExploding(0.1, 5.0), 30).diff() < 0).all()


def test_the_same_noise_gives_the_same_bytes() -> None:
    points = torch.randn(20, 3, generator=seeded(5))
    model, grid = empirical_denoiser(points, RectifiedFlow()), time_grid(RectifiedFlow(), 15)
    before = torch.get_rng_state()
    runs = [heun(model, torch.randn(8, 3, generator=seeded()), grid) for _ in range(2)]
    assert torch.equal(*runs)
    assert torch.equal(torch.get_rng_state(), before)
    # A model of a finite set makes nothing new: each sample is one of its points.
    assert torch.cdist(runs[0], points).amin(1).max() < 1e-5


def test_half_precision_stays_half() -> None:
    model, grid = gaussian(VariancePreserving(), torch.float32), time_grid(VariancePreserving(), 8)
    noise = torch.randn(16, 3, generator=seeded())
    half = ScoreModel(
        lambda x, t, cond: model.net(x.float(), t, None).half(), model.schedule, "x0", (3,)
    )
    samples = heun(half, noise.half(), grid)
    assert samples.dtype == torch.float16
    # float16 keeps three digits of samples of size up to 8.
    expected = heun(model, noise, grid)
    torch.testing.assert_close(samples.float(), expected, atol=0.05, rtol=0)


def test_gradients_are_on_again_behind_it() -> None:
    noise = torch.randn(2, 3, generator=seeded(), dtype=torch.float64).requires_grad_()
    model = gaussian(RectifiedFlow())
    assert not heun(model, noise, time_grid(model.schedule, 5)).requires_grad
    assert torch.is_grad_enabled()


def sampled(grid: Tensor) -> Tensor:
    return heun(gaussian(RectifiedFlow()), torch.zeros(1, 3, dtype=torch.float64), grid)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: time_grid(FLOW, 1), "steps must be at least 2, got 1"),
        (
            lambda: time_grid(FLOW, 5, lowest=0.0),
            "lowest must be above 0 and below highest",
        ),
        (lambda: time_grid(FLOW, 5, lowest=2.0, highest=1.0), r"got 2\.0, 1\.0"),
        (lambda: time_grid(FLOW, 5, highest=math.inf), "got 0.002, inf"),
        (
            lambda: time_grid(VarianceExploding(0.1, 1.0), 5, lowest=2.0),
            "5 steps do not fit between noise 2.0 and 80.0 on a schedule that runs from 0.1 to 1",
        ),
        (lambda: sampled(torch.tensor([0.5])), "at least two falling times, got"),
        (lambda: sampled(torch.tensor([0.5, 0.5, 0.0])), "at least two falling times"),
        (lambda: sampled(torch.tensor([1.0, 0.5, 0.0])), r"alpha is above 0, got t = 1\.0"),
        (lambda: sampled(torch.tensor([0.9, -0.1])), r"t must lie in \[0, 1\]"),
    ],
)
def test_bad_input_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
