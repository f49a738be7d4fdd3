"""The cause of memorization from images whose freedom is known by construction."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor

from mmh_core.memorization.cause import (
    DataFreedom,
    balanced_accuracy,
    cause_by_copies,
    cause_of,
    data_freedom,
    fitted_threshold,
)
from mmh_core.retrieval.embedders import Embedder
from mmh_core.retrieval.index import Index
from mmh_core.studies.images.verdict import cause_in
from mmh_core.subject.copies import ImageCopyEvidence
from mmh_core.subject.training_set import TrainingSet


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def varying(count: int, directions: int, seed: int = 0) -> Tensor:
    """Return images that differ from one in so many orthogonal directions, equally widely."""
    axes = torch.linalg.qr(torch.randn(3 * 16 * 16, directions, generator=seeded(7))).Q
    weights = torch.rand(count, directions, generator=seeded(seed)) - 0.5
    return (0.5 + (8 * weights @ axes.T).reshape(count, 3, 16, 16)).clamp(0, 1)


@pytest.mark.parametrize("directions", [1, 2, 5])
def test_the_freedom_is_the_number_of_directions(directions: int) -> None:
    both = varying(60, directions)
    found = data_freedom(both[:40], both[40:])
    assert found.lid == directions
    # In one direction some of 60 points lie within the tolerance of another.
    assert 8 <= found.distinct <= 60 and 0 < found.unseen <= 20


def test_one_image_however_often_has_none() -> None:
    one = varying(1, 2)
    noisy = one + 0.005 * torch.randn(5, 3, 16, 16, generator=seeded())
    assert data_freedom(torch.cat([one, noisy]), one[:0]) == DataFreedom(0.0, 1, 0)


def test_few_trained_images_alone_say_nothing() -> None:
    three = varying(3, 5)
    assert math.isnan(data_freedom(three, None).lid)
    assert math.isnan(data_freedom(three[:0], three[:0]).lid)
    # With unseen images of the caption the freedom shows.
    assert data_freedom(three, varying(20, 5, seed=1)).lid == 5
    assert data_freedom(varying(30, 2), None).lid == 2


def test_the_cause_follows_the_threshold_and_says_why() -> None:
    wide, none = DataFreedom(7.0, 8, 6), DataFreedom(0.0, 1, 0)
    over = cause_of(True, 0.04, wide, 4.0)
    assert over.label == "OD-Mem"
    assert "8 different images of this caption vary in 7 dimensions" in over.reason
    data = cause_of(True, -0.02, none, 4.0)
    assert data.label == "DD-Mem" and "the model in 0.0" in data.reason
    assert cause_of(True, 0.0, DataFreedom(2.0, 40, 0), 4.0).label == "DD-Mem"
    assert cause_of(True, 0.0, DataFreedom(math.nan, 2, 0), 4.0).label == "not identifiable"
    assert cause_of(False, 20.0, wide, 4.0).label == "not memorized"


def test_the_threshold_lies_in_the_widest_gap_of_the_best() -> None:
    lids = torch.tensor([0.0, 0.0, 2.0, 3.0, 7.0, 8.0])
    over = torch.tensor([False, False, False, False, True, True])
    assert fitted_threshold(lids, over) == 5.0
    # One below the others cannot be helped; two of three and three of three are right.
    mixed = torch.tensor([False, False, True, False, True, True])
    found = fitted_threshold(lids, mixed)
    assert float(balanced_accuracy(lids > found, mixed)) == pytest.approx(5 / 6)
    with pytest.raises(ValueError, match="needs overfitted captions"):
        fitted_threshold(lids, torch.ones(6, dtype=torch.bool))


def test_the_confidence_is_that_of_the_calibration() -> None:
    wide = DataFreedom(7.0, 8, 6)
    assert cause_of(True, 0.0, wide, 4.0, 0.95).confidence == 0.95
    assert cause_of(True, 0.0, DataFreedom(0.0, 1, 0), 4.0, 0.95).confidence == 0.95
    assert math.isnan(cause_of(False, 0.0, wide, 4.0, 0.95).confidence)


@pytest.mark.parametrize("model", [math.nan, math.inf, -math.inf])
def test_without_the_models_lid_no_cause_is_told(model: float) -> None:
    for freedom in (DataFreedom(7.0, 8, 6), DataFreedom(0.0, 1, 0)):
        assert cause_of(True, model, freedom, 4.0).label == "not identifiable"


@pytest.mark.parametrize(
    ("model", "data", "label"),
    [
        # The data's freedom is 8, a quarter of which is the margin: overfitting is below 6.
        (5.9, 8.0, "OD-Mem"),
        (6.1, 8.0, "not identifiable"),
        (8.0, 8.0, "not identifiable"),
        (30.0, 8.0, "not identifiable"),
        (0.0, 8.0, "OD-Mem"),
        # Without freedom in the data the model may not have it either (threshold 4).
        (0.0, 0.0, "DD-Mem"),
        (2.1, 2.0, "DD-Mem"),
        (4.0, 0.0, "DD-Mem"),
        (4.1, 0.0, "not identifiable"),
        (28.0, 2.0, "not identifiable"),
    ],
)
def test_the_models_lid_decides_with_that_of_the_data(
    model: float, data: float, label: str
) -> None:
    found = cause_of(True, model, DataFreedom(data, 8, 6), 4.0, 0.9)
    assert found.label == label
    assert math.isnan(found.confidence) == (label == "not identifiable")


@pytest.mark.parametrize(("copies", "near"), [(1, 0), (1, 1), (1, 3), (2, 0), (40, 0), (1200, 7)])
def test_copies_point_to_a_cause_and_do_not_tell_it(copies: int, near: int) -> None:
    # An overfitted image of the embedded world stands 120 times in its training set.
    found = cause_by_copies(copies, near)
    assert found.label == "not identifiable" and math.isnan(found.confidence)
    assert ("stands once" in found.reason) == (copies == 1)
    assert "1 times" not in found.reason and "LID 0" not in found.reason
    assert ("point to the data (DD-Mem)" in found.reason) == (copies > 1)
    assert ("near duplicate" in found.reason) == (near > 0)
    assert ("near duplicates" in found.reason) == (near > 1)


def test_a_set_that_can_only_be_searched_says_where_its_duplicates_point() -> None:
    index = cast(Index, None)
    searched = TrainingSet("an index", index, cast(Embedder, None), lambda row: torch.empty(0))
    copy = ImageCopyEvidence("exact", "", 3, 0.9, math.nan, math.nan, 12, 0, math.nan, 0)
    found = cause_in(searched, "a cat", "exact copy", 0.1, copy)
    assert found is not None and found.label == "not identifiable" and "12 times" in found.reason
    single = cause_in(searched, "a cat", "exact copy", 0.1, replace(copy, copies=1))
    assert single is not None and single.label == "not identifiable"
    assert cause_in(searched, "a cat", "not memorized", 9.0, copy) is None
    assert cause_in(None, "a cat", "exact copy", 0.1, copy) is None
