"""The benchmark of mitigations: strengths chosen as stated, kept records, rows counted by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmh_core.cli.mitigation_tables import benchmark_summary, benchmark_tables
from mmh_core.mitigations.attribution import Attribution
from mmh_core.mitigations.catalogue import MITIGATIONS
from mmh_core.records import LabelledPrompt, MMHError
from mmh_core.statistics.intervals import Interval
from mmh_core.store.archive import save_record
from mmh_core.studies.images.run import default_config
from mmh_core.studies.mitigation.benchmark import (
    BY,
    CHAIN,
    RANDOM,
    mitigation_benchmark,
    share_left,
    worst_words,
)
from mmh_core.studies.mitigation.benchmark_rows import (
    attribution_rows,
    benchmark_rows,
    correlation,
    effect_of,
    judged,
    meets,
    reference_caption_rows,
    robustness_of,
)
from mmh_core.studies.mitigation.benchmark_run import (
    AttributionRecord,
    BenchmarkInputs,
    Caption,
    CaptionRecord,
    Captions,
    MitigationBenchmark,
    RobustnessRecord,
    kept_record,
    left_out,
    made_by,
    record_path,
)
from mmh_core.studies.mitigation.captions import chosen_captions
from mmh_core.studies.mitigation.robustness_rows import (
    CopyCount,
    count_words,
    robustness_words,
)
from mmh_core.studies.mitigation.run import Robustness, Treatment, fresh_seeds
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.generation import generate_images
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Sampling
from tests.retrieval.drawings import THRESHOLDS, drawings, of_all_colors, training_set_of
from tests.text_to_image.conftest import ModelOf

NONE = Treatment("none", 0.0)

SEEDS = (3, 4)
CAT, DOG = Caption("the cat", "duplicate"), Caption("a dog", "varied")
CAPTIONS = Captions((CAT,), (CAT,), (DOG,))


@pytest.fixture(scope="module")
def model(model_of: ModelOf) -> TextToImage:
    return replace(model_of("tiny"), steps=3, guidance=2.0)


@pytest.fixture(scope="module")
def planted(model: TextToImage) -> TrainingSet:
    """Return a training set that holds what the cat ends in without mitigation."""
    images = of_all_colors(drawings(60, size=32))
    # Of the seeds that are judged and of those that mitigations and strengths are chosen by.
    seeds = (*SEEDS, *fresh_seeds(SEEDS, 6))
    request = replace(default_config(model, "tiny", CAT.text), seeds=seeds).request(CAT.text)
    for row, image in zip(range(7, 15), generate_images(model, request), strict=True):
        images[row] = (image * 255).round().to(torch.uint8)

    def alignment(shown: Tensor, texts: Sequence[str]) -> Tensor:
        return shown.mean((1, 2, 3))[:, None].expand(-1, len(texts))

    # Other images of a random network look much alike: only the same one is a copy.
    thresholds = replace(THRESHOLDS, descriptor=0.99999, calibrated_l2=1e-3, template_family=60)
    return replace(
        training_set_of(images), thresholds=thresholds, log_delta=-0.5, alignment=alignment
    )


#: Two mitigations beside the baselines and the chain.
FEW = ("none", "random_tokens", "static_guidance", "anti_memorization_guidance", "automatic_chain")


def last(inputs: BenchmarkInputs) -> tuple[MitigationBenchmark, list[float]]:
    found, fractions = None, []
    for progress in mitigation_benchmark(CAPTIONS, inputs):
        found = progress.partial
        fractions.append(progress.fraction)
    assert found is not None
    return found, fractions


def test_a_benchmark_chooses_strengths_draws_and_keeps_its_records(
    model: TextToImage, planted: TrainingSet, tmp_path: Path
) -> None:
    offered = {name: MITIGATIONS[name] for name in FEW}
    subject = Subject(model, planted, name="tiny")
    inputs = BenchmarkInputs(subject, SEEDS, tmp_path, robust=1, offered=offered)
    found, fractions = last(inputs)
    assert fractions == sorted(fractions) and fractions[-1] == 1 and found.state == "complete"
    # Of three steps none falls into the first quarter of the time; from the half on copies go,
    # and whether LID rises with them is this random network's affair.
    assert found.chosen[0].mitigation == "static_guidance" and found.chosen[0].strength >= 0.5
    assert found.test[0].treatments == (NONE, RANDOM, *found.chosen, CHAIN)
    assert found.reference[0].treatments == found.test[0].treatments
    assert found.test[0].copied[0].tolist() == [1.0, 1.0]
    rows = {row.treatment: row for row in benchmark_rows(found)}
    assert rows[found.chosen[0]].copied.value == 0 and rows[NONE].copied.value == 1
    # What the chain makes of this network's images is no copy, or too like one to tell (NaN).
    assert rows[CHAIN].copied.value != 1
    # The chain leaves a reference caption as it is: the same images to the last bit.
    references = {row.treatment: row for row in reference_caption_rows(found)}
    unharmed = references[CHAIN]
    assert references[found.chosen[0]].changed_share == 1
    assert (unharmed.changed_share, unharmed.alignment.value) == (0, 0)
    assert unharmed.seed_similarity.value == 0
    assert found.attributions[0].by == BY and found.attributions[0].before == 1
    tables = benchmark_tables(found)
    assert (
        # One caption alone says next to nothing of captions.
        f"| Static transition point | {found.chosen[0].strength:g} | 1.00 (0.02 to 1.00) |"
        in tables
        and "| random |" in tables
    )
    assert len(benchmark_summary(found)["cells"]) == len(found.test[0].treatments)
    assert not set(found.selection_seeds) & set(found.seeds)
    (hard,) = found.robustness
    assert hard.robustness.treatments == found.test[0].treatments
    # The unmitigated image is one of those planted, and the attack aims at it.
    assert 7 <= hard.robustness.target < 15
    texts = len(hard.robustness.paraphrases)
    assert hard.robustness.by_paraphrase.shape == (len(hard.robustness.treatments), 2 * texts)
    assert (
        hard.robustness.by_seed.shape
        == hard.robustness.by_attack.shape
        == (
            len(hard.robustness.treatments),
            2,
        )
    )
    assert "Robustness over 1 of the captions" in tables and "failed criteria" in tables
    (other,) = found.control
    # Nothing of this caption is copied; the attack aims at the training image nearest to it.
    assert other.caption == DOG and other.robustness.target >= 0
    assert other.robustness.by_attack.shape == hard.robustness.by_attack.shape
    assert other.robustness.by_paraphrase.numel() == other.robustness.by_seed.numel() == 0
    assert {row.control.captions for row in robustness_of(found)} <= {0, 1}

    # Finished captions are generated again only where nobody asked to resume.
    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}

    kept = times()
    again, _ = last(replace(inputs, resume=True))
    assert benchmark_tables(again) == tables and times() == kept
    steps = mitigation_benchmark(CAPTIONS, inputs)
    assert any(times() != kept for _ in steps)


def test_captions_take_turns_between_kinds_and_halves_stay_apart() -> None:
    labelled = [
        LabelledPrompt(f"{kind} {split} {i}", kind in ("duplicate", "overfit"), kind, split)
        for kind in ("overfit", "duplicate", "template", "varied", "open", "paraphrase")
        for split in ("calibration", "test")
        for i in range(5)
    ]
    found = chosen_captions(labelled, 4)
    assert [one.text for one in found.test] == [
        *("overfit test 0", "duplicate test 0", "overfit test 1", "duplicate test 1")
    ]
    assert [one.kind for one in found.reference] == ["varied", "open", "varied", "open"]
    assert [one.text for one in found.calibration] == [
        *("overfit calibration 0", "duplicate calibration 0")
    ]
    assert len(chosen_captions(labelled, 9).calibration) == 3
    with pytest.raises(MMHError, match="both halves"):
        chosen_captions([one for one in labelled if one.split == "test"], 4)


def record(
    name: str, copied: list[float], similarity: list[float], lid: list[float], refused: int = -1
) -> CaptionRecord:
    """Return a caption with one seed per treatment: none, random words, a schedule."""
    treatments = (NONE, RANDOM, Treatment("static_guidance", 0.5))

    def column(values: list[float]) -> Tensor:
        found = torch.tensor(values, dtype=torch.float32)[:, None].repeat(1, 2)
        if refused >= 0:
            found[refused] = math.nan
        return found

    return CaptionRecord(
        Caption(name, "duplicate"),
        treatments,
        ("No mitigation", "Random token insertion", "Static transition point"),
        tuple("It cannot." if i == refused else "" for i in range(3)),
        (name,) * 3,
        column(copied),
        column(similarity),
        column([1.0, 0.8, 0.9]),
        column([0.4, 0.2, 0.38]),
        column(lid),
        torch.tensor([0.9, 0.8, 0.7]),
        torch.tensor([1.0, 1.0, 2.0]),
        torch.tensor([60.0, 60.0, 90.0]),
    )


def counted(*records: CaptionRecord) -> MitigationBenchmark:
    words = AttributionRecord(
        CAT, BY, (("a",),) * 4, torch.tensor([0.0, 0.25, 0.5, 1.0]), before=1.0
    )
    free = replace(words, before=0.0, copied=torch.zeros(4))
    return MitigationBenchmark(
        *("m", "0" * 64, SEEDS, Sampling(3, 2.0, 8, 8), "complete", CAPTIONS, ()),
        (),
        records,
        records,
        (words, free),
        1.0,
    )


def test_rows_are_means_over_captions_and_count_refusals() -> None:
    found = counted(
        record("a", [1, 1, 0], [0.9, 0.9, 0.5], [2, 2, 20]),
        record("b", [0.8, 0.6, 0.2], [0.8, 0.7, 0.6], [4, 6, 10]),
        record("c", [1, 1, 0], [0.9, 0.9, 0.5], [2, 2, 20], refused=2),
    )
    row = benchmark_rows(found)[2]
    assert (row.captions, row.refused) == (2, 1)
    assert row.before.value == pytest.approx(0.9) and row.copied.value == pytest.approx(0.1)
    assert row.alignment.value == pytest.approx(0.95 * 0.4) and row.lid.value == pytest.approx(15)
    assert row.lid_before.value == 3 and row.nfe.value == 90
    # Two captions of shares 0 and .2 say little of captions.
    assert 0 <= row.copied.low < 0.01 and 0.8 < row.copied.high < 0.95


OUTCOMES = (
    ("copy", "copy"),
    ("copy", "solved"),
    ("solved", "no copy"),
)


def reference_record(change: float = 0.0, copied: float = 0.0) -> CaptionRecord:
    """Return a reference caption whose alignment changes, and of whose images become copies."""
    one = record("n", [0, 0, copied], [0.5, 0.5, 0.5], [20, 20, 20])
    shift = torch.tensor([0.0, 0.0, change])[:, None]
    return replace(one, alignment=torch.full((3, 2), 0.4) + shift)


@pytest.mark.parametrize(
    ("outcomes", "reference", "expected"),
    [
        (OUTCOMES[2], {}, True),
        (("solved", "not solved"), {}, False),
        (("not solved", "not solved"), {}, False),
        (("solved", "subject lost"), {}, False),
        (("solved", "unknown"), {}, False),
        (OUTCOMES[2], {"change": -0.1}, False),
        (OUTCOMES[2], {"change": 0.1}, True),
        (OUTCOMES[2], {"copied": 1.0}, False),
        (OUTCOMES[2], None, False),
    ],
)
def test_a_mitigation_meets_the_bar_where_images_are_solved_and_references_unharmed(
    outcomes: tuple[str, str], reference: dict[str, float] | None, expected: bool
) -> None:
    """No image is a copy in any of these: the share of copies alone would call all a success."""
    named = (*OUTCOMES[:2], outcomes)
    records = [
        replace(record(name, [1, 1, 0], [0.9, 0.9, 0.5], [2, 2, 20]), outcomes=named)
        for name in "ab"
    ]
    found = counted(*records)
    if reference is None:
        found = replace(found, reference=())
    else:
        unmemorized = reference_record(**reference)
        found = replace(found, reference=(unmemorized, unmemorized))
    none, random, row = benchmark_rows(found)
    verdict = judged(found)
    assert row.copied.value == 0 and meets(row, verdict[row.treatment]) is expected
    assert row.not_solved.value == outcomes.count("not solved") / 2
    assert not meets(random, verdict[RANDOM])
    assert not meets(none, verdict.get(none.treatment))
    tables = benchmark_tables(found)
    said = "Static transition point (50 %) (1)" if expected else "none (0)"
    assert f"reference captions unharmed: {said}" in tables
    summary = benchmark_summary(found)
    assert summary["rows"][2]["meets"] is expected
    # The file keeps the names that its readers know.
    assert "unsolved" in summary["rows"][2] and "normal" in summary["captions"]
    before = {"agreement", "changed", "alignment_spread", "agreement_spread"}
    assert all(before <= set(reference) for reference in summary["reference"])


def test_a_strength_that_only_moves_images_off_the_threshold_is_not_enough() -> None:
    treatment = Treatment("static_guidance", 0.5)
    moved = record("a", [1, 1, 0], [1, 1, 1], [1, 1, 1])
    assert share_left([moved], treatment) == 0
    named = replace(moved, outcomes=(*OUTCOMES[:2], ("not solved", "solved")))
    assert share_left([named], treatment) == 0.5


@pytest.mark.parametrize("what", ["code", "model", "seeds", "steps", "old name"])
def test_records_of_another_version_are_counted_and_not_mixed_in(
    model: TextToImage,
    planted: TrainingSet,
    tmp_path: Path,
    what: str,
) -> None:
    inputs = BenchmarkInputs(Subject(model, planted, name="tiny"), SEEDS, tmp_path, resume=True)
    mine = replace(record("the cat", [1, 1, 0], [1, 1, 1], [1, 1, 1]), made_by=made_by(inputs))
    path = record_path(inputs, "caption", CAT, ())
    save_record(path, mine)
    assert kept_record(path, CaptionRecord, inputs) is not None and left_out(inputs) == 0
    assert kept_record(path, CaptionRecord, replace(inputs, resume=False)) is None
    # A record that says something else of itself than its name does is not used either.
    save_record(path, replace(mine, made_by=""))
    assert kept_record(path, CaptionRecord, inputs) is None
    if what == "code":
        inputs = replace(inputs, code="0" * 16)
    elif what == "model":
        other = Subject(replace(model, sha256="ab" * 32), planted, name="tiny")
        inputs = replace(inputs, subject=other)
    elif what == "seeds":
        inputs = replace(inputs, seeds=(8, 9))
    elif what == "steps":
        other = Subject(replace(model, steps=7), planted, name="tiny")
        inputs = replace(inputs, subject=other)
    else:
        path.rename(tmp_path / f"{'0' * 32}.safetensors")
    other = record_path(inputs, "caption", CAT, ())
    assert kept_record(other, CaptionRecord, inputs) is None
    assert (other != path) == (what != "old name")
    # Other settings are another benchmark of the same code and model, and no mixture.
    assert left_out(inputs) == (what in ("code", "model", "old name"))
    found = replace(counted(mine), left_out=left_out(inputs))
    said = "1 record of another version of the code or another model is left out"
    assert (said in benchmark_tables(found)) == (found.left_out == 1)


def test_the_correlation_is_between_falling_copies_and_rising_lid() -> None:
    up = record("a", [1, 0.5, 0], [0.9, 0.7, 0.5], [2, 9, 20])
    down = record("b", [1, 0.5, 0], [0.9, 0.7, 0.5], [20, 9, 2])
    assert correlation([up, replace(up)]).share.value == pytest.approx(1)
    assert correlation([down, replace(down)]).similarity.value == pytest.approx(-1)
    assert correlation([up, down]).cells == 4
    assert math.isnan(correlation([]).share.value)
    # Random tokens are left out, whose LID falls where the other's rises.
    mixed = [
        record("c", [1, 0.2, 0.5], [0.9, 0.5, 0.6], [2, 1, 9]),
        record("d", [1, 0.3, 0.8], [0.9, 0.5, 0.7], [2, 0, 5]),
    ]
    assert correlation(mixed).share.value < 0
    found = correlation([*mixed, *mixed], ("none", "random_tokens"))
    assert (found.cells, found.share.value) == (4, pytest.approx(1))


def test_a_refusal_in_the_calibration_counts_as_copies() -> None:
    treatment = Treatment("static_guidance", 0.5)
    good = record("a", [1, 1, 0], [1, 1, 1], [1, 1, 1])
    bad = record("b", [1, 1, 0], [1, 1, 1], [1, 1, 1], refused=2)
    assert share_left([good], treatment) == 0
    assert share_left([good, bad], treatment) == 0.5
    assert share_left([], treatment) == 1


def test_attributions_count_captions_that_are_copied_and_compare_with_random() -> None:
    rows = attribution_rows(counted(record("a", [1, 1, 0], [1, 1, 1], [1, 1, 1])))
    assert [(row.by, row.left.value, row.difference.value) for row in rows] == [
        ("flipd", 0.0, -1.0),
        ("denoising loss", 0.25, -0.75),
        ("guidance norm", 0.5, -0.5),
        ("random", 1.0, 0.0),
    ]


def test_the_worst_words_are_those_of_the_highest_tokens_each_once() -> None:
    prompt = "red foxes, run"
    spans = ((0, 3), (4, 7), (7, 9), (9, 10), (11, 14))
    scores = torch.tensor([1.0, 2.0, 5.0, 9.0, 4.0])
    found = Attribution("random", prompt, tuple("abcde"), spans, scores, 0.0)
    # The comma scores highest and is no word; both halves of "foxes" are one.
    assert [word.text for word in worst_words(found, 2)] == ["foxes", "run"]


def came_back(*shares: tuple[float, float, float]) -> tuple[RobustnessRecord, ...]:
    """Return a record for each caption: of the schedule's ten images of every way these shares."""
    treatments = (NONE, RANDOM, Treatment("static_guidance", 0.5))

    def column(share: float) -> Tensor:
        count = round(10 * share) if not math.isnan(share) else 0
        row = torch.tensor([1.0] * count + [0.0] * (10 - count))
        row = torch.full((10,), math.nan) if math.isnan(share) else row
        return torch.stack([torch.ones(10), torch.ones(10), row])

    return tuple(
        RobustnessRecord(CAT, Robustness(treatments, ("a cat",), 7, *map(column, triple)))
        for triple in shares
    )


