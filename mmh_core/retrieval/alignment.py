"""Find the mirrored, turned or cropped training image that an image repeats.

Descriptors propose training images; here pixels decide. An image and a candidate are laid over one
another in all eight symmetries of the square, at scales from 1 down to 5/8 in both directions (the
image a crop of the candidate, or the candidate inside the image), at every place of a coarse grid.
The measure is the normalized cross-correlation r of the two (Lewis 1995, "Fast normalized
cross-correlation"), by which gain and offset drop out, and what it leaves unexplained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

#: Short edge of the grids on which places are proposed, compared and settled.
COARSE, MIDDLE, FINE = 16, 32, 64
#: The smallest scale, and how far from the scale of a coarser grid the finest one looks.
SMALLEST, AROUND = 0.625, 0.05
#: Of the candidates, how many are compared on the middle grid and how many on the finest.
COMPARED, SETTLED = 6, 2
#: What agrees less on a coarser grid is no copy. Of 1302 crops of training images of the shipped
#: world by 5 to 35 %, all found on the finest grid, the least r are .845 and .922.
COARSE_FLOOR, MIDDLE_FLOOR = 0.75, 0.85
#: A larger short edge is reduced once, before all grids.
LONGEST = 4 * FINE
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
    """The best alignment of an image with one of its candidates.

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


def symmetries(images: Tensor) -> tuple[Tensor, ...]:
    """Return images (..., H, W) turned by 0, 90, 180 and 270 degrees, then mirrored and turned."""
    both = (images, images.flip(-1))
    return tuple(image.rot90(turn, (-2, -1)).contiguous() for image in both for turn in range(4))


def _turned_back(image: Tensor, symmetry: int) -> Tensor:
    """Return an image (3, H, W) with one of the `symmetries` undone."""
    back = image.rot90(-symmetry % 4, (-2, -1))
    return back.flip(-1) if symmetry >= 4 else back


def best_alignment(image: Tensor, candidates: Sequence[Sequence[Tensor]]) -> Alignment | None:
    """Return the best alignment of an image (3, H, W) in [0, 1], None where nothing aligns.

    `candidates` holds for each of the eight symmetries some images (3, h, w) of any size, uint8 or
    in [0, 1]. The candidates are turned back, so that all of them meet one image at once. Those
    that agree best on the coarse grid are compared on the finer ones, where they pass the floors.
    """
    keys = [(symmetry, i) for symmetry, some in enumerate(candidates) for i in range(len(some))]
    image, *others = (
        _turned_back(_bounded(_floats(variant)[None], LONGEST)[0], symmetry)
        for symmetry, variant in (
            (0, image),
            *((symmetry, candidates[symmetry][i]) for symmetry, i in keys),
        )
    )
    first = _placed(image, others, COARSE)
    chosen = _leading(dict(enumerate(first)), COMPARED, COARSE_FLOOR)
    second = _placed(image, [others[number] for number in chosen], MIDDLE)
    compared = dict(zip(chosen, second, strict=True))
    refined = []
    for number in _leading(compared, SETTLED, MIDDLE_FLOOR):
        [placement] = _placed(image, [others[number]], FINE, compared[number])
        if placement is not None:
            refined.append(Alignment(keys[number][0], keys[number][1], *placement))
    return max(refined, key=lambda match: match.correlation, default=None)


#: Scale, direction, r and residual, in the order of `Alignment`.
_Place = tuple[float, bool, float, float]


def _leading(placements: Mapping[int, _Place | None], most: int, floor: float) -> list[int]:
    """Return the indices of the placements that agree best, best first, none below the floor."""
    reached = {
        number: placement[2]
        for number, placement in placements.items()
        if placement is not None and placement[2] >= floor
    }
    return sorted(reached, key=lambda number: -reached[number])[:most]


def _placed(
    image: Tensor, candidates: Sequence[Tensor], grid: int, near: _Place | None = None
) -> list[_Place | None]:
    """Return the best placement of an image on each of the candidates on a grid.

    `near` limits scale and direction to those of a coarser grid.
    """
    placements: list[_Place | None] = [None] * len(candidates)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for number, candidate in enumerate(candidates):
        shapes.setdefault(tuple(candidate.shape), []).append(number)
    for numbers in shapes.values():
        stack = torch.stack([candidates[number] for number in numbers])
        for number, placement in zip(numbers, _stacked(image, stack, grid, near), strict=True):
            placements[number] = placement
    return placements


def _stacked(
    image: Tensor, candidates: Tensor, grid: int, near: _Place | None
) -> list[_Place | None]:
    """Return the best placement of an image on each candidate (C, 3, h, w) on a grid.

    What is larger is first reduced to twice the grid, once instead of for each scale.
    """
    image, candidates = (_bounded(images, 2 * grid) for images in (image[None], candidates))
    sizes = [
        size
        for size in range(grid, math.ceil(SMALLEST * grid) - 1, -1)
        if near is None or abs(size / grid - near[0]) <= AROUND
    ]
    ways = list[tuple[bool, Tensor, list[Tensor]]]()
    if near is None or near[1]:
        parts = [_on_grid(image, size) for size in sizes]
        ways.append((True, _on_grid(candidates, grid), parts))
    if near is None or not near[1] or near[0] == 1:
        parts = [_on_grid(candidates, size) for size in sizes if size < grid]
        ways.append((False, _on_grid(image, grid), parts))
    best: list[_Place | None] = [None] * len(candidates)
    for cropped, wholes, all_parts in ways:
        parts = [part for part in all_parts if _fits(part, wholes)]
        if not parts:
            continue
        r, residual = _correlated(wholes, parts, smoothed=grid == FINE)
        most, first = r.max(0)
        for row, (value, at) in enumerate(zip(most.tolist(), first.tolist(), strict=True)):
            best_r = best[row]
            if value > (-1.0 if best_r is None else best_r[2]):
                scale = min(parts[at].shape[-2:]) / grid
                best[row] = (scale, cropped, value, float(residual[at, row]))
    return best


