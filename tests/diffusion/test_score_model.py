"""Tests of the parameterisations, of guidance and of the EDM input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from mmh_core.diffusion.analytic import as_target, gaussian_on_subspace
from mmh_core.diffusion.schedule import (
    Discrete,
    RectifiedFlow,
    Schedule,
    VarianceExploding,
    VariancePreserving,
)
from mmh_core.diffusion.score_model import (
    Net,
    ScoreModel,
    Target,
    edm_input,
    edm_mixture,
    expand,
    guided,
)
from tests.diffusion.exact_models import gaussian_mixture

SCHEDULES: dict[str, Schedule] = {
    "variance preserving": VariancePreserving(),
    "variance exploding": VarianceExploding(),
    "rectified flow": RectifiedFlow(),
    "discrete": Discrete((0.999, 0.9, 0.6, 0.3, 0.1, 0.01)),
}
TARGETS: tuple[Target, ...] = get_args(Target)
MEAN = torch.tensor([0.5, -1.0, 2.0, 0.1], dtype=torch.float64)
VARIANCES = torch.tensor([1.0, 0.5, 0.1, 0.0], dtype=torch.float64)
DATA_SCALE = 0.7

of_all = pytest.mark.parametrize("name", SCHEDULES)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def posterior(schedule: Schedule, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return x0_hat and eps_hat of the diagonal Gaussian, from Bayes' rule coordinate-wise.

    `cov(x0, x_t) / var(x_t)` and `cov(eps, x_t) / var(x_t)` times the offset.
    """
    alpha, sigma = expand(schedule.alpha(t), x_t), expand(schedule.sigma(t), x_t)
    mean, variances = MEAN.to(x_t), VARIANCES.to(x_t)
    offset = (x_t - alpha * mean) / (alpha.square() * variances + sigma.square())
    return mean + alpha * variances * offset, sigma * offset


def network(target: Target, schedule: Schedule) -> Net:
    """Return the exact network of the diagonal Gaussian, by each paper's own definition."""

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        x0, eps = posterior(schedule, x_t, t)
        alpha, sigma = expand(schedule.alpha(t), x_t), expand(schedule.sigma(t), x_t)
        delta = sigma / alpha
        if target == "eps":
            return eps
        if target == "x0":
            return x0
        if target == "v":  # Salimans & Ho 2022: v = alpha eps - sigma x.
            return alpha * eps - sigma * x0
        if target == "flow":  # Liu et al. 2023: the velocity from data to noise.
            return eps - x0
        skip = DATA_SCALE**2 / (delta.square() + DATA_SCALE**2)
        out = delta * DATA_SCALE / (delta.square() + DATA_SCALE**2).sqrt()
        return (x0 - skip * x_t / alpha) / out

    return net


def exact(target: Target, schedule: Schedule) -> ScoreModel:
    return ScoreModel(network(target, schedule), schedule, target, (4,), DATA_SCALE)


