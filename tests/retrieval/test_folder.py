"""A folder of images becomes an index, with its captions, or a sentence."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.retrieval.captions import read_captions
from mmh_core.retrieval.embedders import PixelEmbedder
from mmh_core.retrieval.folder import FolderIndex, index_folder, summary
from mmh_core.retrieval.images import read_image
from mmh_core.retrieval.index import search
from tests.retrieval.drawings import drawings

NAMES = ("a.png", "b/c.png", "b/d.png", "e.png")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Write four images, the last with the pixels of the first, one of another size."""
    folder = tmp_path / "images"
    (folder / "b").mkdir(parents=True)
    drawn = [*drawings(2), drawings(1, size=48)[0], drawings(1)[0]]
    for name, image in zip(NAMES, drawn, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / name)
    return folder


def finished(folder: Path, **options: object) -> FolderIndex:
    *_, last = index_folder(folder, PixelEmbedder(), **options)  # type: ignore[arg-type]
    assert last.fraction == 1
    return last.partial


def test_every_image_is_described_and_named(images: Path) -> None:
    found = finished(images)
    assert found.index is not None
    assert found.index.labels["file"].tolist() == list(NAMES)
    assert found.index.labels["id"].tolist() == [0, 1, 2, 3]
    assert found.index.labels["caption"].tolist() == [""] * 4
    assert found.index.multiplicity.tolist() == [2, 1, 1, 2]
    assert (found.files, found.read, found.exact_copies, found.left_out) == (4, 4, 1, ())
    for row, name in enumerate(NAMES):
        vector = PixelEmbedder()(read_image(images / name)[None])
        # Batches and single images may differ in the last digit of float32.
        assert torch.allclose(torch.from_numpy(found.index.vectors[row]), vector, atol=1e-7)


def test_batches_change_nothing(images: Path) -> None:
    together = finished(images).index
    single = finished(images, batch_size=1).index
    assert together is not None
    assert single is not None
    assert abs(together.vectors - single.vectors).max() < 1e-7


def test_progress_counts_files_and_rises(images: Path) -> None:
    steps = list(index_folder(images, PixelEmbedder()))
    assert [step.fraction for step in steps] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert [step.partial.read for step in steps] == [1, 2, 3, 4, 4]
    assert steps[1].message == "2 of 4 images"
    assert steps[3].partial.index is None


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_captions_arrive_at_their_files(images: Path, tmp_path: Path, form: str) -> None:
    table = pd.DataFrame(
        {
            "note": [1, 2, 3, 4],
            "file": NAMES[::-1],
            "caption": ["NA", "=1+1, 'q'", "", "ein Ä\nund mehr"],
        }
    )
    path = tmp_path / f"captions.{form}"
    table.to_csv(path, index=False) if form == "csv" else table.to_parquet(path)
    found = finished(images, captions=read_captions(path)).index
    assert found is not None
    assert found.labels["caption"].tolist() == ["ein Ä\nund mehr", "", "=1+1, 'q'", "NA"]
    nearest = search(found, torch.from_numpy(found.vectors[1:2].copy()), 1)
    assert (nearest.files, nearest.captions) == ((("b/c.png",),), (("",),))


def test_a_parquet_file_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    names = [f"{i:06}" for i in range(5_000)]
    table = pd.DataFrame({"file": names, "caption": [f"{name} {'x' * 500}" for name in names]})
    table.to_parquet(path, compression="zstd", use_dictionary=False)
    with pytest.raises(MMHError, match="unpacks to more than"):
        read_captions(path, largest=path.stat().st_size + 1)


