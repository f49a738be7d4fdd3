"""The tables that page, command and documentation share, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmh_core.report.detection_tables import detector_table, published_table, roc_table
from mmh_core.report.figure_table import FigureTable
from mmh_core.report.response_tables import network_table, reliability_table
from mmh_core.statistics.intervals import share_interval
from mmh_core.studies.detection.benchmark_run import CauseResults
from mmh_core.studies.detection.counted_rows import detector_row
from tests.studies.detection.test_figures import run_of


def test_a_table_without_rows_is_its_note() -> None:
    assert FigureTable((), (), "Not measured.").markdown() == "Not measured."
    table = FigureTable(("a", "b"), (("1", "2"),), "Counted.")
    assert table.markdown() == "| a | b |\n|---|---|\n| 1 | 2 |\n\nCounted."
    assert table.records() == [{"a": "1", "b": "2"}]


def test_a_curve_is_read_at_its_false_positive_rates_in_every_group() -> None:
    """Of five memorized prompts .2 .6 .8 .95 .7 two lie above all four reference prompts."""
    table = roc_table(run_of())
    assert table.heads[3:] == tuple(f"TPR at {rate} % FPR" for rate in (1, 5, 10, 20))
    by_group = {row[0]: row for row in table.rows}
    assert set(by_group) == {"all prompts", "k = 1", "k = 8", "unseen name", "outside", "mixed"}
    # With four reference prompts no rate below 25 % lets one pass.
    assert by_group["all prompts"][3:] == (share_interval(2, 5).words(),) * 4
    assert by_group["k = 8"][3] == share_interval(2, 2).words()
    assert by_group["k = 1"][3] == share_interval(0, 2).words()
    assert by_group["outside"][3] == share_interval(4, 5).words()
    assert "text alone was not measured" in table.note


def test_text_alone_stands_beside_the_best_detector() -> None:
    run = run_of()
    text = replace(run.detectors[0], name="text_words", label="Text alone")
    worse = detector_row(
        ("b", "B", "-"), (1.0, 0.0), -text.scores, run.detectors[0].reference_scores, run.prompts
    )
    table = roc_table(replace(run, detectors=(worse, *run.detectors), text_baselines=(text,)))
    assert [row[1] for row in table.rows[:2]] == ["A", "Text alone"]
    assert len(table.rows) == 2 * 6 and "the baseline" in table.note
    labels = [row[0] for row in detector_table(replace(run, text_baselines=(text,))).rows]
    assert sorted(labels) == ["A", "Text alone"]


def causes(confidence: list[float] | None) -> CauseResults:
    said = ("DD-Mem", "OD-Mem", "DD-Mem", "DD-Mem")
    true = ("DD-Mem", "OD-Mem", "OD-Mem", "DD-Mem")
    values = None if confidence is None else torch.tensor(confidence)
    zeros = torch.zeros(4)
    return CauseResults((0, 1, 2, 3), said, true, zeros, zeros, 0.0, 0.75, 0.3, 1.0, values)


def test_reliability_counts_answers_of_like_confidence() -> None:
    table = reliability_table(causes([0.9, 0.8, 0.6, float("nan")]))
    assert [row[0] for row in table.rows] == ["0.600", "0.800", "0.900"]
    assert [row[1] for row in table.rows] == [
        share_interval(right, 1).words() for right in (0, 1, 1)
    ]
    assert [row[2] for row in table.rows] == ["1", "1", "1"]
    # Distances .6, .2 and .1 from what was right.
    assert "calibration error is 0.300" in table.note


@pytest.mark.parametrize("cause", [None, causes(None), causes([float("nan")] * 4)])
def test_no_confidence_has_no_reliability(cause: CauseResults | None) -> None:
    table = reliability_table(cause)
    assert table.rows == () and "not measured" in table.note


def test_one_network_has_no_spread() -> None:
    assert network_table(None).rows == () and "--merge" in network_table(None).note


def test_published_figures_alone_have_no_column_of_a_run() -> None:
    alone, beside = published_table(None), published_table(run_of())
    assert [head for head in beside.heads if head not in alone.heads] == [
        "AUC here",
        "TPR at 1 % FPR here",
    ]
    assert len(alone.rows) == len(beside.rows)
