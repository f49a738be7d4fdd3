"""What a training set of one's own has of the model that it is searched with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import mmh_core as mmh
from mmh_core.subject.calibration import calibration_beside
from mmh_core.subject.subject import IndexedFolder, open_training_set
from mmh_core.text_to_image.catalogue import CATALOGUE

POCKET = Path(CATALOGUE["pocket-sd"].source)
TEXTS = ("a portrait", "a red boat")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> IndexedFolder:
    """Return an index of three images of one color each."""
    place = tmp_path_factory.mktemp("own")
    (place / "images").mkdir()
    for number, color in enumerate(("red", "green", "blue")):
        Image.new("RGB", (64, 64), color).save(place / "images" / f"{number}.png")
    mmh.index_folder(place / "images", place / "index")
    return IndexedFolder(place / "index", place / "images")


def test_what_belongs_to_the_model_stays_when_other_images_are_searched(
    own: IndexedFolder,
) -> None:
    calibration = calibration_beside(POCKET)
    searched = open_training_set("pocket-sd", own, calibration)
    shipped = open_training_set("pocket-sd", None, calibration)
    assert searched is not None and shipped is not None
    assert len(searched.index) == 3 < len(shipped.index)
    assert searched.log_delta == shipped.log_delta is not None
    assert searched.cause is calibration.cause is not None
    assert searched.alignment is not None and shipped.alignment is not None
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    cosines = searched.alignment(images, TEXTS)
    assert cosines.shape == (2, 2) and cosines.std() > 0
    torch.testing.assert_close(cosines, shipped.alignment(images, TEXTS))
    # What is calibrated on the model's own images says nothing of others.
    assert searched.thresholds is None and searched.truth is None


def test_a_model_without_a_world_has_no_alignment(own: IndexedFolder, tmp_path: Path) -> None:
    searched = open_training_set(str(tmp_path), own)
    assert searched is not None
    assert searched.alignment is None and searched.log_delta is None and searched.cause is None
