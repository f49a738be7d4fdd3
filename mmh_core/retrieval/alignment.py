"""Find the mirrored, turned or cropped training image that an image repeats.

Descriptors propose training images; here pixels decide. An image and a candidate are laid over one
another in all eight symmetries of the square, at scales from 1 down to 5/8 in both directions (the
image a crop of the candidate, or the candidate inside the image), at every place of a coarse grid.
The measure is the normalized cross-correlation r of the two (Lewis 1995, "Fast normalized
cross-correlation"), by which gain and offset drop out, and what it leaves unexplained.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: Short edge of the grids on which places are proposed, compared and settled.
COARSE, MIDDLE, FINE = 16, 32, 64
#: The smallest scale, and how far from the scale of a coarser grid the finest one looks.
SMALLEST, AROUND = 0.625, 0.05
#: Of the candidates, how many are compared on the middle grid and how many on the finest.
COMPARED, SETTLED = 6, 2
#: A window with a smaller variance is of one color and agrees with anything.
LEAST_VARIANCE = 1e-4
#: Names of the eight symmetries, in the order of `symmetries`.
SYMMETRIES = (
    "",
    "turned a quarter left",
    "turned half around",
    "turned a quarter right",
    "mirrored",
    "mirrored and turned a quarter left",
    "mirrored upside down",
    "mirrored and turned a quarter right",
)


@dataclass(frozen=True)
class Alignment:
    """The best place of an image on one of its candidates.

    `symmetry` is what was done to the image (an index into `SYMMETRIES`), `candidate` the number
    of the candidate of that symmetry, `scale` the edge of the smaller over that of the larger,
    `cropped` whether the image is the smaller one. `correlation` is r, `residual` the root mean
    square of what r leaves unexplained, in units of the values in [0, 1].
    """

    symmetry: int
    candidate: int
    scale: float
    cropped: bool
    correlation: float
    residual: float


def symmetries(pictures: Tensor) -> tuple[Tensor, ...]:
    """Return images (..., H, W) turned by 0, 90, 180 and 270 degrees, then mirrored and turned."""
    both = (pictures, pictures.flip(-1))
    return tuple(one.rot90(turn, (-2, -1)).contiguous() for one in both for turn in range(4))


def best_alignment(picture: Tensor, candidates: Sequence[Sequence[Tensor]]) -> Alignment | None:
    """Return the best place of an image (3, H, W) in [0, 1], None where no place has structure.

    `candidates` holds for each of the eight symmetries some images (3, h, w) of any size, uint8 or
    in [0, 1]. A few that agree best on the coarse grid are compared on the fine one.
    """
    turned = symmetries(picture)
    found = [
        Alignment(symmetry, number, *place)
        for symmetry, some in enumerate(candidates)
        for number, place in enumerate(_placed(turned[symmetry], some, COARSE))
        if place is not None
    ]
    for grid, most in ((MIDDLE, COMPARED), (FINE, SETTLED)):
        found.sort(key=lambda one: -one.correlation)
        found = [
            Alignment(one.symmetry, one.candidate, *place)
            for one in found[:most]
            for place in _placed(
                turned[one.symmetry],
                [candidates[one.symmetry][one.candidate]],
                grid,
                one if grid == FINE else None,
            )
            if place is not None
        ]
    return max(found, key=lambda one: one.correlation, default=None)


#: Scale, direction, r and residual, in the order of `Alignment`.
_Place = tuple[float, bool, float, float]


def _placed(
    picture: Tensor, candidates: Sequence[Tensor], grid: int, near: Alignment | None = None
) -> list[_Place | None]:
    """Return the best place of an image on each of the candidates on a grid.

    `near` limits scale and direction to those of a coarser grid.
    """
    found: list[_Place | None] = [None] * len(candidates)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for number, one in enumerate(candidates):
        shapes.setdefault(tuple(one.shape), []).append(number)
    for numbers in shapes.values():
        stack = torch.stack([_floats(candidates[number]) for number in numbers])
        best = torch.full((len(numbers),), -1.0)
        for scale, cropped, r, residual in _scores(picture, stack, grid, near):
            for row in torch.nonzero(r > best).flatten().tolist():
                best[row] = r[row]
                found[numbers[row]] = (scale, cropped, float(r[row]), float(residual[row]))
    return found


def _scores(
    picture: Tensor, candidates: Tensor, grid: int, near: Alignment | None
) -> Iterator[tuple[float, bool, Tensor, Tensor]]:
    """Yield scale, direction, best r (C,) and its residual for all scales of a grid."""
    whole, wholes = _on_grid(picture[None], grid), _on_grid(candidates, grid)
    for size in range(grid, math.ceil(SMALLEST * grid) - 1, -1):
        scale = size / grid
        if near is not None and abs(scale - near.scale) > AROUND:
            continue
        part = _on_grid(picture[None], size)
        if _fits(part, wholes) and (near is None or near.cropped or size == grid):
            yield (scale, True, *_correlated(wholes, part))
        parts = _on_grid(candidates, size)
        wanted = size < grid and (near is None or not near.cropped or near.scale == 1)
        if wanted and _fits(parts, whole):
            yield (scale, False, *_correlated(whole, parts))


def _correlated(wholes: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best r over all places of parts on wholes, one of which there is only once.

    On the finest grid both are smoothed at the best place, so that what recompression leaves of
    single pixels does not count.
    """
    r, places = _best(wholes, parts)
    if min(parts.shape[-2:]) >= SMALLEST * FINE:
        height, width = parts.shape[-2:]
        count = max(len(wholes), len(parts))
        windows = torch.stack(
            [
                wholes[row % len(wholes), :, y : y + height, x : x + width]
                for row, (y, x) in enumerate(places)
            ]
        )
        r, _ = _best(F.avg_pool2d(windows, 2), F.avg_pool2d(parts, 2).expand(count, -1, -1, -1))
    deviation = parts.var((1, 2, 3), correction=0).sqrt()
    return r, deviation * (1 - r.square()).clamp(min=0).sqrt()


