"""The autoencoder's loss, scale and fidelity against their definitions."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmh_core.pocket.autoencoder import (
    AutoencoderConfig,
    decode,
    encode,
    psnr,
    reconstruction_loss,
    set_scale,
    train_autoencoder,
)
from mmh_core.pocket.fit import Fitting
from mmh_core.pocket.folder import Place
from mmh_core.text_to_image.components import new_autoencoder

SMALL = AutoencoderConfig(Fitting(4, 4, 2e-3), channels=(8, 8, 8, 8))


class Halving(nn.Module):
    """Encode an image as half of itself, and decode with a known error."""

    def __init__(self, error: float) -> None:
        """Keep the error; one parameter says where the module is."""
        super().__init__()
        self.error = error
        self.where = nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(scaling_factor=3.0)

    def encode(self, x: Tensor) -> Any:
        """Return half of x as the mean of the posterior."""
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=x / 2))

    def decode(self, z: Tensor) -> Any:
        """Return the image, off by the error."""
        return SimpleNamespace(sample=z * 2 + self.error)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Return noise away from the bounds, which clip."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(60, 200, (9, 3, 16, 16), generator=generator, dtype=torch.uint8)


def test_the_loss_is_its_formula() -> None:
    found = torch.tensor([[1.0, 0.0], [0.5, 0.0]]).reshape(1, 1, 2, 2)
    # |e| averages 1.5 / 4, e^2 1.25 / 4; differences across 1 and .5, down .5 and 0.
    wanted = 0.375 + 10 * 0.3125 + 0.3 * (0.75 + 0.25)
    assert float(reconstruction_loss(found, torch.zeros(1, 1, 2, 2), 0.3)) == pytest.approx(wanted)


def test_latents_are_means_times_the_factor_and_decoding_undoes_it(images: Tensor) -> None:
    vae = Halving(0.0)
    latents = encode(vae, images, batch=4)
    torch.testing.assert_close(latents, 3 * (images / 255 - 0.5))
    back = decode(vae, latents, batch=4)
    torch.testing.assert_close(back, images / 255, atol=1e-6, rtol=0)


def test_fidelity_is_that_of_the_error(images: Tensor) -> None:
    # An error of .2 in [-1, 1] is .1 in [0, 1], so 20 dB.
    assert psnr(Halving(0.2), images) == pytest.approx(20, abs=1e-3)
    assert psnr(Halving(0.02), images) == pytest.approx(40, abs=1e-2)


def test_setting_the_scale_gives_latents_unit_spread_whatever_it_was(images: Tensor) -> None:
    torch.manual_seed(0)
    vae: Any = new_autoencoder(SMALL.network(16)).eval()
    vae.register_to_config(scaling_factor=7.0)
    raw = encode(vae, images) / 7
    scale = set_scale(vae, images)
    assert scale == vae.config.scaling_factor == pytest.approx(1 / float(raw.std()), rel=1e-4)
    assert float(encode(vae, images).std()) == pytest.approx(1, abs=1e-4)
    assert encode(vae, images).shape == (9, 4, 2, 2)


def test_training_lowers_the_loss_and_is_its_seeds(images: Tensor) -> None:
    config = AutoencoderConfig(Fitting(25, 4, 5e-3, warm_up=2), channels=(8, 8, 8, 8))
    gray = torch.full_like(images, 200)

    def losses(seed: int) -> list[float]:
        place = Place(torch.device("cpu"), seed)
        return [each.loss for each in train_autoencoder(gray, config, place, "float32")]

    one = losses(1)
    assert one == losses(1)
    assert one[0] != losses(2)[0]
    assert math.isfinite(one[-1])
    # One gray is learned within 25 steps; the shown loss is a mean over all of them.
    assert one[-1] < 0.7 * one[0]
