"""The nearest training images are those of a full search, to the bit, from few distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mmh_core.retrieval import training_images as training_module
from mmh_core.retrieval.embedders import PixelEmbedder
from mmh_core.retrieval.index import build_index
from mmh_core.retrieval.training_images import (
    TrainingImages,
    distances,
    nearest,
    pixel_rows,
    training_images,
    within,
)
from tests.retrieval.drawings import compressed, drawings, labels

Floats = NDArray[np.float64]
ZERO = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)


def trained_on(images: Tensor) -> TrainingImages:
    """Return training images whose descriptors say nothing."""
    embedder = PixelEmbedder()
    vectors = torch.ones(len(images), embedder.dim)
    return training_images(images, build_index(vectors, labels(len(images)), embedder))


def noise(count: int, height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, height, width)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def shuffled(count: int, height: int, width: int, seed: int) -> Tensor:
    """Return one image whose pixels change places within blocks, so that all means agree."""
    images = noise(1, height, width, seed).repeat(count, 1, 1, 1)
    for i in range(count):
        # Two neighbors of each row; with 32 columns and more they share a block.
        images[i, :, i % height, :2] = images[i, :, i % height, :2].flip(1)
    return images


def tied(count: int, height: int, width: int, seed: int) -> Tensor:
    """Return black images with one or two pixels of equal brightness each: many ties."""
    images = torch.zeros(count, 3 * height * width, dtype=torch.uint8)
    places = torch.arange(count) * 7 + seed
    images[torch.arange(count), places % images.shape[1]] = 9
    images[::3, 0] = 9
    return images.reshape(count, 3, height, width)


def versions(count: int, height: int, width: int, seed: int) -> Tensor:
    """Return one image, changed by few levels here and there."""
    change = noise(count, height, width, seed) % 3
    return noise(1, height, width, seed) // 2 + change


KINDS = {"noise": noise, "shuffled": shuffled, "tied": tied, "versions": versions}


def by_brute_force(training: TrainingImages, point: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return all positions and distances, nearest first, equal ones by position."""
    wide = (training.pixels.numpy().astype(np.float32) / np.float32(255)).astype(np.float64)
    offsets = wide.reshape(len(wide), -1) - point
    far = np.sqrt((offsets * offsets).sum(axis=1))
    order = np.lexsort((np.arange(len(far)), far))
    return order, far[order]


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)),
    count=st.integers(1, 90),
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    k=st.sampled_from([1, 2, 5, 50, 200]),
    seed=st.integers(0, 10**6),
)
def test_a_search_equals_brute_force_to_the_bit(
    kind: str, count: int, sides: tuple[int, int], k: int, seed: int
) -> None:
    training = trained_on(KINDS[kind](count, *sides, seed))
    generator = torch.Generator().manual_seed(seed)
    own = training.pixels[:2].float() / 255
    moved = (own + 0.1 * torch.rand(own.shape, generator=generator)).clamp(0, 1)
    edges = torch.stack([torch.zeros_like(own[0]), torch.ones_like(own[0])])
    points = pixel_rows(torch.cat([own, moved, edges]))
    for point, (rows, far) in zip(points, nearest(training, points, k), strict=True):
        order, all_far = by_brute_force(training, point)
        assert rows.tolist() == order[:k].tolist()
        assert far.tolist() == all_far[:k].tolist()
        # On the edge, and at the numbers just below and above it.
        edge = float(all_far[min(k, len(order)) // 2])
        for radius in (edge, math.nextafter(edge, 0), math.nextafter(edge, math.inf), 0.0):
            (found,) = within(training, point[None], radius)
            assert found.tolist() == sorted(order[all_far <= radius].tolist())


@pytest.mark.parametrize("k", [1, 50])
def test_drawings_and_altered_ones_are_found_as_by_brute_force(k: int) -> None:
    training = trained_on(drawings(300))
    queries = torch.cat([compressed(drawings(4).float() / 255), drawings(4, seed=9).float() / 255])
    points = pixel_rows(queries)
    for point, (rows, far) in zip(points, nearest(training, points, k), strict=True):
        order, all_far = by_brute_force(training, point)
        assert (rows.tolist(), far.tolist()) == (order[:k].tolist(), all_far[:k].tolist())


def test_ties_come_in_the_order_of_the_set() -> None:
    left, right = ZERO.clone(), ZERO.clone()
    left[0, 0, 0, 0], right[0, 0, 0, 1] = 5, 5
    training = trained_on(torch.cat([drawings(19), right, left]))
    rows, far = nearest(training, pixel_rows(ZERO), 3)[0]
    assert rows.tolist()[:2] == [19, 20]
    assert far[0] == far[1] == np.float64(np.float32(5) / np.float32(255))


def test_within_includes_what_lies_on_the_edge() -> None:
    one, two = ZERO.clone(), ZERO.clone()
    one[0, 0, 0, 0], two[0, 0, 0, 0] = 255, 255
    two[0, 1, 0, 0] = 255
    training = trained_on(torch.cat([one, two, drawings(5)]))
    point = pixel_rows(ZERO)
    assert [rows.tolist() for rows in within(training, point, 1.0)] == [[0]]
    assert [rows.tolist() for rows in within(training, point, math.sqrt(2))] == [[0, 1]]
    assert [rows.tolist() for rows in within(training, point, 0.999)] == [[]]


def test_blocks_of_images_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, point = drawings(17), pixel_rows(drawings(1, seed=13))[0]
    training, every = trained_on(images), np.arange(17)
    whole, far = training.sketches, distances(training, every, point)
    monkeypatch.setattr(training_module, "BLOCK_NUMBERS", 3 * 64 * 64 * 3)  # Three at a time.
    parts = trained_on(images).sketches
    assert np.allclose(parts.values, whole.values, rtol=1e-6)
    assert parts.numbers == whole.numbers == 3 * 64 * 64
    assert distances(training, every, point).tolist() == far.tolist()


def test_few_distances_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()
    plain = training_module.distances

    def counting(training: TrainingImages, rows: NDArray[np.int64], point: Floats) -> Floats:
        asked.append(len(rows))
        return plain(training, rows, point)

    training = trained_on(drawings(1000))
    monkeypatch.setattr(training_module, "distances", counting)
    nearest(training, pixel_rows(compressed(drawings(4).float() / 255)), 5)
    # Four points, at most two batches of 32 of 1,000 each.
    assert sum(asked) <= 4 * 64
    asked.clear()
    within(training, pixel_rows(drawings(1)), 3.0)
    assert asked == [1]
