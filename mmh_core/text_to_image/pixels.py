"""The one convention for images, and its conversions.

A batch of images is a float32 tensor (B, 3, H, W) with values from 0 to 1. Eight bits keep
256 of them: `to_uint8(x) / 255` moves a value by up to 1 / 510.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from torch import Tensor


def check_images(images: Tensor) -> None:
    """Refuse what is not a batch of images: (B, 3, H, W), floating point, within [0, 1]."""
    if images.dim() != 4 or images.shape[1] != 3 or not images.numel():
        raise ValueError(f"Images must be (B, 3, H, W), got {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise ValueError(f"Images must hold floating-point numbers, got {images.dtype}.")
    # Written so that a NaN is refused too.
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise ValueError("Images must hold numbers from 0 to 1.")


def to_uint8(images: Tensor) -> np.ndarray:
    """Return pixels (B, H, W, 3) of 8 bits: `255 x`, rounded to the nearest, halves to even."""
    check_images(images)
    # In NumPy, like diffusers: both libraries round alike, but only one rounds 255 x in float32.
    shades = images.detach().permute(0, 2, 3, 1).float().numpy(force=True)
    return (shades * 255).round().astype(np.uint8)


def to_pil(images: Tensor) -> list[Image.Image]:
    """Return one RGB image per image."""
    return [Image.fromarray(pixels) for pixels in to_uint8(images)]