@pytest.mark.parametrize(
    ("shares", "robust", "failed"),
    [
        ([(0.0, 0.0, 0.0)] * 3, True, ()),
        ([(0.1, 0.1, 0.1)] * 3, True, ()),
        ([(0.2, 0.0, 0.0)] * 3, False, ("robust",)),
        ([(0.0, 0.2, 0.0)] * 3, False, ("robust",)),
        ([(0.0, 0.0, 0.2)] * 3, False, ("robust",)),
        ([(0.0, 0.0, 0.0), (0.0, 0.0, 0.3)], False, ("robust",)),
        ([(0.0, 0.0, math.nan)], None, ()),
        ([(0.2, 0.0, math.nan)], False, ("robust",)),
        ([], None, ()),
    ],
)
def test_a_mitigation_is_robust_where_copies_stay_away_in_all_three_ways(
    shares: list[tuple[float, float, float]], robust: bool | None, failed: tuple[str, ...]
) -> None:
    named = (*OUTCOMES[:2], ("solved", "solved"))
    records = [
        replace(record(name, [1, 1, 0], [0.9, 0.9, 0.5], [2, 2, 20]), outcomes=named)
        for name in "ab"
    ]
    found = replace(
        counted(*records),
        reference=(reference_record(), reference_record()),
        robustness=came_back(*shares),
        control=came_back(*[(math.nan, math.nan, 0.0)] * len(shares)),
    )
    static = Treatment("static_guidance", 0.5)
    rows = {row.treatment: row for row in robustness_of(found)}
    assert (rows[static].robust if rows else None) is robust
    verdict = judged(found)[static]
    assert verdict.failed == failed and verdict.passes_all == (robust is True)
    assert verdict.succeeds
    tables = benchmark_tables(found)
    assert ("Robustness is unknown" in tables) == (not shares)
    assert ("Static transition point (50 %): failed criteria: copies come back" in tables) == bool(
        failed
    )
    whole = "and robust: Static transition point (50 %) (1)" if robust else "and robust: none (0)"
    assert whole in tables
    summary = benchmark_summary(found)
    assert len(summary["robustness"]) == len(rows)
    assert len(summary["criteria"]) == 2


