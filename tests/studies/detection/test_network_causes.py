"""The cause over networks of the second world: cases of known cause, and a tiny build."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmh_core.memorization.cause import ModelLids, TrainingNeighborhood
from mmh_core.memorization.cause_calibration import CauseCase
from mmh_core.pocket.second.generated import ImageCounts
from mmh_core.pocket.second.inspection import Inspection
from mmh_core.pocket.second.plan import TINY
from mmh_core.retrieval.copy_evidence import copy_evidence
from mmh_core.statistics.agreement import clustered_balanced_accuracy
from mmh_core.statistics.intervals import Interval, mean_share_interval
from mmh_core.studies.detection.network_causes import (
    BASELINE,
    EXACT,
    FIGURE,
    NEAR,
    NETWORK_BASELINE,
    SMALL,
    STAGES,
    TEMPLATE,
    TRUTHS,
    UNIQUE,
    CauseCounts,
    NetworkCase,
    NetworkCauses,
    accuracy_rows,
    caption_groups,
    kept_evidence,
    network_training_set,
    reference_captions,
)
from tests.pocket.second.tiny_build import tiny_inspection

CPU = torch.device("cpu")
CONFIG = replace(TINY, measured=0, rows=300)
COUNTS = ImageCounts(negatives=2, recognized=4, scale_captions=4, captions=2, bayes_images=0)
BUILT = ("world", "autoencoder", "clip", "descriptor", "latents", "denoiser-0", "small-100")


def exactly(value: float) -> Interval:
    """Return an interval of one value."""
    return Interval(value, value, value)


def case(group: str, caption: int, *, right: bool = True, network: str = "n") -> NetworkCase:
    """Return a copy of known cause, whose evidence says it or says another cause."""
    wide, narrow = exactly(12.0), exactly(0.0)
    repeated = TrainingNeighborhood(64, 0, narrow, 1.0, wide)
    near = TrainingNeighborhood(1, 64, narrow, 1.0, wide)
    template = TrainingNeighborhood(1, 0, exactly(1.0), 1.0, wide)
    once = TrainingNeighborhood(1, 0, wide, 1.0, wide)
    evidence = {EXACT: repeated, NEAR: near, TEMPLATE: template, UNIQUE: once, SMALL: repeated}
    elsewhere = exactly(3.0) if group == SMALL else wide
    data = evidence[group] if right else once if group != UNIQUE else repeated
    return NetworkCase(
        network,
        caption,
        group,
        CauseCase(ModelLids(exactly(1.0), elsewhere), data, TRUTHS[group]),
    )


def test_simpler_rules_stand_beside_the_rule_of_the_cause() -> None:
    cases = [case(group, n) for n, group in enumerate(TRUTHS)]
    rows = {row.figure: row for row in accuracy_rows(cases, complete=True)}
    assert rows[FIGURE].value == 1
    # Repetitions alone tell neither templates nor both causes; with the network's LID the latter.
    assert rows[BASELINE].value == pytest.approx(0.6)
    assert rows[NETWORK_BASELINE].value == pytest.approx(0.8)
    assert not rows[BASELINE].short and not rows[NETWORK_BASELINE].short


def test_groups_count_alike_and_captions_are_the_clusters() -> None:
    cases = [case(group, 10 * n + i) for n, group in enumerate(TRUTHS) for i in range(4)]
    # One caption is copied by three networks: two of its answers are wrong, in a group of five.
    cases += [case(UNIQUE, 99, right=i > 1, network=f"small-{i}") for i in range(3)]
    rows = {row.figure: row for row in accuracy_rows(cases, complete=True)}
    assert rows[f"of these, {UNIQUE}"].value == pytest.approx((4 + 1 / 3) / 5)
    assert rows[FIGURE].value == pytest.approx((4 + (4 + 1 / 3) / 5) / 5)
    assert rows[FIGURE].low < rows[FIGURE].value < rows[FIGURE].high
    assert not rows[FIGURE].short
    assert rows["of these, copies by small-0"].value == 0
    assert rows["cause without a training set: not identifiable"].value == 1


@pytest.mark.parametrize("missing", list(TRUTHS))
def test_without_a_group_or_with_work_left_there_is_no_value(missing: str) -> None:
    cases = [case(group, n) for n, group in enumerate(TRUTHS)]
    assert accuracy_rows(cases, complete=True)[0].value == 1
    assert math.isnan(accuracy_rows(cases, complete=False)[0].value)
    left = [each for each in cases if each.group != missing]
    first = accuracy_rows(left, complete=True)[0]
    assert math.isnan(first.value)
    assert first.short
    assert all(row.value != 0 for row in accuracy_rows([], complete=False))


@pytest.mark.parametrize("group", list(TRUTHS))
def test_each_wrong_answer_costs_its_group_alone(group: str) -> None:
    cases = [case(name, n, right=name != group) for n, name in enumerate(TRUTHS)]
    assert accuracy_rows(cases, complete=True)[0].value == pytest.approx(0.8)


def test_clustered_balanced_accuracy_of_one_group_is_the_mean_of_its_clusters() -> None:
    right = torch.tensor([True, True, False, True])
    interval = clustered_balanced_accuracy(right, ["a"] * 4, ["x", "y", "y", "y"])
    expected = mean_share_interval(torch.tensor([1.0, 2 / 3]))
    for value, other in zip(
        (interval.value, interval.low, interval.high),
        (expected.value, expected.low, expected.high),
        strict=True,
    ):
        assert value == pytest.approx(other)
    assert math.isnan(clustered_balanced_accuracy(right[:0], [], []).value)


@pytest.fixture(scope="module")
def inspection(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    """Return the inspection of a tiny build with the first denoiser and the smallest set."""
    work = tmp_path_factory.mktemp("build") / "second"
    return tiny_inspection(CONFIG, COUNTS, BUILT, work)


def test_captions_are_of_the_training_set_of_each_network(inspection: Inspection) -> None:
    captions = inspection.shop.tables.captions
    whole = caption_groups(inspection, "denoiser-0", 100)
    assert set(whole) <= {EXACT, NEAR, TEMPLATE, UNIQUE}
    assert set(captions.copies[whole[UNIQUE]]) == {1}
    assert set(captions.repeated[whole[EXACT]]) == {"yes"}
    assert set(captions.role[whole[NEAR]]) == {"near"}
    small = caption_groups(inspection, "small-100", 100)
    assert set(small) == {UNIQUE}
    assert set(captions.group[small[UNIQUE]]) == {"small"}
    doubled = caption_groups(inspection, "small-duplicates", 100)
    assert (captions.small_copies[doubled[SMALL]] > 1).all()
    assert (captions.small_copies[doubled[UNIQUE]] == 1).all()
    limited = caption_groups(inspection, "denoiser-0", 2)
    for numbers in limited.values():
        assert captions.split[numbers].value_counts().max() <= 2
    assert len(limited[EXACT]) < len(whole[EXACT])
    references = [int(number) for number in reference_captions(inspection, 5)]
    assert set(captions.split[references]) == {"calibration"}
    assert not set(references) & {n for part in (*whole.values(), *doubled.values()) for n in part}


@pytest.mark.parametrize("stage", ["denoiser-0", "small-100", "small-duplicates", "small-all"])
def test_a_networks_training_set_finds_its_own_images_with_their_copies(
    inspection: Inspection, stage: str
) -> None:
    [*inspection.negatives.run()]
    training_set = network_training_set(inspection, stage)
    assert training_set.training is not None
    assert training_set.thresholds is not None
    tables = inspection.shop.tables
    small = tables.captions[tables.captions.group == "small"]
    expected = {
        "denoiser-0": int(tables.rows.copies[:300].sum()),
        "small-100": min(100, len(small)),
        "small-duplicates": int(small.small_copies[small.small_rank < 400].sum()),
        # Near-duplicates are no distinct images.
        "small-all": int((tables.rows["transform"][:300] == "").sum()) + len(small),
    }
    assert training_set.index.multiplicity.sum() == expected[stage]
    last = len(training_set.index) - 1
    images = torch.stack([training_set.image(row) for row in (0, last)])
    evidence = copy_evidence(
        images.float() / 255, training_set.embedder, training_set.training, training_set.thresholds
    )
    assert evidence.distance.tolist() == [0, 0]


def test_networks_are_measured_once_and_missing_ones_named(inspection: Inspection) -> None:
    causes = NetworkCauses(inspection, CauseCounts(captions=1, seeds=2, references=1))
    assert causes.networks == ("denoiser-0", "small-100")
    assert list(causes.measurements()) == []
    assert causes.calibration() is None
    assert math.isnan(causes.rows()[0].value)
    for measurement in inspection.calibrations():
        [*measurement.run()]
    measurements = list(causes.measurements())
    assert len(measurements) == 4
    for measurement in measurements:
        [*measurement.run()]
        assert measurement.complete
    again = NetworkCauses(inspection, CauseCounts(captions=1, seeds=2, references=1))
    assert all(measurement.complete for measurement in again.measurements())
    references = causes.references("small-100").table()
    assert len(references) == 2
    assert references.lid.notna().all()
    *_, networks = again.rows()
    assert networks.figure == (
        "networks of known cause (missing: small-400, small-1600, small-all, small-duplicates)"
    )
    assert (networks.value, networks.bar) == (2, len(STAGES))
    assert networks.short
    assert again.rows()[0].short


def test_the_evidence_of_a_copy_is_kept_as_it_was(inspection: Inspection) -> None:
    causes = NetworkCauses(inspection, CauseCounts(captions=1, seeds=2, references=1))
    for measurement in inspection.calibrations():
        [*measurement.run()]
    for measurement in causes.measurements():
        [*measurement.run()]
    measurement = causes.copies("small-100")
    path: Path = measurement.folder / f"{measurement.items[0]}.json"
    [record] = json.loads(path.read_text())
    copied = case(UNIQUE, int(measurement.items[0])).case
    path.write_text(json.dumps([record | {"copied": True, **kept_evidence(copied)}]))
    split = str(inspection.shop.tables.captions.split[int(measurement.items[0])])
    [read] = causes.cases(split)
    assert (read.network, read.group) == ("small-100", UNIQUE)
    assert read.case.data == copied.data
    assert read.case.truth == copied.truth
    assert read.case.model.lid == copied.model.lid
    # Elsewhere is the network's own figure on reference prompts.
    lids = causes.references("small-100").table().lid
    assert read.case.model.elsewhere.value == pytest.approx(lids.mean())
    calibration = NetworkCauses(inspection, causes.counts).calibration()
    assert (calibration is not None) == (split == "calibration")
