"""What a comparison shows in words: what is best, or that nothing passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmh_core.mitigations.catalogue import mitigation
from mmh_core.store.archive import load_record
from mmh_core.studies.mitigation.conclusion import conclusion
from mmh_core.studies.mitigation.run import MitigationRun
from mmh_core.studies.mitigation.verdict import best, treatment_results
from tests.mitigation_runs import comparison

EXAMPLE = Path(__file__).parents[3] / "assets" / "mitigation" / "duplicate.safetensors"


def test_the_best_is_named_with_what_changes_and_what_to_try_before_it_is_used() -> None:
    judged = treatment_results(load_record(EXAMPLE, MitigationRun))
    chosen, found = best(judged), conclusion(judged)
    assert chosen is not None
    label = mitigation(chosen.treatment.mitigation).label
    copies = sum(outcome.kind == "copy" for outcome in judged[0].row.outcomes)
    assert found.finding.startswith(
        f"Without mitigation {copies} of {judged[0].row.images} images are copies; with {label}"
    )
    assert f"to {chosen.row.alignment.mean.value:.2f}" in found.finding
    assert chosen.references.effect == "unchanged"
    assert "reference prompts: no harm shown" in found.finding
    assert "copies come back" in found.recommendation or chosen.robustness is not None


def test_where_none_passes_no_mitigation_is_advised() -> None:
    judged = [replace(one, passes=False) for one in treatment_results(comparison())]
    found = conclusion(judged)
    assert "none of 4 mitigations passes" in found.finding
    assert found.recommendation.startswith("Do not rely on a mitigation here")


def test_without_a_copy_there_is_nothing_to_solve() -> None:
    judged = treatment_results(comparison())
    base = judged[0].row
    free = tuple(replace(outcome, kind="no copy") for outcome in base.outcomes)
    found = conclusion([replace(judged[0], row=replace(base, outcomes=free)), *judged[1:]])
    assert "nothing to solve" in found.finding


def test_no_verdict_has_no_conclusion() -> None:
    with pytest.raises(ValueError, match="without images"):
        conclusion([])
