"""A scan that is killed at any moment and started again loses nothing and repeats nothing."""

from __future__ import annotations

import math
import os
import random
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmh_core.records import MMHError
from mmh_core.store import shard_files
from mmh_core.store.shards import (
    ColumnKind,
    ScanManifest,
    ScanRow,
    count_rows,
    read_manifest,
    read_rows,
    scan_folder,
    scan_manifest,
)

ROOT = Path(__file__).resolve().parents[2]
COLUMNS: dict[str, ColumnKind] = {
    "score": "float",
    "nearest": "int",
    "cause": "text",
    "flagged": "bool",
}
MANIFEST = scan_manifest("pocket", "ab" * 32, {"steps": 1, "guidance": 7.5}, COLUMNS)


def row(prompt: str, score: float = 0.5, seeds: tuple[int, ...] = (0, 1)) -> ScanRow:
    values = {"score": score, "nearest": 2**40, "cause": "", "flagged": score > 0}
    return ScanRow(prompt, seeds, values)


def scan(folder: Path, rows: list[ScanRow], manifest: ScanManifest = MANIFEST) -> list[str]:
    """Scan in batches of three, and return the prompts that had to be computed."""
    computed = []
    with scan_folder(folder, manifest) as into:
        for start in range(0, len(rows), 3):
            some = rows[start : start + 3]
            needed = into.missing([(row.prompt, row.seeds) for row in some])
            todo = [row for row, is_missing in zip(some, needed, strict=True) if is_missing]
            into.write(todo)
            computed += [row.prompt for row in todo]
    return computed


def everything(folder: Path) -> list[ScanRow]:
    return [row for batch in read_rows(folder) for row in batch]


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [
        ScanRow("Ünï '\"\n=1", (2**62,), dict(zip(COLUMNS, (0.1, -1, "a", True), strict=True))),
        ScanRow("", (), dict.fromkeys(COLUMNS)),
    ]
    scan(tmp_path / "new" / "scan", rows)
    assert everything(tmp_path / "new" / "scan") == rows
    assert read_manifest(tmp_path / "new" / "scan") == MANIFEST
    scan(tmp_path / "nan", [row("x", math.nan)])
    assert everything(tmp_path / "nan")[0].values["score"] is None
    [batch] = read_rows(tmp_path / "nan", columns=["nearest"])
    assert batch[0].values == {"nearest": 2**40}


def test_what_is_there_is_not_computed_again(tmp_path: Path) -> None:
    first, more = [row(str(i)) for i in range(7)], [row(str(i)) for i in range(5, 12)]
    assert scan(tmp_path, first) == [str(i) for i in range(7)]
    assert scan(tmp_path, first) == []
    assert scan(tmp_path, more + more) == [str(i) for i in range(7, 12)]
    assert scan(tmp_path, [row("3", seeds=(0, 2))]) == ["3"]
    assert [(row.prompt, row.seeds) for row in everything(tmp_path)] == [
        *((str(i), (0, 1)) for i in range(12)),
        ("3", (0, 2)),
    ]
    with scan_folder(tmp_path, MANIFEST) as into:
        assert into.done == 13 == count_rows(tmp_path)


