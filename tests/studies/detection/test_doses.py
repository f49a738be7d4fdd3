"""Dose and response, counted by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmh_core.cli.output import write_json
from mmh_core.cli.tables import plain
from mmh_core.records import LabelledPrompt, MMHError
from mmh_core.report.response_tables import dose_table
from mmh_core.statistics.intervals import mean_share_interval
from mmh_core.studies.detection.benchmark_run import BenchmarkRun
from mmh_core.studies.detection.counted_rows import detector_row
from mmh_core.studies.detection.doses import (
    COPY_RATE,
    EXACT,
    GUIDANCE,
    LID,
    PARAPHRASES,
    dose_curves,
)
from mmh_core.studies.detection.figures import group_figures, realized
from mmh_core.studies.detection.labelled_prompts import read_labelled
from mmh_core.studies.detection.networks import read_network
from tests.studies.detection.test_figures import run_of

#: Copies, transform, paraphrase, share of copies among the images, LID of each prompt.
DOSES = (
    (0, "", False, 0.0, 9.0), (1, "", False, 0.25, 8.0), (1, "", False, 0.75, 6.0),
    (8, "", False, 1.0, 2.0), (8, "", False, math.nan, 1.0), (8, "", True, 0.5, 4.0),
    (16, "crop", False, 1.0, 3.0), (16, "crop", True, 0.0, 5.0), (None, "", False, 1.0, 0.0),
)  # fmt: skip


def dosed() -> BenchmarkRun:
    """Return a run of prompts of known doses; the last one's is unknown."""
    prompts = tuple(
        LabelledPrompt(
            f"p{i}",
            bool(copies),
            "paraphrase" if other else "any",
            "test",
            multiplicity=copies,
            near=near,
        )
        for i, (copies, near, other, _, _) in enumerate(DOSES)
    )
    share, lid = (torch.tensor([row[i] for row in DOSES]) for i in (3, 4))
    scores = torch.linspace(0, 1, len(DOSES))
    row = detector_row(("a", "A", "-"), (1.0, 0.0), scores, scores, prompts)
    run = run_of()
    return replace(
        run, prompts=prompts, copied=share, lid=lid, detectors=(row,), data_lid=0 * lid,
        copies=share[:, None].expand(-1, 2), guidance_norm=10 * lid,
    )  # fmt: skip


def test_the_response_at_a_dose_is_the_mean_over_its_prompts() -> None:
    curves = {(curve.measure, curve.series): curve.levels for curve in dosed().doses}
    exact = curves[COPY_RATE, EXACT]
    assert [level.multiplicity for level in exact] == [0, 1, 8]
    # One of the two prompts with 8 copies was not searched.
    assert [level.prompts for level in exact] == [1, 2, 1]
    assert [level.response.value for level in exact] == [0.0, 0.5, 1.0]
    assert exact[1].response == mean_share_interval(torch.tensor([0.25, 0.75]))
    assert [level.response.value for level in curves[LID, EXACT]] == [9.0, 7.0, 1.5]
    assert [level.response.value for level in curves[GUIDANCE, EXACT]] == [90.0, 70.0, 15.0]
    assert [level.multiplicity for level in curves[COPY_RATE, "near-duplicates by crop"]] == [16]
    # Paraphrases of near-duplicates are of no dose of exact copies.
    assert [level.multiplicity for level in curves[COPY_RATE, PARAPHRASES]] == [8]
    # One value says nothing of its spread, but a share lies from 0 to 1.
    assert math.isnan(curves[LID, EXACT][0].response.low)
    assert 0.9 < exact[0].response.high < 1


def test_the_interval_is_over_prompts_and_not_over_images() -> None:
    """Sixteen images of each prompt that are all alike are one case."""
    prompts = [LabelledPrompt(f"{i}", True, "any", "test", multiplicity=4) for i in range(8)]
    shares = torch.tensor([0.0, 1.0] * 4)
    (curve,) = dose_curves(prompts, {COPY_RATE: shares})
    response = curve.levels[0].response
    assert response.low < 0.2 and response.high > 0.8


