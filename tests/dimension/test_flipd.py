"""FLIPD against closed forms, finite differences and the theory of its probes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmh_core.diffusion.schedule import VarianceExploding
from mmh_core.diffusion.score_model import ScoreModel, Target, expand, guided
from mmh_core.dimension.flipd import flipd, flipd_exact, window_flipd
from mmh_core.dimension.probes import rademacher
from tests.dimension.closed_forms import (
    SCHEDULE,
    TARGETS,
    from_x0,
    gaussian,
    mixture,
    projector_spectrum,
    rotation,
    seeded,
)

VARIANCES = torch.tensor([2.0, 0.7, 0.2, 0.0, 0.0, 0.0], dtype=torch.float64)
FRAME = rotation(6)


def closed_form(variances: Tensor, local: Tensor, delta: float) -> Tensor:
    """Return FLIPD of a Gaussian at offsets (B, D) from its mean, in its own axes.

    eps_hat = sigma (alpha^2 C + sigma^2)^-1 alpha c = delta c / (l + delta^2) in each axis.
    """
    return projector_spectrum(variances, delta).sum() + (
        delta * local / (variances + delta**2)
    ).square().sum(1)


def by_differences(model: ScoreModel, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
    """Return `D + sigma^2 (tr grad s + |s|^2)` with central differences of the score."""
    alpha, sigma = expand(SCHEDULE.alpha(t), x), SCHEDULE.sigma(t)
    y, step, trace = alpha * x, 1e-5, torch.zeros_like(sigma)
    for j, unit in enumerate(torch.eye(x.shape[1], dtype=x.dtype)):
        up, down = (model.score(y + s * step * unit, t, cond)[:, j] for s in (1, -1))
        trace = trace + (up - down) / (2 * step)
    square = model.score(y, t, cond).square().sum(1)
    return x.shape[1] + sigma.square() * (trace + square)


@pytest.mark.parametrize("delta", [0.02, 0.3, 1.5])
def test_a_gaussian_gives_its_closed_form_on_and_off_the_mean(delta: float) -> None:
    """Equal the sum of Wiener factors plus the squared pull of the mean."""
    local = torch.tensor([[0.0] * 6, [1, -2, 0.5, 0, 0, 0], [0.3, 0, 0, 0.01, 0, -0.02]]).double()
    model = gaussian(VARIANCES, FRAME, 0.4)
    lid = flipd_exact(model, local @ FRAME.T + 0.4, math.log(delta)).lid
    torch.testing.assert_close(lid, closed_form(VARIANCES, local, delta), atol=1e-6, rtol=1e-6)


def test_the_limits_are_rank_zero_and_ambient_dimension() -> None:
    """Tend to d on a subspace as delta falls; be 0 at a point mass and D at a wide Gaussian."""
    on_plane = torch.randn(4, 6, generator=seeded()) * VARIANCES.sqrt().float()
    x = on_plane @ FRAME.T.float()
    curve = [flipd_exact(gaussian(VARIANCES, FRAME), x, s).lid for s in (-2.0, -4.0, -6.0)]
    # The distance to 3 is at most sum delta^2 (1 + c^2 / l) / l: 3e-4 at delta = exp(-6).
    assert ((curve[2] - 3).abs() < 2e-3).all()
    assert ((curve[1] - 3).abs() < (curve[0] - 3).abs()).all()
    point = gaussian(torch.zeros(6), mean=0.4)
    zero = flipd_exact(point, torch.full((1, 6), 0.4), -2.0).lid
    # float32 holds 0.4 to 3e-8, which 1 / delta^2 = 55 magnifies.
    assert zero.abs().item() < 1e-4
    wide = gaussian(torch.full((6,), 1e6), schedule=VarianceExploding())
    assert flipd_exact(wide, torch.zeros(1, 6), -2.0).lid.item() == pytest.approx(6, abs=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_all_forms_agree_for_a_curved_score(target: Target) -> None:
    """Equal the eps form, the x0 form and finite differences of the score, off the affine case."""
    model = mixture(torch.randn(5, 4, generator=seeded(1)).double(), 0.05, target)
    x = torch.randn(3, 4, generator=seeded(2), dtype=torch.float64)
    t = torch.tensor([0.05, 0.2, 0.5], dtype=torch.float64)
    alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
    found = flipd_exact(model, x, SCHEDULE.log_delta(t)).lid
    eps_form, x0_form = [], []
    for i in range(3):
        y, time = alpha[i] * x[i], t[i : i + 1]
        slope, pull = (
            torch.autograd.functional.jacobian(lambda v, f=f, s=time: f(v[None], s)[0], y)
            for f in (model.x0, model.eps)
        )
        eps = model.eps(y[None], time)[0]
        gap = x[i] - model.x0(y[None], time)[0]
        eps_form.append(4 - sigma[i] * pull.trace() + eps.square().sum())
        x0_form.append(alpha[i] * slope.trace() + (alpha[i] / sigma[i]) ** 2 * gap.square().sum())
    # Double precision throughout; differences of step 1e-5 leave about 1e-8.
    torch.testing.assert_close(found, torch.stack(eps_form), atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(found, torch.stack(x0_form), atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(found, by_differences(model, x, t), atol=1e-6, rtol=1e-6)


def test_guidance_is_differentiated_in_both_branches() -> None:
    """Equal finite differences of the guided score; at scale 1 equal the conditional model."""
    centers = torch.randn(2, 4, 4, generator=seeded(1), dtype=torch.float64)
    branches = [mixture(each, 0.1) for each in centers]

    def x0_hat(x_t: Tensor, alpha: Tensor, sigma: Tensor, cond: Tensor | None) -> Tensor:
        branch = branches[0] if cond is None else branches[1]
        return branch.net(x_t, SCHEDULE.time_at(torch.log(sigma / alpha)).flatten(), None)

    model = from_x0(x0_hat, 4)
    x = torch.randn(3, 4, generator=seeded(2), dtype=torch.float64)
    cond, t = torch.ones(3, 1), torch.tensor([0.1, 0.2, 0.5], dtype=torch.float64)
    scale, strong = SCHEDULE.log_delta(t), guided(model, 3.0)
    found = flipd_exact(strong, x, scale, cond=cond).lid
    torch.testing.assert_close(found, by_differences(strong, x, t, cond), atol=1e-6, rtol=1e-6)
    # The published fault: a trace with the unconditional branch held constant would be
    # D - sigma tr(3 d eps_c), which is far away.
    conditional = flipd_exact(model, x, scale, cond=cond).lid
    plain = flipd_exact(model, x, scale).lid
    assert ((found - conditional).abs() > 0.05).all()
    assert ((plain - conditional).abs() > 0.05).all()
    torch.testing.assert_close(
        flipd_exact(guided(model, 1.0), x, scale, cond=cond).lid, conditional, atol=1e-9, rtol=0
    )


def test_probes_are_unbiased_with_the_variance_of_rademacher_signs() -> None:
    """Match the exact trace, `2 (|P|_F^2 - sum P_ii^2)`, and report that error."""
    count, delta = 4000, 0.3
    model = gaussian(VARIANCES, FRAME)
    x = torch.zeros(count, 6)
    one = flipd(model, x, math.log(delta), probes=1, generator=seeded())
    matrix = FRAME @ torch.diag(projector_spectrum(VARIANCES, delta)) @ FRAME.T
    variance = float(2 * (matrix.square().sum() - matrix.diagonal().square().sum()))
    exact = float(matrix.trace())
    assert abs(one.lid.mean().item() - exact) < 4 * math.sqrt(variance / count)
    # A form in signs has kurtosis below 15, so a sample variance over 4,000 errs by
    # sqrt(14 / 4000) = 6 % at most; 4 of those.
    assert one.lid.var().item() == pytest.approx(variance, rel=0.24)
    assert one.standard_error.isnan().all()
    four = flipd(model, x, math.log(delta), probes=4, generator=seeded())
    assert four.standard_error.square().mean().item() == pytest.approx(variance / 4, rel=0.1)
    assert four.lid.var().item() == pytest.approx(variance / 4, rel=0.24)
    assert (one.nfe, four.nfe) == (2.0, 5.0)


def test_signs_see_a_diagonal_without_error() -> None:
    """Be exact from one probe where P is diagonal: v'v = D leaves nothing to average."""
    model, x = gaussian(VARIANCES), torch.randn(3, 6, generator=seeded(1))
    found = flipd(model, x, -1.0, probes=2, generator=seeded())
    exact = flipd_exact(model, x, -1.0).lid
    assert (exact > 5).all()
    # Sums of a dozen float32 terms.
    torch.testing.assert_close(found.lid, exact, atol=1e-5, rtol=1e-6)
    assert found.standard_error.max() < 1e-6


