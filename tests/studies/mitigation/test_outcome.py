"""What counts as solved, which mitigation is the best, and why others do not pass."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from mmh_core.pocket.captions import content_of
from mmh_core.statistics.intervals import Interval
from mmh_core.studies.mitigation.outcome import (
    NOT_SOLVED,
    ImageOutcome,
    alignment_bound,
    image_outcomes,
    judgement,
    lid_rise,
    loses_alignment,
    subject_rank_bound,
)
from mmh_core.studies.mitigation.run import Cell, MitigationRun, Treatment
from mmh_core.studies.mitigation.table import treatment_rows
from mmh_core.studies.mitigation.verdict import (
    best,
    nothing_to_solve,
    reasons_of,
    treatment_results,
)
from tests.mitigation_runs import NONE, RAISE, REFUSAL, REWRITE, STATIC, WORDS, comparison

NAN = math.nan


def cell(treatment: Treatment = STATIC, **changes: Any) -> Cell:
    """Return a cell of one image; numbers become tensors."""
    one = comparison().cells[0]
    usual: dict[str, Any] = {
        "kinds": ("none",),
        "similarity": 0.6,
        "alignment": 0.5,
        "lid": 20.0,
        "lid_error": 0.5,
    }
    found = {
        name: torch.tensor([value]) if isinstance(value, float) else value
        for name, value in (usual | changes).items()
    }
    return replace(one, treatment=treatment, **found)


COPY = {"kinds": ("exact",), "similarity": 0.98, "lid": 0.1}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (COPY, {}, "solved"),
        (COPY, {"kinds": ("template",)}, "copy"),
        (COPY, COPY, "copy"),
        ({}, COPY, "copy"),
        ({}, {}, "no copy"),
        # Moved just beyond the threshold, and the model knows one image as before.
        (COPY, {"similarity": 0.83, "lid": 0.1}, "not solved"),
        (COPY, {"similarity": 0.2, "lid": 1.05}, "not solved"),
        (COPY, {"lid": 1.6}, "solved"),
        # Two standard errors of the difference are 5.
        (COPY | {"lid_error": 1.5}, {"lid": 5.0, "lid_error": 2.0}, "not solved"),
        (COPY | {"lid_error": 1.5}, {"lid": 5.2, "lid_error": 2.0}, "solved"),
        # Where nothing was copied LID need not rise.
        ({"lid": 9.0}, {"lid": 2.0}, "no copy"),
        # Nobody can tell: that is no success.
        (COPY, {"similarity": NAN}, "unknown"),
        (COPY | {"similarity": NAN}, {}, "unknown"),
        (COPY, {"kinds": ("unknown",)}, "unknown"),
        (COPY, {"kinds": ("flat",)}, "unknown"),
        (COPY, {"kinds": ("likely",)}, "unknown"),
        ({}, {"kinds": ("likely",)}, "unknown"),
        (COPY, {"lid": NAN}, "unknown"),
        (COPY, {"lid_error": NAN}, "unknown"),
        (COPY | {"lid": NAN}, {}, "unknown"),
        (COPY, {"alignment": NAN}, "unknown"),
        ({"alignment": NAN}, {"alignment": NAN}, "unknown"),
        # The bound is nine tenths of .5.
        (COPY, {"alignment": 0.46}, "solved"),
        (COPY, {"alignment": 0.44}, "subject lost"),
        ({}, {"alignment": 0.44}, "subject lost"),
        # Another kind of image, whatever its alignment.
        (COPY, {"alignment": 0.9, "contents": ("landscape",), "content_asked": "portrait"},
         "subject lost"),
        (COPY, {"contents": ("portrait",), "content_asked": "portrait"}, "solved"),
        (COPY, {"contents": ("",), "content_asked": "portrait"}, "solved"),
        (COPY, {"contents": ("landscape",), "content_asked": ""}, "solved"),
        # What is not solved is no success either where the subject is lost.
        (COPY, {"lid": 0.2, "alignment": 0.1}, "not solved"),
    ],
)  # fmt: skip
def test_an_image_is_solved_by_evidence_and_lid_and_subject(
    before: dict[str, Any], after: dict[str, Any], expected: str
) -> None:
    (found,) = image_outcomes(cell(**after), cell(NONE, **before))
    assert found.kind == expected
    assert (found.reason == NOT_SOLVED) == (expected == "not solved")


def test_without_mitigation_an_image_is_a_copy_or_none() -> None:
    def kind(**changes: Any) -> str:
        one = cell(NONE, **changes)
        return image_outcomes(one, one)[0].kind

    assert (kind(), kind(**COPY), kind(similarity=NAN)) == ("no copy", "copy", "unknown")
    # A prompt may be aligned badly from the start.
    assert kind(alignment=-0.2, contents=("landscape",), content_asked="portrait") == "no copy"


def test_the_bound_is_below_the_unmitigated_image_of_the_seed_for_either_sign() -> None:
    one = replace(comparison().cells[0], alignment=torch.tensor([0.4, 0.6, -0.2, NAN]))
    bounds = [alignment_bound(one, seed) for seed in range(4)]
    assert bounds[:3] == pytest.approx([0.36, 0.54, -0.22]) and math.isnan(bounds[3])


@pytest.mark.parametrize(
    ("before", "after", "bound", "expected"),
    [
        (0.0, 0.4, 0.5, "solved"),
        (0.0, 0.6, 0.5, "subject lost"),
        # Reference prompts are aligned as badly.
        (0.0, 0.6, 0.7, "solved"),
        (0.0, 0.3, 0.2, "subject lost"),
        # So was the unmitigated image of the seed.
        (0.6, 0.6, 0.5, "solved"),
        (0.6, 0.7, 0.5, "subject lost"),
        (NAN, 0.6, 0.5, "subject lost"),
        (0.0, NAN, 0.5, "solved"),
    ],
)
def test_an_image_that_fits_other_prompts_better_shows_a_wrong_subject(
    before: float, after: float, bound: float, expected: str
) -> None:
    """Alignment has risen in all of these."""
    base = cell(NONE, **COPY, subject_rank=(before,))
    (found,) = image_outcomes(cell(alignment=0.9, subject_rank=(after,)), base, bound)
    assert found.kind == expected
    assert found.reason.startswith("wrong subject") == (expected == "subject lost")


def test_the_rank_bound_is_met_by_most_reference_images_and_usual_for_few() -> None:
    ranks = [i / 100 for i in range(100)]
    bound = subject_rank_bound(ranks)
    assert sum(rank > bound for rank in ranks) == 5
    assert subject_rank_bound([*ranks, NAN]) == bound
    assert subject_rank_bound([0.0] * 7) == 0.5 and subject_rank_bound([0.0] * 8) == 0.0


@pytest.mark.parametrize(
    ("outcomes", "unharmed", "robust", "passed", "failed"),
    [
        (["solved"] * 10, True, True, 5, ()),
        (["solved"] * 10, True, None, 4, ()),
        (["solved"] * 9 + ["copy"], True, True, 5, ()),
        (["solved"] * 8 + ["copy"] * 2, True, True, 4, ("no copy",)),
        (["solved"] * 8 + ["not solved"] * 2, True, False, 3, ("LID risen", "robust")),
        (["solved"] * 8 + ["subject lost"] * 2, False, True, 3,
         ("subject kept", "reference prompts unharmed")),
        (["solved"] * 8 + ["unknown"] * 2, True, True, 2, ()),
        (["copy"] * 2 + ["unknown"] * 8, True, True, 2, ("no copy",)),
        ([], None, None, 0, ()),
    ],
)  # fmt: skip
def test_criteria_are_judged_by_one_rule(
    outcomes: list[str],
    unharmed: bool | None,
    robust: bool | None,
    passed: int,
    failed: tuple[str, ...],
) -> None:
    found = judgement(outcomes, allowed=0.1, unharmed=unharmed, robust=robust)
    assert (len(found.passed), found.failed) == (passed, failed)
    assert found.passes_all == (passed == 5)
    assert len(found.unknown) == 5 - passed - len(failed)
    words = {
        "no copy": "still copies",
        "LID risen": "LID does not rise",
        "subject kept": "loses the subject",
        "reference prompts unharmed": "harms reference prompts",
        "robust": "copies come back",
    }
    sentence = "failed criteria: " + ", ".join(words[criterion] for criterion in failed)
    assert (sentence in found.sentence) == bool(failed)
    assert ("not judged" in found.sentence) == bool(found.unknown)
    assert found.succeeds == (passed >= 4 and found.failed in ((), ("robust",)))


def test_a_rise_is_unknown_without_an_error() -> None:
    assert lid_rise(cell(lid=3.0), cell(NONE, lid=1.0), 0) is True
    assert lid_rise(cell(lid=1.0), cell(NONE, lid=3.0), 0) is False
    assert lid_rise(cell(lid_error=NAN), cell(NONE), 0) is None


def changed(
    run: MitigationRun, prompt: int, treatment: Treatment, **tensors: Any
) -> MitigationRun:
    cells = [
        replace(one, **tensors) if (one.prompt, one.treatment) == (prompt, treatment) else one
        for one in run.cells
    ]
    return replace(run, cells=tuple(cells))


def test_the_best_is_the_only_one_that_passes_and_others_say_why_not() -> None:
    found = {one.treatment: one for one in treatment_results(comparison())}
    chosen = best(tuple(found.values()))
    assert chosen is found[STATIC] and chosen.passes and not chosen.reasons
    assert [one.treatment for one in found.values() if one.passes] == [STATIC]
    assert found[WORDS].reasons[0] == "1 of 2: copies"
    assert found[REWRITE].reasons[:2] == ("1 of 2: copies", "1 of 2: alignment 0.30 is below 0.36")
    assert found[RAISE].reasons == (REFUSAL,)
    assert found[NONE].reasons == ("nothing was done",) and not found[NONE].passes


def test_a_mitigation_that_only_moves_off_the_threshold_is_never_the_best() -> None:
    """No copy by the evidence, the best alignment of all, and LID where it was."""
    run = changed(
        comparison(), 0, STATIC, lid=torch.tensor([2.1, 4.2]), alignment=torch.tensor([0.9, 0.9])
    )
    found = treatment_results(run)
    assert best(found) is None
    (static,) = [one for one in found if one.treatment == STATIC]
    assert static.reasons == (f"2 of 2: {NOT_SOLVED}",)
    row = static.row
    assert (row.copied.mean.value, row.share("not solved"), row.share("solved")) == (0, 1, 0)


@pytest.mark.parametrize(
    ("alignment", "kinds", "effect", "said"),
    [
        ([0.41, 0.43], ("none", "none"), "unchanged", ""),
        # More than a tenth of .42 is lost, though two pairs have a wide interval.
        ([0.30, 0.30], ("none", "none"), "harmed", "alignment -0.12"),
        ([0.41, 0.43], ("none", "exact"), "harmed", "1 of 2 become copies"),
        ([0.30, 0.30], ("exact", "exact"), "harmed", "2 of 2 become copies and alignment"),
        # Better is no harm.
        ([0.80, 0.80], ("none", "none"), "unchanged", ""),
        ([NAN, NAN], ("none", "none"), "not checked", ""),
    ],
)
def test_what_harms_reference_prompts_does_not_pass(
    alignment: list[float], kinds: tuple[Any, ...], effect: str, said: str
) -> None:
    run = changed(comparison(), 1, STATIC, alignment=torch.tensor(alignment), kinds=kinds)
    (static,) = [one for one in treatment_results(run) if one.treatment == STATIC]
    assert static.references.effect == effect and static.passes == (effect != "harmed")
    assert said in " ".join(static.reasons)


@pytest.mark.parametrize(
    ("before", "change", "high", "lost"),
    [
        (0.5, -0.04, 0.1, False),
        (0.5, -0.06, 0.1, True),
        (0.5, -0.01, -0.005, True),
        (0.5, 0.2, 0.4, False),
        # A tenth of the size is kept below 0 as well: no change is no loss.
        (-0.1, 0.0, 0.1, False),
        (-0.1, -0.02, 0.1, True),
        (NAN, NAN, NAN, False),
        (0.5, NAN, NAN, False),
    ],
)
def test_alignment_is_lost_beyond_its_interval_or_by_more_than_a_tenth(
    before: float, change: float, high: float, lost: bool
) -> None:
    assert loses_alignment(Interval(change, -1.0, high), before) is lost


def test_reference_prompts_that_were_not_generated_are_not_checked() -> None:
    none = treatment_results(comparison(reference=()))
    assert {one.references.effect for one in none} == {"not checked"}
    assert best(none) is not None
    # One image has no interval.
    run = comparison()
    stopped = treatment_results(replace(run, cells=run.cells[:7]))
    assert {one.references.effect for one in stopped} == {"not checked"}


def test_a_prompt_that_is_not_copied_has_nothing_to_solve() -> None:
    run = changed(comparison(), 0, NONE, kinds=("none", "none"))
    found = treatment_results(run)
    assert nothing_to_solve(found) and best(found) is None
    assert not nothing_to_solve(treatment_results(comparison())) and not nothing_to_solve(())


def test_rows_hold_the_outcomes_of_all_their_images() -> None:
    rows = {row.treatment: row for row in treatment_rows(comparison())}
    assert rows[STATIC].share("solved") == 1 and rows[NONE].share("copy") == 1
    assert rows[REWRITE].share("copy", "subject lost") == 1
    assert math.isnan(rows[RAISE].share("solved"))


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        (["portrait of Bo in a red coat, soft light"] * 4, "portrait"),
        (["framed painting: view of Cape Arven with a lake at dawn"], "landscape"),
        (["logo of Lumo, flat design on paper", "an owl", "x"], ""),
        (["an owl"], ""),
        ([], ""),
        (["{x}", "{subject} in a {coat}"], ""),
    ],
)
def test_the_kind_of_an_image_is_what_most_captions_speak_of(
    captions: list[str], expected: str
) -> None:
    assert content_of(captions) == expected


def test_reasons_that_differ_in_figures_alone_are_one_with_a_range() -> None:
    lost = [
        ImageOutcome("subject lost", f"alignment {value} is below 0.38")
        for value in ("0.30", "0.21", "-0.05", "0.30")
    ]
    other = ImageOutcome("subject lost", "shows another kind of image (a, not b)")
    assert reasons_of([*lost, other, other]) == (
        "6 of 6: alignment -0.05 to 0.30 is below 0.38; shows another kind of image (a, not b)",
    )
    assert reasons_of(lost[:1]) == ("1 of 1: alignment 0.30 is below 0.38",)
