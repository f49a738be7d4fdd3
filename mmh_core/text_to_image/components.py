"""Make the parts of a small Stable Diffusion anew, and write them as a diffusers folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmh_core.files import write_text

#: The schedule of Stable Diffusion 1.x: square roots of beta rise linearly over 1,000 steps.
SCHEDULE: Mapping[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}


def new_unet(config: Mapping[str, Any]) -> nn.Module:
    """Return a UNet2DConditionModel with fresh weights, for an image's latents and a caption.

    Its attention is the written-out one: at 64 pixels the fused kernel's backward pass takes a
    third of the training step on a CPU. The choice is not saved; loaded models use the fused one.
    """
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor

    kind: Any = UNet2DConditionModel
    made = kind(**config)
    made.set_attn_processor(AttnProcessor())
    unet: nn.Module = made
    return unet


def new_autoencoder(config: Mapping[str, Any]) -> nn.Module:
    """Return an AutoencoderKL with fresh weights."""
    from diffusers import AutoencoderKL

    kind: Any = AutoencoderKL
    vae: nn.Module = kind(**config)
    return vae


def alphas_cumprod() -> torch.Tensor:
    """Return the table (1000,) of `SCHEDULE`, as diffusers computes it."""
    from diffusers import DDIMScheduler

    kind: Any = DDIMScheduler
    table: torch.Tensor = kind(**SCHEDULE).alphas_cumprod
    return table


def write_pipeline(
    folder: Path, *, unet: nn.Module, vae: nn.Module, text_encoder: nn.Module, tokenizer: Path
) -> None:
    """Write a folder that plain `StableDiffusionPipeline.from_pretrained(folder)` loads.

    `tokenizer` is the folder of the tokenizer's files. Weights are stored as float16 safetensors,
    and loaded as float32 where nothing else is asked for. The three modules become float16.
    """
    from diffusers import DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTokenizer

    kind: Any = StableDiffusionPipeline
    schedule: Any = DDIMScheduler
    pipeline = kind(
        vae=vae.half().eval(),
        text_encoder=text_encoder.half().eval(),
        tokenizer=CLIPTokenizer.from_pretrained(str(tokenizer)),
        unet=unet.half().eval(),
        scheduler=schedule(**SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(str(folder), safe_serialization=True)
    load_as_float32(folder / "text_encoder" / "config.json")


def load_as_float32(config: Path) -> None:
    """Have a saved transformers model load as float32, whatever its weights are stored as.

    transformers takes the type from the configuration; diffusers loads the rest of the pipeline
    as float32, and the two must meet.
    """
    settings = json.loads(config.read_text())
    for part in (settings, settings.get("text_config"), settings.get("vision_config")):
        if part is not None:
            part["dtype"] = "float32"
    write_text(config, json.dumps(settings, indent=2, sort_keys=True) + "\n")
