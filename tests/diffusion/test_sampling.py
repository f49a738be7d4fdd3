"""Tests of the samplers: closed forms, orders of convergence and diffusers' own steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator

import pytest
import torch
from torch import Tensor

from mmh_core.diffusion.analytic import as_target, gaussian_on_subspace
from mmh_core.diffusion.sampling import SamplingStep, ddim, euler, heun, initial, last, time_grid
from mmh_core.diffusion.schedule import (
    Cosine,
    Discrete,
    RectifiedFlow,
    Schedule,
    VarianceExploding,
    VariancePreserving,
)
from mmh_core.diffusion.score_model import ScoreModel, Target
from tests.diffusion.exact_models import empirical_denoiser

SCHEDULES: dict[str, Schedule] = {
    "variance preserving": VariancePreserving(),
    "cosine": Cosine(),
    "variance exploding": VarianceExploding(),
    "rectified flow": RectifiedFlow(),
}
VARIANCES = torch.tensor([4.0, 1.0, 0.04], dtype=torch.float64)
Sampling = Callable[[ScoreModel, Tensor, Tensor], Iterator[SamplingStep]]
SAMPLERS: dict[str, Sampling] = {"ddim": ddim, "euler": euler, "heun": heun}

of_all = pytest.mark.parametrize("name", SCHEDULES)
of_samplers = pytest.mark.parametrize("sampler", SAMPLERS)


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


def error(sampler: str, schedule: Schedule, steps: int) -> float:
    """Return the largest error at the grid's last time above 0.

    With `du / d delta = delta u / (l + delta^2)` the probability flow is
    `u(delta) = u_T sqrt((l + delta^2) / (l + delta_T^2))`.
    """
    grid = time_grid(schedule, steps, lowest=0.05, highest=20.0)[:-1].double()
    noise = torch.randn(5, 3, generator=seeded(), dtype=torch.float64)
    x_t = last(SAMPLERS[sampler](gaussian(schedule), noise, grid))
    delta = schedule.log_delta(grid[[0, -1]]).exp()
    ratio = ((VARIANCES + delta[1].square()) / (VARIANCES + delta[0].square())).sqrt()
    exact = delta[0] * noise * ratio
    return (x_t / schedule.alpha(grid[-1:]) - exact).abs().max().item()


@of_all
@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("euler", 1), ("heun", 2)])
def test_samplers_follow_the_probability_flow_at_their_order(
    name: str, sampler: str, order: int
) -> None:
    errors = [error(sampler, SCHEDULES[name], steps) for steps in (40, 80, 160)]
    ratios = [errors[0] / errors[1], errors[1] / errors[2]]
    # The error's next term is smaller by one power of the step: 2.007 and 4.16 at 40 steps.
    assert ratios == pytest.approx([2**order, 2**order], rel=0.05)
    assert errors[2] < 0.03**order  # Of samples of size about 2.


@of_all
@of_samplers
def test_the_last_step_lands_on_the_denoised_sample(name: str, sampler: str) -> None:
    model = gaussian(SCHEDULES[name])
    grid = time_grid(model.schedule, 20)
    noise = torch.randn(5, 3, generator=seeded(), dtype=torch.float64)
    steps = list(SAMPLERS[sampler](model, noise, grid))
    assert [step.index for step in steps] == list(range(1, 21))
    assert [step.t for step in steps] == grid[1:].tolist()
    assert {step.steps for step in steps} == {20}
    # float64 with factors delta of up to 80.
    torch.testing.assert_close(steps[-1].x_t, steps[-1].x0_hat, atol=1e-11, rtol=0)
    before = model.x0(steps[-2].x_t, grid[-2])
    torch.testing.assert_close(steps[-1].x_t, before, atol=1e-11, rtol=0)
    first = model.x0(initial(model, noise, grid), grid[0])
    torch.testing.assert_close(steps[0].x0_hat, first, atol=1e-11, rtol=0)


@of_all
def test_euler_is_ddim_without_noise(name: str) -> None:
    model = as_target(gaussian(SCHEDULES[name], torch.float32), "v")
    grid = time_grid(model.schedule, 25)
    noise = torch.randn(50, 3, generator=seeded())
    pairs = zip(ddim(model, noise, grid), euler(model, noise, grid), strict=True)
    for one, other in pairs:
        scale = one.x_t.abs().max().item()
        # Relative to samples that reach 200 while noisy; a few float32 roundings a step.
        torch.testing.assert_close(one.x_t, other.x_t, atol=1e-5 * max(1, scale), rtol=0)


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_samples_do_not_depend_on_the_schedule(eta: float) -> None:
    """Check that all schedules walk the same path in `x_t / alpha` over delta."""
    found = []
    for schedule in SCHEDULES.values():
        delta = torch.tensor([60.0, 10.0, 2.0, 0.5, 0.1], dtype=torch.float64)
        grid = torch.cat([schedule.time_at(delta.log()), torch.zeros(1).double()])
        # `initial` scales by sigma: undo it, so that all start at the same u.
        alpha = schedule.alpha(grid[:1])
        noise = torch.randn(4, 3, generator=seeded(), dtype=torch.float64)
        noise = noise * 60 * alpha / schedule.sigma(grid[:1])
        steps = ddim(gaussian(schedule), noise, grid, eta=eta, generator=seeded(1))
        found.append(last(steps))
    for other in found[1:]:
        # float64 times near 1 leave delta good to 1e-13.
        torch.testing.assert_close(other, found[0], atol=1e-9, rtol=0)


def test_ancestral_samples_have_the_variances_of_the_data() -> None:
    model, count = gaussian(VariancePreserving()), 2_000
    grid = time_grid(model.schedule, 320, lowest=0.01)
    noise = torch.randn(count, 3, generator=seeded(), dtype=torch.float64)
    samples = last(ddim(model, noise, grid, eta=1.0, generator=seeded(1)))
    # Four relative standard errors of a variance of n normal draws, 12.6 %; the chain of 320
    # steps is itself 3 to 4 % too narrow, which the next test follows step by step.
    ratio = samples.var(0) / VARIANCES
    assert ratio.sub(1).abs().max().item() < 4 * math.sqrt(2 / count)


def test_ancestral_steps_have_the_variance_of_their_chain() -> None:
    """Follow the variance of u through each step of a coarse chain by hand."""
    model, eta, count = gaussian(VariancePreserving()), 0.6, 20_000
    grid = time_grid(model.schedule, 6).double()
    delta = torch.cat([model.schedule.log_delta(grid[:-1]).exp(), torch.zeros(1).double()])
    variance = delta[0].square() * torch.ones(3, dtype=torch.float64)
    noise = torch.randn(count, 3, generator=seeded(), dtype=torch.float64)
    for k, step in enumerate(ddim(model, noise, grid, eta=eta, generator=seeded(1))):
        before, after = delta[k], delta[k + 1]
        gain = VARIANCES / (
            VARIANCES + before**2
        )  # x0_hat = gain u, eps_hat = (1 - gain) u / delta
        fresh = eta * after * (1 - (after / before) ** 2).sqrt()
        kept = gain + (after**2 - fresh**2).sqrt() * (1 - gain) / before
        variance = kept**2 * variance + fresh**2
        found = (step.x_t / model.schedule.alpha(grid[k + 1])).var(0)
        ratio = found / variance if k < 5 else step.x_t.var(0) / variance
        # Four relative standard errors of a variance.
        assert ratio.sub(1).abs().max().item() < 4 * math.sqrt(2 / count)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    ("target", "named"), [("eps", "epsilon"), ("x0", "sample"), ("v", "v_prediction")]
)
def test_ddim_equals_the_steps_of_diffusers(target: Target, named: str, eta: float) -> None:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type=named,
        steps_offset=1,
    )
    scheduler.set_timesteps(10)
    schedule = Discrete(tuple(scheduler.alphas_cumprod.double().tolist()))
    model = ScoreModel(lambda x, t, cond: torch.sin(3 * x) + t[:, None], schedule, target, (8,))
    times = schedule.time_of_step(scheduler.timesteps)
    grid = torch.cat([times, torch.zeros(1)])
    noise = torch.randn(4, 8, generator=seeded())
    x_t, theirs = initial(model, noise, grid), seeded(1)
    ours = ddim(model, noise, grid, eta=eta, generator=seeded(1))
    for step, n, t in zip(ours, scheduler.timesteps, times, strict=True):
        answer = model.net(x_t, t.expand(4), None)
        z = torch.randn(4, 8, generator=theirs)
        more = {"variance_noise": z} if eta else {}
        output = scheduler.step(answer, int(n), x_t, eta=eta, **more)
        # A few float32 roundings, times 1 / alpha = 12 at the first step.
        torch.testing.assert_close(step.x_t, output.prev_sample, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(step.x0_hat, output.pred_original_sample, atol=1e-5, rtol=1e-5)
        x_t = step.x_t  # Go on from ours, so that one step is compared at a time.


@pytest.mark.parametrize("sampler", ["ddim", "euler"])
def test_flow_steps_equal_those_of_diffusers(sampler: str) -> None:
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )

    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[0.95, 0.7, 0.4, 0.2, 0.05])
    model = ScoreModel(
        lambda x, t, cond: torch.sin(3 * x) + t[:, None], RectifiedFlow(), "flow", (8,)
    )
    grid = scheduler.sigmas
    noise = torch.randn(4, 8, generator=seeded())
    x_t = initial(model, noise, grid)
    for step, n in zip(SAMPLERS[sampler](model, noise, grid), scheduler.timesteps, strict=True):
        velocity = model.net(x_t, (n / 1000).expand(4), None)
        x_t = scheduler.step(velocity, n, x_t).prev_sample
        # Five steps of float32 roundings, with u up to 20 times x_t.
        torch.testing.assert_close(step.x_t, x_t, atol=1e-5, rtol=0)


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
    straight = time_grid(schedule, 5, lowest=0.5, highest=2.5, rho=1.0)
    delta = schedule.log_delta(straight[:-1].double()).exp()
    expected_delta = torch.tensor([2.5, 2.0, 1.5, 1.0, 0.5]).double()
    torch.testing.assert_close(delta, expected_delta, atol=0, rtol=2e-5)


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


@of_samplers
def test_the_same_noise_gives_the_same_bytes(sampler: str) -> None:
    points = torch.randn(20, 3, generator=seeded(5))
    model, grid = empirical_denoiser(points, Cosine()), time_grid(Cosine(), 15)
    before = torch.get_rng_state()
    runs = [
        last(SAMPLERS[sampler](model, torch.randn(8, 3, generator=seeded()), grid))
        for _ in range(2)
    ]
    assert torch.equal(*runs)
    assert torch.equal(torch.get_rng_state(), before)
    # A model of a finite set makes nothing new: each sample is one of its points.
    assert torch.cdist(runs[0], points).amin(1).max() < 1e-5


def test_ancestral_noise_comes_from_the_generator_alone() -> None:
    model, grid = gaussian(Cosine()), time_grid(Cosine(), 15)
    noise = torch.randn(8, 3, generator=seeded(), dtype=torch.float64)
    before = torch.get_rng_state()
    runs = [last(ddim(model, noise, grid, eta=1.0, generator=seeded(k))) for k in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert (runs[0] - runs[2]).abs().max() > 0.1
    assert torch.equal(torch.get_rng_state(), before)


@of_samplers
def test_a_sampler_can_be_stopped_and_leaves_gradients_on(sampler: str) -> None:
    model, grid = gaussian(Cosine()), time_grid(Cosine(), 20)
    noise = torch.randn(8, 3, generator=seeded(), dtype=torch.float64).requires_grad_()
    whole = [step.x_t for step in SAMPLERS[sampler](model, noise, grid)]
    steps = SAMPLERS[sampler](model, noise, grid)
    for k in range(5):
        step = next(steps)
        assert torch.equal(step.x_t, whole[k])
        assert not step.x_t.requires_grad
        assert torch.is_grad_enabled()  # Between steps too: a caller may differentiate here.
    assert isinstance(steps, Generator)
    steps.close()
    assert torch.is_grad_enabled()
    with pytest.raises(StopIteration):
        next(steps)


@of_samplers
def test_the_condition_reaches_every_step(sampler: str) -> None:
    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return torch.zeros_like(x_t) if cond is None else cond

    model = ScoreModel(net, Cosine(), "x0", (3,))
    noise, cond = torch.randn(2, 4, 3, generator=seeded(), dtype=torch.float64)
    grid = time_grid(Cosine(), 10)
    run = {"ddim": ddim, "euler": euler, "heun": heun}[sampler]
    start = initial(model, noise, grid)
    for given, aim in ((cond, cond), (None, torch.zeros_like(cond))):
        # A model that always answers c has one eps all along: its path is straight.
        eps = model.eps(start, grid[0], given)
        for step in run(model, noise, grid, given):
            expected = model.noised(aim, eps, step.t) if step.t > 0 else aim
            # float64 roundings of delta eps, with delta up to 80.
            torch.testing.assert_close(step.x_t, expected, atol=1e-11, rtol=0)


@of_samplers
def test_half_precision_stays_half(sampler: str) -> None:
    model, grid = gaussian(VariancePreserving(), torch.float32), time_grid(VariancePreserving(), 8)
    noise = torch.randn(16, 3, generator=seeded())
    half = ScoreModel(
        lambda x, t, cond: model.net(x.float(), t, None).half(), model.schedule, "x0", (3,)
    )
    samples = last(SAMPLERS[sampler](half, noise.half(), grid))
    assert samples.dtype == torch.float16
    # float16 keeps three digits of samples of size up to 8.
    expected = last(SAMPLERS[sampler](model, noise, grid))
    torch.testing.assert_close(samples.float(), expected, atol=0.05, rtol=0)


def first(grid: Tensor) -> SamplingStep:
    return next(euler(gaussian(Cosine()), torch.zeros(1, 3, dtype=torch.float64), grid))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: time_grid(Cosine(), 1), "steps must be at least 2, got 1"),
        (lambda: time_grid(Cosine(), 5, lowest=0.0), "lowest must be above 0 and below highest"),
        (lambda: time_grid(Cosine(), 5, lowest=2.0, highest=1.0), r"got 2\.0, 1\.0"),
        (lambda: time_grid(Cosine(), 5, highest=math.inf), "got 0.002, inf"),
        (lambda: time_grid(Cosine(), 5, rho=0.0), "rho must be a finite number above 0, got 0.0"),
        (
            lambda: time_grid(VarianceExploding(0.1, 1.0), 5, lowest=2.0),
            "5 steps do not fit between noise 2.0 and 80.0 on a schedule that runs from 0.1 to 1",
        ),
        (lambda: first(torch.tensor([0.5])), "at least two falling times, got"),
        (lambda: first(torch.tensor([0.5, 0.5, 0.0])), "at least two falling times"),
        (lambda: first(torch.tensor([1.0, 0.5, 0.0])), r"alpha is above 0, got t = 1\.0"),
        (lambda: first(torch.tensor([0.9, -0.1])), r"t must lie in \[0, 1\]"),
        (lambda: last(iter(())), "made no step"),
    ],
)
def test_bad_input_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("eta", "sentence"), [(-0.1, r"eta must lie in \[0, 1\], got -0.1"), (1.0, "give a generator")]
)
def test_bad_eta_is_refused(eta: float, sentence: str) -> None:
    noise, grid = torch.zeros(1, 3, dtype=torch.float64), time_grid(Cosine(), 5)
    with pytest.raises(ValueError, match=sentence):
        next(ddim(gaussian(Cosine()), noise, grid, eta=eta))
