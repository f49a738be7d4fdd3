"""Where parts, turns and re-encodings of images of the shipped world are laid on them."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmh_core.pocket.furnish import open_shipped_data
from mmh_core.retrieval.alignment import (
    COARSE,
    COARSE_FLOOR,
    MIDDLE,
    MIDDLE_FLOOR,
    _placed,
    best_alignment,
    symmetries,
)
from tests.pocket.test_wild_copies import FOLDER

STEP = 800


@cache
def images() -> Tensor:
    chosen = torch.from_numpy(open_shipped_data(FOLDER).world.images[::STEP])
    return chosen.permute(0, 3, 1, 2).float() / 255


def crop(image: Tensor, share: float, place: float) -> Tensor:
    kept = round(64 * (1 - share))
    top = round((64 - kept) * place)
    part = image[None, :, top : top + kept, top : top + kept]
    return F.interpolate(part, size=64, mode="bicubic", antialias=True)[0].clamp(0, 1)


@pytest.mark.parametrize("symmetry", range(8))
def test_every_symmetry_is_found_among_others_and_undone(symmetry: int) -> None:
    stack = images()
    for number, image in enumerate(stack[:6]):
        turned = symmetries(image)[symmetry]
        # What undoes a turn is one of the symmetries; the image turned by it is the candidate.
        undone = [one for one in range(8) if torch.equal(symmetries(turned)[one], image)]
        found = best_alignment(turned, [[*stack[:6]]] * 8)
        assert found is not None and found.symmetry in undone
        assert torch.equal(stack[found.candidate], stack[number])
        assert found.scale == 1 and found.correlation == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (150, 100), (700, 600)])
@pytest.mark.parametrize("symmetry", [1, 6, 7])
def test_images_of_any_size_and_shape_are_laid_over_one_another(
    size: tuple[int, int], symmetry: int
) -> None:
    wide = F.interpolate(images()[:4], size=size, mode="bicubic", antialias=True).clamp(0, 1)
    turned = symmetries(wide[1])[symmetry]
    found = best_alignment(turned, [[one for one in wide]] * 8)
    assert found is not None and found.candidate == 1
    assert found.scale == 1 and found.correlation == pytest.approx(1, abs=1e-3)
    assert found.residual < 0.02


@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35])
def test_no_crop_falls_below_the_floors_of_the_coarser_grids(share: float, place: float) -> None:
    for image in images():
        part = crop(image, share, place)
        for grid, floor in ((COARSE, COARSE_FLOOR), (MIDDLE, MIDDLE_FLOOR)):
            [one] = _placed(part, [image], grid)
            assert one is not None and one[2] >= floor, (share, place, grid, one)
        found = best_alignment(part, [[image]] + [[]] * 7)
        assert found is not None and found.cropped
        assert found.scale == pytest.approx(1 - share, abs=0.06)


def test_an_image_without_structure_has_no_place() -> None:
    plain = torch.full((3, 64, 64), 0.4)
    assert best_alignment(plain, [[images()[0]]] + [[]] * 7) is None
    assert best_alignment(images()[0], [[plain]] + [[]] * 7) is None
    assert best_alignment(images()[0], [[]] * 8) is None
