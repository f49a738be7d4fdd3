"""Turn one small image into PNG bytes for a card."""

from __future__ import annotations

import io

import torch
from torch import Tensor


def image_png(point: Tensor, *, side: int = 96) -> bytes:
    """Return the PNG of an image (1, H, W) on [-1, 1], enlarged to about `side` pixels.

    Gray values are 127.5 (x + 1), rounded, so that a digit is white ink on black; beyond [-1, 1],
    where a poorly trained model may go, they are cut. A pixel becomes a square of whole screen
    pixels (nearest neighbor): 8 x 8 becomes 96 x 96. Errors: ValueError for another shape, numbers
    that are not finite, or a side outside 1 to 4,096.
    """
    from PIL import Image

    if point.ndim != 3 or point.shape[0] != 1 or not point.numel():
        raise ValueError(f"point must have shape (1, H, W), got {tuple(point.shape)}.")
    if not bool(torch.isfinite(point).all()):
        raise ValueError("point must hold finite numbers, got NaN or infinity.")
    if not 1 <= side <= 4096:
        raise ValueError(f"side must be from 1 to 4,096, got {side!r}.")
    gray = ((point[0].detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    factor = max(1, side // max(gray.shape))
    enlarged = gray.repeat_interleave(factor, dim=0).repeat_interleave(factor, dim=1)
    file = io.BytesIO()
    Image.fromarray(enlarged.numpy(force=True)).save(file, format="PNG")
    return file.getvalue()
