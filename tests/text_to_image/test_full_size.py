"""The published architectures of Stable Diffusion 1.5 and 2.1 in full, with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmh_core.dimension.flipd import flipd
from mmh_core.text_to_image.generation import generate_images
from mmh_core.text_to_image.requests import Request, Sampling
from mmh_core.text_to_image.stable_diffusion import load
from tests.text_to_image.pipelines import IMAGE_TOLERANCE, plain_pipeline, write_pipeline


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "target", "millions"), [("sd15-full", "eps", 860), ("sd21-full", "v", 866)]
)
def test_the_full_architecture_loads_generates_and_has_a_lid(
    tmp_path: Path, kind: str, target: str, millions: int
) -> None:
    folder = write_pipeline(tmp_path, kind, size=8, dtype=torch.float16)
    model = load(folder)
    assert model.score_model.target == target
    # As published: 859.5 and 865.9 million in the network alone.
    numbers = sum(weight.numel() for weight in model.unet.parameters())
    assert numbers / 1e6 == pytest.approx(millions, abs=1)
    request = Request("the cat", (3, 7), Sampling(2, 3.0, 64, 64))
    pipeline = plain_pipeline(folder, dtype=torch.float32)
    from diffusers import DDIMScheduler

    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    expected = pipeline(
        "the cat",
        height=64,
        width=64,
        num_inference_steps=2,
        guidance_scale=3.0,
        num_images_per_prompt=2,
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 7)],
        output_type="pt",
    ).images
    torch.testing.assert_close(
        generate_images(model, request), expected, rtol=0, atol=IMAGE_TOLERANCE
    )
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    cond = model.encode_text(["the cat"])
    lid = flipd(
        model.score_model, x, 0.0, cond=cond, probes=2, generator=torch.Generator().manual_seed(0)
    )
    assert bool(torch.isfinite(lid.lid).all())
