"""What cannot be loaded is called what it is, with a next step; never to download it again."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from mmh_core.records import MMHError
from mmh_core.text_to_image.stable_diffusion import load

LDM = "model.diffusion_model."
#: Names of tensors with what they are; a shape stands where it tells.
KINDS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "SDXL": (
        "Stable Diffusion XL",
        {
            f"{LDM}input_blocks.0.0.weight": (320, 4, 3, 3),
            f"{LDM}label_emb.0.0.weight": (4, 4),
            "conditioner.embedders.0.transformer.text_model.x": (4,),
            "first_stage_model.decoder.conv_in.weight": (4, 4, 3, 3),
        },
    ),
    "SDXL refiner": (
        "refiner of Stable Diffusion XL",
        {
            f"{LDM}input_blocks.0.0.weight": (384, 4, 3, 3),
            f"{LDM}label_emb.0.0.weight": (4, 4),
            "conditioner.embedders.0.model.x": (4,),
        },
    ),
    "SDXL of diffusers": (
        "Stable Diffusion XL",
        {"add_embedding.linear_1.weight": (4, 4), "conv_in.weight": (320, 4, 3, 3)},
    ),
    "SD3": ("Stable Diffusion 3", {f"{LDM}joint_blocks.0.x_block.attn.qkv.weight": (4, 4)}),
    "SD3 of diffusers": (
        "Stable Diffusion 3",
        {"transformer_blocks.0.attn.add_q_proj.weight": (4, 4), "pos_embed.proj.weight": (4, 4)},
    ),
    "Flux": ("Flux", {"double_blocks.0.img_attn.qkv.weight": (4, 4), "img_in.weight": (4, 4)}),
    "Flux in a checkpoint": ("Flux", {f"{LDM}double_blocks.0.img_mod.lin.weight": (4, 4)}),
    "Flux of diffusers": ("Flux", {"single_transformer_blocks.0.attn.to_q.weight": (4, 4)}),
    "kohya LoRA": (
        "a LoRA",
        {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (4, 4)},
    ),
    "PEFT LoRA": ("a LoRA", {"unet.down_blocks.0.attn1.to_q.lora_A.weight": (4, 4)}),
    "old LoRA": (
        "a LoRA",
        {"mid_block.attn1.processor.to_q_lora.up.weight": (4, 4)}
        | {"mid_block.attn1.processor.to_q.lora.up.weight": (4, 4)},
    ),
    "LoHa": ("a LoRA", {"lora_unet_mid_block.hada_w1_a": (4, 4)}),
    "LoKr": ("a LoRA", {"lycoris_mid_block.lokr_w1": (4, 4)}),
    "inpainting": (
        "an inpainting model",
        {
            f"{LDM}input_blocks.0.0.weight": (320, 9, 3, 3),
            "first_stage_model.decoder.conv_in.weight": (4, 4, 3, 3),
            "cond_stage_model.transformer.text_model.x": (4,),
        },
    ),
    "pix2pix": ("edits images", {f"{LDM}input_blocks.0.0.weight": (320, 8, 3, 3)}),
    "depth": ("depth map", {f"{LDM}input_blocks.0.0.weight": (320, 5, 3, 3)}),
    "LCM": (
        r"latent consistency model \(LCM\)",
        {"time_embedding.cond_proj.weight": (4, 4), "conv_in.weight": (320, 4, 3, 3)},
    ),
    "ControlNet": ("a ControlNet", {"control_model.input_blocks.0.0.weight": (320, 4, 3, 3)}),
    "ControlNet of diffusers": (
        "a ControlNet",
        {"controlnet_cond_embedding.conv_in.weight": (4, 3, 3, 3)},
    ),
    "IP-Adapter": ("an IP-Adapter", {"ip_adapter.1.to_k_ip.weight": (4, 4)}),
    "motion module": ("a motion module", {"down_blocks.0.motion_modules.0.x": (4, 4)}),
    "autoencoder": (
        "an autoencoder",
        {"encoder.conv_in.weight": (4, 3, 3, 3), "decoder.conv_in.weight": (4, 4, 3, 3)},
    ),
    "text encoder": (
        "a text encoder alone",
        {"text_model.embeddings.token_embedding.weight": (9, 4)},
    ),
    "embedding": ("a textual-inversion embedding", {"emb_params": (4, 768)}),
    "embedding by its word": ("a textual-inversion embedding", {"<cat-toy>": (768,)}),
    "embedding of SDXL": (
        "a textual-inversion embedding",
        {"clip_l": (2, 768), "clip_g": (2, 1280)},
    ),
    "quantized": (
        "quantized weights",
        {"mid_block.x.weight.absmax": (4,), "mid_block.x.weight": (4, 1)},
    ),
    "video": ("a video model", {f"{LDM}input_blocks.1.1.time_stack.0.x": (4, 4)}),
    "language model": (
        "a text encoder alone",
        {
            "model.embed_tokens.weight": (4, 4),
            "model.layers.0.x": (4, 4),
            "lm_head.weight": (4, 4),
        },
    ),
    "upscaler": (
        "something else than a diffusion model",
        {"conv_first.weight": (4, 3, 3, 3), "body.0.rdb1.conv1.weight": (4,), "x": (1,)},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_called_what_its_tensors_show(tmp_path: Path, kind: str) -> None:
    says, shapes = KINDS[kind]
    path = tmp_path / "model.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    with pytest.raises(MMHError, match=says) as caught:
        load(path)
    said = str(caught.value)
    assert "again" not in said and said.count("model.safetensors") >= 1
    assert re.search(r": (choose|load|put|name|merge) ", said)


def whole() -> bytes:
    return save({"x": torch.zeros(100)})


def torch_zip() -> bytes:
    file = io.BytesIO()
    torch.save({"x": torch.zeros(3)}, file)
    return file.getvalue()


def plain_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.safetensors", whole())
    return file.getvalue()


BYTES: dict[str, tuple[bytes, str]] = {
    "GGUF": (b"GGUF\x03" + bytes(99), "a GGUF file.*choose the version in half or single"),
    "pickle": (torch_zip(), "a pickle.*choose a safetensors version"),
    "zip": (plain_zip(), "a zip archive: unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7z archive: unpack it"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4265146304\n",
        "Git LFS.*`git lfs pull`",
    ),
    "page": (b"<!DOCTYPE html>\n<html>Sign in</html>", "a web page and no weights"),
    "page in capitals": (b"\n <HTML>", "a web page"),
    "cut": (whole()[:-7], r"holds 4\d\d of at least \d+ bytes.*Download or copy it again"),
    "cut in the header": (whole()[:30], "holds 30 of at least"),
    "empty": (b"", "it is empty"),
    "zeros": (bytes(5000), "it is empty"),
    "noise": (b"\x93\xff" * 99, "damaged"),
}


@pytest.mark.parametrize("kind", BYTES)
@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "model"])
def test_a_file_is_called_what_its_bytes_show(tmp_path: Path, kind: str, name: str) -> None:
    content, says = BYTES[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MMHError, match=says):
        load(path)
