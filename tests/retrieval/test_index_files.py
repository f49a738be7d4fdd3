"""An index comes back as it was kept, whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmh_core.folders import replacing_folder
from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import PixelEmbedder
from mmh_core.retrieval.index import Index, build_index, search
from mmh_core.retrieval.index_files import check_place, load_index, save_index
from tests.retrieval.drawings import labels

ROOT = Path(__file__).resolve().parents[2]


def made(count: int, seed: int = 0) -> Index:
    vectors = torch.randn(count, 768, generator=torch.Generator().manual_seed(seed))
    table = labels(count).assign(copies=range(1, count + 1), kind="open")
    return build_index(vectors, table, PixelEmbedder())


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("memory_map", [True, False])
def test_an_index_comes_back_bit_for_bit(tmp_path: Path, memory_map: bool) -> None:
    index = made(20)
    save_index(index, tmp_path / "new" / "index")
    found = load_index(tmp_path / "new" / "index", memory_map=memory_map)
    assert np.array_equal(found.vectors, index.vectors)
    assert isinstance(found.vectors, np.memmap) == memory_map
    pd.testing.assert_frame_equal(found.labels, index.labels)
    assert (found.embedder, found.digest, found.preprocessing) == (
        "pixels",
        PixelEmbedder().digest,
        PixelEmbedder().preprocessing,
    )
    queries = torch.randn(3, 768)
    assert torch.equal(search(found, queries).similarity, search(index, queries).similarity)


def test_half_precision_moves_similarities_little_and_keeps_lengths(tmp_path: Path) -> None:
    index = made(50)
    save_index(index, tmp_path / "index", storage="float16")
    size = (tmp_path / "index" / "vectors.npy").stat().st_size
    assert size < 50 * 768 * 2 + 200
    found = load_index(tmp_path / "index")
    lengths = np.linalg.norm(found.vectors.astype(np.float64), axis=1)
    assert found.vectors.dtype == np.float32
    assert np.abs(lengths - 1).max() < 1e-6
    queries = torch.randn(3, 768, generator=torch.Generator().manual_seed(1))
    change = search(found, queries, 50).similarity - search(index, queries, 50).similarity
    # Relative errors of 2^-11 in each coordinate: at most 2^-11 in the product of unit vectors.
    assert 0 < change.abs().max() < 2**-11


def test_equal_indexes_make_equal_bytes(tmp_path: Path) -> None:
    save_index(made(5), tmp_path / "a")
    save_index(made(5), tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert set(content(tmp_path / "a")) == {"vectors.npy", "labels.parquet", "index.json"}


def test_an_index_is_replaced_whole(tmp_path: Path) -> None:
    save_index(made(5), tmp_path / "index")
    opened = load_index(tmp_path / "index")
    save_index(made(7, seed=1), tmp_path / "index")
    assert len(load_index(tmp_path / "index")) == 7
    # Whoever mapped the old one still reads the old one.
    assert np.array_equal(opened.vectors, made(5).vectors)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_what_is_no_index_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.png").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(MMHError, match="holds other things than an index"):
        save_index(made(3), tmp_path / "photos")
    with pytest.raises(MMHError, match="is a file"):
        save_index(made(3), tmp_path / "file")
    save_index(made(3), tmp_path / "index")
    (tmp_path / "index" / "note.txt").write_text("mine")
    with pytest.raises(MMHError, match="holds other things"):
        check_place(tmp_path / "index")
    (tmp_path / "empty").mkdir()
    save_index(made(3), tmp_path / "empty")
    assert len(load_index(tmp_path / "empty")) == 3


@pytest.mark.parametrize("moment", ["fsync", "rename"])
def test_a_disk_that_refuses_leaves_the_old_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    save_index(made(5), tmp_path / "index")
    before, rename, calls = content(tmp_path / "index"), os.rename, list[int]()

    def full(*arguments: object) -> None:
        calls.append(1)
        # Of the renames the first, which moves the old index aside, and the one back work.
        if moment == "rename" and len(calls) != 2:
            return rename(*arguments)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, moment, full)
        with pytest.raises(MMHError, match=r"could not be written \(No space left"):
            save_index(made(7), tmp_path / "index")
    assert content(tmp_path / "index") == before
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_failing_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), replacing_folder(tmp_path / "index") as place:
        (place / "half").write_text("half")
        raise KeyError("boom")
    assert list(tmp_path.iterdir()) == []


def edited(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    """Return what edits index.json."""

    def edit(folder: Path) -> None:
        meta = json.loads((folder / "index.json").read_text())
        change(meta)
        (folder / "index.json").write_text(json.dumps(meta))

    return edit


def written(text: str | bytes) -> Callable[[Path], object]:
    """Return what puts something else into index.json."""
    data = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / "index.json").write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda folder: (folder / "index.json").unlink(), "holds no index: build one"),
        (lambda folder: (folder / "vectors.npy").unlink(), "is damaged"),
        (lambda folder: (folder / "index.json").write_text("{"), "is damaged"),
        (edited(lambda meta: meta.update(format="mmh-index-0")), "of this version"),
        (edited(lambda meta: meta.pop("sha256")), "is damaged"),
        (edited(lambda meta: meta.update(count=4)), "is damaged"),
        (edited(lambda meta: meta.update(digest=3)), "is damaged"),
        (edited(lambda meta: meta.update(sha256={})), "is damaged"),
        (edited(lambda meta: meta.update(sha256=[1])), "is damaged"),
        (edited(lambda meta: meta.update(count=True)), "is damaged"),
        (edited(lambda meta: meta.update(count=5.0)), "is damaged"),
        (edited(lambda meta: meta.update(count=10**400)), "is damaged"),
        (edited(lambda meta: meta.update(dim=-768)), "is damaged"),
        (edited(lambda meta: meta.update(storage=["float32"])), "is damaged"),
        (edited(lambda meta: meta.update(storage="object")), "is damaged"),
        (edited(lambda meta: meta.update(embedder=None)), "is damaged"),
        (written("[" * 200_000), "is damaged"),
        (written('{"a":' * 100_000), "is damaged"),
        (written("9" * 10_000), "is damaged"),
        (written("[1, 2]"), "of this version"),
        (written("null"), "of this version"),
        (written('"mmh-index-1"'), "of this version"),
        (written(b"\xff\xfe\0"), "is damaged"),
        (written(b"\x80"), "is damaged"),
        (lambda folder: flip(folder / "vectors.npy"), r"vectors\.npy does not match its checksum"),
        (lambda folder: flip(folder / "labels.parquet"), "does not match its checksum"),
    ],
)
def test_damage_is_a_sentence(
    tmp_path: Path, damage: Callable[[Path], object], match: str
) -> None:
    save_index(made(5), tmp_path / "index")
    damage(tmp_path / "index")
    with pytest.raises(MMHError, match=match):
        load_index(tmp_path / "index")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_without_checksums_what_cannot_be_read_is_still_a_sentence(tmp_path: Path) -> None:
    save_index(made(5), tmp_path / "index")
    vectors = tmp_path / "index" / "vectors.npy"
    np.save(vectors, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(MMHError, match="is damaged"):
        load_index(tmp_path / "index", verify=False)
    with pytest.raises(MMHError, match="holds no index"):
        load_index(tmp_path / "missing")


@pytest.mark.parametrize("number", [np.nan, np.inf, 0.0, 1.5, 1e30])
def test_a_vector_that_has_not_length_one_is_damage(tmp_path: Path, number: float) -> None:
    index = made(5)
    vectors = index.vectors.copy()
    vectors[3] = number
    save_index(replace(index, vectors=vectors), tmp_path / "index")
    with pytest.raises(MMHError, match=r"is damaged .*length 1"):
        load_index(tmp_path / "index")


@pytest.mark.parametrize("change", [{"file": 3}, {"id": "x"}, {"caption": None}, {"extra": 1}])
def test_labels_of_another_shape_are_damage(tmp_path: Path, change: dict[str, object]) -> None:
    save_index(made(5), tmp_path / "index")
    labels = tmp_path / "index" / "labels.parquet"
    pd.read_parquet(labels).assign(**change).to_parquet(labels)
    if change == {"file": 3}:
        assert load_index(tmp_path / "index", verify=False).labels["file"].tolist() == ["3"] * 5
        return
    with pytest.raises(MMHError, match="is damaged"):
        load_index(tmp_path / "index", verify=False)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "self"])
def test_a_name_that_no_folder_can_have_is_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "self").symlink_to("self")
    with pytest.raises(MMHError, match=r"is damaged \(|holds no index"):
        load_index(tmp_path / name)
    with pytest.raises(MMHError, match=r"cannot be used \(|could not be written \("):
        save_index(made(3), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["self"]


KILLED = """
import os, sys
from pathlib import Path
from tests.retrieval.test_index_files import made
from mmh_core.retrieval.index_files import save_index
moment, folder = sys.argv[1], Path(sys.argv[2])
calls = []
real = os.rename

