"""Write networks in the form in which Stable Diffusion was first published: the way back."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
AUTOENCODER_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def unet_name(name: str) -> str:
    """Return the original name of a tensor of a UNet with blocks of two layers."""
    for ours, original in UNET_ENDS.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, original)
    for ours, original in RESNET.items():
        if "resnets" in name:
            name = name.replace(f".{ours}.", f".{original}.")
    found = re.match(r"(down|mid|up)_blocks?\.(?:(\d)\.)?(\w+)\.(\d)\.(.*)", name)
    if found is None:
        raise ValueError(f"Unknown tensor {name!r}.")
    part, block, layer = found[1], int(found[2] or 0), int(found[4])
    kind, rest = found[3], found[5]
    if part == "mid":
        return f"middle_block.{2 * layer if kind == 'resnets' else 1}.{rest}"
    inner = 0 if kind == "resnets" else 1
    if part == "down":
        if kind == "downsamplers":
            return f"input_blocks.{3 * block + 3}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{3 * block + layer + 1}.{inner}.{rest}"
    if kind == "upsamplers":
        # Behind the attention, where the block has one.
        return f"output_blocks.{3 * block + 2}.{1 if block == 0 else 2}.{rest}"
    return f"output_blocks.{3 * block + layer}.{inner}.{rest}"


def autoencoder_name(name: str) -> str:
    """Return the original name of a tensor of an autoencoder with four levels."""
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)", lambda found: f"up.{3 - int(found[1])}", name)
    name = name.replace("resnets.", "block.").replace("upsamplers.0", "upsample")
    name = re.sub(r"mid_block\.block\.(\d)", lambda at: f"mid.block_{int(at[1]) + 1}", name)
    if "mid_block.attentions" in name:
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
        for ours, original in AUTOENCODER_ATTENTION.items():
            name = name.replace(f".{ours}.", f".{original}.")
    return name


def as_convolution(name: str, tensor: Tensor) -> Tensor:
    """Give the attention's matrices of an autoencoder two dimensions of size 1."""
    matrix = tensor.dim() == 2 and ".attn_1." in name
    return tensor[:, :, None, None] if matrix else tensor


def open_clip(tensors: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Return a text encoder's tensors in OpenCLIP's form, with the last block that is not read."""
    result = {
        "token_embedding.weight": tensors["embeddings.token_embedding.weight"],
        "positional_embedding": tensors["embeddings.position_embedding.weight"],
        "ln_final.weight": tensors["final_layer_norm.weight"],
        "ln_final.bias": tensors["final_layer_norm.bias"],
    }
    width = tensors["final_layer_norm.bias"].numel()
    result["text_projection"] = torch.eye(width)
    for layer in [*range(layers), layers - 1]:
        block = f"transformer.resblocks.{layer}"
        if f"{block}.ln_1.weight" in result:
            block = f"transformer.resblocks.{layers}"
        given = f"encoder.layers.{layer}"
        for kind in ("weight", "bias"):
            attention = [tensors[f"{given}.self_attn.{x}_proj.{kind}"] for x in "qkv"]
            result[f"{block}.attn.in_proj_{kind}"] = torch.cat(attention)
            result[f"{block}.attn.out_proj.{kind}"] = tensors[f"{given}.self_attn.out_proj.{kind}"]
            result[f"{block}.ln_1.{kind}"] = tensors[f"{given}.layer_norm1.{kind}"]
            result[f"{block}.ln_2.{kind}"] = tensors[f"{given}.layer_norm2.{kind}"]
            result[f"{block}.mlp.c_fc.{kind}"] = tensors[f"{given}.mlp.fc1.{kind}"]
            result[f"{block}.mlp.c_proj.{kind}"] = tensors[f"{given}.mlp.fc2.{kind}"]
    return result


def original_form(
    unet: Mapping[str, Tensor],
    autoencoder: Mapping[str, Tensor],
    text: Mapping[str, Tensor],
    *,
    second: bool,
    layers: int = 2,
) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint of version 1 or 2 under their original names."""
    tensors = {f"model.diffusion_model.{unet_name(name)}": x for name, x in unet.items()}
    for name, x in autoencoder.items():
        old = autoencoder_name(name)
        tensors[f"first_stage_model.{old}"] = as_convolution(old, x)
    if second:
        for name, x in open_clip(text, layers).items():
            tensors[f"cond_stage_model.model.{name}"] = x
    else:
        for name, x in text.items():
            tensors[f"cond_stage_model.transformer.text_model.{name}"] = x
    # Training left these in the file; nothing reads them.
    tensors["alphas_cumprod"] = torch.ones(1000)
    tensors["model_ema.decay"] = torch.ones(())
    return {name: x.contiguous().clone() for name, x in tensors.items()}
