"""A planted duplicate is found under crop, flip and JPEG, by the descriptor that promises it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mmh_core.pocket.batches import as_tensor
from mmh_core.pocket.cast import random_style
from mmh_core.pocket.descriptor import Descriptor, save_descriptor
from mmh_core.pocket.scenes import PAINTERS, Scene, draw, parameters
from mmh_core.records import MMHError
from mmh_core.retrieval.embedder_choice import load_embedder
from mmh_core.retrieval.embedders import POCKET_DESCRIPTOR, PixelEmbedder, pocket_embedder
from tests.retrieval.drawings import Alteration, compressed, cropped, found_share, mirrored


@pytest.fixture(scope="module")
def world() -> Tensor:
    """Draw 40 images of every family of the shipped world, all different."""
    random = np.random.default_rng(20)
    scenes = [
        Scene(
            painter, random_style(painter, random), tuple(random.random(len(parameters(painter))))
        )
        for painter in PAINTERS
        for _ in range(40)
    ]
    return as_tensor(np.stack([draw(scene) for scene in scenes]))


def test_pixels_find_what_jpeg_leaves(world: Tensor) -> None:
    assert found_share(PixelEmbedder(), world, compressed) == 1


@pytest.mark.skipif(not POCKET_DESCRIPTOR.is_dir(), reason="the shipped model is not built")
@pytest.mark.parametrize("alteration", [cropped, mirrored, compressed])
def test_the_shipped_descriptor_finds_planted_duplicates(
    world: Tensor, alteration: Alteration
) -> None:
    # Open images of a family are close to one another: one in twenty may go to another's copy.
    assert found_share(pocket_embedder(), world, alteration) >= 0.95


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_descriptor(Descriptor((8, 16), 24, 64), tmp_path / "descriptor")
    return tmp_path / "descriptor"


def test_a_descriptor_is_loaded_from_its_folder(untrained: Path, world: Tensor) -> None:
    from mmh_core.pocket.descriptor import load_descriptor

    embedder = load_embedder(f"pocket:{untrained}")
    images = world[::50].to(torch.float32) / 255
    torch.testing.assert_close(embedder(images), load_descriptor(untrained)(images))
    assert (embedder.name, embedder.dim) == ("pocket", 24)
    assert embedder.preprocessing == "bilinear to 64 x 64"
    torch.manual_seed(1)
    save_descriptor(Descriptor((8, 16), 24, 64), untrained)
    assert pocket_embedder(untrained).digest != embedder.digest


def test_a_damaged_descriptor_is_a_sentence(untrained: Path) -> None:
    torch.save({}, untrained / "model.safetensors")
    with pytest.raises(MMHError, match="cannot be read: build or download it again"):
        pocket_embedder(untrained)