def killed(*arguments):
    calls.append(1)
    if moment == "write" or len(calls) == int(moment):
        os._exit(9)
    return real(*arguments)

setattr(os, "fsync" if moment == "write" else "rename", killed)
save_index(made(9), folder)
"""


@pytest.mark.parametrize("moment", ["write", "1", "2"])
def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path, moment: str) -> None:
    target, other = tmp_path / "index", tmp_path / "other"
    save_index(made(5), target)
    (tmp_path / ".writing-mine").mkdir()
    command = [sys.executable, "-c", KILLED, moment, str(target)]
    done = subprocess.run(command, cwd=ROOT, check=False, timeout=120)
    assert done.returncode == 9
    left = {path.name for path in tmp_path.iterdir()}
    assert any(name.startswith(".writing-") for name in left - {".writing-mine"})
    # The second rename would have put the new one in place: the old one is aside.
    assert ("index" in left) == (moment != "2")
    # Another index beside it does not touch what is not its own.
    save_index(made(3), other)
    assert left <= {path.name for path in tmp_path.iterdir()}
    with pytest.raises(KeyError), replacing_folder(target):
        raise KeyError("the next writer fails, and the old index is there")
    assert len(load_index(target)) == 5
    save_index(made(7), target)
    assert len(load_index(target)) == 7
    assert {path.name for path in tmp_path.iterdir()} == {"index", "other", ".writing-mine"}


def test_a_writer_at_work_is_left_alone(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "index") as first:
        (first / "half").write_text("half")
        with replacing_folder(tmp_path / "index") as second:
            (second / "whole").write_text("whole")
        assert (first / "half").exists()
        (tmp_path / "index" / "whole").unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_system_that_opens_no_folders_keeps_an_index_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.open

    def opened(path: Path, flags: int, *mode: int) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied")
        return whole(path, flags, *mode)

    monkeypatch.setattr(os, "open", opened)
    save_index(made(5), tmp_path / "index")
    assert len(load_index(tmp_path / "index")) == 5
