"""`python -m mmh_core index`: an index and a summary, or a sentence, status 2 and nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from mmh_core.cli import main
from mmh_core.retrieval.embedders import PixelEmbedder
from mmh_core.retrieval.index import search
from mmh_core.retrieval.index_files import load_index
from mmh_core.retrieval.pictures import read_picture
from tests.retrieval.drawings import drawings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, picture in enumerate(drawings(3)):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    return folder


def status(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["index", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_folder_becomes_an_index_and_a_summary(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.csv").write_text("file,caption\n0.png,zero\n1.png,\n2.png,two\n")
    out = tmp_path / "index"
    assert status(pictures, "--out", out, "--captions", tmp_path / "c.csv") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "folder": str(pictures),
        "index": str(out),
        "pictures": 3,
        "exact_copies": 0,
        "captions": 2,
        "skipped": [],
        "embedder": "pixels",
        "preprocessing": PixelEmbedder().preprocessing,
        "digest": PixelEmbedder().digest,
        "dim": 768,
    }
    query = PixelEmbedder()(read_picture(pictures / "2.png")[None])
    assert search(load_index(out), query, 1).captions == (("two",),)


def test_the_same_command_twice_writes_the_same_bytes(pictures: Path, tmp_path: Path) -> None:
    kept = list[dict[str, bytes]]()
    for _ in range(2):
        assert status(pictures, "--out", tmp_path / "index") == 0
        kept.append({path.name: path.read_bytes() for path in (tmp_path / "index").iterdir()})
    assert kept[0] == kept[1]


def test_damaged_pictures_are_refused_unless_they_are_to_be_skipped(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert status(pictures, "--out", tmp_path / "index") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "\nError: 1 of 3 pictures cannot be read (" in told.err
    assert told.err.endswith("or skip them with --skip-damaged.\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]
    assert status(pictures, "--out", tmp_path / "index", "--skip-damaged") == 0
    skipped = json.loads(capsys.readouterr().out)["skipped"]
    assert [entry["file"] for entry in skipped] == ["1.png"]
    assert load_index(tmp_path / "index").labels["file"].tolist() == ["0.png", "2.png"]


def test_bad_input_is_one_sentence_and_leaves_nothing(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "index"
    before = sorted(tmp_path.rglob("*"))
    for arguments, start in (
        ((tmp_path / "missing",), "There is no folder"),
        ((pictures, "--embedder", "resnet"), "There is no embedder 'resnet'"),
        ((pictures, "--embedder", "sscd:x.pt"), "x.pt cannot be read"),
        ((pictures, "--captions", tmp_path / "c.csv"), "There is no file"),
    ):
        assert status(*arguments, "--out", out) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith(f"Error: {start}")
        assert told.err.count("\n") == 1
    # A place that would be replaced is refused before the work.
    assert status(tmp_path / "missing", "--out", pictures) == 2
    assert "holds other things than an index" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_runs_as_a_process(pictures: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mmh_core", "index", str(pictures)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "index")],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert json.loads(done.stdout)["pictures"] == 3
    assert torch.isfinite(torch.from_numpy(load_index(tmp_path / "index").vectors.copy())).all()
