"""Make images of images: smaller ones, differences, and maps laid over them."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from PIL import Image

#: Viridis at equal steps, the sequential colors of the app's theme: lightness rises evenly.
_SCALE = (
    (68, 1, 84),
    (72, 40, 120),
    (62, 73, 137),
    (49, 104, 142),
    (38, 130, 142),
    (31, 158, 137),
    (53, 183, 121),
    (110, 206, 88),
    (181, 222, 43),
    (253, 231, 37),
)


#: Of images that travel as WebP: no difference that an eye sees at the size shown.
_QUALITY = 90


def webp_address(image: Image.Image, *, lossless: bool = False) -> str:
    """Return an image as an address that holds it, of a tenth or so of the size of its PNG."""
    out = io.BytesIO()
    image.save(out, "WEBP", quality=_QUALITY, lossless=lossless)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


def reduced(image: Tensor, most: int) -> Tensor:
    """Return an image, uint8 (3, H, W), made smaller by averaging until no side is above `most`.

    An image that fits is returned as it is. Errors: ValueError for another shape or type.
    """
    _check(image)
    longest = max(image.shape[1:])
    if longest <= most:
        return image
    height, width = (max(1, round(side * most / longest)) for side in image.shape[1:])
    return _as_uint8(interpolate(image[None].float(), (height, width), mode="area")[0])


def difference(image: Tensor, other: Tensor) -> Tensor:
    """Return |a - b| of two images, uint8 (3, H, W), at the size of the first.

    Black is equal, white the opposite; the other image is resized where sizes differ. Errors:
    ValueError for another shape or type.
    """
    _check(image)
    _check(other)
    second = other[None].float()
    if other.shape != image.shape:
        size = (int(image.shape[1]), int(image.shape[2]))
        second = interpolate(second, size, mode="bilinear", antialias=True)
    return _as_uint8((image.float() - second[0]).abs())


def region_image(region: Tensor, height: int, width: int) -> Tensor | None:
    """Return a map (h, w) as a colored image, uint8 (3, height, width); None where it is NaN.

    From 0 (violet) to its own maximum (yellow) on viridis, interpolated linearly: the map is as
    coarse as it was, only smooth. Errors: ValueError for another number of dimensions.
    """
    if region.ndim != 2:
        raise ValueError(f"region must have shape (h, w), got {tuple(region.shape)}.")
    if not region.numel() or not bool(region.isfinite().all()):
        return None
    top = float(region.max())
    share = region.float().clamp_min(0) / top if top > 0 else torch.zeros_like(region)
    smooth = interpolate(
        share[None, None].float(), (height, width), mode="bilinear", align_corners=False
    )[0, 0]
    scale = torch.tensor(_SCALE, dtype=torch.float32)
    position = smooth.clamp(0, 1) * (len(scale) - 1)
    low = position.floor().long().clamp_max(len(scale) - 2)
    part = (position - low)[..., None]
    return _as_uint8((scale[low] * (1 - part) + scale[low + 1] * part).permute(2, 0, 1))


def _as_uint8(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


def _check(image: Tensor) -> None:
    if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3:
        raise ValueError(f"image must be uint8 (3, H, W), got {image.dtype} {tuple(image.shape)}.")