def test_intervals_of_what_comes_back_are_exact_for_one_caption_and_over_captions_else() -> None:
    (one,) = (
        row
        for row in robustness_of(replace(counted(), robustness=came_back((0.0, 0.5, 1.0))))
        if row.treatment.mitigation == "static_guidance"
    )
    # Clopper & Pearson of 0 and of 5 of 10: 1 - .025^(1/10) is .3085.
    texts, seeds = one.paraphrases.share, one.seeds.share
    assert (texts.low, texts.high) == pytest.approx((0, 0.3085), abs=1e-4)
    assert (seeds.low, seeds.high) == pytest.approx((0.1871, 0.8129), abs=1e-4)
    assert (one.attack.copies, one.attack.images, one.attack.captions) == (10, 10, 1)


@pytest.mark.parametrize(
    ("attack", "control", "robust"),
    [
        # What the attack makes of reference captions too is no sign of memory.
        (1.0, 1.0, True),
        (1.0, 0.9, True),
        (1.0, 0.8, False),
        (0.2, 0.0, False),
        (0.1, 0.0, True),
        # Without a control nobody knows whether copies come back or are made.
        (0.2, None, None),
        (0.1, None, True),
    ],
)
def test_the_attack_counts_beyond_what_it_makes_of_reference_captions(
    attack: float, control: float | None, robust: bool | None
) -> None:
    nan = math.nan
    found = replace(
        counted(),
        robustness=came_back((0.0, 0.0, attack)),
        control=() if control is None else came_back((nan, nan, control)),
    )
    rows = {row.treatment: row for row in robustness_of(found)}
    row = rows[Treatment("static_guidance", 0.5)]
    assert row.robust is robust
    assert row.control.images == (0 if control is None else 10)
    # Of no mitigation all come back, and the control makes as many.
    assert rows[NONE].withstands is (None if control is None else True)


