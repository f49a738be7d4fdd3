"""The projector is the derivative of `y - sigma eps_hat(y)`, and nothing else is touched."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmh_core.diffusion.score_model import ScoreModel, Target
from mmh_core.dimension import jacobian as module
from mmh_core.dimension.jacobian import jacobian, linearize
from mmh_core.dimension.scaled_points import scaled_points
from mmh_core.records import MMHError
from tests.dimension.closed_forms import (
    SCHEDULE,
    TARGETS,
    gaussian,
    mixture,
    projector_spectrum,
    rotation,
    seeded,
)


def small_network(dim: int = 6) -> nn.Module:
    """Return a random two-layer network."""
    torch_state = seeded(3)
    net = nn.Sequential(nn.Linear(dim, 32), nn.SiLU(), nn.Linear(32, dim))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=torch_state))
    return net


@pytest.mark.parametrize("target", TARGETS)
def test_the_projector_of_a_gaussian_is_its_wiener_filter(target: Target) -> None:
    """Equal `Q diag(l / (l + delta^2)) Q'`, with T and eps in closed form, in double precision."""
    variances = torch.tensor([2.0, 0.5, 0.1, 0.0, 0.0], dtype=torch.float64)
    frame, delta = rotation(5), 0.3
    model = gaussian(variances, frame, 0.4, target)
    x = torch.randn(3, 5, generator=seeded(), dtype=torch.float64)
    points = scaled_points(model, x, float(torch.tensor(delta).log()))
    matrix, at = jacobian(model, points)
    share = projector_spectrum(variances, delta)
    expected = frame @ torch.diag(share) @ frame.T
    # log(.3) passes through float32: 1e-7, magnified by at most the steepest slope, 1/2.
    torch.testing.assert_close(matrix, expected.expand(3, 5, 5), atol=1e-6, rtol=0)
    pull = (x - 0.4) @ (frame @ torch.diag(1 - share) @ frame.T)
    torch.testing.assert_close(at.eps, pull / delta, atol=1e-5, rtol=0)
    alpha, sigma = points.alpha[:, None], points.sigma[:, None]
    torch.testing.assert_close(at.value, alpha * x - sigma * at.eps, atol=1e-9, rtol=0)


def test_products_are_those_of_a_jacobian_by_finite_differences() -> None:
    """Multiply from the left, for a score that is not affine."""
    model = mixture(torch.randn(4, 3, generator=seeded(1)), 0.2)
    x = torch.randn(2, 3, generator=seeded(2), dtype=torch.float64)
    v = torch.randn(2, 3, generator=seeded(3), dtype=torch.float64)
    t = torch.tensor([0.2, 0.4], dtype=torch.float64)
    y = SCHEDULE.alpha(t)[:, None] * x
    step, columns = 1e-5, []
    for j in range(3):
        move = step * torch.eye(3, dtype=torch.float64)[j]
        up, down = ((y + s * move, t) for s in (1, -1))
        difference = model.x0(*up) - model.x0(*down)
        columns.append(SCHEDULE.alpha(t)[:, None] * difference / (2 * step))
    expected = torch.einsum("bi,bij->bj", v, torch.stack(columns, dim=2))
    # Central differences err by step^2 = 1e-10 and by rounding, 1e-16 / step.
    torch.testing.assert_close(linearize(model, x, t).pullback(v), expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("copies", [1, 2, 3, 7])
def test_copies_change_nothing_but_the_number_of_passes(copies: int) -> None:
    """Give the same products with one copy or several, the last pass padded."""
    model = mixture(torch.randn(4, 3, generator=seeded(1)), 0.2)
    x = torch.randn(2, 3, generator=seeded(2))
    v = torch.randn(2, 5, 3, generator=seeded(3))
    t = torch.tensor([0.2, 0.4])
    single = linearize(model, x, t)
    several = linearize(model, x, t, copies=copies)
    torch.testing.assert_close(several.value, single.value)
    torch.testing.assert_close(several.eps, single.eps)
    # The same float32 sums, in another order of rows.
    torch.testing.assert_close(several.pullbacks(v), single.pullbacks(v), atol=1e-6, rtol=1e-5)
    assert several.nfe(5, 2) == copies * (1 + 2 * -(-5 // copies))


@pytest.mark.parametrize("rows", [1, 5, 8, 20])
def test_copies_waste_less_than_one_pass(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stay within the numbers in flight, and pad fewer rows than there are passes."""
    model = gaussian(torch.ones(10))
    points = scaled_points(model, torch.zeros(2, 10), 0.0)
    monkeypatch.setattr(module, "_IN_FLIGHT", 6 * points.x0.numel())
    at = module.linearize_for(model, points, rows)
    passes = -(-rows // at.copies)
    assert at.copies <= 6
    assert 0 <= at.copies * passes - rows < passes


def test_parameters_are_neither_differentiated_nor_changed() -> None:
    """Leave gradients empty and flags as they were, and give no gradient to the input."""
    net = small_network()
    next(net.parameters()).requires_grad_(False)
    flags = [p.requires_grad for p in net.parameters()]
    model = ScoreModel(lambda x, t, c: net(x), SCHEDULE, "eps", (6,))
    x = torch.randn(2, 6, generator=seeded()).requires_grad_()
    at = linearize(model, x, torch.tensor([0.3, 0.3]))
    at.pullback(torch.ones(2, 6))
    at.pullback(torch.ones(2, 6))
    assert all(p.grad is None for p in net.parameters())
    assert x.grad is None
    assert [p.requires_grad for p in net.parameters()] == flags
    assert not at.value.requires_grad
    assert not at.eps.requires_grad


def test_the_surroundings_of_a_call_do_not_matter() -> None:
    """Give the same numbers inside no_grad, inference mode and bfloat16 autocast."""
    net = small_network()
    # The product with t saves t for the reverse pass, which an inference tensor would forbid.
    model = ScoreModel(lambda x, t, c: net(x * t[:, None]), SCHEDULE, "eps", (6,))
    x, v = torch.randn(2, 2, 6, generator=seeded())

    def product() -> Tensor:
        points = scaled_points(model, x, -1.0)
        return linearize(model, points.x0, points.t).pullback(v)

    plain = product()
    for surroundings in (
        torch.no_grad(),
        torch.inference_mode(),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ):
        with surroundings:
            assert torch.equal(product(), plain)


def test_bad_times_and_networks_are_refused() -> None:
    """Refuse t = 0 and a network that returns NaN."""
    model = gaussian(torch.ones(2))
    with pytest.raises(ValueError, match="t must be above 0"):
        linearize(model, torch.zeros(1, 2), torch.zeros(1))
    with pytest.raises(ValueError, match="copies must be at least 1"):
        linearize(model, torch.zeros(1, 2), torch.ones(1), copies=0)
    broken = ScoreModel(lambda x, t, c: x / 0, SCHEDULE, "eps", (2,))
    with pytest.raises(MMHError, match="not finite"):
        linearize(broken, torch.ones(1, 2), torch.ones(1))
    # A finite value with an infinite slope.
    steep = ScoreModel(lambda x, t, c: x.abs().sqrt(), SCHEDULE, "eps", (2,))
    with pytest.raises(MMHError, match="not finite"):
        jacobian(steep, scaled_points(steep, torch.zeros(1, 2), 0.0))