def _correlated(wholes: Tensor, parts: Sequence[Tensor], smoothed: bool) -> tuple[Tensor, Tensor]:
    """Return the best r (S, C) over all places of S sizes of parts on wholes, and the residuals.

    There is one of the wholes or one of the parts of each size, and C of the other. *smoothed*:
    both are smoothed at the best place, so that what recompression leaves of single pixels does
    not count.
    """
    r, offsets = _best(wholes, parts)
    if smoothed:
        for number, part in enumerate(parts):
            height, width = part.shape[-2:]
            windows = torch.stack(
                [
                    wholes[row % len(wholes), :, y : y + height, x : x + width]
                    for row, (y, x) in enumerate(offsets[number].tolist())
                ]
            )
            r[number] = _agreement(F.avg_pool2d(windows, 2), F.avg_pool2d(part, 2))
    deviation = torch.stack([part.var((1, 2, 3), correction=0).sqrt() for part in parts])
    return r, deviation * (1 - r.square()).clamp(min=0).sqrt()


def _agreement(windows: Tensor, parts: Tensor) -> Tensor:
    """Return r (C,) of windows and parts of one size, -1 where there is no structure."""
    window, other = (values - values.mean((1, 2, 3), keepdim=True) for values in (windows, parts))
    first, second = (values.square().mean((1, 2, 3)) for values in (window, other))
    return _ratio((window * other).mean((1, 2, 3)), first, second)


def _ratio(shared: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return r of a covariance and two variances, -1 where one of them is too small."""
    r = shared / (first.clamp(min=LEAST_VARIANCE) * second.clamp(min=LEAST_VARIANCE)).sqrt()
    structured = (first >= LEAST_VARIANCE) & (second >= LEAST_VARIANCE)
    return torch.where(structured, r.clamp(max=1.0), -1.0)


def _best(wholes: Tensor, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the best r (S, C) over all places, and the places (S, C, 2); see `_correlated`.

    All sizes at once by the Fourier transform: a part that stays inside does not wrap around.
    """
    height, width = (int(edge) for edge in wholes.shape[-2:])
    shapes = tuple((int(part.shape[2]), int(part.shape[3])) for part in parts)
    boxes, inside = _boxes(height, width, shapes)
    count = wholes.new_tensor([3.0 * tall * wide for tall, wide in shapes])[:, None, None, None]
    centered = wholes - wholes.mean((1, 2, 3), keepdim=True)
    padded = torch.stack(
        [
            F.pad(
                part - part.mean((1, 2, 3), keepdim=True),
                (0, width - part.shape[3], 0, height - part.shape[2]),
            )
            for part in parts
        ]
    )
    products = (torch.fft.rfft2(centered) * torch.fft.rfft2(padded).conj()).sum(2)
    shared = torch.fft.irfft2(products, s=(height, width)) / count
    sums = torch.stack([centered.sum(1), centered.square().sum(1)])
    means, squares = (
        torch.fft.irfft2(torch.fft.rfft2(sums)[:, None] * boxes[:, None], s=(height, width))
        / count
    )
    variance = padded.square().sum((2, 3, 4))[:, :, None, None] / count
    r = torch.where(inside[:, None], _ratio(shared, squares - means.square(), variance), -1.0)
    best, at = r.flatten(2).max(2)
    return best, torch.stack([at // width, at % width], 2)


@lru_cache(maxsize=64)
def _boxes(height: int, width: int, shapes: tuple[tuple[int, int], ...]) -> tuple[Tensor, Tensor]:
    """Return the spectra of windows of these shapes, and where a window stays inside."""
    boxes = torch.zeros(len(shapes), height, width)
    inside = torch.zeros(len(shapes), height, width, dtype=torch.bool)
    for number, (tall, wide) in enumerate(shapes):
        boxes[number, :tall, :wide] = 1
        inside[number, : height - tall + 1, : width - wide + 1] = True
    return torch.fft.rfft2(boxes).conj().resolve_conj(), inside


def _fits(parts: Tensor, wholes: Tensor) -> bool:
    return parts.shape[2] <= wholes.shape[2] and parts.shape[3] <= wholes.shape[3]


def _on_grid(images: Tensor, short: int) -> Tensor:
    """Return images with this short edge and their own proportions, up to twice as long."""
    height, width = images.shape[-2:]
    least = min(height, width)
    tall, wide = (min(2 * short, max(1, round(short * edge / least))) for edge in (height, width))
    return _weights(height, tall) @ images @ _weights(width, wide).T


@lru_cache(maxsize=256)
def _weights(edge: int, short: int) -> Tensor:
    """Return the weights (short, edge) of bilinear resizing with antialiasing along one edge.

    Two products with them take a third of the time of the resizing itself.
    """
    unit = torch.eye(edge)[None, None]
    weights: Tensor = F.interpolate(
        unit, (short, edge), mode="bilinear", antialias=True, align_corners=False
    )
    return weights[0, 0]


def _bounded(images: Tensor, short: int) -> Tensor:
    """Return images (B, 3, H, W) with a short edge of at most `short`."""
    return images if min(images.shape[-2:]) <= short else _on_grid(images, short)


def _floats(image: Tensor) -> Tensor:
    return image.float() / 255 if image.dtype == torch.uint8 else image.float()
