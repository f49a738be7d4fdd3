"""A file of a run that was replaced after its item was made is noticed wherever it is read."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest

from mmh_core.records import MMHError
from mmh_core.store.case_export import export_case
from mmh_core.store.case_import import import_case
from mmh_core.store.item_search import get_item
from mmh_core.store.log_chain import verify
from mmh_core.store.queues import create_queue, list_queues
from mmh_core.store.review_records import ReviewItem
from mmh_core.store.review_schema import open_queues
from mmh_core.store.run_files import RunFiles, check_runs
from mmh_core.store.sqlite_file import SqliteFile

OLD = ReviewItem("of an older version", (0,), "pocket", "", run="old.safetensors")
SEALED = ReviewItem(
    *("sealed", (0,), "pocket", ""),
    run="run.safetensors",
    run_sha256=hashlib.sha256(b"as it was").hexdigest(),
)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[SqliteFile, str, Path]:
    """Return a file of queues, its queue and the folder of its runs."""
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / SEALED.run).write_bytes(b"as it was")
    (runs / OLD.run).write_bytes(b"anything")
    file = open_queues(tmp_path / "review.sqlite")
    queue = create_queue(file, "q", model="pocket", model_sha256="", items=[OLD, SEALED]).id
    return file, queue, runs


def test_an_item_without_a_digest_has_the_digest_that_it_always_had() -> None:
    assert OLD.sha256() == "3ef0c1d15747778b4417c3b929031d7beac85b1946f41cca918e2699a3a48d87"
    assert SEALED.sha256() != replace(SEALED, run_sha256="").sha256()
    assert SEALED.sha256() != replace(SEALED, run_sha256="0" * 64).sha256()


@pytest.mark.parametrize("content", [b"", b"as it wa", b"as it was.", b"another run", None])
def test_a_replaced_run_is_noticed(
    kept: tuple[SqliteFile, str, Path], tmp_path: Path, content: bytes | None
) -> None:
    file, queue, runs = kept
    assert check_runs(file, queue, [runs]) == RunFiles(1, (), (), (OLD.run,))
    assert export_case(file, queue, runs, tmp_path / "whole.zip").runs == 2
    if content is None:
        (runs / SEALED.run).unlink()
        found = check_runs(file, queue, [runs])
        assert found == RunFiles(0, (), (SEALED.run,), (OLD.run,))
        assert "1 missing" in found.sentence
        # Who hands a case over without it is told, and need not have it.
        assert export_case(file, queue, runs, tmp_path / "x.zip").missing_runs == (SEALED.run,)
        return
    (runs / SEALED.run).write_bytes(content)
    found = check_runs(file, queue, [tmp_path / "nowhere", runs])
    assert found == RunFiles(0, (SEALED.run,), (), (OLD.run,))
    assert f"1 changed or replaced ({SEALED.run!r})" in found.sentence
    with pytest.raises(MMHError, match="is not the one with which its item was made"):
        export_case(file, queue, runs, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()
    # The log itself is whole: it is the file that is not.
    assert verify(file, queue).whole


def test_a_recorded_digest_cannot_be_changed_unseen(kept: tuple[SqliteFile, str, Path]) -> None:
    file, queue, _ = kept
    with closing(sqlite3.connect(file.path)) as connection:
        connection.execute("DROP TRIGGER items_stay")
        connection.execute("UPDATE items SET run_sha256 = '' WHERE position = 2")
        connection.commit()
    report = verify(file, queue)
    assert not report.whole and "Item 2 is not as it was" in report.message


def rewritten(case: Path, changes: dict[str, bytes]) -> Path:
    """Return a copy of a case with other entries, listed as they are."""
    out = case.with_name("rewritten.zip")
    with ZipFile(case) as old, ZipFile(out, "w") as new:
        entries = {name: old.read(name) for name in old.namelist()} | changes
        del entries["contents.json"]
        listed = {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in entries.items()
        }
        for name, data in entries.items():
            new.writestr(name, data)
        new.writestr("contents.json", json.dumps(listed))
    return out


IMAGE = b"no item has it"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runs/run.safetensors": b"another"}, "is not the one that an item was made with"),
        ({"runs/more.safetensors": b"x"}, "no item names 'runs/more.safetensors'"),
        ({"runs/a": b"x", "runs/b": b"y"}, "no item names 'runs/a' and 1 more"),
        ({f"thumbnails/{hashlib.sha256(IMAGE).hexdigest()}": IMAGE}, "no item names 'thumb"),
    ],
)
def test_a_case_with_other_files_than_its_items_name_is_refused(
    kept: tuple[SqliteFile, str, Path], tmp_path: Path, changes: dict[str, bytes], words: str
) -> None:
    file, queue, runs = kept
    export_case(file, queue, runs, tmp_path / "case.zip")
    there = open_queues(tmp_path / "there" / "review.sqlite")
    case = rewritten(tmp_path / "case.zip", changes)
    with pytest.raises(MMHError, match=words):
        import_case(there, case, tmp_path / "there" / "runs")
    assert list_queues(there) == []
    assert not [*(tmp_path / "there" / "runs").glob("[!.]*")]


def test_a_case_keeps_the_digests_of_its_runs(
    kept: tuple[SqliteFile, str, Path], tmp_path: Path
) -> None:
    file, queue, runs = kept
    export_case(file, queue, runs, tmp_path / "case.zip")
    there = open_queues(tmp_path / "there" / "review.sqlite")
    import_case(there, tmp_path / "case.zip", tmp_path / "there" / "runs")
    assert [get_item(there, queue, place, "").item for place in (1, 2)] == [OLD, SEALED]
    assert check_runs(there, queue, [tmp_path / "there" / "runs"]).whole == 1
    with ZipFile(tmp_path / "case.zip") as case:
        first, second = case.read("items.jsonl").splitlines()
    # Older versions can still read a case in which no digest was recorded.
    assert b"run_sha256" not in first and b"run_sha256" in second


@pytest.mark.parametrize("wrong", ["x", "0" * 63, "G" * 64, "0" * 65])
def test_what_is_no_digest_of_a_run_is_refused(
    kept: tuple[SqliteFile, str, Path], wrong: str
) -> None:
    for item in (replace(SEALED, run_sha256=wrong), replace(SEALED, run="", run_sha256="0" * 64)):
        with pytest.raises(ValueError, match="digest of an item's run is none, or of no run"):
            create_queue(kept[0], "q", model="m", model_sha256="", items=[item])
