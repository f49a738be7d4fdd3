"""The table of a comparison: means and differences by hand, intervals against brute force."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mmh_core.studies.mitigation.table import (
    treatment_rows,
)
from tests.mitigation_runs import NONE, RAISE, REFUSAL, REWRITE, STATIC, WORDS, comparison


def test_rows_hold_the_means_of_the_prompt_in_question_and_differences_to_none() -> None:
    rows = {row.treatment: row for row in treatment_rows(comparison())}
    assert list(rows) == [NONE, WORDS, STATIC, REWRITE, RAISE]
    assert rows[NONE].copied.mean.value == 1 and rows[NONE].copied.difference.value == 0
    assert rows[WORDS].copied.mean.value == 0.5 and rows[WORDS].copied.difference.value == -0.5
    static = rows[STATIC]
    assert static.similarity.mean.value == pytest.approx(0.65)
    assert static.similarity.difference.value == pytest.approx(0.65 - 0.97)
    assert static.alignment.difference.value == pytest.approx(0.39 - 0.42)
    assert static.lid.difference.value == pytest.approx(22 - 3)
    assert static.images == 2 and static.nfe == 10


def test_the_interval_of_two_pairs_is_students() -> None:
    """Two differences, .12 apart, have t of one degree of freedom, 12.7, times .06 each way."""
    row = treatment_rows(comparison())[2].similarity.difference
    assert (row.low, row.high) == pytest.approx((-0.32 - 0.7624, -0.32 + 0.7624), abs=1e-3)
    assert row.value == pytest.approx(-0.32)


def test_a_refused_treatment_has_its_sentence_and_no_figures() -> None:
    row = treatment_rows(comparison())[-1]
    assert row.refused == REFUSAL and row.images == 0
    assert math.isnan(row.copied.mean.value) and math.isnan(row.seconds)


def test_normal_prompts_are_averaged_over_all_their_images() -> None:
    run = comparison(reference=("a bird", "a boat"))
    row = {r.treatment: r for r in treatment_rows(run, (1, 2))}[STATIC]
    assert row.images == 4 and row.copied.mean.value == 0
    assert row.alignment.difference.value == pytest.approx(0, abs=1e-6)


def test_a_treatment_that_is_not_drawn_for_all_prompts_yet_has_no_row() -> None:
    run = comparison()
    stopped = replace(run, cells=run.cells[:7])
    assert [row.treatment for row in treatment_rows(stopped, (0, 1))] == [NONE, WORDS]


def test_without_a_training_set_copies_are_unknown() -> None:
    run = comparison()
    unknown = torch.full((2,), math.nan)
    blind = tuple(replace(c, similarity=unknown[: len(c.kinds)]) for c in run.cells)
    row = treatment_rows(replace(run, cells=blind))[1]
    assert math.isnan(row.copied.mean.value) and math.isnan(row.copied.difference.value)
