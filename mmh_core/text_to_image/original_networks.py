"""Networks under their original names: configurations read off the tensors, names of today.

Layer counts and widths are read there; what tensors do not show is what the makers published:
eight heads (version 1) or heads of 64 channels (version 2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.text_to_image.assembly import ModelPart, Tensors
from mmh_core.text_to_image.configuration import not_stable_diffusion
from mmh_core.text_to_image.weight_file_kinds import Shapes

_UNET = "model.diffusion_model."
_AUTOENCODER = "first_stage_model."
_TEXT = "cond_stage_model."
_OPEN_CLIP = f"{_TEXT}model."
# The text tower of version 2, whose last block is not read; exporters leave it out or fill it.
_TOWER_BLOCKS = 24
TOWER_WIDTH = 1024
_DOWN = re.compile(r"input_blocks\.(\d+)\.0\.op\.weight")
_CROSS = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D")


def is_linear(unet: Tensors) -> bool:
    """Return whether a UNet projects to and from its attention by matrices, as version 2 does."""
    return any(name.endswith(".1.proj_in.weight") and x.dim() == 2 for name, x in unet.items())


def original_unet(path: Path, tensors: Tensors, second: bool) -> ModelPart:
    """Read a UNet's shape off its tensors; the heads alone are not to be seen there."""
    first = tensors["input_blocks.0.0.weight"]
    downs = sorted(
        int(match[1]) for name in tensors if (match := re.match(_DOWN, name)) is not None
    )
    layers = downs[0] - 1 if downs else 2
    levels = len(downs) + 1
    outs = [f"input_blocks.{1 + i * (layers + 1)}.0.out_layers.3.weight" for i in range(levels)]
    text = [x for name, x in tensors.items() if name.endswith(".attn2.to_k.weight")]
    if not all(name in tensors for name in outs) or not text:
        raise not_stable_diffusion(path.name, "its network has other blocks")
    widths = [len(tensors[name]) for name in outs]
    attends = [
        any(name.startswith(f"input_blocks.{1 + i * (layers + 1)}.1.") for name in tensors)
        for i in range(levels)
    ]
    config = {
        "attention_head_dim": [max(1, width // 64) for width in widths] if second else 8,
        "block_out_channels": widths,
        "cross_attention_dim": text[0].shape[1],
        "down_block_types": [_CROSS[0] if crossed else "DownBlock2D" for crossed in attends],
        "in_channels": first.shape[1],
        "layers_per_block": layers,
        "out_channels": len(tensors["out.2.weight"]) if "out.2.weight" in tensors else 4,
        "sample_size": 96 if second else 64,
        "up_block_types": [_CROSS[1] if crossed else "UpBlock2D" for crossed in reversed(attends)],
        "use_linear_projection": is_linear(tensors),
    }

    def convert(originals: Tensors) -> Tensors:
        return _converted("ldm_unet", _under(_UNET, originals), config)

    return ModelPart(config, tensors, path, convert)


def original_autoencoder(path: Path, tensors: Tensors) -> ModelPart:
    """Read an autoencoder's shape off its tensors."""
    shapes = {name: tuple(x.shape) for name, x in tensors.items()}
    config = autoencoder_shape(shapes, "encoder.down.", "block.")
    levels = len(config["down_block_types"])
    if not levels or len(config["block_out_channels"]) < levels or not config["layers_per_block"]:
        raise not_stable_diffusion(path.name, "its autoencoder has other blocks")

    def convert(originals: Tensors) -> Tensors:
        return _converted("ldm_vae", _under(_AUTOENCODER, originals), config)

    return ModelPart(config, tensors, path, convert)


def autoencoder_shape(shapes: Shapes, downs: str, blocks: str) -> dict[str, Any]:
    """Return an autoencoder's configuration from the shapes of its tensors.

    `downs` is how the names of its levels begin, `blocks` those of the layers in each.
    """
    levels = _layers(shapes, downs)
    firsts = [shapes.get(f"{downs}{i}.{blocks}0.conv1.weight") for i in range(levels)]
    return {
        "block_out_channels": [shape[0] for shape in firsts if shape],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "layers_per_block": _layers(shapes, f"{downs}0.{blocks}"),
        "scaling_factor": 0.18215,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }


def clip_text(path: Path, tensors: Tensors, second: bool) -> ModelPart:
    """Read a text encoder's shape off tensors with the names of transformers."""
    config = _text_config(
        tensors,
        "embeddings.token_embedding.weight",
        "embeddings.position_embedding.weight",
        "encoder.layers.0.mlp.fc1.weight",
        path,
    )
    layers = _layers(tensors, "encoder.layers.")
    # The text tower of version 2 under other names.
    config["num_hidden_layers"] = layers - 1 if second and layers == _TOWER_BLOCKS else layers
    config["hidden_act"] = "gelu" if second else "quick_gelu"
    return ModelPart(config, tensors, path)


def open_clip_text(path: Path, tensors: Tensors) -> ModelPart:
    """Read a text encoder's shape off tensors with OpenCLIP's names.

    Version 2 reads the text before the last block of the tower. Exporters write the whole tower,
    or the 23 blocks that are read; a tower of another height is whole where the projection behind
    its last block is there.
    """
    blocks = "transformer.resblocks."
    config = _text_config(
        tensors,
        "token_embedding.weight",
        "positional_embedding",
        f"{blocks}0.mlp.c_fc.weight",
        path,
    )
    layers = _layers(tensors, blocks)
    is_tower = config["hidden_size"] == TOWER_WIDTH and layers in (
        _TOWER_BLOCKS - 1,
        _TOWER_BLOCKS,
    )
    whole = layers == _TOWER_BLOCKS if is_tower else "text_projection" in tensors
    config["num_hidden_layers"] = layers - 1 if whole else layers
    config["hidden_act"] = "gelu"
    sized = SimpleNamespace(config=SimpleNamespace(hidden_size=config["hidden_size"]))

    def convert(originals: Tensors) -> Tensors:
        # Of another size than the tower it would mislead the converter, and it is not read.
        read = {name: x for name, x in originals.items() if name != "text_projection"}
        made = _converted("open_clip", sized, _under(_OPEN_CLIP, read), _OPEN_CLIP)
        return {name.removeprefix("text_model."): x for name, x in made.items()}

    return ModelPart(config, tensors, path, convert)


def _text_config(
    tensors: Tensors, tokens: str, positions: str, wider: str, path: Path
) -> dict[str, Any]:
    missing = [name for name in (tokens, positions, wider) if name not in tensors]
    if missing:
        raise MMHError(
            f"The text encoder in {path.name} does not hold the tensor {missing[0]}: save the "
            "whole model again where it was made, or choose another."
        )
    vocabulary, width = tensors[tokens].shape
    return {
        "hidden_size": width,
        "intermediate_size": len(tensors[wider]),
        "max_position_embeddings": len(tensors[positions]),
        "num_attention_heads": max(1, width // 64),
        "vocab_size": vocabulary,
    }


def _layers(tensors: Mapping[str, object], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def _under(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    return {prefix + name: x for name, x in tensors.items()}


def _converted(kind: str, *arguments: object) -> dict[str, Tensor]:
    """Run one of diffusers' converters, which carry no types."""
    from diffusers.loaders import single_file_utils

    tensors: dict[str, Tensor] = getattr(single_file_utils, f"convert_{kind}_checkpoint")(
        *arguments
    )
    return tensors
