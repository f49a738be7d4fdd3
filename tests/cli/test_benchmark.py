"""Published lists and merged networks: read unchanged, bad rows counted, our table beside."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from mmh_core.cli.app import main
from mmh_core.cli.benchmark_report import report
from mmh_core.cli.inputs import labelled_prompts
from mmh_core.cli.output import write_json
from mmh_core.cli.tables import plain
from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.store.archive import load_record
from mmh_core.studies.detection.benchmark_run import BenchmarkRun
from mmh_core.studies.detection.networks import read_network
from mmh_core.studies.detection.published import PUBLISHED
from tests.studies.detection.test_doses import dosed
from tests.studies.detection.test_figures import TESTED, run_of


def of_a_checkpoint(run: BenchmarkRun, number: int) -> BenchmarkRun:
    """Return a run of a network whose true LID nobody knows, by a detector that has a paper."""
    row = replace(run.detectors[0], name="sharpness", label=DETECTORS["sharpness"].label)
    unknown = torch.full((len(run.prompts),), float("nan"))
    return replace(run, sha256=f"{number}" * 64, detectors=(row,), data_lid=unknown)


@pytest.mark.parametrize("made", [dosed, lambda: run_of([[0.0, 1.0]] * len(TESTED))])
def test_networks_are_merged_into_a_table_and_both_files(
    made: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(made)
    arguments = ["benchmark", "--out", str(tmp_path / "all.safetensors")]
    for number in range(3):
        path = tmp_path / f"{number}.json"
        write_json(plain(of_a_checkpoint(made(), number)), path)
        arguments += ["--merge", str(path)]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--json", str(tmp_path / "all.json")])
    assert not caught.value.code
    text = capsys.readouterr().out
    assert "Means over 3 networks (0.json, 1.json, 2.json)" in text
    assert ("| exact copies | 8 |" in text) == (made is dosed)
    # Our figures beside the published ones of the same detector.
    line = next(line for line in text.splitlines() if line.startswith("| Sharpness | "))
    assert "(" in line
    assert sum("| not run | not run |" in line for line in text.splitlines()) == len(PUBLISHED) - 2
    kept = load_record(tmp_path / "all.safetensors", BenchmarkRun)
    again = read_network(tmp_path / "all.json").run
    assert kept.networks is not None and again.networks is not None
    assert kept.networks.files == again.networks.files == ("0.json", "1.json", "2.json")
    assert json.loads((tmp_path / "all.json").read_text())["sentences"][4].startswith("All this")


def test_published_figures_stand_beside_no_made_world(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = dosed()
    assert bool(run.data_lid.isfinite().any())
    report(run, None, None)
    assert "published by" not in capsys.readouterr().out


#: Rows of a published list: a caption or none, a type or none.
ROWS = [
    *((f"caption {i}", ("MV", "RV", "TV", "N")[i % 4]) for i in range(16)),
    (None, "MV"),
    ("", "N"),
    ("caption 3", "N"),
]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
@pytest.mark.parametrize("doses", [False, True])
def test_rows_of_a_list_that_cannot_be_read_are_counted_and_named(
    form: str, doses: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"groundtruth.{form}"
    frame = pd.DataFrame(ROWS, columns=["caption", "overfit_type"])
    frame["url"] = "http://x"
    if doses:
        frame["copies"] = [8 if kind != "N" else 0 for kind in frame.overfit_type]
    if form == "parquet":
        frame.to_parquet(path)
    elif form == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, sep=";", index=False)
    prompts = labelled_prompts(path, None, "", tmp_path)
    assert prompts is not None and len(prompts) == 16
    assert {one.group: one.memorized for one in prompts} == {
        "MV": True, "RV": True, "TV": True, "N": False,
    }  # fmt: skip
    assert {one.multiplicity for one in prompts} == ({0, 8} if doses else {None})
    text = capsys.readouterr().err
    assert re.search(r"19 rows: 16 prompts to read, 1 repeats an earlier row, 2 left out", text)
    assert "17" in text and "18" in text
