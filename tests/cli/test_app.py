"""The command line: JSON that parses, the same bytes twice, sentences instead of tracebacks."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mmh_core.cli.app import main
from mmh_core.cli.tables import benchmark_tables
from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.memorization.hypothesis import VERDICTS
from mmh_core.records import MMHError, Progress
from mmh_core.store.archive import load_record
from mmh_core.studies.manifolds import lid_benchmark
from mmh_core.studies.manifolds import study as manifold
from mmh_core.studies.manifolds.lid_benchmark import (
    AnalyticRow,
    GeneratorResult,
    LidBenchmark,
    TrainedResult,
)
from mmh_core.studies.manifolds.run import EstimatorRow, ManifoldConfig, ManifoldRun
from tests.commands import status

ROOT = Path(__file__).resolve().parents[2]
#: One step on few points.
TINY = ["manifold", "circle", "--points", "7", "--width", "8", "--epochs", "1", "--seed", "5"]

BENCHMARK = LidBenchmark(
    (AnalyticRow("Gaussian", "FLIPD", 3.0, 2.9925, 2.9416, 0.0285, 1.79, 9e-7),),
    (
        TrainedResult(
            "lollipop",
            0,
            128,
            4_000,
            10_000,
            3,
            (
                EstimatorRow(
                    "mle",
                    "MLE",
                    "data",
                    torch.tensor([1.0, math.nan, math.inf]),
                    0.125,
                    math.nan,
                    math.nan,
                    0.0,
                    1.25,
                ),
            ),
        ),
    ),
    (GeneratorResult("sphere", 4, 0.0735, 0.005, 0.134),),
)


def strict(text: str) -> Any:
    """Parse JSON, refusing the NaN and Infinity that Python alone would take."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the summary and the run that one command wrote."""
    folder = tmp_path_factory.mktemp("first")
    summary, kept = folder / "new" / "summary.json", folder / "run.safetensors"
    assert status(*TINY, "--out", str(kept), "--json", str(summary)) == 0
    return summary, kept


