"""Training images of the shipped world, altered as files are, and held-out ones as they are."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from benchmarks.recolored import CHANGES, tensors
from mmh_core.pocket.assets import read_world
from mmh_core.pocket.world import World
from mmh_core.retrieval.images import read_image
from mmh_core.retrieval.pixel_match import fitted, is_flat
from mmh_core.subject.calibration import calibration_beside
from mmh_core.subject.copies import ImageCopyEvidence, TrainingNeighbor
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.crop_search import search_crops
from mmh_core.subject.training_set import TrainingSet, pocket_training_set

FOLDER = Path(__file__).parents[2] / "assets" / "pocket-sd"
Alteration = Callable[[Image.Image], tuple[Image.Image, str, dict[str, int]]]


@cache
def training_set() -> TrainingSet:
    return pocket_training_set(FOLDER, calibration_beside(FOLDER))


@cache
def world() -> World:
    return read_world(FOLDER)


def margins(image: Image.Image) -> Image.Image:
    wide = Image.new("RGB", (768, 512), "white")
    wide.paste(image.resize((512, 512), Image.Resampling.BICUBIC), (128, 0))
    return wide


def cropped(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    return image.crop(box).resize((64, 64), Image.Resampling.BICUBIC)


WAYS: dict[str, Alteration] = {
    "png": lambda x: (x, "PNG", {}),
    "jpeg": lambda x: (x.resize((512, 512), Image.Resampling.BICUBIC), "JPEG", {"quality": 85}),
    "webp": lambda x: (x.resize((512, 512), Image.Resampling.BICUBIC), "WEBP", {"quality": 50}),
    "white margins": lambda x: (margins(x), "PNG", {}),
    "margins on all sides": lambda x: (ImageOps.expand(x, 8, "white"), "PNG", {}),
    "black bars, jpeg": lambda x: (
        ImageOps.expand(x.resize((256, 256)), (0, 40), "black"),
        "JPEG",
        {"quality": 90},
    ),
    "mirrored": lambda x: (ImageOps.mirror(x), "PNG", {}),
    "cropped by 6 %": lambda x: (cropped(x, (2, 2, 62, 62)), "PNG", {}),
    "upside down": lambda x: (ImageOps.flip(x), "PNG", {}),
    "turned": lambda x: (x.rotate(90), "PNG", {}),
    "cropped at a corner": lambda x: (cropped(x, (0, 0, 58, 58)), "PNG", {}),
    "cropped by 12 %": lambda x: (cropped(x, (4, 4, 60, 60)), "PNG", {}),
    "mirrored, cropped, jpeg": lambda x: (
        ImageOps.mirror(cropped(x, (3, 3, 61, 61))).resize((256, 256)),
        "JPEG",
        {"quality": 85},
    ),
}


def as_brought(image: Image.Image, way: str) -> Tensor:
    altered, form, options = WAYS[way](image)
    file = io.BytesIO()
    altered.save(file, form, **options)
    return fitted(read_image(file.getvalue()), (64, 64))


@pytest.mark.parametrize(("row", "way"), [(i % 3, way) for i, way in enumerate(WAYS)])
def test_an_altered_training_image_is_a_copy_or_a_likely_one(row: int, way: str) -> None:
    image = Image.fromarray(world().images[row])
    [(copy, _)] = find_copies(training_set(), as_brought(image, way)[None])
    assert copy.kind in ("exact", "template", "likely"), copy.reason


@cache
def recolored(way: str) -> list[tuple[ImageCopyEvidence, tuple[TrainingNeighbor, ...]]]:
    """Return what is found of four training images in other colors."""
    images = [CHANGES[way](Image.fromarray(world().images[row])) for row in (0, 777, 2500, 4000)]
    return find_copies(training_set(), tensors(images))


@pytest.mark.parametrize("way", CHANGES)
def test_an_image_in_other_colors_is_never_called_none(way: str) -> None:
    """What is an affine map of the colors is found; of the rest it is said that nobody knows."""
    for copy, near in recolored(way):
        assert copy.kind in ("exact", "template", "likely", "unknown"), copy.reason
        assert copy.kind != "likely" or copy.nearest in [one.id for one in near]


@pytest.mark.parametrize(
    "way", ("grey", "darker (x .5)", "inverted", "sepia", "channels exchanged")
)
def test_affine_changes_of_color_are_found_and_held_out_ones_are_not(way: str) -> None:
    for copy, _ in recolored(way):
        assert copy.kind in ("exact", "template", "likely"), copy.reason
    rows = np.flatnonzero(world().held_out_labels.kind.isin(("open", "overfit")))[::60]
    fresh = [CHANGES[way](Image.fromarray(world().held_out[row])) for row in rows]
    for copy, _ in find_copies(training_set(), tensors(fresh)):
        assert copy.kind in ("none", "unknown"), copy.reason


@pytest.mark.slow  # On small sets of images tests/subject/test_crop_search.py tries the same.
def test_a_crop_that_the_descriptor_takes_for_another_image_is_not_called_none() -> None:
    # An emblem and two landscapes, of which a descriptor named others or nothing.
    crops = [
        cropped(Image.fromarray(world().images[row]), box)
        for row, box in ((3366, (6, 6, 57, 57)), (1033, (6, 6, 57, 57)), (2048, (0, 0, 51, 51)))
    ]
    images = tensors(crops)
    for row, image, found in zip(
        (3366, 1033, 2048), images, find_copies(training_set(), images), strict=True
    ):
        copy, _ = search_crops(training_set(), image, found)
        assert copy.kind in ("likely", "unknown") and str(row) in copy.reason, copy.reason
    held_out = torch.from_numpy(world().held_out[[504, 252]]).permute(0, 3, 1, 2).float() / 255
    for image, found in zip(held_out, find_copies(training_set(), held_out), strict=True):
        assert search_crops(training_set(), image, found)[0] == found[0]


def test_held_out_images_of_wide_families_are_no_copies_and_not_flat() -> None:
    rows = np.flatnonzero(world().held_out_labels.kind.isin(("open", "overfit")))[::20]
    images = torch.from_numpy(world().held_out[rows]).permute(0, 3, 1, 2).float() / 255
    kinds = [copy.kind for copy, _ in find_copies(training_set(), images)]
    assert set(kinds) <= {"none", "unknown"} and kinds.count("none") >= len(kinds) / 2
    trained = torch.from_numpy(world().images[::10]).permute(0, 3, 1, 2).float() / 255
    assert not bool(is_flat(trained).any())
