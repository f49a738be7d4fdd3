"""The original of a cropped, stretched or inverted image is found without a descriptor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.retrieval.embedders import PixelEmbedder, embed_all
from mmh_core.retrieval.index import build_index
from mmh_core.retrieval.training_images import training_images
from mmh_core.subject.copies import ImageCopyEvidence
from mmh_core.subject.crop_search import search_crops
from mmh_core.subject.training_set import TrainingSet
from tests.retrieval.drawings import drawings, labels

TRAINED = drawings(24, seed=3)
FRESH = drawings(8, seed=99).float() / 255
INDEX = build_index(embed_all(PixelEmbedder(), TRAINED), labels(len(TRAINED)), PixelEmbedder())
SET = TrainingSet(
    *("drawings", INDEX, PixelEmbedder(), lambda row: TRAINED[row]),
    training=training_images(TRAINED, INDEX),
)


def evidence(kind: CopyKind) -> ImageCopyEvidence:
    return ImageCopyEvidence(kind, "Searched.", -1, 0.1, math.nan, math.nan, 0, 0, math.nan, 0)


def part(top: int, left: int, tall: int, wide: int) -> Callable[[Tensor], Tensor]:
    """Return a function that cuts a box out of an image and stretches it to the whole size."""

    def done(image: Tensor) -> Tensor:
        cut = image[None, :, top : top + tall, left : left + wide]
        resized = F.interpolate(cut, size=image.shape[1:], mode="bicubic", antialias=True)
        return resized[0].clamp(0, 1)

    return done


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "the middle": part(6, 6, 52, 52),
    "a corner": part(0, 0, 50, 50),
    "two thirds, below": part(21, 10, 43, 43),
    "the middle, mirrored": lambda x: part(6, 6, 52, 52)(x).flip(-1),
    "the middle, turned": lambda x: part(6, 6, 52, 52)(x).rot90(1, (1, 2)),
    "4 : 3, stretched": part(8, 0, 48, 64),
    "3 : 4, stretched": part(0, 8, 64, 48),
    "3 : 2, stretched and mirrored": lambda x: part(10, 0, 43, 64)(x).flip(-1),
    "inverted": lambda x: 1 - x,
    "inverted, the middle": lambda x: 1 - part(6, 6, 52, 52)(x),
    "inverted and upside down": lambda x: 1 - x.flip(-2),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_original_of_a_part_is_named(way: str) -> None:
    for number in range(4):
        image = WAYS[way](TRAINED[number].float() / 255)
        copy, near = search_crops(SET, image, (evidence("none"), ()))
        assert (copy.kind, copy.nearest) == ("likely", number), copy.reason
        assert number in [one.id for one in near]
        assert "by eye" in copy.reason and "threshold" in copy.reason
        assert ("inverted" in copy.reason) == ("inverted" in way)
        assert ("stretched" in copy.reason) == ("stretched" in way)


def test_what_nearly_fits_is_undecided_and_never_none() -> None:
    blurred = F.avg_pool2d(
        TRAINED[:4].float() / 255, 3, stride=1, padding=1, count_include_pad=False
    )
    kinds = [search_crops(SET, image, (evidence("none"), ()))[0].kind for image in blurred]
    assert set(kinds) <= {"likely", "unknown"}


def test_other_images_stay_none() -> None:
    for image in FRESH:
        copy, near = search_crops(SET, image, (evidence("none"), ()))
        assert (copy, near) == (evidence("none"), ())


def test_what_was_found_stays_and_without_training_images_nothing_is_said() -> None:
    image = TRAINED[0].float() / 255
    kinds: tuple[CopyKind, ...] = ("exact", "template", "likely", "unknown", "flat")
    for kind in kinds:
        assert search_crops(SET, image, (evidence(kind), ()))[0] == evidence(kind)
    bare = replace(SET, training=None)
    assert search_crops(bare, image, (evidence("none"), ()))[0] == evidence("none")


def test_a_plain_image_is_a_part_of_nothing() -> None:
    plain = torch.full((3, 64, 64), 0.5)
    assert search_crops(SET, plain, (evidence("none"), ()))[0].kind == "none"
