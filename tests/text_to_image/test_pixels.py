"""The image convention: exact where eight bits are, refused where it is broken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mmh_core.text_to_image.pixels import to_pil, to_uint8


def from_uint8(pixels: np.ndarray) -> torch.Tensor:
    """Return images for pixels (B, H, W, 3) of 8 bits."""
    return torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2) / 255


ALL_SHADES = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)


def test_every_shade_survives_the_round_trip() -> None:
    assert np.array_equal(to_uint8(from_uint8(ALL_SHADES)), ALL_SHADES)


def test_axes_and_scale_are_those_of_the_convention() -> None:
    image = Image.new("RGB", (3, 2))
    image.putpixel((2, 1), (255, 51, 0))
    images = from_uint8(np.asarray(image)[None])
    assert images.shape == (1, 3, 2, 3)
    assert images[0, :, 1, 2].tolist() == pytest.approx([1, 0.2, 0])
    assert to_pil(images)[0].getpixel((2, 1)) == (255, 51, 0)


def test_rounding_goes_to_the_nearest_shade() -> None:
    shades = torch.tensor([99.4, 99.6, 0.49, 254.51]) / 255
    images = shades.reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert to_uint8(images)[0, :, :, 0].flatten().tolist() == [99, 100, 0, 255]


@pytest.mark.parametrize("bad", [-0.01, 1.01, float("nan")])
def test_numbers_outside_the_range_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        to_uint8(torch.full((1, 3, 2, 2), bad))


def test_wrong_shapes_and_types_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        to_uint8(torch.zeros(3, 2, 2))
    with pytest.raises(ValueError, match="floating-point"):
        to_uint8(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
