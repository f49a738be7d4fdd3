"""Attribution finds the token that was planted, by every detector and not by chance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mmh_core.mitigations.attribution import AttributionBy, attribute
from mmh_core.mitigations.first_step import first_step
from mmh_core.mitigations.interface import MitigationContext, result_of
from mmh_core.text_to_image.model import TextToImage
from tests.mitigations.conftest import ModelOf, request_for

PROMPT = "the cat, a dog"
#: Start, "the", "cat", ",", "a", and the three letters of "dog".
PLANTED = 5


def planted(model: TextToImage) -> TextToImage:
    """Return the model with a network that hears row 5 loudly, row 2 softly and no other."""

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        if cond is None:
            return x_t
        told = cond[:, PLANTED].sum(1) + 0.1 * cond[:, 2].sum(1)
        return x_t * (1 + 0.1 * told[:, None, None, None].sin()) + 0.1 * told[:, None, None, None]

    return replace(model, score_model=replace(model.score_model, net=net))


@pytest.mark.parametrize("kind", ["tiny", "tiny-v"])
@pytest.mark.parametrize("by", ["guidance norm", "guided score norm", "flipd", "denoising loss"])
def test_the_planted_token_is_found(model_of: ModelOf, kind: str, by: AttributionBy) -> None:
    model = planted(model_of(kind))
    context = MitigationContext(
        generator=torch.Generator().manual_seed(0),
        latents=torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1)),
    )
    found = result_of(
        attribute(model, request_for(model, prompt=PROMPT), by, log_delta=0.0, context=context)
    )
    assert found.tokens == ("the", "cat", ",", "a", "d", "o", "g")
    scores = found.scores.tolist()
    assert max(scores) == scores[PLANTED - 1] > 0
    # A tenth of the weight gives a tenth of the gradient, in every seed.
    assert scores[1] == pytest.approx(scores[PLANTED - 1] / 10, rel=1e-4)
    assert [scores[i] for i in (0, 2, 3, 5, 6)] == [0.0] * 5


@pytest.mark.parametrize("by", ["guidance norm", "guided score norm"])
@pytest.mark.parametrize("kind", ["tiny", "tiny-v"])
def test_scores_are_norms_of_the_real_gradient(
    model_of: ModelOf, kind: str, by: AttributionBy
) -> None:
    """Differences along each token's own gradient have its length for their slope."""
    model = model_of(kind)
    request = request_for(model, seeds=(3,))
    found = result_of(attribute(model, request, by))
    at = first_step(model, request)
    eps_u, sigma = at.eps_u(), float(model.schedule.sigma(torch.tensor(at.t)))

    def value(cond: Tensor) -> Tensor:
        delta = at.eps_c(cond) - eps_u
        return delta.norm() if by == "guidance norm" else (eps_u + 3 * delta).norm() / sigma

    cond = at.cond.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(cond), cond)
    for place, row in enumerate((1, 2)):
        along = torch.zeros_like(gradient)
        along[0, row] = gradient[0, row] / gradient[0, row].norm()
        step = 1e-2
        with torch.no_grad():
            up, down = value(at.cond + step * along), value(at.cond - step * along)
        # Float32: rounding of 1e-6 of the value over the step, and the third derivative.
        assert float(up - down) / (2 * step) == pytest.approx(float(found.scores[place]), rel=0.03)


def test_random_scores_are_the_control(model_of: ModelOf) -> None:
    model = model_of("tiny")
    request = request_for(model)
    context = MitigationContext(generator=torch.Generator().manual_seed(0))
    found = result_of(attribute(model, request, "random", context=context))
    expected = torch.rand(2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found.scores, expected)
    assert found.nfe == 0
    with pytest.raises(ValueError, match="pass a generator"):
        result_of(attribute(model, request, "random"))
    with pytest.raises(ValueError, match="Unknown attribution 'taste'"):
        result_of(attribute(model, request, "taste"))  # type: ignore[arg-type]
