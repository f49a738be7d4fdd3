"""Read a Stable Diffusion checkpoint in its original form: one safetensors file, no configuration.

The architecture is read off the tensors; what they do not show is what the makers published:
blocks of 1, 2, 4 and 4 times the base width with two layers each, eight heads (version 1) or heads
of 64 channels (version 2), and a scaled-linear schedule of 1,000 steps. Tensors are renamed by
diffusers' own converters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import Net
from mmh_core.text_to_image.assembly import Part, Parts, assemble, not_stable_diffusion
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.weights import (
    check_memory,
    check_safetensors,
    digest,
    parameter_count,
    read_metadata,
    read_tensors,
)

_UNET = "model.diffusion_model."
_AUTOENCODER = "first_stage_model."
_TEXT = "cond_stage_model."
_PREFIXES = (_UNET, _AUTOENCODER, _TEXT)
_CLIP = f"{_TEXT}transformer.text_model."
_OPEN_CLIP = f"{_TEXT}model."
_WIDTHS = (1, 2, 4, 4)


def load(path: Path, device: torch.device, dtype: torch.dtype) -> TextToImage:
    """Load a checkpoint; its tokenizer is the folder `tokenizer` beside the file.

    Version 2 exists with both predictions, and files rarely say which: without a statement in the
    file's metadata, the network is asked once. Raises MMHError.
    """
    check_safetensors(path)
    check_memory(parameter_count(path, _PREFIXES), dtype, device, path.name)
    tensors = read_tensors(path)
    second = f"{_OPEN_CLIP}token_embedding.weight" in tensors
    _check_tensors(path, tensors, second)
    stated = _stated_prediction(read_metadata(path))
    prediction = stated or ("v_prediction" if second else "epsilon")
    model = assemble(
        Parts(
            path.stem,
            digest(path),
            _unet(path, tensors, second),
            _autoencoder(path, tensors),
            _open_clip(path, tensors) if second else _clip(path, tensors),
            path.parent / "tokenizer",
            _scheduler(prediction),
        ),
        device,
        dtype,
    )
    if second and stated is None and predicts_noise(model.score_model.net, model.device):
        # What the makers published with eps-prediction works on 512 pixels, not 768.
        score_model = replace(model.score_model, target="eps", shape=(4, 64, 64))
        scheduler = _scheduler("epsilon")
        return replace(
            model, score_model=score_model, scheduler=scheduler, picture_size=(512, 512)
        )
    return model


@torch.no_grad()
def predicts_noise(net: Net, device: torch.device) -> bool:
    """Tell whether a network on latents predicts eps, as opposed to v.

    At the last step the input is noise but for a few percent. An eps-network returns it; a
    v-network returns `alpha eps - sigma x0`, the negative picture, and hardly correlates with it.
    """
    noise = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    output = net(noise, torch.ones(1, device=device), None).float()
    return float(torch.nn.functional.cosine_similarity(output.flatten(), noise.flatten(), 0)) > 0.5


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], second: bool) -> None:
    """Refuse files of other models and half checkpoints by the tensors that mark a kind."""
    text = f"{_OPEN_CLIP}positional_embedding"
    if not second:
        text = f"{_CLIP}embeddings.position_embedding.weight"
    marks = {
        "a denoising network": f"{_UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        "an autoencoder": f"{_AUTOENCODER}decoder.conv_in.weight",
        "a text encoder": text,
    }
    for what, name in marks.items():
        if name not in tensors:
            raise not_stable_diffusion(path.name, f"the file holds no {what.split(maxsplit=1)[1]}")


def _stated_prediction(metadata: Mapping[str, str]) -> str | None:
    """Return the prediction type that the file's metadata states in the ModelSpec standard."""
    kinds = {"epsilon": "epsilon", "eps": "epsilon", "v": "v_prediction"}
    return kinds.get(metadata.get("modelspec.prediction_type", "").lower())


def _scheduler(prediction: str) -> dict[str, Any]:
    return {
        "_class_name": "PNDMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": prediction,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
    }


def _unet(path: Path, tensors: Mapping[str, Tensor], second: bool) -> Part:
    first = tensors[f"{_UNET}input_blocks.0.0.weight"]
    text = tensors[f"{_UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"]
    widths = [len(first) * times for times in _WIDTHS]
    config = {
        "attention_head_dim": [width // 64 for width in widths] if second else 8,
        "block_out_channels": widths,
        "cross_attention_dim": text.shape[1],
        "in_channels": first.shape[1],
        "layers_per_block": 2,
        "out_channels": len(tensors[f"{_UNET}out.2.weight"]),
        "sample_size": 96 if second else 64,
        "use_linear_projection": second,
    }
    return Part(config, _converted("ldm_unet", _only(tensors, _UNET), config), path)


def _autoencoder(path: Path, tensors: Mapping[str, Tensor]) -> Part:
    width = len(tensors[f"{_AUTOENCODER}encoder.conv_in.weight"])
    config = {
        "block_out_channels": [width * times for times in _WIDTHS],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "latent_channels": tensors[f"{_AUTOENCODER}decoder.conv_in.weight"].shape[1],
        "layers_per_block": 2,
        "scaling_factor": 0.18215,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    }
    return Part(config, _converted("ldm_vae", _only(tensors, _AUTOENCODER), config), path)


def _clip(path: Path, tensors: Mapping[str, Tensor]) -> Part:
    config = _text_config(
        tensors[f"{_CLIP}embeddings.token_embedding.weight"],
        tensors[f"{_CLIP}embeddings.position_embedding.weight"],
        tensors[f"{_CLIP}encoder.layers.0.mlp.fc1.weight"],
    )
    config["num_hidden_layers"] = _layers(tensors, f"{_CLIP}encoder.layers.")
    config["hidden_act"] = "quick_gelu"
    return Part(config, _converted("ldm_clip", _only(tensors, _TEXT)), path)


def _open_clip(path: Path, tensors: Mapping[str, Tensor]) -> Part:
    blocks = f"{_OPEN_CLIP}transformer.resblocks."
    config = _text_config(
        tensors[f"{_OPEN_CLIP}token_embedding.weight"],
        tensors[f"{_OPEN_CLIP}positional_embedding"],
        tensors[f"{blocks}0.mlp.c_fc.weight"],
    )
    # Version 2 reads the text before the last block.
    config["num_hidden_layers"] = _layers(tensors, blocks) - 1
    config["hidden_act"] = "gelu"
    sized = SimpleNamespace(config=SimpleNamespace(hidden_size=config["hidden_size"]))
    return Part(config, _converted("open_clip", sized, _only(tensors, _TEXT), _OPEN_CLIP), path)


def _text_config(tokens: Tensor, positions: Tensor, wider: Tensor) -> dict[str, Any]:
    vocabulary, width = tokens.shape
    return {
        "hidden_size": width,
        "intermediate_size": len(wider),
        "max_position_embeddings": len(positions),
        "num_attention_heads": max(1, width // 64),
        "vocab_size": vocabulary,
    }


def _layers(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def _only(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: x for name, x in tensors.items() if name.startswith(prefix)}


def _converted(kind: str, *given: object) -> dict[str, Tensor]:
    """Run one of diffusers' converters, which carry no types."""
    from diffusers.loaders import single_file_utils

    tensors: dict[str, Tensor] = getattr(single_file_utils, f"convert_{kind}_checkpoint")(*given)
    return tensors
