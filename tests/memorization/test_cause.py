"""The cause of memorization, from intervals of known place."""

from __future__ import annotations

import math

import pytest

from mmh_core.memorization.cause import (
    CAUSES,
    UNKNOWN,
    Cause,
    ModelLids,
    TrainingNeighborhood,
    cause_of,
    cause_words,
    clearly_below,
    true_cause,
)
from mmh_core.records import LabelledPrompt
from mmh_core.statistics.intervals import Interval

USUAL = Interval(10.0, 9.0, 11.0)
#: A model that is as free as the data on reference prompts, and one that has lost all freedom.
FREE, LOST = Interval(14.0, 12.0, 16.0), Interval(2.0, 1.5, 2.5)


def about(value: float, half: float = 0.5) -> Interval:
    return Interval(value, value - half, value + half)


def data(
    copies: int = 1, near: int = 0, lid: Interval | None = None, usual_multiplicity: float = 1.0
) -> TrainingNeighborhood:
    there = TrainingNeighborhood(copies, near, UNKNOWN, usual_multiplicity, USUAL)
    if lid is None:
        lid = Interval(0.0, 0.0, 0.0) if there.repeated else about(10.0, 2.0)
    return TrainingNeighborhood(copies, near, lid, usual_multiplicity, USUAL)


@pytest.mark.parametrize(
    ("model", "elsewhere", "training", "label"),
    [
        # A point mass is the data's, unless the model has lost freedom elsewhere as well.
        (0.0, FREE, data(copies=2), "DD-Mem"),
        (0.0, FREE, data(copies=128), "DD-Mem"),
        (6.0, FREE, data(copies=64), "DD-Mem"),
        (0.0, UNKNOWN, data(copies=64), "DD-Mem"),
        (0.0, LOST, data(copies=32), "both"),
        (0.0, about(8.0, 0.1), data(copies=32), "DD-Mem"),
        # Near-duplicates are the image itself, once there are some.
        (0.0, FREE, data(near=3), "DD-Mem"),
        (0.0, FREE, data(near=63), "DD-Mem"),
        (0.0, LOST, data(near=15), "both"),
        # Images of one layout leave few dimensions.
        (1.0, FREE, data(lid=about(1.0)), "DD-Mem"),
        (0.0, FREE, data(lid=Interval(2.0, 1.2, 3.2)), "DD-Mem"),
        (0.0, LOST, data(lid=about(1.0)), "both"),
        # What stands once is overfitted where the model has clearly less freedom than the data.
        (0.0, FREE, data(), "OD-Mem"),
        (0.0, LOST, data(), "OD-Mem"),
        (7.0, FREE, data(), "OD-Mem"),
        (0.0, LOST, data(near=1), "OD-Mem"),
        (7.6, FREE, data(), "not identifiable"),
        (10.0, FREE, data(), "not identifiable"),
        # Twice is nothing where every image stands twice.
        (0.0, FREE, data(copies=2, usual_multiplicity=2.0), "OD-Mem"),
        (0.0, FREE, data(copies=4, usual_multiplicity=2.0), "DD-Mem"),
        # A model that is freer than the data usually is supports no cause.
        (40.0, FREE, data(copies=64), "not identifiable"),
        (40.0, FREE, data(), "not identifiable"),
        # Nothing to compare.
        (math.nan, FREE, data(copies=64), "not identifiable"),
        (math.inf, FREE, data(), "not identifiable"),
        (0.0, FREE, data(lid=UNKNOWN), "not identifiable"),
        (0.0, FREE, None, "not identifiable"),
    ],
)
def test_the_cause_follows_the_training_set_and_the_model(
    model: float, elsewhere: Interval, training: TrainingNeighborhood | None, label: str
) -> None:
    cause = cause_of(ModelLids(about(model), elsewhere), training)
    assert cause.label == label
    assert math.isnan(cause.confidence)
    assert "nan" not in cause.reason and "1 times" not in cause.reason
    assert cause.reason.endswith(".")


def test_overlapping_intervals_decide_nothing() -> None:
    wide = Interval(4.0, 0.0, 8.5)
    assert cause_of(ModelLids(wide), data()).label == "not identifiable"
    assert cause_of(ModelLids(Interval(4.0, 3.0, 5.0)), data()).label == "OD-Mem"
    # An estimate without an interval is taken as it is.
    assert cause_of(ModelLids(Interval(4.0, math.nan, math.nan)), data()).label == "OD-Mem"


def test_a_reason_says_how_often_the_training_image_stands_there() -> None:
    model = ModelLids(about(0.0), FREE)
    assert "stands once in the training set." in cause_of(model, data()).reason
    assert "12 times in the training set." in cause_of(model, data(copies=12)).reason
    assert (
        "once in the training set, beside 1 near-duplicate" in cause_of(model, data(1, 1)).reason
    )
    reason = cause_of(model, data(1, 15)).reason
    assert "beside 15 near-duplicates" in reason and "Removing the duplicates would" in reason
    both = cause_of(ModelLids(about(0.0), LOST), data(32)).reason
    assert "on reference prompts it has 2.0 dimensions" in both and "alone would not be" in both
    unmeasured = cause_of(ModelLids(about(0.0)), data(32)).reason
    assert "unknown without reference prompts" in unmeasured
    assert "usually stand there 2 times" in cause_of(model, data(2, 0, None, 2.0)).reason


@pytest.mark.parametrize("value", [0.0, 0.4, 3.0, 20.0])
def test_nothing_is_below_a_point_mass_or_the_unknown(value: float) -> None:
    assert not clearly_below(about(value), Interval(0.0, 0.0, 0.0))
    assert not clearly_below(about(value), UNKNOWN) and not clearly_below(UNKNOWN, about(value))


@pytest.mark.parametrize(
    ("cause", "overfitted", "true"),
    [
        ("", None, None),
        ("", True, "OD-Mem"),
        ("", False, "DD-Mem"),
        ("both", None, "both"),
        ("DD-Mem", True, "DD-Mem"),
    ],
)
def test_a_prompt_has_a_cause_or_that_of_an_older_file(
    cause: str, overfitted: bool | None, true: str | None
) -> None:
    assert true_cause(LabelledPrompt("p", True, "k", "test", overfitted, cause=cause)) == true


def test_a_label_that_is_no_cause_is_refused() -> None:
    with pytest.raises(ValueError, match="is no cause"):
        true_cause(LabelledPrompt("p", True, "k", "test", cause="the moon"))


def test_the_sentence_has_the_confidence_where_there_is_one() -> None:
    assert Cause("DD-Mem", "Why.").sentence == "Why."
    assert Cause("DD-Mem", "Why.", 0.87).sentence == "Why. Confidence in this cause: 87%."
    assert "more than 99%" in Cause("DD-Mem", "Why.", 0.999).sentence


def test_every_cause_has_plain_words() -> None:
    assert cause_words("both") == "the training data and overfitting (DD-Mem and OD-Mem)"
    assert set(CAUSES) == {"OD-Mem", "DD-Mem", "both"}