@pytest.fixture
def ready(first: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> ManifoldRun:
    """Let the study answer at once with the run that is there."""
    run = load_record(first[1], ManifoldRun)

    def study(config: ManifoldConfig) -> Iterator[Progress[ManifoldRun]]:
        yield Progress(0.5, "Half", run)
        yield Progress(1.0, "Finished", run)

    monkeypatch.setattr(manifold, "manifold_study", study)
    return run


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let the benchmark answer at once, and return what it is asked."""
    asked: list[dict[str, Any]] = []

    def study(cases: tuple[str, ...], **options: Any) -> Iterator[Progress[LidBenchmark]]:
        asked.append({"cases": cases, **options})
        yield Progress(1.0, "Finished", BENCHMARK)

    monkeypatch.setattr(lid_benchmark, "lid_benchmark", study)
    return asked


def test_the_same_command_prints_what_it_wrote_before(
    first: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained again from nothing: equal bytes, on standard output, and progress beside them."""
    assert status(*TINY) == 0
    said = capsys.readouterr()
    assert said.out.encode() == first[0].read_bytes()
    assert said.err.startswith("  0%  Training starts\n")
    assert said.err.endswith("100%  Finished\n")


def test_the_summary_holds_the_run(first: tuple[Path, Path]) -> None:
    summary, run = strict(first[0].read_text()), load_record(first[1], ManifoldRun)
    assert summary["config"] == dataclasses.asdict(run.config)
    assert summary["config"]["points"] == 7 and summary["config"]["seed"] == 5
    assert (summary["state"], summary["steps"]) == ("complete", 1)
    assert summary["typical_lid"] == run.typical_lid == 1.0
    assert summary["chance_memorized"] == run.chance_memorized
    last = run.snapshots[-1]
    (row,) = summary["snapshots"]
    assert (row["step"], row["fits"]) == (1, last.fits)
    assert row["fraction_memorized"] == last.low_ratio_share
    for kind, estimates in (("trained", last.trained), ("generated", last.generated)):
        counts = summary["verdicts"][kind]
        assert list(counts) == list(VERDICTS)
        assert sum(counts.values()) == len(estimates.lid)
        assert counts["not memorized"] == int((estimates.verdict == 1).sum())
    # Seven points: three of them isolated, four on the arc.
    parts = summary["components"]
    assert {name: part["points"] for name, part in parts.items()} == {"arc": 4, "isolated": 3}
    for name, rows in (("arc", slice(4)), ("isolated", slice(4, 7))):
        assert parts[name]["mean_lid"] == pytest.approx(float(last.trained.lid[rows].mean()))
    assert [e["name"] for e in summary["estimators"]] == list(ESTIMATORS)
    # The truth is 1 everywhere, so that there is nothing to rank: NaN becomes null.
    assert [e["concordance"] for e in summary["estimators"]] == [None] * len(ESTIMATORS)
    assert summary["estimators"][0]["median_lid"] == float(run.estimators[0].lid.median())
    assert "seconds" not in first[0].read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["manifold", "moebius"], "Unknown manifold 'moebius'; choose from circle,"),
        (["manifold", "circle", "--points", "1"], "points must be a whole number from 2"),
        (["manifold", "circle", "--duplicates", "-1"], "duplicates must be a whole number"),
        (["manifold", "circle", "--width", "0"], "width must be a whole number from 8"),
        (["manifold", "circle", "--epochs", "0"], "epochs must be a whole number from 1"),
        (["manifold", "circle", "--seed", "-1"], "seed must be a whole number from 0"),
        (["manifold", "circle", "--ambient-dim", "1"], "ambient_dim is 1; it must be"),
        (["lid-benchmark", "--cases", "lollipop,moebius"], "Unknown case 'moebius'; choose"),
        (["lid-benchmark", "--seeds", "a,b"], "seeds must be whole numbers such as 0,1,2, got"),
        (["lid-benchmark", "--seeds", "nan"], "seeds must be whole numbers such as 0,1,2, got"),
        (["lid-benchmark", "--seeds", "1.5"], "seeds must be whole numbers such as 0,1,2, got"),
        (["lid-benchmark", "--seeds", ""], "seeds must be whole numbers such as 0,1,2, got"),
        (["lid-benchmark", "--seeds", "0,-1"], "seeds must be whole numbers from 0"),
        (["lid-benchmark", "--seeds", "99999999999999999999"], "seeds must be whole numbers"),
        (["lid-benchmark", "--steps", "0"], "steps must be at least 1, got 0."),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Error: ") and sentence in said.err
    assert said.err.count("\n") == 1 and said.err.rstrip().endswith(".")


