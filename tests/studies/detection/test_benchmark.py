"""The benchmark of detectors on a model of Gaussians: what is fitted where and counted on what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from mmh_core.detectors.catalogue import DETECTORS, adapted
from mmh_core.detectors.combined_score import COMBINED
from mmh_core.detectors.generation import generated_inputs
from mmh_core.detectors.lid import Lid
from mmh_core.detectors.measurement import fit, measure
from mmh_core.memorization.cause import true_cause
from mmh_core.records import LabelledPrompt, MMHError
from mmh_core.statistics.areas import area_under_curve
from mmh_core.studies.detection import labelled_prompts
from mmh_core.studies.detection.benchmark import benchmark_study, empty_run
from mmh_core.studies.detection.benchmark_run import BenchmarkRun
from mmh_core.studies.detection.labelled_prompts import (
    pocket_labelled,
    split_labelled,
    thinned,
)
from mmh_core.studies.images.examples import memorized_kinds
from mmh_core.subject.early_calibration import early_calibration, score_prompts
from mmh_core.subject.subject import Subject
from mmh_core.text_to_image.model import TextToImage
from tests.detectors.joined import joined
from tests.detectors.worlds import numbered_world
from tests.text_to_image.conftest import ModelOf

WORDS = ("the cat", "a cat", "cat the", "the the", "cats", "a", "the", "cat a", "dog", "that cat")
TAILS = (" x", " y", " z", " w", " v")
SEEDS = (1, 2)
#: One of each family; the LIDs by other estimators cost most and go the same way.
NAMES = (
    "early_scan",
    "guidance_norm_all",
    "stability",
    "region_map",
    "lid_conditional_count",
    "lid_unconditional_count",
    "lid_corrected_dsm",
    "seed_agreement",
    "representation_spread",
    "reconstruction_cost",
    "return_distance",
)


def prompts(flip: bool = False) -> tuple[LabelledPrompt, ...]:
    """Return 10 prompts in each half, every other one memorized, two paraphrases in the test."""
    found = []
    for i, text in enumerate(WORDS):
        memorized = (i % 2 == 0) != flip
        kind = ("duplicate", "overfit")[i % 4 // 2] if memorized else "open"
        found.append(LabelledPrompt(text, memorized, kind, "calibration"))
        found.append(LabelledPrompt(f"{text} x", memorized, kind, "test"))
    found.append(LabelledPrompt("a rewritten cat", True, "paraphrase", "test"))
    return tuple(found)


def number_of(text: str) -> int:
    """Return a number of its own for a text, memorized for the labels of `prompts`."""
    base, _, tail = text.rpartition(" ") if text[-2:] in TAILS else (text, "", "")
    if base not in WORDS:
        return 4 * len(WORDS)
    row, half = WORDS.index(base), len(TAILS) + 1
    return 4 * (half * row + TAILS.index(f" {tail}") + 1 if tail else half * row) + (
        2 * (row % 2) + row // 2 % 2
    )


@pytest.fixture(scope="module")
def model() -> TextToImage:
    return replace(numbered_world(number_of), steps=4, guidance=2.0)


@pytest.fixture(scope="module")
def run(model: TextToImage) -> BenchmarkRun:
    return last(prompts(), model)


def last(labelled: tuple[LabelledPrompt, ...], model: TextToImage) -> BenchmarkRun:
    found = None
    fractions = []
    for progress in benchmark_study(
        labelled, Subject(model), seeds=SEEDS, log_delta=-0.5, names=NAMES
    ):
        found = progress.partial
        fractions.append(progress.fraction)
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert found is not None
    return found


def test_scores_are_those_of_the_detectors_fitted_on_normal_calibration_prompts(
    model: TextToImage, run: BenchmarkRun
) -> None:
    detectors = adapted(DETECTORS, log_delta=-0.5, embedder="pixels")
    some = {name: detectors[name] for name in ("stability", "region_map")}
    measured = {}
    for split in ("calibration", "test"):
        texts = [p.prompt for p in prompts() if p.split == split]
        inputs = joined(list(generated_inputs(model, texts, SEEDS, guidance=2.0, steps=4)))
        measured[split] = measure(model, inputs, some.values())
    # In the calibration half prompts 1, 3, 5 ... are normal, two rows each.
    rows = torch.tensor([2 * i + s for i in range(1, 10, 2) for s in (0, 1)])
    for name, detector in some.items():
        ready = fit(detector, measured["calibration"][name].values[rows])
        expected = ready.score(measured["test"][name].values).reshape(-1, 2).mean(1)
        found = next(row for row in run.detectors if row.name == name)
        if "sign reversed" in found.settings:
            expected = -expected
        torch.testing.assert_close(found.scores, expected, rtol=1e-4, atol=1e-4)
        memorized = torch.tensor([i % 2 == 0 for i in range(10)])
        assert found.all.auc == pytest.approx(
            float(area_under_curve(expected[:10][memorized], expected[:10][~memorized])), abs=1e-9
        )


def test_every_detector_has_a_row_and_every_kind_is_counted(run: BenchmarkRun) -> None:
    assert sorted(row.name for row in run.detectors) == sorted(NAMES)
    assert run.rows[0].name == "combined"
    for row in run.rows:
        assert (row.all.positives, row.all.negatives) == (5, 5)
        kinds = {kind: found.positives for kind, found in row.kinds}
        assert kinds == {"duplicate": 3, "overfit": 2, "paraphrase": 1}
    table = run.frame()
    assert isinstance(table, pd.DataFrame) and len(table) == len(run.rows)


def test_every_row_says_how_its_free_settings_were_set(run: BenchmarkRun) -> None:
    settings = {row.name: row.settings for row in run.rows}
    assert all(settings.values())
    assert "best of 2" in settings["stability"] and "t =" not in settings["region_map"]
    assert settings["lid_conditional_count"].startswith("noise scale 0.")
    assert "best of 14" in settings["lid_unconditional_count"]
    assert "best of 72" in settings["early_scan"] and " and " in settings["early_scan"]
    assert "t = 0." in settings["reconstruction_cost"]
    assert run.copies is not None and run.copies.shape == (len(run.prompts), len(SEEDS))
    for row in run.detectors:
        assert row.images is not None
        torch.testing.assert_close(row.images.mean(1), row.scores, rtol=1e-5, atol=1e-5)


def test_the_early_scan_of_tables_has_a_row_beside_the_one_of_the_rule(
    model: TextToImage, run: BenchmarkRun
) -> None:
    texts = [f"{one} {other}" for one in WORDS[:5] for other in ("y", "z", "w", "v")]
    [*_, last_step] = early_calibration(model, texts, SEEDS, times=(0.6, 0.3))
    steps = benchmark_study(
        prompts(),
        Subject(model),
        seeds=SEEDS,
        log_delta=-0.5,
        names=("early_scan",),
        early=last_step.partial,
    )
    [*_, finished] = steps
    rows = {row.name: row for row in finished.partial.detectors}
    assert finished.partial.scanning == "scan" and run.scanning == "early_scan"
    early = last_step.partial
    expected = score_prompts(model, early, [p.prompt for p in prompts() if p.split == "test"])
    torch.testing.assert_close(rows["scan"].scores, expected.score, rtol=1e-4, atol=1e-4)
    assert (
        torch.equal(rows["scan"].reference_scores, early.reference_scores())
        and len(early.reference_scores()) == 20
    )
    assert rows["scan"].settings.startswith("t = 0.6 and 0.3, sign as published, all set when")
    ruled = next(row for row in run.detectors if row.name == "early_scan")
    torch.testing.assert_close(rows["early_scan"].scores, ruled.scores, rtol=1e-4, atol=1e-4)


def test_the_lid_of_a_run_is_at_the_models_own_scale(
    model: TextToImage, run: BenchmarkRun
) -> None:
    texts = [p.prompt for p in run.prompts]
    inputs = joined(list(generated_inputs(model, texts, SEEDS, guidance=2.0, steps=4)))
    own = Lid(log_delta=-0.5)
    values = measure(model, inputs, [own])[own.name].values
    torch.testing.assert_close(
        run.lid, values.reshape(len(texts), -1).mean(1), rtol=1e-3, atol=0.1
    )


def test_labels_of_the_test_half_change_no_score(model: TextToImage, run: BenchmarkRun) -> None:
    flipped = tuple(
        other if other.split == "test" else one
        for one, other in zip(prompts(), prompts(flip=True) + prompts()[-1:], strict=False)
    )
    found = last(flipped, model)
    for before, after in zip(run.of_model, found.of_model, strict=True):
        torch.testing.assert_close(before.scores, after.scores, rtol=0, atol=0)
        torch.testing.assert_close(before.reference_scores, after.reference_scores, rtol=0, atol=0)
        assert after.all.auc == pytest.approx(1 - before.all.auc, abs=1e-9)
    assert run.combined is not None and found.combined is not None
    assert torch.equal(run.combined.weights, found.combined.weights)


def test_the_combined_score_is_a_logistic_regression_of_its_parts(run: BenchmarkRun) -> None:
    combined = run.combined
    names = tuple(name for name in COMBINED if name in NAMES)
    assert combined is not None and combined.names == names and "return_distance" in names
    by_name = {row.name: row for row in run.detectors}
    columns = torch.stack([by_name[name].scores for name in names], dim=1).double()
    expected = ((columns - combined.mean) / combined.spread) @ combined.weights + combined.bias
    torch.testing.assert_close(combined.row.scores.double(), expected, rtol=1e-4, atol=1e-4)
    assert 0 <= combined.cv_auc <= 1
    assert combined.row.generation_nfe == 8.0


def test_an_unknown_detector_is_refused_with_the_choices(model: TextToImage) -> None:
    with pytest.raises(ValueError, match="Unknown detector 'magic'; choose from early_scan"):
        next(iter(benchmark_study(prompts(), Subject(model), log_delta=-0.5, names=("magic",))))


def test_a_half_without_both_kinds_is_refused(model: TextToImage) -> None:
    only = tuple(p for p in prompts() if p.memorized)
    with pytest.raises(MMHError, match="memorized and reference prompts"):
        last(only, model)


def test_the_pocket_halves_share_no_subject_and_no_prompt() -> None:
    folder = Path(labelled_prompts.__file__).parents[3] / "assets" / "pocket-sd"
    found = pocket_labelled(folder)
    texts = [one.prompt for one in found]
    assert len(set(texts)) == len(texts)
    table = labelled_prompts.read_prompts(folder).drop_duplicates("caption")
    subjects = table.set_index("caption").subject
    halves = [
        {subjects.get(one.prompt) for one in found if one.split == split} - {None}
        for split in ("calibration", "test")
    ]
    assert not halves[0] & halves[1]
    memorized = set(memorized_kinds(folder))
    kinds = [one.kind for one in found if one.split == "test" and one.counted]
    counts = pd.Series(kinds).value_counts()
    assert "duplicate" in memorized and min(counts[kind] for kind in memorized) >= 10
    assert sum(count for kind, count in counts.items() if kind not in memorized) >= 100
    # Whatever a kind is called: a caption with many copies of its images is of the data.
    causes = {one.kind: true_cause(one) for one in found if one.counted and not one.paraphrased}
    assert causes == {kind: "DD-Mem" if kind in memorized else None for kind in causes}


def test_a_persons_own_labels_are_halved_within_each_kind() -> None:
    rows = [(f"p{i}", i < 4, "memorized" if i < 4 else "normal") for i in range(10)]
    found = split_labelled([*rows, rows[0]])
    assert len(found) == 10
    for memorized, half in ((True, 2), (False, 3)):
        mine = [one.split for one in found if one.memorized == memorized]
        assert mine.count("calibration") == mine.count("test") == half
    with pytest.raises(MMHError, match="labelled memorized and reference"):
        split_labelled([("p", True, "memorized"), ("p", False, "normal")])


def test_prompts_that_are_not_read_whole_are_named_in_the_record(model_of: ModelOf) -> None:
    model = model_of("tiny")
    long = LabelledPrompt("the " * 20 + "cat", True, "memorized", "calibration")
    found = empty_run((*prompts(), long, long), replace(model, notes=("Read as v.",)), SEEDS)
    assert len(found.missing) == 1 and "--windows 2" in found.missing[0]
    assert found.notes == ("Read as v.",) and empty_run(prompts(), model, SEEDS).missing == ()


@pytest.mark.parametrize("most", [1, 3, 100])
def test_fewer_prompts_are_spread_over_the_groups_of_each_half_and_kind(most: int) -> None:
    listed = tuple(
        LabelledPrompt(
            f"{kind} {split} {group} {i}", kind == "duplicate", kind, split, group=group
        )
        for kind, groups in (("duplicate", ("8", "16", "32")), ("open", ("",)))
        for memorized in (kind == "duplicate",)
        for group in groups
        for split in ("calibration", "test")
        for i in range(4)
    )
    kept = thinned(listed, most)
    assert [row for row in listed if row in kept] == list(kept)
    table = pd.DataFrame([vars(row) for row in kept])
    counts = table.groupby(["kind", "split"]).size()
    assert counts.xs("duplicate").tolist() == [min(most, 12)] * 2
    assert counts.xs("open").tolist() == [min(most, 4)] * 2
    if most == 3:
        dosed = table[table.kind == "duplicate"].groupby("split").group.unique()
        assert all(set(groups) == {"8", "16", "32"} for groups in dosed)
