"""Sketches never lie farther apart than the images, and near where these are coarse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmh_core.retrieval.sketches import lower_bounds, sketched
from mmh_core.retrieval.training_images import pixel_rows
from tests.retrieval.drawings import drawings

Floats = NDArray[np.float64]


def apart(some: Floats, others: Floats) -> Floats:
    differences = some[:, None] - others
    return np.sqrt((differences * differences).reshape(len(some), len(others), -1).sum(axis=2))


def drawn(height: int, width: int, seed: int, scale: float) -> Floats:
    """Return 12 images: noise, noise added to one, constants, and changes of a single number."""
    random = np.random.default_rng(seed)
    images = random.random((12, 3, height, width))
    images[4:7] = images[0] + 1e-3 * images[4:7]
    images[7:9] = random.random((2, 3, 1, 1))
    images[9:] = images[1]
    images[9, 0, 0, 0], images[10, 2, -1, -1] = 0, 1
    return scale * images


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-6, 1.0, 1e3]),
)
def test_no_distance_is_below_its_bound(height: int, width: int, seed: int, scale: float) -> None:
    images = drawn(height, width, seed, scale)
    bounds = lower_bounds(sketched(images[:6]), sketched(images))
    assert (bounds <= apart(images[:6], images)).all()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (20, 33), (100, 70)])
def test_images_constant_in_blocks_lie_as_far_apart_as_their_sketches(
    height: int, width: int
) -> None:
    random = np.random.default_rng(0)
    coarse = random.random((8, 3, 16, 16))
    rows, columns = (np.arange(side) * 16 // side for side in (height, width))
    images = coarse[:, :, rows][:, :, :, columns]
    far = apart(images, images)
    bounds = lower_bounds(sketched(images), sketched(images))
    assert (bounds <= far).all()
    # What float32 may do to squares in the thousands: 787 units of 2^-24 of twice 64 x 64 x 3.
    assert np.abs(bounds - far)[far > 0].max() < 0.02


def test_rests_of_different_strength_are_told_apart() -> None:
    # Checkers around the same gray: the means of all blocks agree, only the rest differs.
    checkers = np.indices((64, 64)).sum(axis=0) % 2 - 0.5
    left = np.where(np.arange(64) < 32, 1.0, 0.0)
    images = 0.5 + np.stack([0.2 * checkers, 0.8 * checkers, 0.2 * left * checkers])[:, None]
    images = np.broadcast_to(images, (3, 3, 64, 64))
    far = apart(images, images)
    # Proportional rests: the difference of the norms is the norm of the difference.
    assert far[0, 1] == pytest.approx(0.3 * np.sqrt(3 * 64**2))
    assert np.abs(lower_bounds(sketched(images), sketched(images)) - far).max() < 0.1


def test_a_sketch_is_as_long_as_its_image() -> None:
    images = pixel_rows(drawings(6)).reshape(6, 3, 64, 64)
    found = sketched(images)
    assert found.values.shape == (6, 3 * 16 * 16 + 4 * 4)
    wanted = (images**2).reshape(6, -1).sum(axis=1)
    # Every value is rounded to float32.
    assert np.allclose(found.squares, wanted, rtol=1e-6)
    rng = np.random.default_rng(0)
    odd = rng.random((3, 3, 19, 5))
    assert np.allclose(sketched(odd).squares, (odd**2).reshape(3, -1).sum(axis=1), rtol=1e-6)