def test_a_caption_that_is_not_copied_is_neither_attacked_nor_a_control() -> None:
    untargeted = [
        replace(one, robustness=replace(one.robustness, target=-1))
        for one in came_back((0.0, 0.0, 1.0))
    ]
    found = replace(counted(), robustness=tuple(untargeted), control=tuple(untargeted))
    for row in robustness_of(found):
        assert (row.attack.images, row.control.images, row.withstands) == (0, 0, None)
        assert robustness_words(row)[2:] == ("no copy to aim at", "not run")


def test_counts_are_said_with_interval_and_what_cannot_be_judged() -> None:
    share = Interval(0.25, 0.01, 0.81)
    assert count_words(CopyCount(1, 4, 1, 0, share)) == "1 of 4 (0.01 to 0.81)"
    assert count_words(CopyCount(1, 4, 1, 2, share)).endswith(", 2 cannot be judged")
    nothing = CopyCount(0, 0, 0, 3, Interval(math.nan, math.nan, math.nan))
    assert count_words(nothing) == "3 cannot be judged" and nothing.stays_away is None
    assert count_words(replace(nothing, undecided=0), "no paraphrase") == "no paraphrase"
    assert robustness_words(None) == ("not run",) * 4


def test_captions_come_from_a_list_of_any_kinds_and_what_is_missing_is_counted() -> None:
    labelled = [
        LabelledPrompt(f"{kind} {split} {i}", memorized, kind, split)
        for kind, memorized in (("emblem", True), ("seal", True), ("plain", False))
        for split in ("calibration", "test")
        for i in range(2)
    ]
    chosen = chosen_captions(labelled, 2)
    assert [one.kind for one in chosen.test] == ["emblem", "seal"]
    assert [one.kind for one in chosen.reference] == ["plain", "plain"]
    with pytest.raises(MMHError, match="2 to calibrate, 2 to test and 0 reference captions"):
        chosen_captions([row for row in labelled if row.memorized], 2)


