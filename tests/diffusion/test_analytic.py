"""Tests of the models with known answers: limits, equivalences and Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmh_core.diffusion.analytic import gaussian_flipd, gaussian_on_subspace
from mmh_core.diffusion.schedule import (
    RectifiedFlow,
    Schedule,
    VarianceExploding,
    VariancePreserving,
)
from tests.diffusion.exact_models import empirical_denoiser, gaussian_mixture

SCHEDULES: dict[str, Schedule] = {
    "variance preserving": VariancePreserving(),
    "variance exploding": VarianceExploding(),
    "rectified flow": RectifiedFlow(),
}
of_all = pytest.mark.parametrize("name", SCHEDULES)


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def time_of(schedule: Schedule, delta: float) -> Tensor:
    return schedule.time_at(torch.tensor(delta, dtype=torch.float64).log())


@of_all
def test_a_mixture_of_one_gaussian_is_that_gaussian(name: str) -> None:
    basis = torch.linalg.qr(normal(5, 5)).Q
    mean, variances = normal(5, seed=1), torch.tensor([2.0, 0.3], dtype=torch.float64)
    one = gaussian_on_subspace(mean, basis[:, :2], variances, SCHEDULES[name])
    padded = torch.cat([variances, torch.zeros(3, dtype=torch.float64)])
    other = gaussian_mixture(
        torch.zeros(1, dtype=torch.float64), mean[None], basis[None], padded[None], SCHEDULES[name]
    )
    x_t = normal(7, 5, seed=2)
    for t in (0.05, 0.5, 0.95):
        # float64 with factors up to 1e3.
        torch.testing.assert_close(one.x0(x_t, t), other.x0(x_t, t), atol=1e-11, rtol=1e-11)


@of_all
def test_a_gaussian_denoises_to_its_subspace_and_shrinks_by_the_wiener_factor(name: str) -> None:
    schedule = SCHEDULES[name]
    basis = torch.linalg.qr(normal(5, 5)).Q
    mean, variances = normal(5, seed=1), torch.tensor([2.0, 0.3], dtype=torch.float64)
    model = gaussian_on_subspace(mean, basis[:, :2], variances, schedule)
    t = time_of(schedule, 0.5)
    coordinates = normal(7, 5, seed=2)  # Two along the subspace, three across it.
    x0_hat = model.x0(schedule.alpha(t) * (mean + coordinates @ basis.T), t)
    found = (x0_hat - mean) @ basis
    shrunk = coordinates[:, :2] * variances / (variances + 0.25)
    torch.testing.assert_close(found[:, :2], shrunk, atol=1e-10, rtol=0)  # float64 roundings.
    torch.testing.assert_close(found[:, 2:], torch.zeros(7, 3).double(), atol=1e-10, rtol=0)


@of_all
def test_the_empirical_denoiser_is_a_mixture_of_point_masses(name: str) -> None:
    points, log_weights = normal(9, 4), normal(9, seed=1)
    frames = torch.eye(4, dtype=torch.float64).expand(9, 4, 4)
    mixture = gaussian_mixture(
        log_weights, points, frames, torch.zeros_like(points), RectifiedFlow()
    )
    empirical = empirical_denoiser(points, RectifiedFlow(), log_weights)
    x_t = normal(6, 4, seed=2)
    for t in (0.02, 0.2, 0.5, 0.95):
        # Logits of up to 1e4 in float64.
        torch.testing.assert_close(
            empirical.x0(x_t, t), mixture.x0(x_t, t), atol=1e-10, rtol=1e-10
        )
    images = empirical_denoiser(points.reshape(9, 2, 2), RectifiedFlow(), log_weights)
    assert images.shape == (2, 2)
    assert torch.equal(images.x0(x_t.reshape(6, 2, 2), 0.5).flatten(1), empirical.x0(x_t, 0.5))


def test_duplicates_are_weights() -> None:
    points = normal(4, 3)
    counts = torch.tensor([1, 2, 1, 5])
    copies = empirical_denoiser(points.repeat_interleave(counts, 0), RectifiedFlow())
    weighted = empirical_denoiser(points, RectifiedFlow(), counts.double().log())
    even = empirical_denoiser(points, RectifiedFlow())
    x_t = normal(6, 3, seed=1)
    torch.testing.assert_close(copies.x0(x_t, 0.5), weighted.x0(x_t, 0.5), atol=1e-12, rtol=0)
    assert (copies.x0(x_t, 0.5) - even.x0(x_t, 0.5)).abs().max() > 0.1


@of_all
def test_the_empirical_denoiser_runs_from_the_nearest_point_to_the_mean(name: str) -> None:
    schedule, points = SCHEDULES[name], normal(50, 4)
    model = empirical_denoiser(points, schedule)
    x = points[:10] + 0.1 * normal(10, 4, seed=1)
    low, high = time_of(schedule, 0.01), time_of(schedule, 79.0)
    distances = torch.cdist(x, points).square()
    nearest = points[distances.argmin(1)]
    # The second nearest is farther by at least .1 in squared distance: exp(-.1 / .0002) = 1e-217.
    assert (distances.topk(2, largest=False).values.diff(dim=1) > 0.1).all()
    found = model.x0(schedule.alpha(low) * x, low)
    torch.testing.assert_close(found, nearest, atol=1e-12, rtol=0)
    # The logits differ by |x| |x_i| / delta^2, of order 1e-3, and the points by about 1.
    found = model.x0(schedule.alpha(high) * x, high)
    torch.testing.assert_close(found, points.mean(0).expand(10, 4), atol=5e-3, rtol=0)


def test_float32_finds_the_nearest_of_points_far_from_the_origin() -> None:
    # Spacing 2e-3 at distance 30: |x|^2 = 900 in float32 is off by more than all the distances.
    points = torch.tensor([[30.0, 0.0], [30.0, 2e-3], [30.0, 4e-3]])
    model = empirical_denoiser(points, VarianceExploding(1e-4, 1.0))
    x_t = torch.tensor([[30.0, 1.4e-3]])
    t = model.schedule.time_at(torch.tensor([1e-3]).log())
    offsets = (points[:, 1].double() - 1.4e-3).square()
    expected = torch.softmax(-offsets / 2e-6, 0) @ points[:, 1].double()
    # float32 times and coordinates leave sigma good to 1e-6.
    assert model.x0(x_t, t)[0, 1].item() == pytest.approx(expected.item(), rel=1e-5)


@of_all
@pytest.mark.parametrize("delta", [0.05, 0.7, 6.0])
def test_gaussian_flipd_is_the_trace_by_autograd(name: str, delta: float) -> None:
    schedule = SCHEDULES[name]
    frame = torch.linalg.qr(normal(5, 2)).Q
    mean, variances = normal(5, seed=1), torch.tensor([2.0, 0.3], dtype=torch.float64)
    model = gaussian_on_subspace(mean, frame, variances, schedule)
    t = time_of(schedule, delta)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    coordinates = normal(4, 2, seed=2)
    y = (alpha * (mean + coordinates @ frame.T)).requires_grad_()
    score = model.score(y, t)
    trace = torch.zeros(4, dtype=torch.float64)
    for i in range(5):
        trace += torch.autograd.grad(score[:, i].sum(), y, retain_graph=True)[0][:, i]
    flipd = 5 + sigma.square() * (trace + score.square().sum(1))
    # Kamkari et al. 2024, Eq. 7; D is what is left of D - (D - d) - ..., in float64.
    torch.testing.assert_close(
        gaussian_flipd(variances, coordinates, delta), flipd.detach(), atol=1e-9, rtol=0
    )


def test_gaussian_flipd_counts_directions_wider_than_the_noise() -> None:
    variances = torch.tensor([1.0, 1e-4], dtype=torch.float64)
    at_mean = torch.zeros(1, 2, dtype=torch.float64)
    for delta, count in ((1e-4, 2), (1e-1, 1), (1e2, 0)):
        # Each factor l / (l + delta^2) is within 1e-2 of 0 or 1.
        found = gaussian_flipd(variances, at_mean, delta).item()
        assert found == pytest.approx(count, abs=0.02)


def test_results_have_the_type_of_the_input() -> None:
    points = normal(4, 3).float()
    frames = torch.eye(3).expand(4, 3, 3)
    for model in (
        empirical_denoiser(points, RectifiedFlow()),
        gaussian_mixture(torch.zeros(4), points, frames, torch.ones(4, 3), RectifiedFlow()),
        gaussian_on_subspace(points[0], frames[0], torch.ones(3), RectifiedFlow()),
    ):
        assert model.net(points, torch.full((4,), 0.5), None).dtype == torch.float32


BENT = torch.tensor([[1.0, 0.5], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: gaussian_on_subspace(torch.zeros(2), BENT, torch.ones(2), RectifiedFlow()),
            "columns of a frame must be orthonormal",
        ),
        (
            lambda: gaussian_on_subspace(
                torch.zeros(2), torch.eye(2), torch.tensor([1.0, -2.0]), RectifiedFlow()
            ),
            "variances must not be negative, got -2.0",
        ),
        (
            lambda: gaussian_mixture(
                torch.zeros(1), torch.zeros(1, 2), BENT[None], torch.ones(1, 2), RectifiedFlow()
            ),
            "columns of a frame must be orthonormal",
        ),
        (
            lambda: gaussian_mixture(
                torch.zeros(1),
                torch.zeros(1, 2),
                torch.eye(2)[None],
                -torch.ones(1, 2),
                RectifiedFlow(),
            ),
            "variances must not be negative, got -1.0",
        ),
        (
            lambda: gaussian_flipd(torch.ones(2), torch.zeros(1, 2), 0.0),
            "delta must be finite and above 0, got 0.0",
        ),
    ],
)
def test_bad_input_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
