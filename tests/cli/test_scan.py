"""The commands scan, calibrate and benchmark: what they print, and bad input."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from mmh_core.cli.app import main
from mmh_core.cli.score import score_table
from mmh_core.memorization.cause_calibration import CauseCalibration
from mmh_core.report.detection_tables import detector_table
from mmh_core.report.response_tables import cause_table
from mmh_core.store.shards import read_rows
from mmh_core.studies.detection.scores import DetectorScores
from mmh_core.studies.detection.throughput import Throughput
from mmh_core.subject.calibration import (
    Calibration,
    read_calibration,
    update_calibration,
    write_calibration,
)
from mmh_core.text_to_image.catalogue import CATALOGUE
from tests.commands import refusal, status
from tests.views.test_app_benchmark import made_up

SHIPPED = Path(CATALOGUE["pocket-sd"].source) / "calibration.safetensors"


def test_a_scan_writes_every_prompt_once_and_says_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "prompts.csv"
    table.write_text("prompt\na red house\na boat at sea\n\na red house\n=2+2\n")
    for known in (0, 3):
        assert status("scan", table, "--out", tmp_path / "out", "--no-study") == 0
        printed = capsys.readouterr().out
        assert printed.startswith("3 prompts in ")
        assert f"{known} were cached" in printed
        assert "has 4 rows: 3 prompts to read, 1 repeats an earlier row, 0 left out." in printed
    rows = [row for batch in read_rows(tmp_path / "out") for row in batch]
    assert sorted(row.prompt for row in rows) == ["=2+2", "a boat at sea", "a red house"]
    assert all(0 <= float(row.values["percentile"] or 0) <= 1 for row in rows)


def test_what_cannot_be_scanned_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "prompts.csv"
    table.write_text("words\nx\n")
    out = ["--out", str(tmp_path / "out")]
    assert "prompt" in refusal(capsys, "scan", str(table), *out)
    assert "no file" in refusal(capsys, "scan", str(tmp_path / "none.csv"), *out)
    assert "fpr is 1.5" in refusal(capsys, "scan", str(table), *out, "--fpr", "1.5")
    assert "is a file" in refusal(capsys, "scan", str(table), "--out", str(table))
    assert "no whole model" in refusal(capsys, "scan", str(table), *out, "--model", str(tmp_path))
    assert not (tmp_path / "out").exists()


def test_too_few_normal_prompts_do_not_calibrate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "normal.txt"
    table.write_text("one\ntwo\n")
    found = refusal(capsys, "calibrate", str(table), "--out", str(tmp_path / "c.safetensors"))
    assert "2 different reference prompts are too few" in found


def test_the_table_of_detectors_has_the_best_first_with_interval_and_cost() -> None:
    run = made_up()
    lines = detector_table(run).markdown().splitlines()
    assert lines[0].startswith("| detector | NFE | AUC | TPR at 1 % FPR | AUC duplicate |")
    best = max(run.rows, key=lambda row: (row.all.auc, row.all.tpr))
    assert lines[2].startswith(f"| {best.label} | 4 | {best.all.auc:.3f} (")
    assert len(lines) == 2 + len(run.rows) + 4
    assert "Early scan: at a threshold of" in lines[-2] and "test half it flags" in lines[-2]
    assert "95 % intervals over prompts" in lines[-3] and "before the folds" in lines[-1]
    assert "AUC of 0.900, by five-fold cross-validation" in lines[-1]
    causes = cause_table(run).markdown().splitlines()
    assert causes[2] == "| OD-Mem | 2 | 1 | 0 |" and causes[3] == "| DD-Mem | 0 | 1 | 0 |"
    assert "0.833 (0.500 to 1.000)" in causes[-1] and "calibration error" not in causes[-1]
    assert run.cause is not None
    confidence = torch.tensor([0.9, 0.8, 0.6, 0.7])
    one = replace(run.cause, true=("both",) * 4, predicted=("both",) * 4, confidence=confidence)
    lines = cause_table(replace(run, cause=one)).markdown().splitlines()
    assert lines[:3] == [
        "| true cause | predicted both | predicted not identifiable |",
        "|---|---|---|",
        "| both | 4 | 0 |",
    ]
    assert "Only one cause occurs here" in lines[-1]
    assert "Expected calibration error of the confidence 0.250." in lines[-1]
    assert "not identifiable" in cause_table(replace(run, cause=None)).markdown()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seeds", "a"], "seeds must be whole numbers"),
        (["--prompts", "none.csv"], "no file"),
        (["--json", "/dev/null/x.json"], "cannot be written"),
    ],
)
def test_a_benchmark_that_cannot_run_is_refused(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refusal(capsys, "benchmark", *arguments)


@pytest.mark.parametrize(
    ("command", "part", "made_by"),
    [("score", " of all detectors", "calibrate TABLE --all"), ("scan", "", "calibrate TABLE")],
)
def test_a_part_that_a_command_needs_is_named_with_what_makes_it(
    command: str, part: str, made_by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, table = tmp_path / "c.safetensors", tmp_path / "t.txt"
    shipped = read_calibration(SHIPPED)
    write_calibration(path, replace(shipped, early=None, detectors=None))
    table.write_text("a cat\n")
    given = ["a cat"] if command == "score" else [str(table), "--out", str(tmp_path / "o")]
    found = refusal(capsys, command, *given, "--calibration", str(path))
    assert f"{path} has no calibration{part}: make one with" in found
    assert f"{made_by} --model pocket-sd --out {path}`" in found


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.safetensors", "There is no file 'none.safetensors'. Make a new one with"),
        ("folder", "is a folder: name the file of the calibration in it"),
        ("older", "an earlier version in early_scan.safetensors"),
        ("run.safetensors", "Make a new one with"),
    ],
)
@pytest.mark.parametrize("command", ["images", "audit", "scan", "score", "benchmark", "mitigate"])
def test_calibration_means_the_same_file_everywhere(
    command: str, name: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "early_scan.safetensors").write_bytes(b"x")
    (tmp_path / "run.safetensors").write_bytes(b"x" * 100)
    (tmp_path / "t.txt").write_text("a cat\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "i.png")
    out = ["--out", str(tmp_path / "o")]
    given = {
        "images": ["--prompt", "a cat", *out],
        "audit": [str(tmp_path / "i.png")],
        "scan": [str(tmp_path / "t.txt"), *out],
        "score": ["a cat"],
        "benchmark": [],
        "mitigate": ["--prompt", "a cat", *out],
    }[command]
    told = refusal(capsys, command, *given, "--calibration", str(tmp_path / name))
    assert sentence in told
    assert name == "folder" or "calibrate TABLE --all --model MODEL --out" in told


def test_a_table_of_scores_says_what_its_thresholds_flag() -> None:
    number = torch.tensor([[2.0]])
    found = DetectorScores(
        *("pocket-sd", ("a cat",), ("early_scan",), ("Early scan",)),
        *(number, number / 4, number[0] / 2, 0.01, 53),
        scan_reference_prompts=200,
        detection_rate="It finds 3 of 4.",
    )
    lines = score_table(found).splitlines()
    assert lines[4] == "| Early scan | 2 | 50% | 1 | flagged |"
    assert lines[-1] == (
        "At 1.0% each threshold but that of the early scan of pocket-sd is above all 53 reference "
        "prompts; about 1 in 54 new reference prompts, or more, will exceed it. It finds 3 "
        "of 4."
    )
    unread = score_table(replace(found, score=number * torch.nan, left_out=("Left out: one.",)))
    assert "| Early scan | - | - | 1 | undefined: the prompt changes nothing |" in unread
    assert "\n\nLeft out: one.\n\n" in unread


def test_the_pace_is_told_in_words() -> None:
    line = Throughput(21.0, 0.36, 58.3).words()
    assert "21 prompts a second" in line and "0.36: 58 times as many" in line


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("words\nx\n", "no column prompt, caption or text"),
        ("prompt,caption\na,b\n", "--column prompt or --column caption"),
        ("prompt,label\n,memorized\n", "holds no prompt that can be used: repair the rows"),
        ("prompt,label\n", "holds no prompt that can be used: write one a row"),
        ('[{"prompt": ', "no column|cannot be read"),
    ],
)
@pytest.mark.parametrize("command", ["scan", "calibrate", "benchmark"])
def test_tables_are_refused_before_a_model_is_loaded(
    command: str, table: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(table)
    # A folder in which there is nothing to load.
    (tmp_path / "model").mkdir()
    more = {"scan": ["--calibration", str(SHIPPED)], "calibrate": [], "benchmark": []}
    given = ["--prompts", str(path)] if command == "benchmark" else [str(path)]
    out = str(tmp_path / "o")
    arguments = [command, *given, "--out", out, "--model", str(tmp_path / "model")]
    assert re.search(sentence, refusal(capsys, *arguments, *more[command]))


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("", "prompt is empty"),
        (" \n\t", "prompt is empty"),
        ("a" * 15_000, "too long .15,000 characters.: shorten it to 10,000"),
        ("a\x07", "control character"),
        ("a\ud83d", "half of a character .U.D83D"),
    ],
)
def test_prompts_to_score_are_refused_before_a_model_is_loaded(
    prompt: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["score", "a cat", prompt, "--model", str(tmp_path / "nowhere")]
    assert re.search(sentence, refusal(capsys, *arguments))


@pytest.mark.parametrize("command", ["scan", "calibrate", "benchmark"])
def test_the_help_that_a_refusal_names_says_what_a_table_may_hold(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("prompt\n")
    given = ["--prompts", str(path)] if command == "benchmark" else [str(path)]
    more = [] if command == "benchmark" else ["--out", tmp_path / "o"]
    assert "`./mmh scan --help`" in refusal(capsys, command, *given, *more)


def test_a_column_is_chosen_and_further_ones_are_kept_in_the_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text('{"prompt": "no", "caption": "a red house", "source": "web"}\n')
    with pytest.raises(SystemExit) as caught:
        main(
            ["scan", str(table), "--out", str(tmp_path / "o"), "--no-study", "--column", "caption"]
        )
    assert caught.value.code == 0
    assert "Kept beside them: 'prompt', 'source'." in capsys.readouterr().err
    [row] = [row for batch in read_rows(tmp_path / "o") for row in batch]
    assert row.prompt == "a red house"
    assert row.values["more"] == '{"prompt": "no", "source": "web"}'


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("folder", "is a folder: name a file for the calibration, such as"),
        ("photo.png", "holds no calibration that can be added to: name another file"),
        ("photo.png/below", "cannot be written"),
    ],
)
def test_a_calibration_is_not_written_onto_a_folder_or_another_file(
    tmp_path: Path, name: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "photo.png").write_text("x")
    out = tmp_path / name
    # The table is missing too: the place is looked at first.
    told = refusal(capsys, "calibrate", str(tmp_path / "none.txt"), "--out", str(out))
    assert str(out) in told and sentence in told and "no file" not in told


def test_a_calibration_is_made_in_a_file_and_scanned_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, table = tmp_path / "own.safetensors", tmp_path / "t.txt"
    table.write_text("\n".join(f"a boat, number {i}" for i in range(20)))
    # A part that was there stays.
    cause = CauseCalibration(0.9, 8)
    write_calibration(path, replace(read_calibration(SHIPPED), early=None, detectors=None))
    update_calibration(path, replace(read_calibration(path), cause=cause))
    arguments = [str(table), "--out"]
    assert status("calibrate", *arguments, path) == 0
    assert f"on 20 reference prompts into {path}." in capsys.readouterr().out
    found = read_calibration(path)
    assert found.early is not None and len(found.early.prompts) == 20
    assert (found.cause, found.detectors) == (cause, None)
    given = ["--no-study", "--fpr", "0.1", "--calibration", path]
    assert status("scan", *arguments, tmp_path / "o", *given) == 0
    # The prompts that it was calibrated on: two of them may be flagged.
    assert "2 flagged" in capsys.readouterr().out
    # Detectors that were calibrated with another early scan are not taken over.
    other = str(tmp_path / "other.safetensors")
    told = refusal(capsys, "calibrate", *arguments, other, "--calibration", str(SHIPPED))
    assert "make both anew, with calibrate --all" in told and not Path(other).exists()


def test_a_calibration_is_not_added_to_that_of_another_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, table = tmp_path / "c.safetensors", tmp_path / "t.txt"
    table.write_text("\n".join(f"a boat, number {i}" for i in range(20)))
    shipped = read_calibration(SHIPPED)
    for change, sentence in (
        ({"sha256": "0" * 64}, "with other weights than pocket-sd: name another file"),
        ({"sampling": None}, "for an unknown sampling and the new part for 30 steps"),
    ):
        other = Calibration(
            lid_noise_scale=shipped.lid_noise_scale, model="other", sha256=shipped.sha256
        )
        write_calibration(path, replace(other, **change))
        before = path.read_bytes()
        assert sentence in refusal(capsys, "calibrate", str(table), "--out", str(path))
        assert path.read_bytes() == before
