"""Augmentations as in copies on the web: crop, flip, blur, JPEG and color shift.

All functions take images (B, 3, H, W) in [0, 1] and a generator on the CPU, and change each
image by a draw of its own. Their strength leaves the subject and the layout recognizable: a
descriptor trained to ignore more could no longer tell a copy from an image of the same template.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Augmentation = Callable[[Tensor, torch.Generator], Tensor]

#: Least share of the side that a crop keeps, and the greatest change of its shape.
CROP, STRETCH = 0.75, 1.1
#: Widths of the blur in pixels of a 64 x 64 image.
BLUR = (0.4, 1.2)
#: Steps of the quantized cosine coefficients, in units of 1 / 255 at the lowest frequency.
JPEG = (6.0, 24.0)
BLOCK = 8
#: Greatest shift of one color channel, and greatest relative change of contrast and saturation.
SHIFT, CONTRAST = 0.06, 0.2

_TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return (count, 1, 1, 1) random numbers between two bounds."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)


def crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Cut out a rectangle of at least `CROP / sqrt(STRETCH)` of each side, and scale it up."""
    count = len(images)
    side = uniform(count, CROP, 1, generator)
    wide = torch.exp(uniform(count, -math.log(STRETCH), math.log(STRETCH), generator))
    width, height = (side * wide.sqrt()).clamp(max=1), (side / wide.sqrt()).clamp(max=1)
    x = (1 - width) * uniform(count, -1, 1, generator)
    y = (1 - height) * uniform(count, -1, 1, generator)
    nothing = torch.zeros_like(x)
    frame = torch.cat([width, nothing, x, nothing, height, y], dim=1).reshape(count, 2, 3)
    grid = F.affine_grid(frame.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror every image, left to right; the generator is not used."""
    return images.flip(3)


def blur(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blur by a Gaussian whose width is drawn from `BLUR`."""
    count, channels, height, width = images.shape
    spread = uniform(count, *BLUR, generator).reshape(count, 1) * width / 64
    offsets = torch.arange(-3.0, 4.0)
    kernel = torch.exp(-(offsets**2) / (2 * spread**2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(images)
    kernel = kernel.repeat_interleave(channels, dim=0)
    stacked = images.reshape(1, count * channels, height, width)
    across = F.pad(stacked, (3, 3, 3, 3), mode="reflect")
    across = F.conv2d(across, kernel[:, None, None, :], groups=count * channels)
    down = F.conv2d(across, kernel[:, None, :, None], groups=count * channels)
    return down.reshape(images.shape)


def jpeg(images: Tensor, generator: torch.Generator) -> Tensor:
    """Round the cosine coefficients of 8 x 8 blocks, colors more coarsely, as JPEG does.

    Not the file format: its steps grow linearly with the frequency instead of by its tables.
    """
    count, _, height, width = images.shape
    if height % BLOCK or width % BLOCK:
        raise ValueError(f"Sides must be multiples of {BLOCK}, got {(height, width)!r}.")
    turn, cosines = _TO_YCC.to(images), _cosines().to(images)
    ycc = torch.einsum("ij,bjhw->bihw", turn, images - 0.5)
    blocks = torch.unflatten(torch.unflatten(ycc, 3, (-1, BLOCK)), 2, (-1, BLOCK))
    table = torch.einsum("ui,bchiwj,vj->bcuhvw", cosines, blocks, cosines)
    order = torch.arange(BLOCK).to(images)
    coarse = 1 + order[:, None, None, None] + order[None, None, :, None]
    channel = torch.tensor([1.0, 2.0, 2.0]).to(images)[:, None, None, None, None]
    level = uniform(count, *JPEG, generator).to(images)[..., None, None] / 255
    step = level * channel * coarse
    rounded = (table / step).round() * step
    back = torch.einsum("ui,bcuhvw,vj->bchiwj", cosines, rounded, cosines)
    decoded = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(turn), back.reshape(ycc.shape)) + 0.5
    return decoded.clamp(0, 1)


def color_shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness of the channels, contrast and saturation."""
    count = len(images)
    shift = SHIFT * (2 * torch.rand(count, 3, 1, 1, generator=generator) - 1)
    contrast = uniform(count, 1 - CONTRAST, 1 + CONTRAST, generator).to(images)
    vivid = uniform(count, 1 - CONTRAST, 1 + CONTRAST, generator).to(images)
    gray = images.mean(1, keepdim=True)
    middle = gray.mean((2, 3), keepdim=True)
    shifted = middle + contrast * (gray + vivid * (images - gray) - middle)
    return (shifted + shift.to(images)).clamp(0, 1)


#: The five changes that the descriptor is trained for and checked against.
AUGMENTATIONS: Mapping[str, Augmentation] = {
    "crop": crop,
    "flip": flip,
    "blur": blur,
    "JPEG": jpeg,
    "color shift": color_shift,
}


def view(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply each of the five changes to every image with probability 1/2."""
    for change in AUGMENTATIONS.values():
        chosen = torch.rand(len(images), generator=generator) < 0.5
        changed = change(images, generator)
        images = torch.where(chosen.to(images.device)[:, None, None, None], changed, images)
    return images


def _cosines() -> Tensor:
    """Return the orthonormal cosine transform (BLOCK, BLOCK), one frequency a row."""
    index = torch.arange(BLOCK)
    table = torch.cos(math.pi / BLOCK * (index + 0.5) * index[:, None]) * math.sqrt(2 / BLOCK)
    table[0] /= math.sqrt(2)
    return table
