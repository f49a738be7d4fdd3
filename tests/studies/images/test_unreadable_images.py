"""Training images that are gone, damaged or out of reach cost their place, not the audit."""

from __future__ import annotations

import pytest
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import PixelEmbedder, embed_all
from mmh_core.retrieval.index import build_index
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.training_set import TrainingSet
from tests.retrieval.drawings import drawings, labels

TRAINED = drawings(14)


def training_set(gone: set[int]) -> TrainingSet:
    index = build_index(embed_all(PixelEmbedder(), TRAINED), labels(14), PixelEmbedder())

    def image(row: int) -> Tensor:
        if row in gone:
            raise MMHError(f"There is no file {row}.png: check the name.")
        return TRAINED[row]

    return TrainingSet("drawings", index, PixelEmbedder(), image)


def test_a_copy_is_found_beside_images_that_cannot_be_read() -> None:
    [(copy, near)] = find_copies(training_set({1, 2}), TRAINED[:1].float() / 255)
    assert copy.kind == "exact"
    assert near[0].id == 0
    assert not {1, 2} & {one.id for one in near}


def test_what_could_not_be_compared_is_counted_and_is_not_memorized_by_nobody() -> None:
    fresh = drawings(1, seed=9).float() / 255
    [(_, whole)] = find_copies(training_set(set()), fresh)
    gone = {one.id for one in whole[:3]}
    [(copy, near)] = find_copies(training_set(gone), fresh)
    assert len(near) == len(whole) - 3
    assert copy.kind == "unknown"
    assert "3 of the nearest training images could not be compared: There is no" in copy.reason


def test_nothing_is_said_of_pixels_that_nobody_has_compared() -> None:
    mine = TRAINED[5:6].float() / 255
    [(copy, _)] = find_copies(training_set({5}), mine)
    assert copy.kind == "unknown" and "do not agree" not in copy.reason
    [(copy, _)] = find_copies(training_set(set()), drawings(1, seed=9).float() / 255)
    assert copy.kind == "unknown" and "do not agree" in copy.reason


def test_a_folder_of_other_images_is_an_error() -> None:
    with pytest.raises(MMHError, match=r"None of the nearest .* There is no file \d+\.png"):
        find_copies(training_set(set(range(14))), TRAINED[:1].float() / 255)


@pytest.mark.parametrize("left", [0, 5, 13])
def test_a_single_image_that_is_left_is_compared(left: int) -> None:
    for image, kind in ((TRAINED[left], "exact"), (drawings(1, seed=9)[0], "unknown")):
        try:
            [(copy, near)] = find_copies(
                training_set(set(range(14)) - {left}), image[None].float() / 255
            )
        except MMHError as error:
            # It may be none of the twelve nearest.
            assert kind == "unknown" and "None of the nearest" in str(error)
        else:
            assert copy.kind == kind
            assert [one.id for one in near] == [left]
