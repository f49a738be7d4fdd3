"""Search a training set for an image's copy in other colors or another brightness.

A descriptor does not propose the training image of a copy made grey, dark or inverted, so that a
search by descriptor alone rules no such copy out. Here every training image is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mmh_core.retrieval.training_images import TrainingImages

#: Edge of the grid on which colors are fitted.
GRID = 32
#: A multiple correlation from which an image is a likely copy in other colors, and one below which
#: it is none. Chosen on 200 held-out and 60 training images of the shipped world in 23 changes of
#: color: no held-out image reaches the first (at most .996, in black and white), and gamma, noise
#: and hue leave most training images above the second. `benchmarks/recolored.py` measures others.
LIKELY, POSSIBLE = 0.9965, 0.965
#: Training images that fit as well, up to this, cannot be told apart.
TIE = 0.002
#: Directions in which an image varies less than this are none of its colors.
LEAST_DEVIATION = 0.01
#: Colors beyond those of all training images by more than this are outside of their range.
SLACK = 0.005
_BLOCK = 512
_LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Recoloring:
    """The training image that an image fits best once its colors are changed.

    `row` is its row in the training images, `correlation` R, `ties` how many others fit as well
    and at least `LIKELY`, `outside` whether one of the statistics of the image's colors lies
    beyond the range of that statistic over all training images.
    """

    row: int
    correlation: float
    ties: int
    outside: bool


@dataclass(frozen=True, eq=False)
class _Colors:
    """Orthonormal bases (M, 3, P) of the centered channels of M training images.

    `low` and `high` (12,) are the ranges of `_color_statistics` over all of them.
    """

    bases: Tensor
    low: Tensor
    high: Tensor


def recolorings(images: Tensor, training: TrainingImages) -> list[Recoloring]:
    """Return the training images that images (B, 3, H, W) in [0, 1] copy up to their colors.

    With x an image and n a training image, every channel of x is fitted by an affine map of the
    three of n, and R^2 is the share of the variance of x that the fit explains (the multiple
    correlation), on a grid of 32 x 32 means. Grey, sepia, darker, brighter, less contrast,
    inverted and exchanged channels are such maps, with R = 1; gamma, clipping and turns of hue are
    near to one.

    Caveat: the fit knows shapes alone. Two images of the same shapes in other colors are not
    copies, and no fit can tell them from one that was recolored: what fits nearly is undecided,
    not a copy. Maps that are not monotone lose the shapes; their colors mostly give them away
    (`outside`). Mirrored or cropped images are not fitted.
    """
    colors = _colors(training)
    grid = _on_grid(images.float())
    centered = grid - grid.mean(2, keepdim=True)
    totals = centered.square().sum((1, 2)).clamp(min=1e-9)
    # All images at once: the bases of the training images are read from memory once.
    products = colors.bases.flatten(0, 1) @ centered.flatten(0, 1).T
    squares = products.square().reshape(len(colors.bases), 3, len(images), 3).sum((1, 3))
    statistics = _color_statistics(grid)
    outside = (statistics < colors.low - SLACK) | (statistics > colors.high + SLACK)
    matches = []
    for number, total in enumerate(totals):
        fits = (squares[:, number] / total).clamp(max=1).sqrt()
        best = int(fits.argmax())
        ties = int((fits >= max(float(fits[best]) - TIE, LIKELY)).sum()) - 1
        matches.append(
            Recoloring(best, float(fits[best]), max(0, ties), bool(outside[number].any()))
        )
    return matches


@lru_cache(maxsize=1)
def _colors(training: TrainingImages) -> _Colors:
    """Return the bases of all training images, made once; 12 kB for each."""
    bases, statistics = [], []
    for start in range(0, len(training), _BLOCK):
        grid = _on_grid(training.pixels[start : start + _BLOCK].float() / 255)
        centered = grid - grid.mean(2, keepdim=True)
        values, directions = torch.linalg.eigh(centered @ centered.mT)
        lengths = values.clamp(min=0).sqrt()
        kept = lengths >= LEAST_DEVIATION * GRID
        scales = torch.where(kept, 1 / lengths.clamp(min=LEAST_DEVIATION), 0.0)
        bases.append(scales[:, :, None] * (directions.mT @ centered))
        statistics.append(_color_statistics(grid))
    all_statistics = torch.cat(statistics)
    return _Colors(torch.cat(bases), all_statistics.amin(0), all_statistics.amax(0))


def _on_grid(images: Tensor) -> Tensor:
    return F.interpolate(images, size=(GRID, GRID), mode="area").flatten(2)


def _color_statistics(grid: Tensor) -> Tensor:
    """Return color statistics of images (B, 3, P): brightness, contrast, saturation."""
    light = torch.einsum("c,bcp->bp", grid.new_tensor(_LUMINANCE), grid)
    vivid = grid.amax(1) - grid.amin(1)
    statistics = [
        light.mean(1),
        light.std(1),
        light.amin(1),
        light.amax(1),
        vivid.mean(1),
        vivid.amax(1),
    ]
    return torch.cat([torch.stack(statistics, 1), grid.mean(2), grid.std(2)], dim=1)