def test_the_identity_depends_on_everything_that_makes_a_row() -> None:
    others = [
        scan_manifest("pocket", "cd" * 32, {"steps": 1, "guidance": 7.5}, COLUMNS),
        scan_manifest("pocket", "ab" * 32, {"steps": 2, "guidance": 7.5}, COLUMNS),
    ]
    found = [manifest.identity("a", (0, 1)) for manifest in (MANIFEST, *others)]
    found += [MANIFEST.identity("a", seeds) for seeds in ((1, 0), (0,), (0, 1, 2))]
    found += [MANIFEST.identity("b", (0, 1))]
    assert len(set(found)) == 7
    # Neither the model's name nor the order of the settings.
    same = scan_manifest("other", "ab" * 32, {"guidance": 7.5, "steps": 1}, COLUMNS)
    assert same.identity("a", (0, 1)) == found[0]


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (scan_manifest("big", "cd" * 32, {"steps": 1, "guidance": 7.5}, COLUMNS), "another model"),
        (scan_manifest("pocket", "ab" * 32, {"steps": 2}, COLUMNS), "other settings"),
        (
            scan_manifest("pocket", "ab" * 32, {"code": "1"}, COLUMNS),
            "another version of this app",
        ),
        (
            scan_manifest("pocket", "ab" * 32, {"steps": 1, "guidance": 7.5}, {"score": "float"}),
            "other columns",
        ),
    ],
)
def test_a_folder_of_another_scan_is_refused(
    tmp_path: Path, other: ScanManifest, word: str
) -> None:
    scan(tmp_path, [row("a")])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(MMHError, match=f"'pocket' with {word}: give this scan another folder"):
        scan(tmp_path, [row("b")], other)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_two_scans_cannot_write_to_one_folder(tmp_path: Path) -> None:
    with scan_folder(tmp_path, MANIFEST) as into:
        into.write([row("a")])
        with pytest.raises(MMHError, match="being written to by another scan"):
            scan(tmp_path, [row("b")])
        # Reading goes on meanwhile.
        assert [entry.prompt for entry in everything(tmp_path)] == ["a"]
    assert scan(tmp_path, [row("b")]) == ["b"]


def test_damage_is_a_sentence_and_costs_only_the_rows_of_the_file(tmp_path: Path) -> None:
    scan(tmp_path, [row(str(i)) for i in range(9)])
    middle = tmp_path / "rows-000000003-000000005.parquet"
    whole = middle.read_bytes()
    middle.write_bytes(whole[:50])
    with pytest.raises(MMHError, match=r"rows-000000003-000000005\.parquet is damaged"):
        everything(tmp_path)
    (tmp_path / "rows-000000006-000000008.parquet").replace(middle)
    middle.write_bytes((tmp_path / "rows-000000000-000000002.parquet").read_bytes())
    middle.rename(tmp_path / "rows-000000003-000000006.parquet")
    with pytest.raises(MMHError, match=r"is damaged .it has 3 rows"):
        everything(tmp_path)
    (tmp_path / "rows-000000003-000000006.parquet").unlink()
    assert scan(tmp_path, [row(str(i)) for i in range(9)]) == [str(i) for i in range(3, 9)]
    assert sorted(entry.prompt for entry in everything(tmp_path)) == list("012345678")


def test_no_scan_and_a_damaged_manifest_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(MMHError, match="holds no scan"):
        everything(tmp_path)
    scan(tmp_path, [row("a")])
    (tmp_path / "manifest.json").write_text('{"format": "mmh-scan-1"}')
    with pytest.raises(MMHError, match=r"manifest of .* is damaged"):
        scan(tmp_path, [row("b")])
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(MMHError, match="results without a manifest"):
        scan(tmp_path, [row("b")])
    with pytest.raises(ValueError, match="kind 'date'"):
        scan_manifest("m", "ab", {}, {"x": "date"})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="A row has"):
        scan(tmp_path / "other", [ScanRow("a", (0,), {"score": 1.0})])