@pytest.mark.parametrize("option", ["--points", "--width", "--epochs", "--seed", "--ambient-dim"])
@pytest.mark.parametrize("word", ["nan", "1e3", "ten", ""])
def test_words_are_no_numbers(option: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("manifold", "circle", option, word) == 2
    said = capsys.readouterr()
    assert f"\nError: Invalid value for '{option}': " in said.err
    assert "valid integer" in said.err.splitlines()[-1]
    assert "Traceback" not in said.err and said.out == ""


@pytest.mark.parametrize("arguments", [["manifold"], ["stranger"], ["manifold", "a", "b"]])
def test_a_command_that_is_none_is_explained(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*arguments) == 2
    said = capsys.readouterr()
    assert "Usage: ./mmh " in said.err and "Try './mmh " in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("option", ["--out", "--json"])
def test_a_place_that_cannot_be_written_is_said_before_the_work(
    option: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def study(config: ManifoldConfig) -> Iterator[Progress[ManifoldRun]]:
        raise AssertionError("the work began")

    monkeypatch.setattr(manifold, "manifold_study", study)
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "a.json", tmp_path):
        assert status(*TINY, option, str(path)) == 2
        said = capsys.readouterr()
        assert said.err == (
            f"Error: {path} cannot be written: name a file in a folder that this user may write "
            "to.\n"
        )
    assert status("lid-benchmark", "--json", str(tmp_path)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_refuses_afterwards_is_said_too(
    ready: ManifoldRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise MMHError(f"{path} could not be written: free some space.")

    monkeypatch.setattr("mmh_core.cli.output.write_text", refuse)
    assert status(*TINY, "--json", str(tmp_path / "a.json")) == 2
    assert capsys.readouterr().err.endswith("could not be written: free some space.\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MMHError("Do this."), "Error: Do this.\n"),
        (ValueError("x must be 1."), "Error: x must be 1.\n"),
        (
            MemoryError(),
            "Error: There is not enough memory. Ask for fewer points or dimensions.\n",
        ),
    ],
)
def test_errors_of_a_command_become_sentences(
    error: Exception, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(arguments: list[str] | None, prog_name: str) -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        main([], command)
    assert caught.value.code == 2
    assert capsys.readouterr().err == sentence


def test_a_fault_of_the_program_is_not_hidden() -> None:
    def command(arguments: list[str] | None, prog_name: str) -> None:
        raise KeyError("fault")

    with pytest.raises(KeyError):
        main([], command)


def test_a_study_that_yields_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manifold, "manifold_study", lambda config: iter(()))
    assert status(*TINY) == 2
    assert "gave no result" in capsys.readouterr().err


def test_the_benchmark_is_asked_for_what_was_wished(
    measured: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("lid-benchmark") == 0
    assert status("lid-benchmark", "--cases", " lollipop, affine-10,", "--seeds", "0, 2") == 0
    assert status("lid-benchmark", "--steps", "3") == 0
    every = tuple(lid_benchmark.CASES)
    assert measured == [
        {"cases": every, "seeds": (0,), "steps": None},
        {"cases": ("lollipop", "affine-10"), "seeds": (0, 2), "steps": None},
        {"cases": every, "seeds": (0,), "steps": 3},
    ]
    assert capsys.readouterr().out == 3 * (benchmark_tables(BENCHMARK) + "\n")


def test_the_benchmark_writes_json_without_nan(
    measured: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "benchmark.json"
    assert status("lid-benchmark", "--json", str(path)) == 0
    found = strict(path.read_text())
    assert found["analytic"][0] == dataclasses.asdict(BENCHMARK.analytic[0])
    (row,) = found["trained"][0]["rows"]
    assert row["lid"] == [1.0, None, None]
    assert (row["concordance"], row["mean_abs_error"]) == (None, 0.125)
    assert found["generators"][0]["noise"] == 0.0735


def test_the_tables_are_markdown() -> None:
    text = benchmark_tables(BENCHMARK)
    assert "| Gaussian | FLIPD | 3 | 2.9925 | 2.9416 +- 0.0285 | 1.8 se | 9.0e-07 |" in text
    assert "## lollipop, seed 0: 10,000 points, width 128, 4,000 steps, 3 held-out" in text
    assert "| MLE | data | 0.125 | nan | 0 | 1.2 |" in text
    assert "| sphere | 4 | 0.073 | 0.005 | 0.134 |" in text
    for block in text.split("## ")[1:]:
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) == 1


def test_the_module_runs_as_a_program() -> None:
    """Once in a process of its own: help, exit status 0, and no heavy library loaded for it."""
    code = (
        "import sys; from mmh_core.cli.app import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n"
        "    heavy = {'streamlit', 'sklearn', 'plotly', 'umap', 'pandas'} & set(sys.modules)\n"
        "    sys.exit(f'{end.code} {sorted(heavy)}' if end.code or heavy else 0)\n"
    )
    for arguments in (["-m", "mmh_core", "--help"], ["-c", code]):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert "manifold" in done.stdout and "lid-benchmark" in done.stdout
        assert done.stderr == ""
