"""Tables of the records: which number stands in which row."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch

from mmh_core.records import (
    LidCurve,
    LidEstimate,
    ManifoldSamples,
    MMHError,
    Plateau,
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


def test_a_curve_has_one_row_per_point_and_scale() -> None:
    curve = LidCurve(
        torch.tensor([-2.0, -1.0, 0.0]),
        torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        torch.tensor([[0.5, 0.25, 0.125], [0.0, 1.0, 2.0]]),
        27.0,
    )
    table = curve.frame()
    assert table["point"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["log_delta"].tolist() == [-2.0, -1.0, 0.0, -2.0, -1.0, 0.0]
    assert table["lid"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert table["standard_error"].tolist() == [0.5, 0.25, 0.125, 0.0, 1.0, 2.0]


def test_a_plateau_has_one_row_per_point_with_its_status() -> None:
    found = Plateau(
        torch.tensor([1.0, 2.0]),
        torch.tensor([-3.0, -2.0]),
        torch.tensor([1.5, 0.0]),
        ("plateau", "no plateau"),
    )
    table = found.frame()
    assert table.iloc[0].tolist() == [1.0, -3.0, 1.5, "plateau"]
    assert table.iloc[1].tolist() == [2.0, -2.0, 0.0, "no plateau"]


def test_samples_know_their_shape_and_list_what_is_true_of_each_point() -> None:
    samples = ManifoldSamples(
        "two",
        torch.arange(8.0).reshape(2, 1, 2, 2),
        torch.tensor([1.0, 2.0]),
        torch.tensor([1, 0]),
        ("disc", "stick"),
    )
    assert (samples.shape, samples.ambient_dim) == ((1, 2, 2), 4)
    table = samples.frame()
    assert list(table.columns) == ["x0", "x1", "x2", "x3", "true_lid", "component"]
    assert table.iloc[1].tolist() == [4.0, 5.0, 6.0, 7.0, 2.0, "disc"]


def test_records_are_frozen_and_the_error_is_its_sentence() -> None:
    progress = Progress(0.5, "half", partial=3)
    for field in dataclasses.fields(progress):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(progress, field.name, None)
    assert str(MMHError("Choose another folder.")) == "Choose another folder."