def test_a_full_disk_is_a_sentence_and_the_scan_goes_on_later(tmp_path: Path) -> None:
    scan(tmp_path, [row("a")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        with pytest.raises(MMHError, match="could not be written"):
            scan(tmp_path, [row("b")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert scan(tmp_path, [row("a"), row("b")]) == ["b"]
    assert [entry.prompt for entry in everything(tmp_path)] == ["a", "b"]


@given(st.lists(st.integers(2, 5), min_size=1, max_size=40))
@settings(max_examples=12, deadline=None)
def test_merging_keeps_every_row_once(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    written: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_files, "MERGED", 4)
        patch.setattr(os, "fsync", lambda _: None)  # The disk is not what is tested here.
        with scan_folder(folder, MANIFEST) as into:
            for size in sizes:
                names = [f"{len(written) + i}" for i in range(size)]
                into.write([row(name) for name in names])
                written += names
    # As if the process had ended before it removed what it had merged.
    shards = sorted(folder.glob("rows-*"))
    (folder / "rows-000000000-000000000.parquet").write_bytes(b"half removed")
    assert [entry.prompt for entry in everything(folder)] == written
    assert count_rows(folder) == len(written)
    with scan_folder(folder, MANIFEST) as into:
        assert into.done == len(written)
    assert sorted(folder.glob("rows-*")) == shards


def test_equal_files_are_merged_like_the_digits_of_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_files, "MERGED", 4)
    monkeypatch.setattr(shard_files, "MERGED_ROWS", 32)
    with scan_folder(tmp_path, MANIFEST) as into:
        for number in range(57):
            into.write([row(str(number))])
    # 57 is 3 * 16 + 2 * 4 + 1; four of 16 would exceed 32 rows and stay.
    spans = [path.stem.split("-")[1:] for path in sorted(tmp_path.glob("rows-*"))]
    sizes = [int(last) - int(first) + 1 for first, last in spans]
    assert sizes == [16, 16, 16, 4, 4, 1]


def test_a_reader_goes_on_while_files_are_merged(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_files, "MERGED", 4)
        seen = []
        with scan_folder(tmp_path, MANIFEST) as into:
            into.write([row("0"), row("1")])
            for number, batch in enumerate(read_rows(tmp_path), start=1):
                seen += [entry.prompt for entry in batch]
                if number < 20:
                    into.write([row(str(2 * number)), row(str(2 * number + 1))])
    assert seen == [str(i) for i in range(40)]


def test_memory_is_flat_in_the_number_of_rows(tmp_path: Path) -> None:
    peaks = []
    for count in (1_000, 4_000):
        with scan_folder(tmp_path / str(count), MANIFEST) as into:
            into.write([row(f"prompt {i}") for i in range(count)])
        tracemalloc.start()
        batches = read_rows(tmp_path / str(count), batch_rows=200)
        assert sum(len(batch) for batch in batches) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Four times the rows in equal batches; 30 % for what the interpreter keeps.
    assert peaks[1] < 1.3 * peaks[0]


WRITER = """
import sys
from pathlib import Path
from mmh_core.store import shard_files
from mmh_core.store.shards import ScanRow, scan_folder, scan_manifest
shard_files.MERGED = 4
manifest = scan_manifest("pocket", "ab" * 32, {}, {"score": "float"})
print("started", flush=True)
with scan_folder(Path(sys.argv[1]), manifest) as into:
    for start in range(0, int(sys.argv[2]), 2):
        asked = [(f"prompt {i}", (0,)) for i in (start, start + 1)]
        needed = into.missing(asked)
        todo = [p for (p, _), m in zip(asked, needed) if m]
        into.write([ScanRow(p, (0,), {"score": 1.0}) for p in todo])
        for prompt in todo:
            print(prompt, flush=True)
print("finished", flush=True)
"""


def kill_scans(folder: Path, count: int, patience: float) -> None:
    """Start a scan and kill it at a random moment until it is through."""
    chance, told, kills = random.Random(0), Counter[str](), 0
    while "finished" not in told:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(count)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(chance.randrange(2, 9))]
        time.sleep(chance.uniform(0, patience))
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
        told.update(line.strip() for line in lines if line.endswith("\n"))
        held = Counter(entry.prompt for entry in everything(folder))
        # What was acknowledged is there, whatever is there is there once.
        assert {name for name in told if name.startswith("prompt")} <= set(held)
        assert set(held.values()) <= {1}
    assert kills >= 2
    assert set(held) == {f"prompt {i}" for i in range(count)}
    # Nothing finished was computed again.
    assert max(number for name, number in told.items() if name.startswith("prompt")) == 1
    assert not list(folder.glob(".writing-*"))


def test_a_killed_scan_loses_and_repeats_nothing(tmp_path: Path) -> None:
    kill_scans(tmp_path / "scan", 36, 0.004)


@pytest.mark.slow
def test_a_scan_killed_many_times_loses_and_repeats_nothing(tmp_path: Path) -> None:
    kill_scans(tmp_path / "scan", 160, 0.05)
