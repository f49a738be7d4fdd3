"""Changes of images keep what their definitions keep."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmh_core.pocket.augmentations import (
    AUGMENTATIONS,
    BLUR,
    CROP,
    SHIFT,
    STRETCH,
    blur,
    color_shift,
    crop,
    flip,
    jpeg,
    view,
)


def seeded(seed: int = 0) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Return noise in [0, 1], with both bounds in it."""
    found = torch.rand(6, 3, 32, 32, generator=seeded(9)) * 1.4 - 0.2
    return found.clamp(0, 1)


@pytest.mark.parametrize("name", [*AUGMENTATIONS, "view"])
def test_a_change_is_its_generators_and_stays_in_the_unit_interval(
    name: str, images: Tensor
) -> None:
    change = view if name == "view" else AUGMENTATIONS[name]
    one, two = change(images, seeded(1)), change(images, seeded(1))
    assert torch.equal(one, two)
    assert not torch.allclose(one, images, atol=1e-3)
    # Weights of an interpolation or a kernel sum to 1 up to float32 rounding.
    assert one.min() >= -1e-6
    assert one.max() <= 1 + 1e-6
    if name != "flip":
        assert not torch.equal(one, change(images, seeded(2)))


@pytest.mark.parametrize("name", ["crop", "blur", "JPEG", "color shift"])
def test_each_image_has_a_draw_of_its_own(name: str, images: Tensor) -> None:
    same = images[:1].expand(4, -1, -1, -1)
    found = AUGMENTATIONS[name](same, seeded())
    for other in found[1:]:
        assert (other - found[0]).abs().max() > 1e-3


def test_flipping_twice_is_the_identity_and_once_mirrors_columns(images: Tensor) -> None:
    once = flip(images, seeded())
    assert torch.equal(once[..., 0], images[..., -1])
    assert torch.equal(flip(once, seeded()), images)


def test_blur_and_crop_preserve_constants() -> None:
    flat = torch.tensor([0.0, 0.3, 1.0]).reshape(1, 3, 1, 1).expand(2, 3, 16, 16)
    for change in (blur, crop):
        torch.testing.assert_close(change(flat, seeded()), flat, atol=1e-6, rtol=0)


def test_blur_spreads_a_point_by_a_gaussian_of_the_drawn_width() -> None:
    point = torch.zeros(3, 1, 64, 64)
    point[:, :, 30, 30] = 1
    found = blur(point, seeded())
    torch.testing.assert_close(found.sum((2, 3)), torch.ones(3, 1), atol=1e-5, rtol=0)
    for image in found[:, 0]:
        # Neighbors of a Gaussian stand as exp(-1 / (2 s^2)) to the middle.
        width = 1 / math.sqrt(-2 * math.log(image[30, 31] / image[30, 30]))
        assert BLUR[0] <= width <= BLUR[1]
        assert image[30, 32] / image[30, 30] == pytest.approx(math.exp(-2 / width**2), rel=1e-3)
        assert image[31, 30] == pytest.approx(float(image[30, 31]), rel=1e-5)


def test_a_crop_is_a_part_of_the_image_of_at_least_its_bound() -> None:
    ramp = torch.arange(64.0).reshape(1, 1, 1, 64).expand(200, 1, 64, 64)
    for table in (ramp, ramp.transpose(2, 3)):
        found = crop(table, seeded(4))
        along = found[:, 0, 32] if table is ramp else found[:, 0, :, 32]
        kept = (along[:, 40] - along[:, 20]) / 20
        # The slope of the scaled ramp is the share kept; .02 is for the shrunk sampling grid.
        assert kept.min() >= CROP / math.sqrt(STRETCH) - 1e-4
        assert kept.max() <= 1 + 1e-4
        assert kept.min() < CROP + 0.05
        assert along.min() >= 0
        assert along.max() <= 63


def test_jpeg_leaves_middle_gray_and_rounds_a_flat_block_to_its_step() -> None:
    gray = torch.full((2, 3, 16, 16), 0.5)
    torch.testing.assert_close(jpeg(gray, seeded()), gray, atol=1e-6, rtol=0)
    light = torch.full((20, 3, 8, 8), 0.63)
    found = jpeg(light, seeded())
    # The first coefficient of a flat block is 8 times its value; its step is 6 to 24 of 255, so
    # the value moves by at most half a step over 8. Its colors are 0.0025 off the exact gray.
    assert (found - light).abs().max() <= 24 / 255 / 16 + 0.005
    assert found.var((2, 3)).max() < 1e-10
    assert found[:, 0, 0, 0].unique().numel() > 1


def test_jpeg_rounds_fine_detail_away_and_needs_whole_blocks(images: Tensor) -> None:
    faint = 0.5 + 0.02 * (images - 0.5)
    assert jpeg(faint, seeded()).var() < 0.1 * faint.var()
    with pytest.raises(ValueError, match="multiples of 8"):
        jpeg(torch.zeros(1, 3, 12, 16), seeded())


def test_a_color_shift_moves_a_gray_image_by_one_number_per_channel() -> None:
    gray = torch.full((50, 3, 8, 8), 0.5)
    moved = color_shift(gray, seeded()) - gray
    assert moved.var((2, 3)).max() < 1e-10
    assert 0.9 * SHIFT < moved.abs().max() <= SHIFT + 1e-6
    assert (moved[:, 0, 0, 0] - moved[:, 1, 0, 0]).abs().min() > 0


def test_a_view_leaves_a_image_alone_once_in_thirty_two(images: Tensor) -> None:
    many = images[:1, :, :8, :8].expand(2000, -1, -1, -1)
    same = (view(many, seeded()) == many).flatten(1).all(1).sum()
    # Binomial with mean 62.5 and spread 7.8: four spreads.
    assert 31 <= same <= 94