def test_captions_of_every_dose_take_turns_and_bring_their_paraphrases() -> None:
    labelled = [
        LabelledPrompt(f"{split} {dose} {i}", True, "copies", split)
        for split in ("calibration", "test")
        for dose in (128, 1, 16)
        for i in range(4)
    ] + [LabelledPrompt(f"normal {i}", False, "normal", "test") for i in range(4)]
    doses = {row.prompt: int(row.prompt.split()[1]) for row in labelled if row.memorized}
    texts = {"test 1 0": ("another text",)}
    found = chosen_captions(labelled, 4, paraphrases=texts, doses=doses)
    assert [one.dose for one in found.test] == [1, 16, 128, 1]
    assert [one.paraphrases for one in found.test] == [("another text",), (), (), ()]
    assert len(found.reference) == 4 and found.reference[0].dose is None


def test_a_reference_caption_that_changes_more_than_from_seed_to_seed_is_harmed() -> None:
    def harmed(similarity: float) -> bool:
        one = reference_record()
        shifted = replace(one, similarity_to_unmitigated=torch.full((3, 2), similarity))
        found = replace(counted(), reference=(shifted, shifted))
        (_, row) = reference_caption_rows(found)
        return effect_of(row) == "harmed"

    # Unmitigated images of different seeds agree to .9.
    assert not harmed(0.95) and not harmed(0.9) and harmed(0.85)
