"""The steered network as a score model: what it answers, and the LID that is then its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmh_core.mitigations.attention_masking import AttentionMasking
from mmh_core.mitigations.catalogue import MITIGATIONS
from mmh_core.mitigations.interface import MitigationContext, result_of
from mmh_core.mitigations.tokens import padding_rows
from mmh_core.studies.images.generation import pixels_of
from mmh_core.studies.images.lid import estimate_lid
from mmh_core.text_to_image.generation import generate
from mmh_core.text_to_image.model import TextToImage, steered_model
from mmh_core.text_to_image.requests import Request, Sampling
from tests.text_to_image.conftest import ModelOf

STEERED = ("attention_masking", "attention_attenuation")
PROMPT = "the cat"


def asked(model: TextToImage, name: str) -> Request:
    """Return the request of a mitigation with its usual strength."""
    plain = Request(PROMPT, (3, 7), Sampling(3, 3.0, *model.image_size))
    context = MitigationContext(generator=torch.Generator().manual_seed(0))
    return result_of(MITIGATIONS[name].apply(model, plain, context=context)).request


@pytest.mark.parametrize("kind", ["tiny", "tiny-v"])
@pytest.mark.parametrize("name", STEERED)
def test_it_answers_what_the_steps_of_the_generation_report(
    model_of: ModelOf, kind: str, name: str
) -> None:
    model = model_of(kind)
    request = asked(model, name)
    found = steered_model(model, request).score_model
    cond = model.encode_text([PROMPT]).expand(2, -1, -1)
    for step in generate(model, request):
        # The generation asks in one batch of four rows: sums in another order.
        close = {"rtol": 1e-3, "atol": 1e-3}
        with torch.no_grad():
            torch.testing.assert_close(found.eps(step.x_t, step.t, cond), step.eps_c, **close)
            torch.testing.assert_close(found.eps(step.x_t, step.t, None), step.eps_u, **close)
            plain = model.score_model.eps(step.x_t, step.t, cond)
        assert float((plain - step.eps_c).abs().max()) > 0.01


@pytest.mark.parametrize("kind", ["tiny", "tiny-v"])
def test_lid_is_that_of_a_network_with_the_change_built_in(model_of: ModelOf, kind: str) -> None:
    """Padding masked by diffusers itself, in the place of the mitigation's own attention."""
    model = model_of(kind)
    plain = Request(PROMPT, (3, 7), Sampling(3, 3.0, *model.image_size))
    # A strength of 1 leaves the start token's logit as it is.
    request = result_of(AttentionMasking(strength=1.0).apply(model, plain)).request
    mask = torch.ones(1, model.unconditional.shape[1])
    mask[:, padding_rows(model, PROMPT)] = 0
    unet: Any = model.unet

    def masked(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        step = model.schedule.step_at(t.double()).float()
        rows = mask.expand(len(x_t), -1)
        said: Tensor = unet(x_t, step, cond, encoder_attention_mask=rows, return_dict=False)[0]
        return said

    built = replace(model, score_model=replace(model.score_model, net=masked))
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(2, *model.score_model.shape, generator=generator)
    cond = model.encode_text([PROMPT]).expand(2, -1, -1)
    images = pixels_of(model, latents)

    def lid(of: TextToImage) -> Tensor:
        return estimate_lid(of, latents, cond, -0.5, prompt=PROMPT, images=images).lid

    # LID is a count of up to 64; rounding moves it by less than a thousandth of one.
    torch.testing.assert_close(lid(steered_model(model, request)), lid(built), rtol=0, atol=0.02)
    assert float((lid(model) - lid(built)).abs().max()) > 0.1


@pytest.mark.parametrize(
    "name", ["none", "random_tokens", "padding_fix", "static_guidance", "dynamic_guidance"]
)
def test_what_does_not_change_the_network_leaves_the_very_model(
    model_of: ModelOf, name: str
) -> None:
    model = model_of("tiny")
    assert steered_model(model, asked(model, name)) is model
