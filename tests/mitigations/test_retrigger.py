"""The re-trigger attack on a network whose images are known for every embedding."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mmh_core.mitigations.guidance_schedule import GuidanceSchedule
from mmh_core.mitigations.interface import NO_CONTEXT, Mitigation, result_of, steered
from mmh_core.mitigations.lid_loss import generated_latents
from mmh_core.mitigations.none import NoMitigation
from mmh_core.mitigations.padding_fix import PaddingFix
from mmh_core.mitigations.retrigger import STEPS, TIMES, Retriggered, retriggered
from mmh_core.text_to_image.model import TextToImage, latent_net
from mmh_core.text_to_image.requests import Request
from tests.mitigations.conftest import SEEDS, ModelOf, request_for

SHAPE = (4, 4, 4)


def pattern(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


HELD, REMOVED, USUAL = pattern(1), pattern(2), pattern(3)


class Analytic(nn.Module):
    """The perfect network of a model that ends in one image for every embedding e.

    `x0 = w held + (1 - w) usual` with w the logistic of the mean of e over the last rows, which no
    row but those takes part in: `held` can be reached, any other image cannot.
    """

    def __init__(self, model: TextToImage) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.schedule = model.schedule

    def forward(
        self, x_t: Tensor, step: Tensor, cond: Tensor, *, return_dict: bool
    ) -> tuple[Tensor]:
        w = torch.sigmoid(8 * cond[:, -4:].mean((1, 2)) - 4).reshape(-1, 1, 1, 1)
        x0 = w * HELD + (1 - w) * USUAL
        t = (step.double().reshape(-1) + 1) / self.schedule.steps
        alpha = self.schedule.alpha(t).to(x_t).reshape(-1, 1, 1, 1)
        sigma = self.schedule.sigma(t).to(x_t).reshape(-1, 1, 1, 1)
        return ((x_t - alpha * x0) / sigma,)


@pytest.fixture(scope="module")
def model(model_of: ModelOf) -> TextToImage:
    base = model_of("tiny")
    unet = Analytic(base)
    net = latent_net(unet, base.schedule, base.unconditional)
    score_model = replace(base.score_model, net=net, target="eps")
    return replace(base, unet=unet, score_model=score_model)


def plain(model: TextToImage) -> Request:
    quiet = torch.full_like(model.unconditional, 0.1)
    return steered(request_for(model, steps=8, guidance=1.0), embedding=quiet)


def attacked(model: TextToImage, request: Request, image: Tensor) -> tuple[Retriggered, Tensor]:
    generator = torch.Generator().manual_seed(0)
    found = result_of(retriggered(model, request, image, generator=generator))
    latents, _ = result_of(generated_latents(model, found.request))
    return found, latents


def near(latents: Tensor, image: Tensor) -> list[bool]:
    return [float((one - image).square().mean()) < 0.05 for one in latents]


@pytest.mark.parametrize("mitigation", [NoMitigation(), GuidanceSchedule(strength=0.5)])
def test_an_image_that_the_model_holds_comes_back_and_another_does_not(
    model: TextToImage, mitigation: Mitigation
) -> None:
    mitigated = result_of(mitigation.apply(model, plain(model), context=NO_CONTEXT)).request
    before, _ = result_of(generated_latents(model, mitigated))
    assert near(before, HELD) == [False] * len(SEEDS)
    found, latents = attacked(model, mitigated, HELD)
    assert near(latents, HELD) == [True] * len(SEEDS)
    assert bool((found.after < found.before / 10).all())
    assert found.request.seeds == mitigated.seeds
    assert found.nfe == 2 * STEPS + 1
    other, latents = attacked(model, mitigated, REMOVED)
    assert near(latents, REMOVED) == [False] * len(SEEDS)
    assert bool((other.after > 0.5).all())


def test_the_mitigation_stays_in_force(model: TextToImage) -> None:
    """The rows that lead to the image are the last ones of the padding, which are at zero."""
    request = steered(plain(model), embedding=torch.full_like(model.unconditional, 0.1))
    zeroed = result_of(PaddingFix(strength=1.0).apply(model, request, context=NO_CONTEXT)).request
    found, latents = attacked(model, zeroed, HELD)
    assert near(latents, HELD) == [False] * len(SEEDS)
    steering = found.request.steering
    assert steering is not None and steering.embedding is not None
    assert not bool(steering.embedding[:, -4:].any()) and bool(steering.embedding[:, 0].any())


def test_the_attack_sees_the_network_with_its_attention(model: TextToImage) -> None:
    entered: list[int] = []

    def attention(leading: int) -> AbstractContextManager[object]:
        entered.append(leading)
        return nullcontext()

    request = steered(plain(model), attention=attention)
    generator = torch.Generator().manual_seed(0)
    found = result_of(retriggered(model, request, HELD, generator=generator, steps=2))
    assert entered == [0] * 3
    assert found.request.steering is not None and found.request.steering.attention is attention


def test_the_attack_can_be_stopped_between_evaluations(model: TextToImage) -> None:
    work = retriggered(model, plain(model), HELD, generator=torch.Generator().manual_seed(0))
    assert sum(1 for _ in work) == 2 * STEPS + 1
    assert min(TIMES) > 0.5