@of_all
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_all_targets_give_the_same_answers(
    name: str, target: Target, kind: torch.dtype, tolerance: float
) -> None:
    schedule = SCHEDULES[name]
    t = torch.tensor([0.3, 0.5, 0.9], dtype=kind)
    x_t = torch.randn(3, 4, generator=seeded(), dtype=kind)
    x0, eps = posterior(schedule, x_t, t)
    model = exact(target, schedule)
    # Solving for eps divides by sigma, at least .05 here, and for x0 by alpha, at least .1, so
    # that float32 roundings of 1e-7 grow to 1e-5; the score divides by sigma once more.
    torch.testing.assert_close(model.eps(x_t, t), eps, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(model.x0(x_t, t), x0, atol=tolerance, rtol=tolerance)
    sigma = expand(schedule.sigma(t), x_t)
    scaled = sigma * model.score(x_t, t)
    torch.testing.assert_close(scaled, -eps, atol=tolerance, rtol=tolerance)


@of_all
@pytest.mark.parametrize("target", TARGETS)
def test_as_target_gives_the_network_that_the_papers_define(name: str, target: Target) -> None:
    schedule = SCHEDULES[name]
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    x_t = torch.randn(3, 4, generator=seeded(), dtype=torch.float64)
    base = replace(exact("v", schedule), data_scale=3.0)  # Which a v-network does not read.
    shown = as_target(base, target, DATA_SCALE)
    assert (shown.target, shown.data_scale) == (target, DATA_SCALE)
    expected = network(target, schedule)(x_t, t, None)
    # float64, with divisions by numbers of at least 1e-3.
    torch.testing.assert_close(shown.net(x_t, t, None), expected, atol=1e-9, rtol=1e-9)


@of_all
def test_the_score_of_a_gaussian_is_the_gradient_of_its_log_density(name: str) -> None:
    schedule = SCHEDULES[name]
    frame = torch.linalg.qr(torch.randn(4, 2, generator=seeded(1), dtype=torch.float64)).Q
    variances = VARIANCES[:2]
    model = gaussian_on_subspace(MEAN, frame, variances, schedule)
    for time in (0.2, 0.5, 0.9):
        t = torch.tensor([time], dtype=torch.float64)
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        covariance = alpha**2 * (frame * variances) @ frame.T + sigma**2 * torch.eye(4)
        density: Any = MultivariateNormal(alpha * MEAN, covariance)
        x_t = torch.randn(5, 4, generator=seeded(), dtype=torch.float64).requires_grad_()
        (gradient,) = torch.autograd.grad(density.log_prob(x_t).sum(), x_t)
        # Both invert a covariance of condition number below 1e4 in float64.
        torch.testing.assert_close(model.score(x_t, time), gradient, atol=1e-9, rtol=1e-9)


@of_all
def test_the_score_of_a_mixture_is_the_gradient_of_its_log_density(name: str) -> None:
    schedule = SCHEDULES[name]
    generator = seeded(2)
    log_weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log()
    means = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    frames = torch.linalg.qr(torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)).Q
    variances = torch.stack([VARIANCES, VARIANCES.flip(0), 0 * VARIANCES])
    model = gaussian_mixture(log_weights, means, frames, variances, schedule)
    for time in (0.2, 0.5, 0.9):
        t = torch.tensor([time], dtype=torch.float64)
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        spread = alpha**2 * torch.einsum("kij,kj,klj->kil", frames, variances, frames)
        density: Any = MixtureSameFamily(
            Categorical(logits=log_weights),
            MultivariateNormal(alpha * means, spread + sigma**2 * torch.eye(4)),
        )
        x_t = torch.randn(5, 4, generator=seeded(), dtype=torch.float64).requires_grad_()
        (gradient,) = torch.autograd.grad(density.log_prob(x_t).sum(), x_t)
        torch.testing.assert_close(model.score(x_t, time), gradient, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ["variance preserving", "variance exploding", "rectified flow"])
def test_edm_preconditioning_is_that_of_karras(name: str) -> None:
    schedule = SCHEDULES[name]
    t = torch.linspace(0.01, 0.99, 7, dtype=torch.float64)
    alpha, delta = schedule.alpha(t), schedule.sigma(t) / schedule.alpha(t)
    skip = DATA_SCALE**2 / (delta**2 + DATA_SCALE**2)
    out = delta * DATA_SCALE / (delta**2 + DATA_SCALE**2).sqrt()
    p, q = edm_mixture(alpha, schedule.sigma(t), DATA_SCALE)
    torch.testing.assert_close(p, (1 - skip) / out)
    torch.testing.assert_close(q, -skip * delta / out)
    x_t, answer = torch.randn(2, 7, 4, generator=seeded(), dtype=torch.float64)
    model = ScoreModel(lambda x, t, cond: answer, schedule, "edm", (4,), DATA_SCALE)
    expected = skip[:, None] * x_t / alpha[:, None] + out[:, None] * answer
    torch.testing.assert_close(model.x0(x_t, t), expected, atol=1e-9, rtol=1e-9)
    # For unit data EDM is v-prediction with the other sign, on a kernel of variance 1.
    vp = VariancePreserving()
    p, q = edm_mixture(vp.alpha(t), vp.sigma(t), 1.0)
    torch.testing.assert_close((p, q), (vp.sigma(t), -vp.alpha(t)))


def test_edm_has_coefficients_where_no_data_are_left() -> None:
    p, q = edm_mixture(torch.zeros(1), torch.ones(1), 2.0)
    assert (p.item(), q.item()) == (0.5, 0.0)  # F = x0 / data_scale.


