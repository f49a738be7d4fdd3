"""Tests of the training loop: its loss by hand, what it learns, and that it repeats itself."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Callable, Generator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmh_core.diffusion.sampling import heun, time_grid
from mmh_core.diffusion.schedule import VarianceExploding
from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.diffusion.training import (
    HIGHEST_NOISE,
    LOSS_FLOOR,
    LOWEST_NOISE,
    DenoiserMLP,
    TrainingStep,
    denoiser,
    train,
)
from mmh_core.diffusion.training import (
    _loss as training_loss,
)
from tests.diffusion.exact_models import empirical_denoiser

PAIR = torch.tensor([[1.0, 2.0], [-1.0, 0.5]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(model: ScoreModel) -> list[Tensor]:
    assert isinstance(model.net, nn.Module)
    return [parameter.detach() for parameter in model.net.parameters()]


def loss_by_hand(
    x0_hat: Callable[[Tensor, Tensor], Tensor], points: Tensor, scale: float, batch: int
) -> float:
    """Return the loss of a denoiser of `(x0 + delta eps, delta)` on the first batch of seed 0."""
    generator = seeded()
    x0 = points[torch.randint(len(points), (batch,), generator=generator)].double()
    share = (torch.arange(batch) + torch.rand(batch, generator=generator).double()) / batch
    eps = torch.randn(x0.shape, generator=generator).double()
    delta = scale * LOWEST_NOISE ** (1 - share) * HIGHEST_NOISE**share
    squares = (x0_hat(x0 + delta[:, None] * eps, delta) - x0).square().sum(1)
    weight = (delta**2 + scale**2) / (scale**2 * (delta**2 + (LOSS_FLOOR * scale) ** 2))
    return (weight * squares).mean().item()


class Constant(nn.Module):
    """Answer a trainable constant."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.value.expand_as(x_t)


def constant(value: float = 0.3) -> ScoreModel:
    schedule = VarianceExploding(1e-3, 200.0)
    return ScoreModel(Constant(value), schedule, "edm", (2,), data_scale=1.5)


def test_the_loss_of_the_first_batch_is_the_one_by_hand() -> None:
    def x0_hat(x_t: Tensor, delta: Tensor) -> Tensor:
        """Apply Karras' c_skip and c_out to the constant answer .3."""
        total = (delta.square() + 1.5**2)[:, None]
        return 1.5**2 / total * x_t + 0.3 * 1.5 * delta[:, None] / total.sqrt()

    step = next(train(constant(), PAIR, steps=5, batch=64, generator=seeded()))
    # float32 against float64: noised points of size 200 are rounded by 1e-5, a weight of up to
    # 4,000 multiplies squared errors that were rounded by 1e-7 of 1.
    assert step.loss == pytest.approx(loss_by_hand(x0_hat, PAIR, 1.5, 64), rel=1e-4)
    assert (step.step, step.steps) == (1, 5)


def test_the_average_forgets_over_a_tenth_of_the_steps() -> None:
    model = constant()
    average = weights(model)[0].clone()
    for step in train(model, PAIR, steps=20, batch=16, rate=0.2, generator=seeded()):
        average += 9 / (9 + step.step) * (weights(model)[0] - average)
        # One float32 rounding a step.
        torch.testing.assert_close(weights(step.model)[0], average, atol=1e-6, rtol=0)
    assert abs(weights(model)[0] - average) > 1e-4


def test_the_first_step_is_a_small_one() -> None:
    model = constant()
    next(train(model, PAIR, steps=1_000, batch=16, rate=0.1, generator=seeded()))
    # Adam's first step moves a weight by the rate, whatever its slope: a hundredth of .1 for the
    # warm-up, and the floor of 1e-3 of it. The cosine takes 1e-6 of that.
    assert abs(weights(model)[0].item() - 0.3) == pytest.approx(0.1 * (0.01 + 1e-3), rel=1e-3)


@pytest.fixture(scope="module")
def trained() -> tuple[list[float], ScoreModel]:
    """Return the losses and the averaged model of 400 steps on two points."""
    model = denoiser(PAIR, width=32, depth=2)
    steps = list(train(model, PAIR, steps=400, batch=128, rate=1e-2, generator=seeded()))
    return [step.loss for step in steps], steps[-1].model


def test_training_lowers_the_loss_to_that_of_perfect_memory(
    trained: tuple[list[float], ScoreModel],
) -> None:
    losses, model = trained
    memory = empirical_denoiser(PAIR.double(), model.schedule)

    def perfect(x_t: Tensor, delta: Tensor) -> Tensor:
        return memory.x0(x_t, memory.schedule.time_at(delta.log()))

    least = loss_by_hand(perfect, PAIR, model.data_scale, 20_000)
    assert sum(losses[:10]) / 10 > 2 * least
    # The loss of a batch of 128 varies by 13 %, so the mean of 100 of them by 1.3 %.
    assert least * 0.95 < sum(losses[-100:]) / 100 < 1.1 * least


