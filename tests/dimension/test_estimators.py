"""Laws that every estimator of the table obeys."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.curve import Estimator
from mmh_core.dimension.estimators import ESTIMATORS, window_around
from mmh_core.dimension.flipd import window_flipd
from mmh_core.dimension.normal_bundle import normal_bundle
from mmh_core.dimension.spectral import lhsd
from tests.dimension.closed_forms import (
    SCHEDULE,
    TARGETS,
    gaussian,
    mixture,
    rotation,
    seeded,
)

NAMES = sorted(ESTIMATORS)
CENTERS = torch.randn(5, 8, generator=seeded(1), dtype=torch.float64)
X = torch.randn(4, 8, generator=seeded(2), dtype=torch.float64)
SCALES = torch.tensor([-1.5, -1.0, -0.5, 0.0], dtype=torch.float64)


class Counted(torch.autograd.Function):
    """Count the rows that pass forward and backward."""

    rows = 0

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        """Count a forward pass."""
        Counted.rows += len(x)
        return x.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        """Count a reverse pass."""
        Counted.rows += len(gradient)
        return gradient


@pytest.mark.parametrize("name", NAMES)
def test_all_parameterisations_agree(name: str) -> None:
    """Give one LID for eps-, x0-, v-, flow- and EDM-networks of the same score, in float32."""
    run = ESTIMATORS[name].run
    found = [
        run(mixture(CENTERS, 0.05, target), X.float(), SCALES.float(), generator=seeded())
        for target in TARGETS
    ]
    for other in found[1:]:
        # float32 rounding over sigma >= .2 and sums of 8 terms.
        torch.testing.assert_close(other.lid, found[0].lid, atol=1e-4, rtol=1e-5)
        # Where all probes agree, the error is the root of what rounding leaves of a variance.
        torch.testing.assert_close(
            other.standard_error, found[0].standard_error, atol=1e-3, rtol=1e-4, equal_nan=True
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_a_loop(name: str) -> None:
    """Give each point at its own scale what it gets alone, the draws running on."""
    run, model = ESTIMATORS[name].run, mixture(CENTERS, 0.05)
    together = run(model, X, SCALES, generator=seeded())
    running = seeded()
    alone = [run(model, X[i : i + 1], SCALES[i].item(), generator=running) for i in range(4)]
    # Double precision, but for scales that pass through float32.
    torch.testing.assert_close(
        together.lid, torch.cat([each.lid for each in alone]), atol=1e-6, rtol=1e-6
    )
    torch.testing.assert_close(
        together.standard_error,
        torch.cat([each.standard_error for each in alone]),
        atol=1e-6,
        rtol=1e-6,
        equal_nan=True,
    )


@pytest.mark.parametrize("name", NAMES)
def test_images_and_vectors_are_the_same_numbers(name: str) -> None:
    """Give (2, 2, 2) what the flattened points get."""
    run, model = ESTIMATORS[name].run, mixture(CENTERS, 0.05)

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return model.net(x_t.flatten(1), t, None).reshape(x_t.shape)

    shaped = replace(model, net=net, shape=(2, 2, 2))
    found = run(shaped, X.reshape(4, 2, 2, 2), SCALES, generator=seeded()).lid
    expected = run(model, X, SCALES, generator=seeded()).lid
    # The normals of both are drawn in the same order: only rounding differs.
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_plane_has_dimension_three_and_a_point_none(name: str) -> None:
    """Answer 3 on a thin subspace within 4 standard errors, 0 at a point mass."""
    run = ESTIMATORS[name].run
    variances = torch.tensor([1.0] * 3 + [0.0] * 5, dtype=torch.float64)
    x = torch.zeros(16, 8)
    found = run(gaussian(variances, rotation(8)), x, -4.0, generator=seeded())
    mean, spread = found.lid.mean().item(), found.lid.std().item() / 4
    # Beyond chance only the soft steps are off: none by more than .02 a direction.
    assert abs(mean - 3) < 4 * spread + 0.06
    point = run(gaussian(torch.zeros(8)), x, -4.0, generator=seeded())
    assert point.lid.abs().max().item() < 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_the_condition_reaches_the_network(name: str) -> None:
    """Differ between conditions, and equal the model of each."""
    run = ESTIMATORS[name].run
    wide = gaussian(torch.tensor([1.0] * 6 + [0.0] * 2).double(), rotation(8))
    thin = gaussian(torch.tensor([1.0] * 2 + [0.0] * 6).double(), rotation(8))

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        if cond is None:
            return x_t
        return torch.where(cond > 0, wide.net(x_t, t, None), thin.net(x_t, t, None))

    x, cond = torch.zeros(2, 8), torch.tensor([[1.0], [0.0]])
    both = run(replace(wide, net=net), x, -3.0, cond=cond, generator=seeded()).lid
    for i, model in enumerate((wide, thin)):
        alone = run(model, x, -3.0, generator=seeded()).lid[i]
        torch.testing.assert_close(both[i], alone, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_cost_reported_is_the_cost_paid(name: str, batch: int) -> None:
    """Equal the rows that went through the network in both directions, per point."""
    model = mixture(CENTERS, 0.05)

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        passed: Tensor = Counted.apply(x_t)
        return model.net(passed, t, None)

    Counted.rows = 0
    found = ESTIMATORS[name].run(
        replace(model, net=net), X[:batch].float(), -1.0, generator=seeded()
    )
    assert found.nfe == Counted.rows / batch


@pytest.mark.parametrize("name", NAMES)
def test_trained_parameters_are_left_alone(name: str) -> None:
    """Fill no gradient, change no flag and return nothing that holds a graph."""
    net = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8))
    next(net.parameters()).requires_grad_(False)
    flags = [p.requires_grad for p in net.parameters()]
    model = ScoreModel(lambda x, t, c: net(x), SCHEDULE, "eps", (8,))
    x = X.float().requires_grad_()
    found = ESTIMATORS[name].run(model, x, -1.0, generator=seeded())
    assert all(p.grad is None for p in net.parameters())
    assert x.grad is None
    assert [p.requires_grad for p in net.parameters()] == flags
    assert not found.lid.requires_grad
    assert not found.standard_error.requires_grad
    assert torch.isfinite(found.lid).all()


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused(name: str) -> None:
    """Refuse NaN, a wrong shape and a scale out of reach, before anything is computed."""
    run, model = ESTIMATORS[name].run, gaussian(torch.ones(3))
    with pytest.raises(ValueError, match="finite"):
        run(model, torch.full((1, 3), torch.nan), 0.0, generator=seeded())
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        run(model, torch.zeros(1, 4), 0.0, generator=seeded())
    with pytest.raises(ValueError, match="range of this schedule"):
        run(model, torch.zeros(1, 3), 50.0, generator=seeded())


def test_the_table_names_each_estimator_once_and_keeps_its_limit() -> None:
    """Have labels of their own, and refuse D above `max_dim` exactly where one is given."""
    labels = [spec.label for spec in ESTIMATORS.values()]
    assert len(set(labels)) == len(labels)
    for spec in ESTIMATORS.values():
        if spec.max_dim is not None:
            large = gaussian(torch.ones(spec.max_dim + 1))
            with pytest.raises(ValueError, match=f"D <= {spec.max_dim}"):
                spec.run(large, torch.zeros(1, spec.max_dim + 1), 0.0, generator=seeded())


def test_the_window_is_centered_on_the_scale() -> None:
    """Average from half a unit below to half a unit above, for each point's own scale."""
    model, x = mixture(CENTERS, 0.05), X.float()
    found = window_around(model, x, SCALES, generator=seeded())
    for i, center in enumerate(SCALES.tolist()):
        nodes = torch.tensor([-0.5, -0.25, 0.0, 0.25, 0.5]) + center
        expected = window_flipd(model, x, nodes, generator=seeded()).lid[i]
        torch.testing.assert_close(found.lid[i], expected, atol=1e-4, rtol=1e-5)


def test_options_are_fixed_by_partial_application() -> None:
    """Pass as estimators with their options bound."""
    chosen: list[Estimator] = [partial(normal_bundle, draws=100), partial(lhsd)]
    found = [
        each(gaussian(torch.ones(3)), torch.zeros(1, 3), 0.0, generator=seeded()).nfe
        for each in chosen
    ]
    assert found[0] == 100
