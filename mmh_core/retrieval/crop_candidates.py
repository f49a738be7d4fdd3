"""Propose the training images that an image may be a part of, by comparing it with all of them.

A descriptor sees another image in a crop, and another shape in a stretched image, so that it does
not propose the training image. Here all of them are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mmh_core.retrieval.alignment import COARSE, COARSE_FLOOR, LEAST_VARIANCE, SMALLEST, symmetries
from mmh_core.retrieval.training_images import TrainingImages

#: Height and width of the part that was stretched to the image, over those of the image: nothing,
#: a part of 4 : 3 or 3 : 2, upright or across.
STRETCHES = ((1.0, 1.0), (1.0, 0.75), (0.75, 1.0), (1.0, 2 / 3), (2 / 3, 1.0))
_BLOCK = 512
#: Symmetries of one training image whose r differ by less cannot be told apart on the coarse grid.
_AS_GOOD = 0.02


@dataclass(frozen=True)
class CropCandidate:
    """A training image that an image may be a part of.

    `row` is its row in the training images; `symmetry` is what was done to the image (an index
    into `alignment.SYMMETRIES`), after it was given back the shape `stretch` (an index into
    `STRETCHES`) and, where `inverted`, its colors inverted. `correlation` is the best r.
    """

    row: int
    symmetry: int
    stretch: int
    inverted: bool
    correlation: float


def crop_candidates(image: Tensor, training: TrainingImages, most: int) -> list[CropCandidate]:
    """Return the training images that an image (3, H, W) in [0, 1] is most likely a part of.

    By the normalized cross-correlation r on grids of 16 means a side, in the eight symmetries of
    the square, at sides of the part from that of the whole down to 5/8 and at every place; at
    most `most` training images, best first, none below the floor of the coarse grid. An inverted
    image has -r. A shape that is symmetric itself comes in every symmetry that is as good.
    """
    best: dict[tuple[int, int, int, bool], float] = {}
    wholes = _wholes(training)
    for stretch, symmetry, r in _agreements(image, wholes):
        for inverted, values in ((False, r.amax(1)), (True, -r.amin(1))):
            top, rows = values.topk(min(most, len(values)))
            for value, row in zip(top.tolist(), rows.tolist(), strict=True):
                key = (row, symmetry, stretch, inverted)
                best[key] = max(value, best.get(key, COARSE_FLOOR))
    ranked = sorted((item for item in best.items() if item[1] > COARSE_FLOOR), key=_rank)
    highest: dict[int, float] = {}
    for (row, *_), value in ranked:
        if row in highest or len(highest) < most:
            highest.setdefault(row, value)
    return [
        CropCandidate(*key, value)
        for key, value in ranked
        if value > highest.get(key[0], 2.0) - _AS_GOOD
    ]


def unstretched(image: Tensor, part: CropCandidate) -> Tensor:
    """Return an image (3, H, W) in the shape and the colors of a part, not turned yet."""
    colored = 1 - image if part.inverted else image
    if part.stretch == 0:
        return colored
    shares = zip(STRETCHES[part.stretch], image.shape[1:], strict=True)
    size = [max(1, round(share * edge)) for share, edge in shares]
    return F.interpolate(colored[None], size, mode="bilinear", antialias=True)[0]


def _rank(item: tuple[tuple[int, int, int, bool], float]) -> tuple[float, object]:
    key, value = item
    return -value, key


def _agreements(image: Tensor, wholes: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Yield stretch, symmetry and r (M, places) for every size of the part."""
    for stretch, shares in enumerate(STRETCHES):
        # A stretched part is a coarser match already, which needs fewer sizes.
        for size in range(COARSE, round(SMALLEST * COARSE) - 1, -1 if stretch == 0 else -2):
            shape = [round(share * size) for share in shares]
            small = F.interpolate(image[None], shape, mode="bilinear", antialias=True)
            turned = symmetries(small)
            for ways in (range(0, 8, 2), range(1, 8, 2)):
                parts = torch.cat([turned[way] for way in ways])
                agreements = torch.cat(
                    [_correlations(block, parts) for block in _blocks(wholes)]
                ).flatten(2)
                for place, way in enumerate(ways):
                    yield stretch, way, agreements[:, place]


def _correlations(wholes: Tensor, parts: Tensor) -> Tensor:
    """Return r (M, P, h, w) of parts (P, 3, a, b) at all places of wholes (M, 3, H, W)."""
    shape = parts.shape[2:]
    count = parts[0].numel()
    centered = parts - parts.mean((1, 2, 3), keepdim=True)
    variance = centered.square().mean((1, 2, 3))[:, None, None]
    shared = F.conv2d(wholes, centered) / count
    means = F.avg_pool2d(wholes.mean(1, keepdim=True), shape, stride=1)
    squares = F.avg_pool2d(wholes.square().mean(1, keepdim=True), shape, stride=1)
    windows = squares - means.square()
    r = shared / (variance.clamp(min=LEAST_VARIANCE) * windows.clamp(min=LEAST_VARIANCE)).sqrt()
    return torch.where((variance >= LEAST_VARIANCE) & (windows >= LEAST_VARIANCE), r, 0.0)


@lru_cache(maxsize=1)
def _wholes(training: TrainingImages) -> Tensor:
    """Return the training images (M, 3, 16, 16), made once; 3 kB for each."""
    return torch.cat(
        [
            F.interpolate(block.float() / 255, (COARSE, COARSE), mode="area")
            for block in _blocks(training.pixels)
        ]
    )


def _blocks(images: Tensor) -> Iterator[Tensor]:
    for start in range(0, len(images), _BLOCK):
        yield images[start : start + _BLOCK]
