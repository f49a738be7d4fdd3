"""Small random Stable Diffusions in diffusers' own format, for tests and benchmarks of the loader.

Each has the structure of a published model and less width. The weights are random and not
diffusers' initial ones, under which a network hardly answers to its prompt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel

from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request, Sampling

TOKENS = 16
SEEDS = (3, 7)
#: How far an image of ours, in [0, 1], may lie from diffusers' own. Both add up float32 numbers in
#: the order that kernels choose by the processor, the batch and where weights lie in memory: seen
#: up to 2e-5 after four steps. A twentieth of a level of eight bits; a seed, step or scale
#: that is wrong moves an image by more than .004 (`test_the_tolerance_tells_requests_apart`).
IMAGE_TOLERANCE = 2e-4
MERGES = [("t", "h"), ("th", "e</w>"), ("c", "a"), ("ca", "t</w>")]
SD_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "layers_per_block": 2,
}


@dataclass(frozen=True)
class Kind:
    """Describe a pipeline: its UNet, the widths of its autoencoder, its text layers and target."""

    unet: dict[str, Any]
    autoencoder: tuple[int, ...] = (32, 64, 128, 128)
    autoencoder_layers: int = 2
    text_layers: int = 2
    prediction: str = "epsilon"
    second: bool = False


def _sd15(base: int, text: int) -> dict[str, Any]:
    return {
        **SD_BLOCKS,
        "block_out_channels": (base, 2 * base, 4 * base, 4 * base),
        "attention_head_dim": 8,
        "cross_attention_dim": text,
    }


def _sd21(base: int, text: int) -> dict[str, Any]:
    widths = (base, 2 * base, 4 * base, 4 * base)
    return {
        **SD_BLOCKS,
        "block_out_channels": widths,
        "attention_head_dim": tuple(width // 64 for width in widths),
        "cross_attention_dim": text,
        "use_linear_projection": True,
    }


_TINY = Kind(
    {
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 32,
    },
    autoencoder_layers=1,
)
_FULL_AUTOENCODER = (128, 256, 512, 512)
KINDS = {
    "tiny": _TINY,
    "tiny-v": replace(_TINY, prediction="v_prediction"),
    "tiny-x0": replace(_TINY, prediction="sample"),
    "sd15": Kind(_sd15(32, 64)),
    "sd21": Kind(_sd21(64, 64), prediction="v_prediction", second=True),
    "sd15-full": Kind(_sd15(320, 768), _FULL_AUTOENCODER, text_layers=12),
    "sd21-full": Kind(
        _sd21(320, 1024),
        _FULL_AUTOENCODER,
        text_layers=23,
        prediction="v_prediction",
        second=True,
    ),
}
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def write_tokenizer(folder: Path) -> int:
    """Write a byte-level BPE with four merges in CLIP's files; return the vocabulary's size."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = sorted(ByteLevel.alphabet())
    words = letters + [f"{letter}</w>" for letter in letters]
    words += [a + b for a, b in MERGES] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in MERGES)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKENS,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(words)


def randomize(network: torch.nn.Module, generator: torch.Generator) -> None:
    """Draw every weight from a normal of variance 2 / fan-in; biases small, norms around 1."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() > 1:
                weight.copy_(noise * (2 / weight[0].numel()) ** 0.5)
            else:
                weight.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))


def networks(kind: Kind, size: int, vocabulary: int, seed: int) -> dict[str, Any]:
    """Return the three networks of a kind, with random weights, by their names in a pipeline."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    width = kind.unet["cross_attention_dim"]
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=kind.text_layers,
        num_attention_heads=max(1, width // 64),
        max_position_embeddings=TOKENS,
        hidden_act="gelu" if kind.second else "quick_gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    built = {
        "text_encoder": CLIPTextModel(text),
        "unet": UNet2DConditionModel(sample_size=size, **kind.unet),
        "vae": AutoencoderKL(
            block_out_channels=kind.autoencoder,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=kind.autoencoder_layers,
        ),
    }
    generator = torch.Generator().manual_seed(seed)
    for network in built.values():
        randomize(network.eval(), generator)
    return built


def write_pipeline(
    folder: Path, name: str, *, size: int = 8, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Path:
    """Write the pipeline of one kind for images of 8 * size pixels, and return its folder."""
    from diffusers import DDIMScheduler, PNDMScheduler, StableDiffusionPipeline
    from transformers import CLIPTokenizer

    kind = KINDS[name]
    vocabulary = write_tokenizer(folder / "words")
    settings = {**SCHEDULE, "prediction_type": kind.prediction}
    scheduler: Any = DDIMScheduler(**settings)
    if name.startswith("sd15"):
        settings.pop("clip_sample")
        scheduler = PNDMScheduler(**settings, skip_prk_steps=True)
    pipeline = StableDiffusionPipeline(
        **networks(kind, size, vocabulary, seed),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "words"),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype).save_pretrained(folder / name)
    if name.startswith("sd15"):
        # As the published file has it: a setting of another scheduler, kept for it.
        path = folder / name / "scheduler" / "scheduler_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "clip_sample": False}))
    return folder / name


def plain_pipeline(folder: Path, **settings: Any) -> Any:
    """Return what diffusers itself makes of a folder."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, low_cpu_mem_usage=False, **settings
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def request_for(model: TextToImage, **changes: Any) -> Request:
    """Return a short request for a model, with some of its fields or of its sampling changed."""
    height, width = model.image_size
    own = {field.name for field in fields(Sampling)}
    sampling = {"steps": 4, "guidance": 3.0, "height": height, "width": width}
    sampling |= {name: value for name, value in changes.items() if name in own}
    rest = {name: value for name, value in changes.items() if name not in own}
    return Request(
        **{"prompt": "the cat", "seeds": SEEDS, "sampling": Sampling(**sampling), **rest}
    )
