"""Values against closed forms, gradients against finite differences, on a small network in R^3."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmh_core.diffusion.schedule import VariancePreserving
from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.dsm import dsm_lid
from mmh_core.dimension.flipd import flipd_exact
from mmh_core.mitigations.objectives import (
    dsm_values,
    flipd_values,
    guidance_norms,
    guided_score_norms,
    noises_for,
    signs_for,
)

WIDTH, TOKENS, DIM = 2, 3, 3
T = 0.4


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def answers(target: str) -> ScoreModel:
    """Return a smooth network in which point, time and every token meet."""
    a, b, c = normal(DIM, 8, seed=1), normal(TOKENS * WIDTH, 8, seed=2), normal(8, DIM, seed=3)

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        told = torch.zeros(len(x_t), TOKENS * WIDTH) if cond is None else cond.flatten(1)
        return torch.tanh(x_t @ a + told.double() @ b + t[:, None].double()) @ c

    return ScoreModel(net, VariancePreserving(), target, (DIM,))  # type: ignore[arg-type]


X, COND = normal(2, DIM, seed=4), 0.3 * normal(2, TOKENS, WIDTH, seed=5)


def values_by(model: ScoreModel, by: str) -> Callable[[Tensor], Tensor]:
    """Return each objective as a function of the embedding."""
    log_delta = float(model.schedule.log_delta(torch.tensor([T], dtype=torch.float64)))
    signs, noises = signs_for(X, generator()), noises_for(X, generator())
    eps_u = model.eps(X, T)
    return {
        "norm": lambda cond: guidance_norms(model.eps(X, T, cond), eps_u),
        "score": lambda cond: guided_score_norms(model, model.eps(X, T, cond), eps_u, T, 3.0),
        "flipd": lambda cond: flipd_values(model, X, log_delta, cond, signs),
        "dsm": lambda cond: dsm_values(model, X, log_delta, cond, noises),
    }[by]


@pytest.mark.parametrize("target", ["eps", "v", "x0"])
@pytest.mark.parametrize("by", ["norm", "score", "flipd", "dsm"])
def test_gradients_agree_with_finite_differences(target: str, by: str) -> None:
    values = values_by(answers(target), by)
    cond = COND.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(values(cond).sum(), cond)
    step = 1e-5
    for place in range(COND.numel()):
        shift = torch.zeros(COND.numel(), dtype=torch.float64)
        shift[place] = step
        shift = shift.reshape(COND.shape)
        slope = (values(COND + shift) - values(COND - shift)).sum().detach() / (2 * step)
        # Central differences in float64 are off by step^2 of a third derivative of order 100.
        torch.testing.assert_close(gradient.flatten()[place], slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("by", ["norm", "score", "flipd", "dsm"])
def test_a_row_depends_on_its_own_embedding_alone(by: str) -> None:
    values = values_by(answers("eps"), by)
    cond = COND.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(values(cond)[0], cond)
    assert bool((gradient[0] != 0).any())
    assert bool((gradient[1] == 0).all())


def test_guidance_norm_is_the_distance_of_the_branches() -> None:
    model = answers("v")
    eps_c, eps_u = model.eps(X, T, COND), model.eps(X, T)
    expected = (eps_c - eps_u).square().sum(1).sqrt()
    torch.testing.assert_close(guidance_norms(eps_c, eps_u), expected)


def test_guided_score_norm_keeps_the_branches_apart() -> None:
    """Swapped slots would give scale 1 - s, which differs at every scale but one half."""
    model = answers("eps")
    eps_c, eps_u = model.eps(X, T, COND), model.eps(X, T)
    sigma = model.schedule.sigma(torch.tensor(T, dtype=torch.float64))
    expected = ((3 * eps_c - 2 * eps_u) / sigma).square().sum(1).sqrt()
    torch.testing.assert_close(guided_score_norms(model, eps_c, eps_u, T, 3.0), expected)


@pytest.mark.parametrize("target", ["eps", "v"])
def test_flipd_averages_to_the_exact_one_over_all_probes(target: str) -> None:
    model = answers(target)
    log_delta = float(model.schedule.log_delta(torch.tensor([T], dtype=torch.float64)))
    # All 8 sign vectors of R^3 give the trace exactly.
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * DIM).double()
    found = flipd_values(model, X, log_delta, COND, corners.expand(2, 8, DIM))
    exact = flipd_exact(model, X, log_delta, cond=COND)
    torch.testing.assert_close(found.detach(), exact.lid)


def test_denoising_loss_is_that_of_the_estimator() -> None:
    model = answers("v")
    log_delta = float(model.schedule.log_delta(torch.tensor([T], dtype=torch.float64)))
    found = dsm_values(model, X, log_delta, COND, noises_for(X, generator()))
    expected = dsm_lid(model, X, log_delta, cond=COND, draws=8, generator=generator())
    torch.testing.assert_close(found, expected.lid)
