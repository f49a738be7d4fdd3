"""Decide by pixels whether an image copies one of some candidate training images.

Equal pixels are a copy with any descriptor. What repeats only a part, or at another size, is a
likely copy that a person has to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mmh_core.retrieval.alignment import SYMMETRIES, Alignment, best_alignment, symmetries

#: Root mean square difference of values in [0, 1] below which two images are one, re-encoded;
#: on half their edge, since compression keeps less of the color of single pixels.
SAME = 0.02
#: A likely copy correlates at least so much, and no more than this is left unexplained. Of 444
#: held-out images of the shipped world (template members left out, which are equal to training
#: images) none passes: the least residual is .023. Crops and turns of training images leave .004
#: (median), at most .014 where the descriptor has proposed the right one.
LEAST_CORRELATION, MOST_RESIDUAL = 0.97, 0.02
#: Spatial standard deviation, on a grid of 16 x 16 means, below which an image is of one color.
FLAT = 0.01
_GRID = 16
#: A border may differ so much from its color, and takes at least a twentieth of the area.
MARGIN, LEAST_TRIMMED = 0.06, 0.95


@dataclass(frozen=True)
class PixelMatch:
    """The training image that an image copies, and how; `words` names the transformation.

    `symmetry` and `candidate` number what was compared, as in `Alignment`. `difference` is the
    root mean square difference for an exact match, else what the alignment leaves unexplained.
    """

    kind: Literal["exact", "likely"]
    symmetry: int
    candidate: int
    difference: float
    words: str
    figures: str


def structure(images: Tensor) -> Tensor:
    """Return how much images (B, 3, H, W) vary in space (B,): the largest deviation of a channel.

    Measured on a grid of means, so that grain on one color does not count.
    """
    small = F.adaptive_avg_pool2d(images.float(), _GRID).flatten(2)
    return small.std(dim=2, correction=0).amax(1)


def is_flat(images: Tensor) -> Tensor:
    """Return which of the images (B, 3, H, W) in [0, 1] are of one color (B,) bool."""
    return structure(images) < FLAT


def fitted(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an image (3, H, W), uint8 or float, cut to the shape of `size` and resized to it.

    In [0, 1]; resized with antialiasing, bicubic. An image of the right size is not touched.
    """
    values = image.float() / 255 if image.dtype == torch.uint8 else image
    height, width = values.shape[1:]
    if (height, width) == size:
        return values
    scale = min(height / size[0], width / size[1])
    tall, wide = (max(1, round(side * scale)) for side in size)
    top, left = (height - tall) // 2, (width - wide) // 2
    cut = values[None, :, top : top + tall, left : left + wide]
    resized: Tensor = F.interpolate(
        cut, size=size, mode="bicubic", antialias=True, align_corners=False
    )
    return resized[0].clamp(0, 1)


def without_margins(image: Tensor) -> Tensor | None:
    """Return an image (3, H, W) in [0, 1] without a border of one color, None where it has none.

    The border has the color of a corner, but for what compression leaves. A part of less than a
    quarter of the area, or of one color itself, is no image.
    """
    boxes = []
    for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        unlike = (image - image[:, y, x][:, None, None]).abs().amax(0) > MARGIN
        rows, columns = unlike.any(1).nonzero().flatten(), unlike.any(0).nonzero().flatten()
        if len(rows):
            boxes.append((int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1))
    height, width = image.shape[1:]
    areas = [(bottom - top) * (right - left) for top, bottom, left, right in boxes]
    if not areas or not 0.25 <= min(areas) / (height * width) < LEAST_TRIMMED:
        return None
    top, bottom, left, right = boxes[areas.index(min(areas))]
    # What lies next to the border is half of its color.
    top, left = (edge + (edge > 0) for edge in (top, left))
    bottom, right = bottom - (bottom < height), right - (right < width)
    inner = image[:, top:bottom, left:right]
    return None if bool(is_flat(inner[None])[0]) else inner.contiguous()


def bounded(image: Tensor, short: int) -> Tensor:
    """Return an image (3, H, W) in [0, 1] with a short edge of at most `short` pixels."""
    height, width = image.shape[1:]
    if min(height, width) <= short:
        return image
    size = [max(1, round(side * short / min(height, width))) for side in (height, width)]
    smaller: Tensor = F.interpolate(
        image[None], size=size, mode="bilinear", antialias=True, align_corners=False
    )
    return smaller[0].clamp(0, 1)


def pixel_match(
    image: Tensor, candidates: Sequence[Sequence[Tensor]], most_residual: float = MOST_RESIDUAL
) -> PixelMatch | None:
    """Return the candidate that an image (3, H, W) in [0, 1] copies, None for none of them.

    `candidates` are those of `best_alignment`. *exact*: in one of the eight symmetries, at the
    same size, the root mean square difference is at most `SAME` and at most half of what the image
    varies by. *likely*: at some scale and place the correlation and the residual pass.
    """
    best = best_alignment(image, candidates)
    if best is None:
        return None
    if best.scale == 1:
        turned = symmetries(image)[best.symmetry]
        other = fitted(candidates[best.symmetry][best.candidate], _size(turned))
        halves = F.avg_pool2d(torch.stack([turned, other]), 2, ceil_mode=True)
        difference = float((halves[0] - halves[1]).square().mean().sqrt())
        if difference <= min(SAME, float(structure(turned[None])[0]) / 2):
            figures = f"root mean square difference {difference:.3f} (threshold {SAME})"
            return PixelMatch(
                *("exact", best.symmetry, best.candidate, difference),
                _transformation(best),
                figures,
            )
    if best.correlation < LEAST_CORRELATION or best.residual > most_residual:
        return None
    figures = (
        f"correlation {best.correlation:.3f} (threshold {LEAST_CORRELATION}), unexplained "
        f"{best.residual:.3f} (threshold {most_residual})"
    )
    return PixelMatch(
        *("likely", best.symmetry, best.candidate, best.residual), _transformation(best), figures
    )


def _transformation(alignment: Alignment) -> str:
    """Return the transformation between the image and the candidate, "" for nothing."""
    words = [SYMMETRIES[alignment.symmetry]] if alignment.symmetry else []
    if alignment.scale < 1:
        share = f"{alignment.scale:.0%} of the edge"
        words.append(
            f"cropped to about {share}" if alignment.cropped else f"reduced to about {share}"
        )
    return " and ".join(words)


def _size(image: Tensor) -> tuple[int, int]:
    height, width = image.shape[1:]
    return int(height), int(width)
