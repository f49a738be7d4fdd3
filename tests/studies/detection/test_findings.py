"""The five findings are true of the run that they are made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmh_core.studies.detection.benchmark_run import BenchmarkRun, CauseResults
from mmh_core.studies.detection.counted_rows import detector_row
from mmh_core.studies.detection.figures import row_figures
from mmh_core.studies.detection.findings import findings
from mmh_core.studies.detection.networks import NetworkRun, over_networks, read_network
from tests.studies.detection.test_doses import dosed
from tests.studies.detection.test_figures import TESTED, run_of

OLDER = Path(__file__).parents[3] / "docs" / "results" / "data" / "benchmark.json"


def said_of(run: BenchmarkRun) -> tuple[str, ...]:
    return findings(run, row_figures(run))


def separated(shift: float, text_shift: float, count: int = 40) -> BenchmarkRun:
    """Return a run of one detector and one row of words with so large areas."""
    run = run_of()
    prompts = tuple(
        replace(run.prompts[0], prompt=f"p{i}", memorized=i % 2 == 0, group="")
        for i in range(count)
    )
    even = torch.tensor([i % 2 == 0 for i in range(count)])
    noise = torch.arange(count) // 2 / count
    normal = torch.linspace(0, 0.5, 100)
    rows = [
        detector_row((name, name, "-"), (1.0, 0.0), noise + by * even, normal, prompts)
        for name, by in (("model", shift), ("words", text_shift))
    ]
    none = torch.full((count,), float("nan"))
    return replace(
        run, prompts=prompts, detectors=(rows[0],), text_baselines=(rows[1],), copied=none,
        lid=none, data_lid=none,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shift", "text_shift", "words"),
    [
        (1.0, 0.0, "do not overlap, so the model tells more than the words"),
        (0.0, 1.0, "do not overlap, so the words tell more than the model"),
        (1.0, 1.0, "overlap, so these prompts do not show that the model tells more"),
    ],
)
def test_a_detector_stands_beside_text_alone(shift: float, text_shift: float, words: str) -> None:
    run = separated(shift, text_shift)
    first = said_of(run)[0]
    assert words in first and "20 memorized and 20 reference prompts" in first
    for row in run.rows:
        assert f"{row.all.auc:.3f} (95 % interval {row.all.auc_low:.3f}" in first


def test_what_was_not_measured_is_said_to_be_so() -> None:
    sentences = said_of(run_of())
    assert len(sentences) == 5
    assert "No text baseline was measured" in sentences[0]
    assert "Which single images are copies was not measured" in sentences[2]
    assert "on how often an image occurs in the training set was not measured" in sentences[3]
    assert sentences[3].endswith("no cause could be judged.")
    assert "on one list of prompts" in sentences[4] and "one network" in sentences[4]


def test_counts_and_intervals_are_those_of_the_figures() -> None:
    run = run_of([[0.0, 1.0]] * len(TESTED))
    figures = row_figures(run)
    strict = figures[0].realized[0]
    sentences = findings(run, figures)
    assert strict.reference == 100
    assert "set beforehand on 100 reference prompts" in sentences[1]
    assert "flags 0 of 4 (0.0 %, 0.0 to 60.2 %) reference prompts" in sentences[1]
    assert "and 0 of 5 (0.0 %, 0.0 to 52.2 %) memorized ones" in sentences[1]
    within = figures[0].within_memorized
    assert within is not None and within.copies == 5
    assert "(5 copies of training images, 5 other images, 5 captions)" in sentences[2]
    assert f"the largest area is {within.area.value:.3f} (95 % interval" in sentences[2]


@pytest.mark.parametrize(("copy", "words"), [(1.0, "all 10 images are copies"),
                                             (0.0, "all 10 images are no copies")])  # fmt: skip
def test_without_both_kinds_of_images_none_are_told(copy: float, words: str) -> None:
    assert words in said_of(run_of([[copy, copy]] * len(TESTED)))[2]


def test_a_dose_is_told_by_its_ends_and_where_most_are_copies() -> None:
    run = dosed()
    dose = said_of(run)[3]
    assert (
        "is 0 % (0 to" in dose
        and "at 0 occurrences of the image in the training set (1 caption)" in dose
    )
    assert (
        "and 100 % (" in dose and "at 8 (1 caption), first reaching 50 % at 1 occurrence," in dose
    )
    assert "while the mean LID goes from 9.0 to 1.5" in dose
    assert "on a synthetic data set whose ground truth is known" in said_of(run)[4]


def test_one_cause_alone_is_said_to_be_one() -> None:
    cause = CauseResults(
        (0, 1), ("DD-Mem", "OD-Mem"), ("DD-Mem", "DD-Mem"), torch.zeros(2), torch.zeros(2),
        float("nan"), 0.5, 0.1, 0.9,
    )  # fmt: skip
    sentence = said_of(replace(run_of(), cause=cause))[3]
    assert (
        "for 2 captions whose images were copies and whose cause is known, the predicted cause"
        in sentence
    )
    assert "0.500 (95 % interval 0.100 to 0.900), though only one cause occurs" in sentence


def test_over_networks_the_spread_is_told() -> None:
    runs = [replace(separated(shift, 0.0), sha256=f"{shift}") for shift in (1.0, 0.1)]
    merged = over_networks([NetworkRun(f"{i}.json", run) for i, run in enumerate(runs)])
    sentences = said_of(merged)
    low = runs[1].detectors[0].all.auc
    assert f" (lowest to highest over 2 networks: {low:.3f} to 1.000). The" in sentences[0]
    assert "All this is of 2 networks" in sentences[4]


def test_an_older_file_is_read_and_says_what_it_lacks() -> None:
    run = read_network(OLDER).run
    sentences = said_of(run)
    best = max(row.all.auc for row in run.of_model)
    assert f"{best:.3f}" in sentences[0] and "as 9 others have" in sentences[0]
    assert sum("not measured" in sentence for sentence in sentences) == 2
    assert "No text baseline was measured" in sentences[0]
    assert run.doses == () and run.networks is None
