"""LID of the shipped world's trials: that of an image, in any company."""

from __future__ import annotations

import math

import pytest
import torch

from mmh_core.pocket.trials import lid_at
from tests.text_to_image.conftest import ModelOf

LOG_DELTA = math.log(0.5)
PROMPTS = ["a red ball", "a blue house", "a red ball"]


def test_the_lid_of_an_image_is_its_own_whatever_stands_beside_it(model_of: ModelOf) -> None:
    model = model_of("tiny")
    latents = torch.randn(3, *model.score_model.shape, generator=torch.Generator().manual_seed(0))
    images = model.decode(latents).cpu()
    every = lid_at(model, latents, LOG_DELTA, prompts=PROMPTS, images=images)
    alone = torch.cat(
        [
            lid_at(model, latents[i : i + 1], LOG_DELTA, prompts=[text], images=images[i : i + 1])
            for i, text in enumerate(PROMPTS)
        ]
    )
    order = [2, 0, 1]
    turned = lid_at(
        model,
        latents[order],
        LOG_DELTA,
        prompts=[PROMPTS[i] for i in order],
        images=images[order],
    )
    # A batch of another size adds up in another order.
    assert alone.tolist() == pytest.approx(every.tolist(), rel=1e-3)
    assert turned.tolist() == pytest.approx(every[order].tolist(), rel=1e-3)
    # Eight bits an image or floats: the same image, and so the same probes.
    eight = (images * 255).round().to(torch.uint8)
    assert torch.equal(lid_at(model, latents, LOG_DELTA, prompts=PROMPTS, images=eight), every)
    # Another image has other probes, at the same latent.
    other = lid_at(model, latents, LOG_DELTA, prompts=PROMPTS, images=1 - images)
    assert (other - every).abs().min() > 1e-3