def test_of_a_set_half_broken_the_rest_is_kept(images: Path) -> None:
    whole = (images / "b" / "c.png").read_bytes()
    (images / "b" / "c.png").write_bytes(whole[: len(whole) // 2])
    (images / "zz.gif").write_bytes(b"nothing")
    found = finished(images)
    assert found.index is not None
    assert found.index.labels["file"].tolist() == ["a.png", "b/d.png", "e.png"]
    assert found.index.labels["id"].tolist() == [0, 2, 3]
    assert [(one.file, one.kind) for one in found.lost] == [
        ("b/c.png", "damaged image"),
        ("zz.gif", "damaged image"),
    ]
    assert (found.files, found.read) == (5, 3)
    assert "c.png is truncated or damaged (" in found.left_out[0].reason
    said = "3 of 5 files are indexed. Not indexed: 2 damaged images (b/c.png, zz.gif)."
    assert summary(found) == said
    vector = PixelEmbedder()(read_image(images / "e.png")[None])
    assert torch.allclose(torch.from_numpy(found.index.vectors[2]), vector, atol=1e-7)


def test_nothing_to_index_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MMHError, match="holds no images that can be read: name a folder"):
        finished(tmp_path)
    for i in range(7):
        (tmp_path / f"{i}.png").write_bytes(b"x")
    match = r"no images that can be read \(7 damaged images \(0\.png, .*, 4\.png and 2 more\)\)"
    with pytest.raises(MMHError, match=match):
        finished(tmp_path)
    (tmp_path / "8.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(MMHError, match=r"None of the 1 images .* can be read \(8 damaged images"):
        finished(tmp_path)


def test_an_image_that_vanishes_while_indexing_is_counted(images: Path) -> None:
    steps = index_folder(images, PixelEmbedder())
    next(steps)
    (images / "b" / "d.png").unlink()
    *_, last = steps
    assert [(one.file, one.kind) for one in last.partial.left_out] == [("b/d.png", "missing file")]
    assert (last.partial.files, last.partial.read) == (4, 3)


@dataclass(frozen=True)
class Blind:
    """An embedder that gives no numbers, or none but zeros, for bright images."""

    value: float
    limit: float
    name: str = "blind"
    digest: str = "0" * 64
    preprocessing: str = "none"
    dim: int = 2

    def __call__(self, images: Tensor) -> Tensor:
        bright = images.mean(dim=(1, 2, 3)) > self.limit
        return torch.where(bright[:, None], self.value, torch.ones(len(images), 2))


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_an_image_without_a_descriptor_costs_itself_alone(images: Path, value: float) -> None:
    Image.new("RGB", (64, 64), "white").save(images / "b" / "white.png")
    *_, last = index_folder(images, Blind(value, 0.99))
    found = last.partial
    assert found.index is not None
    assert found.index.labels["file"].tolist() == list(NAMES)
    assert found.index.labels["id"].tolist() == [0, 1, 2, 4]
    assert [(one.file, one.lost) for one in found.left_out] == [("b/white.png", True)]
    assert (found.files, found.read, found.exact_copies) == (5, 4, 1)
    assert "Not indexed: 1 image without a descriptor (b/white.png)." in summary(found)
    with pytest.raises(MMHError, match="gave no descriptor that is finite and not zero for any"):
        list(index_folder(images, Blind(value, -1.0)))


def test_captions_and_counts_add_up_in_a_set_as_people_have_it(images: Path) -> None:
    (images / "metadata.csv").write_text("file_name,text\na.png,one\ngone.png,two\n")
    (images / "b" / "c.txt").write_text("three")
    (images / "b" / "d.txt").write_text("four")
    odd = os.fsencode(images) + b"/\xe9"
    (images / "e.png").rename(os.fsdecode(odd + b".png"))
    Path(os.fsdecode(odd + b".txt")).write_text("five")
    found = finished(images)
    assert found.index is not None
    captions = dict(zip(found.index.labels["file"], found.index.labels["caption"], strict=True))
    assert captions == {"a.png": "one", "b/c.png": "three", "b/d.png": "four", r"\xe9.png": "five"}
    assert found.files == 8 == found.read + len(found.left_out)
    assert "Not indexed: 4 caption files (" in summary(found)
    assert not found.lost
