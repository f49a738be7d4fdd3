"""Weights and answers with NaN or infinity end in a sentence with the model and the part."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmh_core.records import MMHError
from mmh_core.text_to_image.generation import generate_images
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request, Sampling
from mmh_core.text_to_image.stable_diffusion import load
from tests.text_to_image.conftest import ModelOf

REQUEST = Request("the cat", (3,), Sampling(3, 3.0, 32, 32))
PARTS = {
    "unet": ("unet/diffusion_pytorch_model.safetensors", "conv_out.weight"),
    "vae": ("vae/diffusion_pytorch_model.safetensors", "decoder.conv_out.bias"),
    "text_encoder": (
        "text_encoder/model.safetensors",
        "text_model.final_layer_norm.weight",
    ),
}


def spoil(folder: Path, part: str, value: float) -> str:
    """Set one number of a part, and return the name of its tensor in the loaded network."""
    file, name = PARTS[part]
    tensors = load_file(folder / file)
    name = name if name in tensors else name.removeprefix("text_model.")
    tensors[name].view(-1)[0] = value
    save_file(tensors, folder / file)
    return name


@pytest.mark.parametrize("part", list(PARTS))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused_when_loaded(
    own_folder: Path, part: str, value: float
) -> None:
    name = spoil(own_folder, part, value)
    sentence = rf"tiny/{part}/.* that are not finite .* tensor {name}, .*take another copy"
    with pytest.raises(MMHError, match=sentence):
        load(own_folder)


def test_a_number_that_half_precision_does_not_hold_is_told(own_folder: Path) -> None:
    name = spoil(own_folder, "unet", 1e6)
    load(own_folder)
    with pytest.raises(MMHError, match=rf"{name} that are too large for float16: load it in"):
        load(own_folder, dtype=torch.float16)


class Broken(nn.Module):
    """A network whose answer holds one NaN."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *args: object, **kwargs: object) -> tuple[Tensor]:
        answer = self.network(*args, **kwargs)[0].clone()
        answer.view(-1)[-1] = math.nan
        return (answer,)


class BrokenAutoencoder:
    """An autoencoder whose numbers are not finite."""

    def __init__(self, usual: Any) -> None:
        self.usual = usual

    def decode(self, latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        """Return images with an infinity."""
        images: Tensor = self.usual.decode(latents, return_dict=False)[0].clone()
        images[0, 0, 0, 0] = -math.inf
        return (images,)


def broken_unet(model: TextToImage) -> TextToImage:
    return replace(model, unet=Broken(model.unet))


def broken_encoder(model: TextToImage) -> TextToImage:
    return replace(model, text_encoder=Broken(model.text_encoder))


def broken_autoencoder(model: TextToImage) -> TextToImage:
    return replace(model, autoencoder=BrokenAutoencoder(model.autoencoder))


@pytest.mark.parametrize(
    ("broken", "part"),
    [
        (broken_unet, r"denoising network \(UNet\)"),
        (broken_encoder, "text encoder"),
        (broken_autoencoder, r"autoencoder \(VAE\)"),
    ],
)
def test_an_answer_that_is_not_finite_names_the_model_and_the_part(
    model_of: ModelOf, broken: Callable[[TextToImage], TextToImage], part: str
) -> None:
    model = broken(model_of("tiny"))
    sentence = f"The {part} of tiny gave numbers that are not finite: its weights are damaged"
    with pytest.raises(MMHError, match=sentence):
        generate_images(model, REQUEST)


def test_in_half_precision_float32_is_the_step(model_of: ModelOf, own_folder: Path) -> None:
    model = broken_unet(load(own_folder, dtype=torch.bfloat16))
    with pytest.raises(MMHError, match="its weights run in bfloat16, so load it in float32"):
        generate_images(model, REQUEST)


def test_an_image_without_numbers_is_not_blamed(model_of: ModelOf) -> None:
    """What comes out of a network is told before anything asks for numbers from 0 to 1."""
    model = model_of("tiny")
    latents = torch.full((1, *model.score_model.shape), math.nan)
    with pytest.raises(MMHError, match=r"autoencoder \(VAE\) of tiny gave"):
        model.decode(latents)