def test_edm_input_feeds_unit_variance_and_the_label_of_karras() -> None:
    fed: list[Tensor] = []

    def raw(x: Tensor, label: Tensor, cond: Tensor | None) -> Tensor:
        fed.extend([x, label])
        return x

    schedule = VariancePreserving()
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    eps, x0 = torch.randn(2, 3, 20_000, generator=seeded(), dtype=torch.float64)
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    x_t = alpha * DATA_SCALE * x0 + sigma * eps
    edm_input(raw, schedule, DATA_SCALE)(x_t, t, None)
    delta = sigma / alpha
    torch.testing.assert_close(fed[0], x_t / alpha / (delta**2 + DATA_SCALE**2).sqrt())
    torch.testing.assert_close(fed[1], delta[:, 0].log() / 4)
    # Four standard errors of a variance of 20,000 draws: 4 sqrt(2 / 20,000).
    torch.testing.assert_close(fed[0].var(1), torch.ones(3).double(), atol=0.04, rtol=0)


@of_all
@pytest.mark.parametrize("target", TARGETS)
def test_target_of_and_noised_are_inverted_by_x0_and_eps(name: str, target: Target) -> None:
    x0, eps = torch.randn(2, 3, 2, 2, generator=seeded(), dtype=torch.float64)
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    blank = ScoreModel(lambda x, t, cond: x, SCHEDULES[name], target, (2, 2), DATA_SCALE)
    said = blank.target_of(x0, eps, t)
    model = ScoreModel(lambda x, t, cond: said, SCHEDULES[name], target, (2, 2), DATA_SCALE)
    x_t = model.noised(x0, eps, t)
    torch.testing.assert_close(
        x_t, expand(model.schedule.alpha(t), x0) * x0 + expand(model.schedule.sigma(t), x0) * eps
    )
    # float64, with divisions by numbers of at least 1e-3.
    torch.testing.assert_close(model.x0(x_t, t), x0, atol=1e-10, rtol=0)
    torch.testing.assert_close(model.eps(x_t, t), eps, atol=1e-10, rtol=0)


@pytest.mark.parametrize("target", TARGETS)
def test_a_batch_is_a_loop(target: Target) -> None:
    generator = seeded(3)
    means = torch.randn(3, 4, generator=generator)
    frames = torch.linalg.qr(torch.randn(3, 4, 4, generator=generator)).Q
    variances = torch.rand(3, 4, generator=generator)
    base = gaussian_mixture(torch.zeros(3), means, frames, variances, RectifiedFlow())
    model = as_target(base, target)
    x_t, t = torch.randn(6, 4, generator=generator), torch.linspace(0.2, 0.8, 6)
    for function in (model.eps, model.x0, model.score):
        alone = torch.cat([function(x_t[i : i + 1], t[i].item()) for i in range(6)])
        # Matrix products of another size may add up in another order: a few float32 roundings.
        torch.testing.assert_close(function(x_t, t), alone, atol=1e-5, rtol=1e-5)


def conditional(target: Target) -> ScoreModel:
    """Return a model that without a condition denoises one Gaussian and with it another."""
    with_condition, without = exact(target, RectifiedFlow()), exact(target, RectifiedFlow())

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        if cond is None:
            return without.net(x_t, t, None)
        return with_condition.net(torch.sin(x_t + cond), t, None)

    return ScoreModel(net, RectifiedFlow(), target, (4,), DATA_SCALE)


@pytest.mark.parametrize("target", TARGETS)
def test_guidance_mixes_eps(target: Target) -> None:
    model, cond = conditional(target), torch.randn(3, 4, generator=seeded(1)).double()
    x_t = torch.randn(3, 4, generator=seeded(), dtype=torch.float64)
    given, free = model.eps(x_t, 0.4, cond), model.eps(x_t, 0.4)
    for scale, expected in ((1.0, given), (0.0, free), (7.5, free + 7.5 * (given - free))):
        # Only roundings of float64 differ.
        torch.testing.assert_close(
            guided(model, scale).eps(x_t, 0.4, cond), expected, atol=1e-11, rtol=1e-11
        )
    torch.testing.assert_close(
        guided(model, 3.0).x0(x_t, 0.4, cond),
        3 * model.x0(x_t, 0.4, cond) - 2 * model.x0(x_t, 0.4),
    )


def test_guidance_differentiates_both_branches() -> None:
    model, scale, step = conditional("v"), 3.0, 1e-5
    cond = torch.randn(1, 4, generator=seeded(1)).double()
    x_t = torch.randn(1, 4, generator=seeded(), dtype=torch.float64).requires_grad_()
    eps = guided(model, scale).eps(x_t, 0.4, cond)[0]
    jacobian = torch.cat([torch.autograd.grad(e, x_t, retain_graph=True)[0] for e in eps])
    moves = step * torch.eye(4, dtype=torch.float64)
    up, down = x_t.detach() + moves, x_t.detach() - moves
    given = (model.eps(up, 0.4, cond) - model.eps(down, 0.4, cond)).T / (2 * step)
    free = (model.eps(up, 0.4) - model.eps(down, 0.4)).T / (2 * step)
    # Central differences with steps of 1e-5 are off by 1e-10 in both truncation and rounding.
    torch.testing.assert_close(jacobian, free + scale * (given - free), atol=1e-8, rtol=1e-8)
    # Holding the unconditional branch constant would leave out a Jacobian that is not small.
    assert ((1 - scale) * free).abs().max() > 0.1


