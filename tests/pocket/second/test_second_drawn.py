"""Images that are drawn when they are opened: kept, shared, refused where they are others."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from mmh_core.files import folder_lock
from mmh_core.pocket.second.doses import Sizes
from mmh_core.pocket.second.drawn import (
    Images,
    WorldImages,
    WorldNumbers,
    drawing_steps,
    held_out_captions,
    held_out_scenes,
    image_folder,
    image_steps,
    is_drawn,
    numbers_in,
    shades,
    shades_of,
    training_image,
)
from mmh_core.pocket.second.finish import draw_all
from mmh_core.pocket.second.images import row_images
from mmh_core.pocket.second.tables import build_tables
from mmh_core.records import MMHError, Progress

SIZES = Sizes(exact=1, near=1, template=1, unique=1, fresh=1, small=2, held_out=1, other=1)
INSIDE = len(held_out_captions(build_tables(0, SIZES)))
NUMBERS = WorldNumbers(0, SIZES, 60, INSIDE + 3)


def last(steps: Iterator[Progress[WorldImages | None]]) -> WorldImages:
    """Return what the last progress has; the shares before it only rise."""
    progress = list(steps)
    fractions = [each.fraction for each in progress]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert progress[-1].partial is not None
    return progress[-1].partial


@pytest.fixture(scope="module")
def images() -> WorldImages:
    """Return the images of a tiny world."""
    return last(drawing_steps(NUMBERS))


@pytest.fixture(scope="module")
def expected(images: WorldImages) -> Images:
    """Return the mean shades of these images."""
    return shades_of(images)


def same(one: WorldImages, other: WorldImages) -> bool:
    """Return whether all images are equal."""
    return np.array_equal(one.training, other.training) and np.array_equal(
        one.held_out, other.held_out
    )


def test_images_are_those_of_the_tables(images: WorldImages) -> None:
    tables = build_tables(0, SIZES)
    np.testing.assert_array_equal(images.training, row_images(tables, range(60)))
    scenes = held_out_scenes(tables, INSIDE + 3)
    assert len(scenes) == INSIDE + 3
    np.testing.assert_array_equal(images.held_out, draw_all(scenes))
    fewer = last(drawing_steps(replace(NUMBERS, training=7, held_out=2)))
    np.testing.assert_array_equal(fewer.training, images.training[:7])
    np.testing.assert_array_equal(fewer.held_out, images.held_out[:2])


def test_shades_are_the_means_of_quarters() -> None:
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[0, :32, :32] = (10, 20, 30)
    image[0, 32:, 32:, 2] = 255
    image[0, 0, 0, 0] += 200
    assert shades(image).tolist() == [[10, 20, 30, 0, 0, 0, 0, 0, 0, 0, 0, 255]]


def test_images_are_drawn_once_and_then_read(
    images: WorldImages, expected: Images, tmp_path: Path
) -> None:
    assert not is_drawn(NUMBERS, expected, tmp_path)
    assert same(last(image_steps(NUMBERS, expected, tmp_path)), images)
    assert is_drawn(NUMBERS, expected, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert len(times) == 2
    assert same(last(image_steps(NUMBERS, expected, tmp_path)), images)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == times
    np.testing.assert_array_equal(
        training_image(5, NUMBERS, expected, tmp_path), images.training[5]
    )
    # Another world lies elsewhere.
    assert not is_drawn(replace(NUMBERS, training=59), expected, tmp_path)


@pytest.mark.parametrize("damage", ["cut", "other bytes", "removed", "text"])
def test_what_is_damaged_in_the_cache_is_drawn_again(
    images: WorldImages, expected: Images, tmp_path: Path, damage: str
) -> None:
    last(image_steps(NUMBERS, expected, tmp_path))
    [path] = tmp_path.rglob("training-*.npy")
    data = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        other = {"cut": data[:-1], "other bytes": data[:-1] + bytes([data[-1] ^ 1])}
        path.write_bytes(other.get(damage, b"no array"))
    assert same(last(image_steps(NUMBERS, expected, tmp_path)), images)
    assert [each.read_bytes() for each in tmp_path.rglob("training-*.npy")] == [data]


def test_without_a_place_to_write_images_stay_in_memory(
    images: WorldImages, expected: Images, tmp_path: Path
) -> None:
    # A file in place of the folder: whoever runs the tests may write everywhere else.
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    assert same(last(image_steps(NUMBERS, expected, nowhere)), images)
    assert is_drawn(NUMBERS, expected, nowhere)
    start = time.perf_counter()
    assert same(last(image_steps(NUMBERS, expected, nowhere)), images)
    assert time.perf_counter() - start < 1
    np.testing.assert_array_equal(
        training_image(3, NUMBERS, expected, nowhere), images.training[3]
    )
    assert nowhere.read_text() == ""


def test_rounding_is_let_pass_and_another_image_is_refused(
    images: WorldImages, expected: Images, tmp_path: Path
) -> None:
    rounded = np.where(expected < 255, expected + 1, expected).astype(np.uint8)
    assert same(last(image_steps(NUMBERS, rounded, tmp_path)), images)
    other = expected.copy()
    other[[3, 61]] ^= 64
    with pytest.raises(MMHError, match=r"2 of the \d+ images of the shipped model are drawn othe"):
        last(image_steps(NUMBERS, other, tmp_path))
    with pytest.raises(MMHError, match="copy its folder again"):
        last(image_steps(NUMBERS, expected[1:], tmp_path))
    # What is refused is not kept.
    assert len(list(tmp_path.rglob("*.npy"))) == 2


def test_who_opens_while_another_draws_waits_for_it(
    images: WorldImages, expected: Images, tmp_path: Path
) -> None:
    place = image_folder(NUMBERS, expected, tmp_path)
    place.mkdir()
    made: list[WorldImages] = []
    with folder_lock(place):
        steps = image_steps(NUMBERS, expected, tmp_path)
        assert next(steps).message.startswith("Waiting for another process")
        waiting = Thread(target=lambda: made.append(last(steps)))
        waiting.start()
        with closing(image_steps(NUMBERS, expected, tmp_path)) as third:
            assert next(third).message.startswith("Waiting")
    waiting.join(60)
    assert same(made[0], images)


def test_two_at_once_get_the_same_images(
    images: WorldImages, expected: Images, tmp_path: Path
) -> None:
    made: list[WorldImages] = []
    openers = [
        Thread(target=lambda: made.append(last(image_steps(NUMBERS, expected, tmp_path))))
        for _ in range(3)
    ]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join(120)
    assert len(made) == 3 and all(same(each, images) for each in made)
    assert len(list(tmp_path.rglob("*.npy"))) == 2


def test_numbers_come_back_from_what_is_written() -> None:
    about = json.loads(json.dumps(NUMBERS.described()))
    assert numbers_in(about) == NUMBERS
    for wrong, sentence in (
        ({}, "does not say"),
        ({**about, "seed": "0"}, "no whole numbers"),
        ({**about, "pictures": {"training": -1, "held_out": 3}}, "no whole numbers"),
        ({**about, "sizes": {"exact": 1, "later": 2}}, "not those of this version"),
    ):
        with pytest.raises(ValueError, match=sentence):
            numbers_in(wrong)
