"""`./mmh mitigate`: equal bytes, whole folders, sentences and status 2."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmh_core.cli.mitigation import comparison_table
from mmh_core.records import MMHError
from mmh_core.report.charts import frontier_svg
from mmh_core.report.command import mitigation_command, run_command
from mmh_core.report.folder import zipped
from mmh_core.report.mitigations import (
    mitigation_files,
    mitigation_report,
    mitigation_summary,
)
from mmh_core.store.archive import load_record
from mmh_core.studies.mitigation.run import MitigationRun, Robustness, Treatment
from mmh_core.studies.mitigation.study import treatments_of
from mmh_core.studies.mitigation.table import treatment_rows
from tests.commands import files_of, status
from tests.mitigation_runs import HOSTILE, NONE, STATIC, WORDS, comparison
from tests.text_to_image.pipelines import write_pipeline

PROMPT = "the cat & <b>the dog</b>"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random model whose images have 32 x 32 pixels."""
    return write_pipeline(tmp_path_factory.mktemp("models") / "tiny", "tiny", size=4)


@pytest.fixture(scope="module")
def drawn(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one comparison, with the whole run beside it."""
    out = tmp_path_factory.mktemp("drawn") / "run"
    kept = out.with_name("kept.safetensors")
    assert status(*asked(model), "--out", out, "--keep", kept) == 0
    return out


def asked(model: Path) -> list[object]:
    return [
        *("mitigate", "--model", model, "--prompt", PROMPT, "--normal", "a dog"),
        *("--seeds", "3,5", "--mitigations", "static_guidance:0.5,anti_memorization_guidance"),
        *("--steps", "3", "--guidance", "2", "--device", "cpu"),
    ]


def figures_of(folder: Path) -> Any:
    return json.loads((folder / "run.json").read_text())


def test_a_comparison_leaves_images_figures_page_and_table(drawn: Path) -> None:
    # None, random words and the schedule; the other one needs an index and is refused.
    images = [f"{n:03d}-seed-{(3, 5)[n % 2]}.png" for n in range(12)]
    assert sorted(files_of(drawn)) == [*images, "images.csv", "report.html", "run.json"]
    found = figures_of(drawn)
    assert [(c["mitigation"], c["strength"]) for c in found["cells"][:4]] == [
        ("none", 0.0),
        ("random_tokens", 2.0),
        ("static_guidance", 0.5),
        ("anti_memorization_guidance", 1.0),
    ]
    assert found["cells"][3]["refused"] and not found["cells"][2]["refused"]
    assert {c["noise_sha256"] for c in found["cells"] if not c["refused"]} == {
        found["cells"][0]["noise_sha256"]
    }
    assert [p["cell"] for p in found["images"]] == [0, 0, 1, 1, 2, 2, 4, 4, 5, 5, 6, 6]


def test_the_kept_run_is_the_one_that_was_drawn(drawn: Path) -> None:
    run = load_record(drawn.with_name("kept.safetensors"), MitigationRun)
    assert run.state == "complete" and run.config.prompts == (PROMPT, "a dog")
    assert mitigation_files(run, mitigation_command(run.config)) == files_of(drawn)


def test_robustness_is_in_the_figures_the_page_and_the_command() -> None:
    run = comparison()
    treatments, count = run.config.treatments, len(run.config.treatments)
    ones, none, empty = torch.ones(count, 2), torch.zeros(count, 2), torch.empty(count, 0)
    tried = replace(
        run,
        robustness=(
            Robustness(treatments, ("a crimson fox",), 5, none, none, ones),
            Robustness(treatments, (), 3, empty, empty, none),
        ),
    )
    (static,) = [
        each
        for each in mitigation_summary(tried)["treatments"]
        if each["mitigation"] == "static_guidance"
    ]
    assert static["criteria_failed"] == ["robust"] and not static["passes"]
    assert static["robustness"]["attack"]["copies"] == 2
    assert static["robustness"]["attack_on_reference_prompts"]["share"][0] == 0
    assert "re-trigger attack: 2 of 2 (0.16 to 1.00)" in mitigation_report(tried, "")
    assert "--robust" in run_command(tried) and "--robust" not in run_command(run)
    assert "failed criteria: copies come back" in comparison_table(tried)
    # Where it was not tried every place says so.
    assert "--robust added" in mitigation_report(run, "")
    assert "Robustness was not tried" in comparison_table(run)
    assert all(each["robustness"] is None for each in mitigation_summary(run)["treatments"])


def test_robustness_is_refused_without_training_images(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*asked(model), "--robust", "--out", tmp_path / "run") == 2
    assert "give an index" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_the_command_in_the_report_gives_the_same_bytes_again(
    drawn: Path, elsewhere: Path
) -> None:
    words = shlex.split(figures_of(drawn)["command"])
    assert words[:2] == ["./mmh", "mitigate"]
    assert status(*words[1:]) == 0
    assert files_of(elsewhere / "comparison") == files_of(drawn)
    # An earlier comparison may be replaced, and nothing else.
    assert status(*words[1:]) == 0
    (elsewhere / "comparison" / "mine.txt").write_text("mine")
    assert status(*words[1:]) == 2
    assert (elsewhere / "comparison" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--mitigations", "magic:1"], "There is no mitigation 'magic'"),
        (["--mitigations", "rewrite:much"], "no number: write rewrite:4"),
        (["--mitigations", "static_guidance : 5"], "strength 5 of static_guidance is out of its"),
        (["--prompt", "a" * 15_000], "too long (15,000 characters): shorten it to 10,000"),
        (["--seeds", "one"], "seeds must be whole numbers"),
        (["--seeds", "1,1"], "A seed is given twice"),
        (["--prompt", " "], "prompt is empty"),
        (["--words"], "--keep FILE"),
        (["--device", "moon"], "must be cpu, cuda or auto"),
    ],
)
def test_bad_input_is_a_sentence_and_status_2_before_anything_is_written(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    out = tmp_path / "run"
    assert status(*asked(model), "--out", out, *more) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("Error: ") and not out.exists()


def test_the_benchmark_needs_a_model_whose_world_is_known(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    assert status("mitigation-benchmark", "--model", model, "--work", work) == 2
    assert "no captions of its own" in capsys.readouterr().err
    assert status("mitigation-benchmark", "--captions", "0", "--work", work) == 2


@pytest.mark.parametrize(
    ("rows", "more", "sentence"),
    [
        # Every second prompt of a label is for the test.
        ("a,memorized\nb,memorized\n", (), "1 to calibrate, 1 to test and 0 reference captions"),
        ("a,normal\nb,normal\n", (), "0 to calibrate, 0 to test and 1 reference caption:"),
        ("a,memorized\nb,memorized\nc,normal\nd,normal\n", (), "an index of them by --index"),
        ("a,perhaps\n", (), "write memorized or reference"),
        ("a,memorized\n", ("--captions", "0"), "0 captions: ask for at least one"),
        ("a,memorized\n", ("--robust", "-1"), "give 0 or more"),
        (None, ("--reference", "x.csv"), "--reference goes with --prompts"),
    ],
)
def test_a_list_of_ones_own_is_read_or_refused_with_what_to_do(
    rows: str | None,
    more: tuple[str, ...],
    sentence: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["mitigation-benchmark", "--model", model, "--work", tmp_path / "work", *more]
    if rows is not None:
        (tmp_path / "list.csv").write_text(f"prompt,label\n{rows}")
        words += ["--prompts", tmp_path / "list.csv"]
    assert status(*words) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_treatments_are_read_with_the_baselines_first_and_once() -> None:
    found = treatments_of("static_guidance:0.5, rewrite,none:0,static_guidance:0.5")
    assert found == (NONE, WORDS, STATIC, Treatment("rewrite", 4.0))
    assert treatments_of(" static_guidance : 0.5 ,rewrite :,none: 0 ")[2:] == found[2:]
    with pytest.raises(MMHError, match="no mitigation ''"):
        treatments_of("rewrite,")


def test_the_table_has_a_line_per_treatment() -> None:
    lines = comparison_table(comparison()).splitlines()
    untried = " not run |" * 4
    assert lines[2] == (
        f"| No mitigation | 0 | 1.00 |  |  |  |  | 0.970 | 0.420 | 3.0 | 10 |{untried}"
    )
    assert lines[0].split(" | ")[3:6] == ["solved", "not solved", "subject lost"]
    assert lines[4] == (
        "| Static transition point | 0.5 | 0.00 | 2 of 2 | 0 of 2 | 0 of 2 | unchanged "
        f"| 0.650 | 0.390 | 22.0 | 10 |{untried}"
    )
    assert "no LIDs of reference prompts" in lines[6].replace("There are ", "")
    assert {line.count("|") for line in lines[:7]} == {16}
    assert lines[8] == (
        "Best of those that pass: Static transition point (50 %), alignment 0.42 -> 0.39, "
        "reference prompts unchanged; criteria not judged: robust."
    )
    assert lines[9] == "These mitigations do not pass:"
    assert lines[10].startswith(
        "- Random token insertion (2): failed criteria: still copies, loses the subject, harms "
        "reference prompts; "
    )
    assert "; harms reference prompts: alignment -0.06 [-0.31, +0.19]" in lines[10]
    assert len(lines) == 14


def test_reference_prompts_that_are_missing_are_asked_for() -> None:
    text = comparison_table(comparison(reference=()))
    assert "reference prompts not checked (give several by --reference-prompt); " in text


def off_the_threshold() -> MitigationRun:
    """Return a comparison whose only mitigation without copies leaves LID where it was."""
    run = comparison()
    cells = [
        replace(cell, lid=torch.tensor([2.4, 4.1])) if cell.treatment == STATIC else cell
        for cell in run.cells
    ]
    return replace(run, cells=tuple(cells))


def test_what_only_moved_off_the_threshold_is_no_success_anywhere() -> None:
    run = off_the_threshold()
    lines = comparison_table(run).splitlines()
    assert (
        "| 0.00 | 0 of 2 | 2 of 2 | 0 of 2 | unchanged |" in lines[4]
        and lines[8] == "None of these passes:"
    )
    assert any(
        "Static transition point (50 %): failed criteria: LID does not rise; criteria not judged: "
        "robust (2 of 2: moved off" in line
        for line in lines
    )
    page = mitigation_report(run, "command")
    assert "None of the mitigations passes" in page and "it is 0%" not in page
    assert page.count("<figure class=not-solved>") == 2
    chart = frontier_svg(treatment_rows(run))
    assert chart.count('class="not-solved"') == 1 and chart.count('class="mark"') == 1
    found = mitigation_summary(run)["treatments"][2]
    assert (found["passes"], found["not_solved"], found["solved"]) == (False, 1.0, 0.0)
    assert found["copied"][0] == 0
    assert mitigation_summary(run)["cells"][2]["outcomes"] == ["not solved", "not solved"]


def test_the_page_shows_hostile_text_and_obeys_none_of_it() -> None:
    run = comparison(HOSTILE, reference=(HOSTILE,))
    page = mitigation_report(run, f"echo {HOSTILE}")
    assert "&lt;img src=&#34;http://example.org" in page
    assert "<img src=http" not in page and '<img src="http' not in page
    assert "default-src 'none'" in page and "<script" not in page
    assert page.count('src="data:image/png;base64,') == 2 * 4 * 2


def test_the_page_tells_the_best_treatment_and_what_words_changed() -> None:
    page = mitigation_report(comparison(), "command")
    assert "Without mitigation 100% of 2 images are copies" in page
    assert "With Static transition point (50 %) none is, LID has risen on each" in page
    assert "goes from 0.42 to 0.39. Reference prompts are unchanged." in page
    assert (
        "These mitigations do not pass" in page
        and "harms reference prompts: alignment -0.06" in page
    )
    assert "<del>red</del>" in page and "<ins>crimson</ins>" in page
    assert page.count("class=copied") == 2 + 1 + 1


def test_no_measured_second_is_in_the_figures() -> None:
    slow = comparison()
    fast = MitigationRun(**{**slow.__dict__, "seconds": 1.0})
    files = mitigation_files(slow, "command")
    assert files == mitigation_files(fast, "command")
    assert b"seconds" not in files["run.json"] and zipped(files) == zipped(dict(files))
    assert mitigation_summary(slow)["treatments"][2]["similarity_difference"][0] == pytest.approx(
        -0.32
    )


def test_the_frontier_of_the_page_has_a_numbered_mark_per_known_treatment() -> None:
    rows = treatment_rows(comparison())
    chart = frontier_svg(rows)
    assert chart.count("<circle") == 4 and chart.count('class="base"') == 2
    assert "<title>Static transition point (50 %)</title>" in chart
    assert frontier_svg(()) == ""


def test_a_comparison_says_what_it_lacks_on_the_page_and_in_the_figures() -> None:
    run = replace(comparison(), missing=("“<i>”: not all is read.",), notes=("Read as v.",))
    page, found = mitigation_report(run, "command"), mitigation_summary(run)
    assert "“&lt;i&gt;”: not all is read." in page and "Read as v." in page
    assert (found["missing"], found["model_notes"]) == ([*run.missing], ["Read as v."])


def test_a_long_prompt_is_said_to_be_cut(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = asked(model)
    words[words.index("--normal") + 1] = "the " * 20 + "cat"
    assert status(*words, "--out", tmp_path / "run") == 0
    said = capsys.readouterr().err
    assert said.count("its end is not read") == 1 and "--windows 2" in said
    assert len(figures_of(tmp_path / "run")["missing"]) == 1
