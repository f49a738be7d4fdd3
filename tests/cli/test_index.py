"""`./mmh index`: an index and a summary, or a sentence, status 2 and nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import PixelEmbedder
from mmh_core.retrieval.images import read_image
from mmh_core.retrieval.index import build_index, search
from mmh_core.retrieval.index_files import load_index, save_index
from mmh_core.subject.training_set import folder_training_set
from tests.commands import status
from tests.retrieval.drawings import drawings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(drawings(3)):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    return folder


def test_a_folder_becomes_an_index_and_a_summary(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.csv").write_text("file,caption\n0.png,zero\n1.png,\n2.png,two\n")
    out = tmp_path / "index"
    assert status("index", images, "--out", out, "--captions", tmp_path / "c.csv") == 0
    out_err = capsys.readouterr()
    said = "3 of 3 files are indexed.\n2 of 3 images have a caption, from c.csv. "
    said += "1 image with an empty caption ('1.png').\n"
    assert out_err.err.endswith(f"\n{said}")
    told = json.loads(out_err.out)
    assert told == {
        "folder": str(images),
        "index": str(out),
        "files": 3,
        "images": 3,
        "exact_copies": 0,
        "outside_folder": 0,
        "captions": 2,
        "captions_from": {
            "source": "c.csv",
            "rows": 3,
            "captioned": 2,
            "captions_empty": ["1.png"],
            "captions_of_images_not_indexed": [],
            "rows_without_image": [],
            "images_without_caption": [],
            "rows_repeated": [],
            "not_used": [],
        },
        "skipped": [],
        "embedder": "pixels",
        "preprocessing": PixelEmbedder().preprocessing,
        "digest": PixelEmbedder().digest,
        "dim": 768,
    }
    query = PixelEmbedder()(read_image(images / "2.png")[None])
    assert search(load_index(out), query, 1).captions == (("two",),)


def test_the_same_command_twice_writes_the_same_bytes(images: Path, tmp_path: Path) -> None:
    kept = list[dict[str, bytes]]()
    for _ in range(2):
        assert status("index", images, "--out", tmp_path / "index") == 0
        kept.append({path.name: path.read_bytes() for path in (tmp_path / "index").iterdir()})
    assert kept[0] == kept[1]


def test_images_that_are_lost_are_said_by_status_summary_and_index(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (images / "9.txt").write_text("of no image")
    for options, code in (([], 1), (["--allow-damaged"], 0), (["--skip-damaged"], 0)):
        assert status("index", images, "--out", tmp_path / "index", *options) == code
        told = capsys.readouterr()
        found = json.loads(told.out)
        assert [one["file"] for one in found["skipped"]] == ["1.png", "9.txt"]
        assert found["files"] == found["images"] + len(found["skipped"]) == 4
        said = (
            "2 of 4 files are indexed. Not indexed: 1 damaged image (1.png); 1 text file (9.txt)."
        )
        assert f"\n{said}\n" in told.err
        assert ("Exit status 1: 1 image of the folder is not in" in told.err) == (code == 1)
        assert load_index(tmp_path / "index").labels["file"].tolist() == ["0.png", "2.png"]
        kept = json.loads((tmp_path / "index" / "index.json").read_text())
        assert (kept["files"], kept["skipped"]) == (4, found["skipped"])
    # What is no image of the set does not change the status.
    (images / "1.png").unlink()
    assert status("index", images, "--out", tmp_path / "index") == 0


def test_a_name_that_is_not_utf8_is_indexed_and_found_again(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.rename(images / "2.png", os.fsencode(images) + b"/caf\xe9.png")
    assert status("index", images, "--out", tmp_path / "index") == 0
    capsys.readouterr()
    names = load_index(tmp_path / "index").labels["file"].tolist()
    assert names == ["0.png", "1.png", r"caf\xe9.png"]
    known = folder_training_set(tmp_path / "index", PixelEmbedder(), images)
    assert torch.equal(known.image(2), drawings(3)[2])


@pytest.mark.parametrize(
    "name", ["../secret.png", "SECRET", "a/../../secret.png", "link.png", r"\x2e./secret.png"]
)
def test_an_index_reads_no_image_outside_its_folder(
    images: Path, tmp_path: Path, name: str
) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes((images / "2.png").read_bytes())
    (images / "link.png").symlink_to(secret)
    (images / "inside.png").symlink_to("2.png")
    (images / "a").mkdir()
    vectors = PixelEmbedder()(torch.stack([read_image(secret)] * 2))
    files = ["inside.png", str(secret) if name == "SECRET" else name]
    table = pd.DataFrame({"id": [0, 1], "caption": ["", ""], "file": files})
    save_index(build_index(vectors, table, PixelEmbedder()), tmp_path / "index")
    known = folder_training_set(tmp_path / "index", PixelEmbedder(), images)
    assert torch.equal(known.image(0), drawings(3)[2])
    with pytest.raises(MMHError, match="The index names the image"):
        known.image(1)


def test_links_work_and_those_that_leave_the_folder_are_counted(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    os.rename(images / "1.png", outside / "1.png")
    (images / "1.png").symlink_to(outside / "1.png")
    (images / "3.png").symlink_to("0.png")
    (images / "loop").symlink_to(".")
    assert status("index", images, "--out", tmp_path / "index") == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (found["images"], found["outside_folder"], found["exact_copies"]) == (4, 1, 1)
    assert [one["file"] for one in found["skipped"]] == ["loop"]
    assert "1 of the images lies outside the folder, behind links" in told.err
    assert "copy the images in, or index the folder that they lie in" in told.err
    # Both steps do what they promise.
    known = folder_training_set(tmp_path / "index", PixelEmbedder(), images)
    with pytest.raises(MMHError, match="copy the image itself in, or index the folder"):
        known.image(1)
    assert status("index", outside, "--out", tmp_path / "other") == 0
    other = folder_training_set(tmp_path / "other", PixelEmbedder(), outside)
    assert torch.equal(other.image(0), drawings(3)[1])
    (images / "1.png").unlink()
    shutil.copy(outside / "1.png", images / "1.png")
    assert torch.equal(known.image(1), drawings(3)[1])
    assert load_index(tmp_path / "index").labels["file"].tolist() == [
        "0.png", "1.png", "2.png", "3.png",
    ]  # fmt: skip


def test_bad_input_is_one_sentence_and_leaves_nothing(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "index"
    before = sorted(tmp_path.rglob("*"))
    for arguments, start in (
        ((tmp_path / "missing",), "There is no folder"),
        ((images, "--embedder", "resnet"), "There is no embedder 'resnet'"),
        ((images, "--embedder", "sscd:x.pt"), "x.pt cannot be read"),
        ((images, "--captions", tmp_path / "c.csv"), "There is no file"),
    ):
        assert status("index", *arguments, "--out", out) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith(f"Error: {start}")
        assert told.err.count("\n") == 1
    # A place that would be replaced is refused before the work.
    assert status("index", tmp_path / "missing", "--out", images) == 2
    assert "holds other things than an index" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_runs_as_a_process(images: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mmh_core", "index", str(images)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "index")],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert json.loads(done.stdout)["images"] == 3
    assert torch.isfinite(torch.from_numpy(load_index(tmp_path / "index").vectors.copy())).all()