@pytest.mark.parametrize("values", [torch.full((len(DOSES),), math.nan), None])
def test_what_was_not_measured_has_no_curve(values: torch.Tensor | None) -> None:
    run = dosed()
    if values is None:
        run = replace(run, prompts=tuple(replace(one, multiplicity=None) for one in run.prompts))
        assert run.doses == () and "not measured" in dose_table(run).markdown()
    else:
        run = replace(run, copied=values)
        assert {curve.measure for curve in run.doses} == {LID, GUIDANCE}


def test_the_table_has_a_row_for_each_dose() -> None:
    lines = dose_table(dosed()).markdown().splitlines()
    assert (
        lines[0] == "| repeated as | occurrences k | prompts | copy rate | LID | guidance norm |"
    )
    assert lines[2].startswith("| exact copies | 0 | 1 | 0.000 (0.000 to ")
    # The response of which most prompts are known counts them.
    assert lines[4].startswith("| exact copies | 8 | 2 | 1.000 (")
    assert len([line for line in lines if line.startswith("| ")]) == 1 + 3 + 1 + 1


def test_a_prompt_that_neither_label_fits_counts_in_its_dose_alone() -> None:
    run = dosed()
    row = run.detectors[0]
    prompts = tuple(
        replace(one, exclusion="between") if one.multiplicity == 1 else one for one in run.prompts
    )
    kept = [i for i, one in enumerate(prompts) if not one.exclusion]
    fewer = tuple(prompts[i] for i in kept)
    named = ("a", "A", "-")
    with_excluded = detector_row(named, (1.0, 0.0), row.scores, row.reference_scores, prompts)
    without = detector_row(named, (1.0, 0.0), row.scores[kept], row.reference_scores, fewer)
    assert with_excluded.all == without.all and with_excluded.kinds == without.kinds
    run = replace(run, prompts=prompts, detectors=(with_excluded,))
    rates = realized(run, with_excluded, (0.05,))[0]
    assert (rates.tpr.among, rates.fpr.among) == (3, 2)
    assert any(level.multiplicity == 1 for curve in run.doses for level in curve.levels)
    # Its group, where it has one, stands against all reference prompts.
    grouped = tuple(replace(one, group=f"{one.multiplicity}") for one in prompts)
    groups = {each.group: each for each in group_figures(replace(run, prompts=grouped), row)}
    assert groups["1"].against == "all reference prompts" and groups["1"].memorized == 2


def test_a_run_comes_back_from_its_json(tmp_path: Path) -> None:
    run = dosed()
    write_json({**plain(run), "doses": run.doses, "more": 1}, tmp_path / "run.json")
    read = read_network(tmp_path / "run.json").run
    assert read.prompts == run.prompts and read.sampling == run.sampling
    torch.testing.assert_close(read.copied, run.copied.double(), equal_nan=True)
    assert repr(read.doses) == repr(replace(run, copied=run.copied.double()).doses)
    # An older version knew neither doses nor norms.
    tree = json.loads((tmp_path / "run.json").read_text())
    del tree["guidance_norm"], tree["copies"], tree["text"], tree["networks"]
    for prompt in tree["prompts"]:
        del prompt["copies"], prompt["near"], prompt["aside"]
    (tmp_path / "run.json").write_text(json.dumps(tree))
    older = read_network(tmp_path / "run.json").run
    assert older.doses == () and older.guidance_norm is None and older.text_baselines == ()


@pytest.mark.parametrize("name", ["prompts", "sampling", "seeds", "detectors", "copied"])
@pytest.mark.parametrize("value", [None, 3, "x", {"a": 1}, [[{}]], []])
def test_a_field_of_another_type_is_refused(tmp_path: Path, name: str, value: object) -> None:
    write_json({**plain(dosed()), name: value}, tmp_path / "run.json")
    with pytest.raises(MMHError, match="holds no benchmark of this version"):
        read_network(tmp_path / "run.json")


def test_a_table_tells_doses_in_a_column_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "prompt,label,copies\na,memorized,64\nb,normal,0\nc,memorized,\nd,normal,1.0\n"
    )
    assert [one.multiplicity for one in read_labelled(path)] == [64, 0, None, 1]
    path.write_text("prompt,label,copies\na,memorized,many\nb,normal,0\n")
    with pytest.raises(MMHError, match=r"Row 1 of t\.csv has 'many' in the column copies: write"):
        read_labelled(path)
