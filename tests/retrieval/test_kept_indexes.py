"""An index is made from a zip or a folder, kept, listed and removed, or nothing remains."""

from __future__ import annotations

import io
import json
from collections.abc import Generator
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from PIL import Image
from torch import Tensor

from mmh_core.cli.app import main
from mmh_core.folders import remove_abandoned
from mmh_core.records import MMHError
from mmh_core.retrieval.index_files import load_index
from mmh_core.retrieval.kept_indexes import (
    IndexBuild,
    IndexRequest,
    KeptIndex,
    keep_index,
    kept_index,
    kept_indexes,
    remove_index,
)
from tests.retrieval.drawings import drawings


def png(image: Tensor) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


def zipped(entries: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def images(count: int = 3) -> dict[str, bytes]:
    return {f"photos/{row}.png": png(image) for row, image in enumerate(drawings(count))}


def made(indexes: Path, request: IndexRequest) -> KeptIndex:
    fractions, last = [0.0], IndexBuild(0, 0)
    for progress in keep_index(indexes, request):
        fractions.append(progress.fraction)
        last = progress.partial
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert last.kept is not None
    return last.kept


def test_a_zip_becomes_the_index_that_the_command_makes(tmp_path: Path) -> None:
    entries = images() | {
        "photos/metadata.csv": b"file_name,text\n0.png,zero\n2.png,two\n9.png,nine\n",
        "photos/notes.md": b"no image",
        "__MACOSX/photos/._0.png": b"",
    }
    kept = made(tmp_path / "indexes", IndexRequest("my set", zipped(entries)))
    with ZipFile(io.BytesIO(zipped(entries))) as archive:
        archive.extractall(tmp_path / "by hand")
    with pytest.raises(SystemExit):
        main(["index", str(tmp_path / "by hand/photos"), "--out", str(tmp_path / "index")])
    index, other = load_index(kept.index), load_index(tmp_path / "index")
    assert torch.equal(torch.tensor(index.vectors), torch.tensor(other.vectors))
    assert index.labels.equals(other.labels) and index.digest == other.digest
    assert index.labels["caption"].tolist() == ["zero", "", "two"]
    # The images are there for whoever compares, and what was left out is counted by name.
    assert (kept.images / "2.png").read_bytes() == entries["photos/2.png"]
    told = " ".join(kept.about.sentences)
    assert "3 of 5 files are indexed. Not indexed: " in told and "notes.md" in told
    assert "2 of 3 images have a caption, from metadata.csv." in told
    assert "1 row without an image ('9.png')" in told and "1 entry of the zip" in told
    assert kept.about.count == 3


def test_a_folder_stays_where_it_is_and_a_table_captions_it(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in images().items():
        (tmp_path / name).write_bytes(data)
    table = ("../a table.JSONL", b'{"file": "1.png", "caption": "one"}\n')
    kept = made(tmp_path / "indexes", IndexRequest("set", folder, captions=table))
    assert load_index(kept.index).labels["caption"].tolist() == ["", "one", ""]
    assert kept.images == folder
    assert "from a table.JSONL" in kept.about.sentences[1]
    assert not list(kept.folder.glob("captions*"))
    remove_index(tmp_path / "indexes", kept.id)
    assert len(list(folder.iterdir())) == 3


def test_kept_indexes_are_listed_newest_first_and_removed_with_their_images(
    tmp_path: Path,
) -> None:
    assert kept_indexes(tmp_path / "none") == []
    first, second = (
        made(tmp_path, IndexRequest(name, zipped(images(2)))) for name in ("a", " b\n b ")
    )
    assert kept_indexes(tmp_path) == [second, first]
    assert (second.about.name, kept_index(tmp_path, first.id)) == ("b b", first)
    remove_index(tmp_path, first.id)
    assert kept_indexes(tmp_path) == [second]
    assert [path.name for path in tmp_path.iterdir()] == [second.id]
    for id in (first.id, "..", "x" * 32):
        with pytest.raises(MMHError, match="not kept here any more"):
            remove_index(tmp_path, id)
    # What is damaged is not listed, and does not stop the list.
    (tmp_path / ("a" * 32)).mkdir()
    about = json.loads((second.folder / "about.json").read_text())
    (second.folder / "about.json").write_text(json.dumps(about | {"count": "many"}))
    assert kept_indexes(tmp_path) == [] and kept_index(tmp_path, "../x") is None


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_stopped_on_the_way_nothing_remains(steps: int, tmp_path: Path) -> None:
    work = keep_index(tmp_path, IndexRequest("set", zipped(images())))
    assert isinstance(work, Generator)
    for _ in range(steps):
        next(work)
    work.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (IndexRequest("set", b"no zip"), "'set' is no zip file"),
        (IndexRequest("set", zipped({"a.txt": b"x"})), "'set' holds no images that can be read"),
        (IndexRequest(" ", b""), "Give the training set a name of 1 to 80"),
        (IndexRequest("x" * 81, b""), "Give the training set a name"),
        (IndexRequest("set", zipped(images()), "no such"), "There is no embedder 'no such'"),
        (IndexRequest("set", Path("/nowhere")), "There is no folder /nowhere"),
        (
            IndexRequest("set", zipped(images()), captions=("c.xlsx", b"")),
            "The table of captions 'c.xlsx' must end in .csv",
        ),
        (
            IndexRequest("set", zipped(images()), captions=("my.csv", b"a,b\n1,2\n")),
            "my.csv has no column file_name",
        ),
        (
            IndexRequest("set", zipped(images()), captions=("c.csv", b"file,text\nz.png,x\n")),
            "None of the 1 rows of c.csv names an image in 'set'",
        ),
    ],
)
def test_what_cannot_be_indexed_is_refused_in_a_sentence_and_leaves_nothing(
    request_: IndexRequest, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(MMHError) as refused:
        list(keep_index(tmp_path, request_))
    assert sentence in str(refused.value) and str(tmp_path) not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_index(tmp_path: Path) -> None:
    abandoned = tmp_path / ".writing-abc-1"
    abandoned.mkdir()
    (abandoned / "a.png").touch()
    (tmp_path / ".held-abc-1").touch()
    (tmp_path / ".writing-abc-2").mkdir()
    remove_abandoned(tmp_path)
    # Nobody says that the second was abandoned.
    assert [path.name for path in tmp_path.iterdir()] == [".writing-abc-2"]
