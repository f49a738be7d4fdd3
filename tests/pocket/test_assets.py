"""What stands beside the model comes back as it was written, and is listed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmh_core.pocket.assets import (
    has_to_draw,
    read_prompts,
    read_training_image,
    read_world,
    sheet_place,
    write_manifest,
    write_world,
)
from mmh_core.pocket.world import World, build_world, prompts
from mmh_core.records import MMHError


@pytest.fixture(scope="module")
def world() -> World:
    """Return a small world of more images than fit on one sheet."""
    return build_world(0, share=0.01)


@pytest.fixture(scope="module")
def written(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files of the world; tests read it and never write to it."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, world)
    write_manifest(folder)
    return folder


def test_a_world_comes_back_bit_for_bit(world: World, written: Path) -> None:
    assert len(world.images) > 130
    found = read_world(written)
    np.testing.assert_array_equal(found.images, world.images)
    np.testing.assert_array_equal(found.held_out, world.held_out)
    assert found.seed == world.seed
    for name in ("labels", "held_out_labels"):
        wanted, kept = getattr(world, name), getattr(found, name)
        assert wanted.astype(str).equals(kept.astype(str))
    assert read_prompts(written).astype(str).equals(prompts(0).astype(str))


def test_equal_worlds_make_equal_bytes_and_sheets_of_a_larger_one_go(
    world: World, written: Path, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/training-77.webp").write_bytes(b"old")
    write_world(tmp_path, world)
    assert not (tmp_path / "pictures/training-77.webp").exists()
    write_manifest(tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == (written / "manifest.json").read_bytes()


def test_the_manifest_lists_every_file_but_itself(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    write_manifest(tmp_path)
    listed = json.loads((tmp_path / "manifest.json").read_text())["files"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert set(listed) == {p.relative_to(tmp_path).as_posix() for p in files} - {"manifest.json"}
    for name, digest in listed.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("number", [0, 130])
def test_one_image_is_read_alone(world: World, written: Path, number: int) -> None:
    image = read_training_image(written, number)
    np.testing.assert_array_equal(image, world.images[number])
    assert not has_to_draw(written)
    with pytest.raises(MMHError, match="cannot be read"):
        read_training_image(written, 100_000)


def test_places_count_within_their_sheet() -> None:
    assert sheet_place(0) == "pictures/training-00.webp#0"
    assert sheet_place(240 * 3 + 17, "held-out") == "pictures/held-out-03.webp#17"


@pytest.mark.parametrize(
    "name", ["world.json", "training.parquet", "pictures/training-00.webp", "held_out.parquet"]
)
def test_missing_and_damaged_files_are_one_sentence(
    written: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).write_bytes(b"not what it should be")
    with pytest.raises(MMHError, match="cannot be read"):
        read_world(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(MMHError, match=r"cannot be read|There is no description of the world"):
        read_world(tmp_path)
