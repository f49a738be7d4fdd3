"""On a GPU: the same images as diffusers there, in half precision, and a LID."""

from __future__ import annotations

import pytest
import torch

from mmh_core.dimension.flipd import flipd
from mmh_core.text_to_image.generation import generate_images
from mmh_core.text_to_image.requests import Request, Sampling
from mmh_core.text_to_image.stable_diffusion import load
from tests.text_to_image.conftest import FolderOf
from tests.text_to_image.pipelines import plain_pipeline


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["tiny", "sd21"])
def test_images_on_a_gpu_are_those_of_diffusers(folder_of: FolderOf, kind: str) -> None:
    from diffusers import DDIMScheduler

    model = load(folder_of(kind), device="cuda")
    assert model.dtype in (torch.bfloat16, torch.float16)
    pipeline = plain_pipeline(folder_of(kind), dtype=model.dtype).to("cuda")
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    height, width = model.image_size
    expected = pipeline(
        "the cat",
        num_inference_steps=4,
        guidance_scale=3.0,
        num_images_per_prompt=2,
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 7)],
        output_type="pt",
    ).images
    images = generate_images(model, Request("the cat", (3, 7), Sampling(4, 3.0, height, width)))
    # Kernels may be chosen by timing, and half precision keeps 8 bits.
    torch.testing.assert_close(images, expected.float(), rtol=0, atol=2e-2)
    x = torch.randn(2, *model.score_model.shape, device="cuda")
    generator = torch.Generator("cuda").manual_seed(0)
    lid = flipd(model.score_model, x, -0.7, generator=generator).lid
    assert bool(torch.isfinite(lid).all())
