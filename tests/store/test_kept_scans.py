"""What a folder remembers of its scans: newest first, damaged files passed over."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from mmh_core.store.kept_scans import (
    ScanAbout,
    keep_about,
    keep_state,
    kept_scans,
    read_state,
)
from mmh_core.store.shards import ScanRow, scan_folder, scan_manifest


def about(name: str, created: float) -> ScanAbout:
    return ScanAbout(name, f"{name}.csv", "ab.csv", 3, "pocket-sd", 0.01, True, created)


def test_scans_come_newest_first_with_their_results_counted(tmp_path: Path) -> None:
    for name, created in (("a", 1.0), ("c", 3.0), ("b", 2.0)):
        keep_about(tmp_path, about(name, created))
    manifest = scan_manifest("pocket-sd", "ab" * 32, {}, {"score": "float"})
    with scan_folder(tmp_path / "b", manifest) as into:
        into.write([ScanRow(prompt, (0,), {"score": 1.0}) for prompt in ("x", "y")])
    found = [(one.id, count) for one, count in kept_scans(tmp_path, 9)]
    assert found == [("c", 0), ("b", 2), ("a", 0)]
    assert kept_scans(tmp_path, 1) == [(about("c", 3.0), 0)]
    assert [one.id for one, _ in kept_scans(tmp_path, 2)] == ["c", "b"]
    # Asked for again, a scan keeps the date of its first time.
    keep_about(tmp_path, about("a", 9.0))
    assert kept_scans(tmp_path, 9)[-1] == (about("a", 1.0), 0)


def test_what_is_no_scan_is_passed_over(tmp_path: Path) -> None:
    keep_about(tmp_path, about("good", 1.0))
    keep_state(tmp_path, "good", {"done": 2, "problems": [[1, "x"]]})
    (tmp_path / "cut.json").write_text('{"id": "cut"')
    (tmp_path / "other.json").write_text('{"id": "other"}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "types.json").write_text(json.dumps(asdict(about("types", 1.0)) | {"share": []}))
    (tmp_path / "away.json").write_text(json.dumps(asdict(about("../away", 1.0))))
    (tmp_path / "folder.json").mkdir()
    assert [one.id for one, _ in kept_scans(tmp_path, 9)] == ["good"]
    assert kept_scans(tmp_path / "none", 9) == []


def test_a_state_comes_back_and_a_damaged_one_is_unknown(tmp_path: Path) -> None:
    keep_state(tmp_path, "a", {"done": 2, "problems": [[1, "x"]]})
    assert read_state(tmp_path, "a") == {"done": 2, "problems": [[1, "x"]]}
    assert read_state(tmp_path, "b") is None
    (tmp_path / "c.state.json").write_text("{")
    (tmp_path / "d.state.json").write_text("[]")
    assert read_state(tmp_path, "c") is None and read_state(tmp_path, "d") is None