def test_a_trained_model_denoises_to_its_points(trained: tuple[list[float], ScoreModel]) -> None:
    model = trained[1]
    x0 = PAIR.repeat(100, 1)
    t = model.schedule.time_at(torch.tensor(0.05 * model.data_scale).log())
    x_t = model.noised(x0, torch.randn(200, 2, generator=seeded(1)), t)
    distance = (model.x0(x_t, t) - x0).norm(dim=1)
    # The points are 2.5 apart and the noise moved them by .055 on average; perfect memory leaves
    # 0, and 400 steps of training leave .0016 on average and .013 at most.
    assert distance.mean() < 0.01
    assert distance.max() < 0.05


def test_samples_of_a_trained_model_are_its_points(
    trained: tuple[list[float], ScoreModel],
) -> None:
    model = trained[1]
    grid = time_grid(model.schedule, 18, lowest=0.005, highest=HIGHEST_NOISE * model.data_scale)
    samples = heun(model, torch.randn(400, 2, generator=seeded(1)), grid)
    distances, chosen = (samples[:, None] - PAIR).norm(dim=2).min(1)
    # Few samples start on the border between the two points, where the small network is unsure.
    assert distances.median() < 0.01
    assert (distances < 0.1).float().mean() > 0.95
    # Each point has weight 1/2: four standard errors of 400 draws are .1.
    assert chosen.float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_the_averaged_model_is_another_one_without_gradients() -> None:
    model = denoiser(PAIR, width=8, depth=1)
    for step in train(model, PAIR, steps=3, batch=8, generator=seeded()):
        assert isinstance(step.model.net, nn.Module)
        assert not step.model.net.training
        assert not any(p.requires_grad for p in step.model.net.parameters())
        pairs = zip(weights(model), weights(step.model), strict=True)
        assert all((one != other).any() for one, other in pairs)
    assert (step.model.schedule, step.model.target) == (model.schedule, "edm")
    assert isinstance(model.net, nn.Module)
    assert all(parameter.requires_grad for parameter in model.net.parameters())


def test_training_repeats_itself_bit_for_bit_and_seeds_nothing() -> None:
    def run(seed: int, draws: int) -> TrainingStep:
        model = denoiser(PAIR, width=16, depth=2, seed=seed)
        return list(train(model, PAIR, steps=20, batch=16, generator=seeded(draws)))[-1]

    before = torch.get_rng_state()
    one, same, other, shuffled = run(3, 4), run(3, 4), run(5, 4), run(3, 6)
    assert torch.equal(torch.get_rng_state(), before)
    assert one.loss == same.loss
    assert all(map(torch.equal, weights(one.model), weights(same.model)))
    for different in (other, shuffled):
        assert not torch.equal(weights(one.model)[0], weights(different.model)[0])


def test_initial_weights_are_those_of_pytorch() -> None:
    """Check that a generator gives what the global one gives `nn.Linear` for the same seed."""
    network = DenoiserMLP((2, 2), width=8, depth=1, generator=seeded(7))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        usual = nn.Linear(4, 8)
    assert torch.equal(network.input_layer.weight, usual.weight)
    assert torch.equal(network.input_layer.bias, usual.bias)


@pytest.mark.parametrize(("dim", "waves"), [(2, (2.0, 4.0, 8.0)), (3, (2.0, 4.0, 8.0)), (4, ())])
def test_few_dimensions_are_joined_by_fourier_features(dim: int, waves: tuple[float, ...]) -> None:
    network = DenoiserMLP((dim,), width=8, depth=1, generator=seeded())
    fed: list[Tensor] = []
    network.input_layer.register_forward_pre_hook(lambda module, given: fed.append(given[0]))
    x = torch.randn(5, dim, generator=seeded(1))
    network(x, torch.zeros(5))
    angles = [x[:, i] * wave for i in range(dim) for wave in waves]
    features = [*x.unbind(1), *(a.sin() for a in angles), *(a.cos() for a in angles)]
    torch.testing.assert_close(fed[0], torch.stack(features, dim=1))


@pytest.mark.parametrize("shift", [torch.tensor([100.0, -30.0]), torch.tensor([0.25, 4.0])])
def test_a_shift_of_the_data_shifts_the_answer(shift: Tensor) -> None:
    points = torch.randn(50, 2, generator=seeded()).double() * 2
    model, moved = denoiser(points, seed=1), denoiser(points + shift, seed=1)
    assert moved.data_scale == pytest.approx(model.data_scale, rel=1e-12)
    x = points + torch.randn(50, 2, generator=seeded(1))
    for t in (0.05, 0.4, 0.8):
        # float64; data of size 100 and slopes of up to 1 / delta = 100.
        torch.testing.assert_close(
            moved.x0(x + shift, t), model.x0(x, t) + shift, atol=1e-9, rtol=0
        )