def test_a_window_is_the_trapezoid_average_with_the_error_of_shared_probes() -> None:
    """Equal the integral of the curve by hand, and take the error over the probes' averages."""
    model, x = gaussian(VARIANCES, FRAME), torch.zeros(2, 6)
    nodes = torch.tensor([-2.0, -1.5, -0.5])
    found = window_flipd(model, x, nodes, probes=6, generator=seeded())
    signs = rademacher(x, 6, seeded()).double()
    curve = []
    for node in nodes.tolist():
        share = projector_spectrum(VARIANCES, math.exp(node))
        curve.append(((signs @ FRAME).square() * share).sum(2))
    # Weights of a trapezoid over gaps .5 and 1: (.25, .75, .5) / 1.5.
    by_hand = (0.25 * curve[0] + 0.75 * curve[1] + 0.5 * curve[2]) / 1.5
    # float32 against double.
    torch.testing.assert_close(found.lid.double(), by_hand.mean(1), atol=1e-4, rtol=0)
    error = by_hand.std(1) / math.sqrt(6)
    torch.testing.assert_close(found.standard_error.double(), error, atol=1e-4, rtol=0)
    assert found.nfe == 3 * 7


def test_a_window_may_differ_from_point_to_point() -> None:
    """Accept (K, B) nodes and give each point its own average."""
    model, x = gaussian(VARIANCES), torch.zeros(2, 6)
    nodes = torch.tensor([[-2.0, 0.0], [-1.0, 1.0]])
    both = window_flipd(model, x, nodes, generator=seeded()).lid
    for i in range(2):
        alone = window_flipd(model, x[:1], nodes[:, i], generator=seeded()).lid
        # A diagonal P: the probes do not matter, float32 does.
        torch.testing.assert_close(both[i : i + 1], alone, atol=1e-5, rtol=0)


def test_bad_options_are_refused() -> None:
    """Refuse a window that does not increase and a dimension too large to trace exactly."""
    model, x = gaussian(VARIANCES), torch.zeros(1, 6)
    for nodes in (torch.tensor([0.0]), torch.tensor([0.0, 0.0]), torch.tensor([0.0, -1.0])):
        with pytest.raises(ValueError, match="at least 2 increasing scales"):
            window_flipd(model, x, nodes, generator=seeded())
    with pytest.raises(ValueError, match=r"\(K,\) or \(K, 1\), got \(2, 3\)"):
        window_flipd(model, x, torch.zeros(2, 3), generator=seeded())
    with pytest.raises(ValueError, match="probes must be at least 1, got 0"):
        flipd(model, x, 0.0, probes=0, generator=seeded())
    large = gaussian(torch.ones(4097))
    with pytest.raises(ValueError, match="D = 4097; use flipd instead"):
        flipd_exact(large, torch.zeros(1, 4097), 0.0)
