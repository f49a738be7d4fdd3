"""Tables of the records: which number stands in which row."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch

from mmh_core.records import (
    LidEstimate,
    ManifoldSamples,
    MMHError,
    Progress,
)


def test_an_estimate_has_one_row_per_point() -> None:
    estimate = LidEstimate(torch.tensor([1.5, 0.0]), torch.tensor([0.25, torch.nan]), 9.0)
    expected = pd.DataFrame({"lid": [1.5, 0.0], "standard_error": [0.25, float("nan")]})
    pd.testing.assert_frame_equal(estimate.frame(), expected.astype("float32"))
    seen = dataclasses.replace(estimate, asymmetry=torch.tensor([0.5, 0.125]))
    pd.testing.assert_frame_equal(
        seen.frame(), expected.assign(asymmetry=[0.5, 0.125]).astype("float32")
    )


def test_a_table_needs_no_gradients() -> None:
    lid = torch.tensor([2.0], requires_grad=True)
    assert LidEstimate(lid, lid * 0, 1.0).frame()["lid"].tolist() == [2.0]


def test_samples_have_the_shape_of_their_points() -> None:
    samples = ManifoldSamples(
        "two",
        torch.arange(8.0).reshape(2, 1, 2, 2),
        torch.tensor([1.0, 2.0]),
        torch.tensor([1, 0]),
        ("disc", "stick"),
    )
    assert (samples.shape, samples.ambient_dim) == ((1, 2, 2), 4)


def test_records_are_frozen_and_the_error_is_its_sentence() -> None:
    progress = Progress(0.5, "half", partial=3)
    for field in dataclasses.fields(progress):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(progress, field.name, None)
    assert str(MMHError("Choose another folder.")) == "Choose another folder."
