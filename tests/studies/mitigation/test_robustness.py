"""The robustness of a comparison: what is attacked, what is kept, and how it is judged."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.statistics.intervals import Interval
from mmh_core.store.archive import load_record, save_record
from mmh_core.studies.mitigation.captions import paraphrases_listed
from mmh_core.studies.mitigation.outcome import effect_on_references
from mmh_core.studies.mitigation.robustness import SEEDS, expected_nfe, robust_study
from mmh_core.studies.mitigation.robustness_rows import rows_of_run
from mmh_core.studies.mitigation.run import MitigationRun, Robustness
from mmh_core.studies.mitigation.verdict import best, treatment_results
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage
from tests.mitigation_runs import NONE, STATIC, comparison
from tests.studies.mitigation.test_study import model, planted, run
from tests.text_to_image.conftest import folder_of, model_of

__all__ = ["folder_of", "model", "model_of", "planted", "run"]

NAN = math.nan


def tried(attack: float, texts: float = 0.0, seeds: float = 0.0, target: int = 5) -> Robustness:
    """Return the robustness of a hand-made comparison: of each way, the share of ten images."""
    treatments = comparison().config.treatments

    def column(share: float) -> Tensor:
        row = (torch.arange(10) < round(10 * share)).float()
        return row.expand(len(treatments), -1).clone()

    return Robustness(
        treatments, ("a crimson fox",), target, column(texts), column(seeds), column(attack)
    )


@pytest.mark.parametrize(
    ("robustness", "passes", "failed", "said"),
    [
        ((), True, (), "not judged: robust"),
        ((tried(0.0), tried(0.0)), True, (), "passes all five criteria"),
        ((tried(0.0, 0.5), tried(0.0)), False, ("robust",), "paraphrases 5 of 10"),
        ((tried(0.0, 0.0, 0.2), tried(0.0)), False, ("robust",), "other seeds 2 of 10"),
        ((tried(1.0), tried(0.0)), False, ("robust",), "on reference prompts 0 of 10"),
        # What the attack makes where nothing was memorized is no sign that the copy is there.
        ((tried(1.0), tried(1.0)), True, (), "passes all five criteria"),
        # Without a control nobody knows.
        ((tried(1.0),), True, (), "not judged: robust"),
        ((tried(0.0, target=-1), tried(0.0)), True, (), "not judged: robust"),
    ],
)
def test_a_comparison_is_judged_by_what_comes_back_too(
    robustness: tuple[Robustness, ...], passes: bool, failed: tuple[str, ...], said: str
) -> None:
    found = treatment_results(replace(comparison(), robustness=robustness))
    (static,) = [one for one in found if one.treatment == STATIC]
    assert static.passes is passes and static.judgement.failed == failed
    assert said in static.sentence
    assert (best(found) is static) is passes
    assert static.judgement.passes_all == (said == "passes all five criteria")


def test_a_mitigation_that_is_refused_fails_as_in_the_benchmark() -> None:
    (refused,) = [one for one in treatment_results(comparison()) if not one.row.images]
    assert refused.judgement.failed == ("no copy",) and not refused.passes


@pytest.mark.parametrize(
    ("new", "change", "variation", "effect"),
    [
        (0, Interval(0.0, -0.1, 0.1), Interval(0.0, -0.1, 0.1), "unchanged"),
        (1, Interval(0.0, -0.1, 0.1), Interval(0.0, -0.1, 0.1), "harmed"),
        (0, Interval(-0.2, -0.3, -0.1), Interval(0.0, -0.1, 0.1), "harmed"),
        (0, Interval(0.0, -0.1, 0.1), Interval(-0.3, -0.4, -0.2), "harmed"),
        (0, Interval(NAN, NAN, NAN), Interval(NAN, NAN, NAN), "not checked"),
        (1, Interval(NAN, NAN, NAN), Interval(NAN, NAN, NAN), "harmed"),
    ],
)
def test_reference_prompts_are_judged_by_one_rule(
    new: int, change: Interval, variation: Interval, effect: str
) -> None:
    assert effect_on_references(new, change, 0.5, variation) == effect


def test_the_copies_of_a_comparison_are_brought_back_with_a_control(
    model: TextToImage, planted: TrainingSet, run: MitigationRun, tmp_path: Path
) -> None:
    fractions, latest = [], run
    for progress in robust_study(run, Subject(model, planted), ("a cat",)):
        fractions.append(progress.fraction)
        latest = progress.partial
        # Nothing half done is kept.
        assert bool(latest.robustness) == (progress.fraction == 1)
    assert fractions == sorted(fractions) and latest.cells is run.cells
    hard, other = latest.robustness
    count = len(run.config.treatments)
    # The prompt's own image is planted as number 7; the control aims at whatever is nearest.
    assert hard.target == 7 and hard.paraphrases == ("a cat",)
    assert hard.by_paraphrase.shape == hard.by_seed.shape == (count, SEEDS)
    assert other.by_paraphrase.shape == other.by_seed.shape == (count, 0)
    assert hard.by_attack.shape == other.by_attack.shape == (count, len(run.config.seeds))
    row = rows_of_run(latest)[NONE]
    assert row.attack.images + row.attack.undecided == len(run.config.seeds)
    path = tmp_path / "run.safetensors"
    save_record(path, latest)
    kept = load_record(path, MitigationRun)
    assert torch.equal(kept.robustness[0].by_seed.nan_to_num(2.0), hard.by_seed.nan_to_num(2.0))
    assert [v.sentence for v in treatment_results(kept)] == [
        v.sentence for v in treatment_results(latest)
    ]


def test_copies_are_searched_for_among_training_images(
    model: TextToImage, run: MitigationRun
) -> None:
    with pytest.raises(MMHError, match="by --index"):
        list(robust_study(run, Subject(model, None)))


def test_the_cost_counts_every_image_its_mitigation_and_the_attack() -> None:
    config = replace(comparison().config, treatments=(NONE,))
    steps, seeds, prompts = config.sampling.steps, len(config.seeds), len(config.prompts)
    attacked = seeds * prompts
    images = SEEDS * (1 + 3) + attacked
    assert expected_nfe(config, 3) == images * 2 * steps + attacked * 101


def test_a_model_without_listed_captions_has_no_listed_paraphrases(tmp_path: Path) -> None:
    assert paraphrases_listed(None, "a cat") == ()
    assert paraphrases_listed(tmp_path, "a cat") == ()