def test_a_user_can_stop_at_any_step_and_keep_a_model() -> None:
    model = denoiser(PAIR, width=16, depth=1)
    steps = train(model, PAIR, steps=1_000, batch=16, generator=seeded())
    kept = [copy.deepcopy(next(steps).model) for _ in range(4)][-1]
    after = next(steps).model
    assert not torch.equal(weights(kept)[0], weights(after)[0])
    assert isinstance(steps, Generator)
    steps.close()
    assert torch.is_grad_enabled()
    again = train(
        denoiser(PAIR, width=16, depth=1), PAIR, steps=1_000, batch=16, generator=seeded()
    )
    fourth = [next(again) for _ in range(4)][-1].model
    x_t = torch.randn(5, 2, generator=seeded(1))
    assert torch.equal(kept.x0(x_t, 0.5), fourth.x0(x_t, 0.5))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_images_and_their_type_are_kept(kind: torch.dtype) -> None:
    points = torch.randn(6, 1, 4, 4, generator=seeded()).to(kind)
    model = denoiser(points, width=16, depth=1)
    assert model.shape == (1, 4, 4)
    assert model.x0(points, 0.5).dtype == kind
    step = next(train(model, points, steps=1, batch=8, generator=seeded()))
    assert math.isfinite(step.loss)
    flat = denoiser(points.flatten(1), width=16, depth=1)
    other = next(train(flat, points.flatten(1), steps=1, batch=8, generator=seeded()))
    assert other.loss == step.loss  # An image is the vector of its pixels.


def test_a_single_point_has_a_scale() -> None:
    model = denoiser(torch.tensor([[3.0, 4.0]]))
    assert model.data_scale == 1e-3
    # At noise far below the scale c_skip is near 1: the point denoises to itself.
    x0_hat = model.x0(torch.tensor([[3.0, 4.0]]), 0.0)
    torch.testing.assert_close(x0_hat, torch.tensor([[3.0, 4.0]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        (torch.tensor([[1.0, math.nan]]), "must be finite floating-point numbers"),
        (torch.tensor([[1, 2]]), r"got torch\.int64 of shape \(1, 2\)"),
        (torch.tensor([1.0, 2.0]), r"of shape \(2,\)"),
        (torch.zeros(0, 2), "At least one training point"),
    ],
)
def test_bad_points_are_refused(points: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        denoiser(points)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, r"got \(0, 8, 0\.002\)"),
        ({"batch": 0}, r"steps and batch must be at least 1"),
        ({"rate": 1.0}, r"rate in \(0, 1\)"),
        ({"rate": math.nan}, "nan"),
        ({"points": torch.zeros(4, 3)}, r"points must be \(N, \*\(2,\)\), got \(4, 3\)"),
        ({"points": torch.zeros(0, 2)}, r"got \(0, 2\)"),
        ({"model": empirical_denoiser(PAIR, VarianceExploding())}, "net is a torch module"),
    ],
)
def test_bad_training_is_refused(changes: dict[str, Any], sentence: str) -> None:
    good: dict[str, Any] = {"steps": 2, "batch": 8, "rate": 2e-3}
    given: dict[str, Any] = (
        {"model": constant(), "points": PAIR, "generator": seeded()} | good | changes
    )
    with pytest.raises(ValueError, match=sentence):
        next(train(**given))


@pytest.mark.parametrize("size", [{"width": 3}, {"depth": 0}])
def test_bad_sizes_are_refused(size: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="width must be at least 4 and depth 1, got"):
        denoiser(PAIR, **size)


def test_steps_are_those_of_adamw() -> None:
    # The functional form against the class, whose first and second moments are its own.
    ours, points = denoiser(PAIR, width=8, seed=1), PAIR
    theirs = copy.deepcopy(ours)
    for _ in train(ours, points, steps=5, batch=16, rate=1e-2, generator=seeded()):
        pass
    optimizer = torch.optim.AdamW(weights_of(theirs), lr=1.0, weight_decay=0.0, fused=True)
    generator = seeded()
    for step in range(1, 6):
        warm, cooled = step / 100, (1 + math.cos(math.pi * step / 5)) / 2
        optimizer.param_groups[0]["lr"] = 1e-2 * warm * cooled + 1e-5
        optimizer.zero_grad()
        torch.autograd.backward(training_loss(theirs, points, 16, generator))
        optimizer.step()
    for mine, other in zip(weights(ours), weights(theirs), strict=True):
        # Five steps of AdamW of at most .01: rounding of weights of size 1.
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def weights_of(model: ScoreModel) -> list[nn.Parameter]:
    assert isinstance(model.net, nn.Module)
    return list(model.net.parameters())


def test_training_does_not_import_the_compiler() -> None:
    # A fresh process: torch.optim.Optimizer would import it, and a short training wait for it.
    code = (
        "import sys, torch\n"
        "from mmh_core.diffusion.training import denoiser, train\n"
        "points = torch.eye(2)\n"
        "list(train(denoiser(points, width=4), points, steps=1, generator=torch.Generator()))\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_points_at_one_scale_are_read_as_among_others() -> None:
    # At one scale the modulation is worked out once; among others row by row.
    net = DenoiserMLP((3,), width=16, generator=seeded())
    x, noise = torch.randn(5, 3, generator=seeded(1)), torch.full((5,), 0.3)
    mixed = torch.cat([noise, torch.tensor([-0.7])])
    among = net(torch.cat([x, x[:1]]), mixed)[:5]
    # Rounding of float32 sums of about a hundred terms near 1.
    torch.testing.assert_close(net(x, noise), among, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(net(x, noise), net(x, noise - 1), atol=1e-2)