def _best(wholes: Tensor, parts: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """Return the best r (C,) over all places, and the places; -1 where there is no structure."""
    count, window = parts[0].numel(), parts.shape[-2:]
    pairs = len(wholes) == len(parts) > 1
    sums = F.avg_pool2d(wholes.sum(1, keepdim=True), window, 1) * window.numel()
    squares = F.avg_pool2d(wholes.square().sum(1, keepdim=True), window, 1) * window.numel()
    products = F.conv2d(wholes, parts)
    if pairs:
        products = torch.diagonal(products.flatten(2)).T[:, None, :, None]
    mean = parts.mean((1, 2, 3))
    variance = parts.var((1, 2, 3), correction=0)
    mean, variance = (
        value[:, None, None, None] if pairs else value[None, :, None, None]
        for value in (mean, variance)
    )
    around = squares / count - (sums / count).square()
    shared = products / count - sums / count * mean
    r = shared / (around.clamp(min=LEAST_VARIANCE) * variance.clamp(min=LEAST_VARIANCE)).sqrt()
    r = torch.where((around >= LEAST_VARIANCE) & (variance >= LEAST_VARIANCE), r, -1.0)
    across = r.shape[-1]
    best, at = r.flatten(2).flatten(0, 1).max(1)
    return best.clamp(max=1.0), [divmod(place, across) for place in at.tolist()]


def _fits(parts: Tensor, wholes: Tensor) -> bool:
    return parts.shape[2] <= wholes.shape[2] and parts.shape[3] <= wholes.shape[3]


def _on_grid(pictures: Tensor, short: int) -> Tensor:
    """Return images with this short edge and their own proportions, up to twice as long."""
    height, width = pictures.shape[-2:]
    least = min(height, width)
    size = tuple(min(2 * short, max(1, round(short * edge / least))) for edge in (height, width))
    return F.interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)


def _floats(picture: Tensor) -> Tensor:
    return picture.float() / 255 if picture.dtype == torch.uint8 else picture.float()