def test_guidance_needs_a_condition_and_a_finite_scale() -> None:
    model = conditional("eps")
    with pytest.raises(ValueError, match="needs a condition"):
        guided(model, 2.0).eps(torch.zeros(1, 4), 0.5)
    with pytest.raises(ValueError, match="must be a finite number, got nan"):
        guided(model, float("nan"))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_fed_exact_times(kind: torch.dtype) -> None:
    # 1,000 steps: float16 holds every other time near 1 and bfloat16 every fourth.
    schedule = Discrete(tuple(torch.linspace(0.999, 0.005, 1000).tolist()))
    steps = torch.arange(980, 1000)
    fed: list[Tensor] = []

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        fed.append(schedule.step_at(t))
        return torch.ones_like(x_t)

    model = ScoreModel(net, schedule, "v", (3,))
    x_t = torch.randn(20, 3, generator=seeded()).to(kind)
    x0 = model.x0(x_t, schedule.time_of_step(steps))
    assert x0.dtype == kind
    assert torch.equal(fed[0].round().long(), steps)
    # v = 1: x0 = alpha x_t - sigma; computed in float32 and rounded once to the type of x_t.
    t = schedule.time_of_step(steps)[:, None]
    expected = schedule.alpha(t) * x_t.float() - schedule.sigma(t)
    torch.testing.assert_close(x0, expected.to(kind), atol=1e-6, rtol=torch.finfo(kind).eps)
    for half in (model.eps(x_t, 0.5), model.score(x_t, 0.5), model.noised(x_t, x_t, 0.5)):
        assert half.dtype == kind


@pytest.mark.parametrize("t", [-0.001, 1.001, float("nan")])
def test_times_outside_the_range_are_refused(t: float) -> None:
    model, x_t = exact("eps", RectifiedFlow()), torch.zeros(2, 4)
    calls: list[Callable[[], Tensor]] = [
        lambda: model.eps(x_t, t),
        lambda: model.x0(x_t, torch.tensor([0.5, t])),
        lambda: model.score(x_t, t),
        lambda: model.noised(x_t, x_t, t),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"t must lie in \[0, 1\]"):
            call()


def test_times_come_one_for_all_or_one_for_each() -> None:
    model = exact("eps", RectifiedFlow())
    for t in (0.5, torch.tensor(0.5), torch.tensor([0.5]), torch.full((2,), 0.5)):
        assert model.times(t, torch.zeros(2, 4)).tolist() == [0.5, 0.5]
    for t in (torch.full((3,), 0.5), torch.full((2, 1), 0.5)):
        with pytest.raises(ValueError, match=r"one number or one per sample \(2\)"):
            model.eps(torch.zeros(2, 4), t)


def test_a_score_needs_noise() -> None:
    with pytest.raises(ValueError, match=r"t must be above 0, got 0\.0"):
        exact("eps", RectifiedFlow()).score(torch.zeros(2, 4), 0.0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"target": "epsilon"}, "Unknown target 'epsilon'; choose from .*'eps', 'x0', 'v'"),
        ({"shape": ()}, r"shape must hold positive sizes, got \(\)"),
        ({"shape": (3, 0)}, r"got \(3, 0\)"),
        ({"data_scale": 0.0}, "data_scale must be finite and above 0, got 0.0"),
        ({"data_scale": float("inf")}, "got inf"),
    ],
)
def test_bad_models_are_refused(changes: dict[str, Any], sentence: str) -> None:
    good: dict[str, Any] = {"target": "eps", "shape": (4,), "data_scale": 1.0}
    with pytest.raises(ValueError, match=sentence):
        ScoreModel(lambda x, t, cond: x, RectifiedFlow(), **(good | changes))


def test_ambient_dim_counts_all_coordinates() -> None:
    assert ScoreModel(lambda x, t, cond: x, RectifiedFlow(), "eps", (3, 4, 5)).ambient_dim == 60
