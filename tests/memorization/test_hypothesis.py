"""The rule of the hypothesis, case by case at its thresholds, and its reasons in words."""

from __future__ import annotations

import math

import pytest
import torch

from mmh_core.memorization.hypothesis import (
    EXACT_BELOW,
    MEMORIZED,
    VERDICTS,
    VerdictLabel,
    explain,
    margin,
    shown_lid,
    verdicts,
)

NAN = math.nan

#: Model LID, data LID, typical LID and the verdict of a model that fits. All thresholds used here
#: are sums of powers of two, so float32 meets them exactly; each is a strict "less".
CASES: list[tuple[float, float, float, VerdictLabel]] = [
    # At the typical LID: below it by more than half a dimension is overfitting.
    (2.0, 2.0, 2.0, "not memorized"),
    (3.0, 2.0, 2.0, "not memorized"),
    (1.5, 2.0, 2.0, "not memorized"),
    (1.4375, 2.0, 2.0, "OD-Mem"),
    (0.5, 2.0, 2.0, "OD-Mem"),
    (0.4375, 2.0, 2.0, "OD-Mem, exact"),
    (0.0, 1.0, 1.0, "OD-Mem, exact"),
    (0.5, 1.0, 1.0, "not memorized"),
    (-20.0, 2.0, 2.0, "OD-Mem, exact"),
    # Below the typical LID: the data's own poverty, while the model still has what the data has.
    (1.0, 1.0, 2.0, "DD-Mem"),
    (0.5, 1.0, 2.0, "DD-Mem"),
    (0.4375, 1.0, 2.0, "OD-Mem, exact"),
    (1.4375, 1.4375, 2.0, "DD-Mem"),
    (1.4375, 1.5, 2.0, "not memorized"),
    (1.5, 1.4375, 2.0, "not memorized"),
    (2.0, 1.0, 2.0, "not memorized"),
    (0.0, 0.0, 2.0, "DD-Mem, exact"),
    (0.4375, 0.0, 2.0, "DD-Mem, exact"),
    (0.5, 0.0, 2.0, "DD-Mem"),
    (1.4375, 0.0, 2.0, "DD-Mem"),
    (1.5, 0.0, 2.0, "not memorized"),
    # Above the typical LID: what the model lost there is lost, however much is left.
    (2.0, 4.0, 2.0, "OD-Mem"),
    (3.0, 4.0, 2.0, "not memorized"),
    # Copies that are themselves the rule are copies all the same.
    (0.0, 0.0, 0.0, "DD-Mem, exact"),
    (0.4375, 0.4375, 0.0, "DD-Mem, exact"),
    (0.5, 0.0, 0.0, "not memorized"),
    (1.0, 1.0, 0.0, "not memorized"),
    (0.0, 1.0, 0.0, "OD-Mem, exact"),
    # In tens of dimensions a quarter of the value is the margin.
    (30.0, 40.0, 40.0, "not memorized"),
    (29.5, 40.0, 40.0, "OD-Mem"),
    (29.5, 29.5, 40.0, "DD-Mem"),
    (21.5, 28.0, 40.0, "DD-Mem"),
    (21.0, 28.0, 40.0, "DD-Mem"),
    (20.5, 28.0, 40.0, "OD-Mem"),
    # Unknown data LID: only the model's own poverty can be seen.
    (1.5, NAN, 2.0, "not memorized"),
    (1.4375, NAN, 2.0, "memorized, cause not identifiable"),
    (0.0, NAN, 2.0, "memorized, cause not identifiable"),
    (0.4375, NAN, 0.5, "memorized, cause not identifiable"),
    (0.5, NAN, NAN, "not memorized"),
    (0.4375, NAN, NAN, "memorized, cause not identifiable"),
    # Unknown typical LID: overfitting and copies need none.
    (1.0, 2.0, NAN, "OD-Mem"),
    (0.0, 0.0, NAN, "DD-Mem, exact"),
    (1.0, 1.0, NAN, "not memorized"),
    # A model LID that is no number says nothing.
    (NAN, 2.0, 2.0, "fit too poor to say"),
    (NAN, NAN, NAN, "fit too poor to say"),
    (math.inf, 2.0, 2.0, "not memorized"),
    (-math.inf, 2.0, 2.0, "OD-Mem, exact"),
]


def test_a_quarter_counts_as_less_but_at_least_half_a_dimension() -> None:
    lid = torch.tensor([-8.0, 0.0, 1.0, 2.0, 4.0, 40.0])
    assert margin(lid).tolist() == [0.5, 0.5, 0.5, 0.5, 1.0, 10.0]
    assert margin(lid, relative=0.5).tolist() == [0.5, 0.5, 0.5, 1.0, 2.0, 20.0]
    assert bool(margin(torch.tensor([NAN])).isnan())


def label_of(model: float, data: float, typical: float, *, fits: bool) -> VerdictLabel:
    """Return the verdict of one point."""
    lids = torch.tensor([model]), torch.tensor([data])
    return VERDICTS[int(verdicts(*lids, typical_lid=typical, fits=fits)[0])]


@pytest.mark.parametrize(("model", "data", "typical", "label"), CASES)
def test_the_rule(model: float, data: float, typical: float, label: VerdictLabel) -> None:
    assert label_of(model, data, typical, fits=True) == label


@pytest.mark.parametrize(("model", "data", "typical", "label"), CASES)
def test_no_verdict_passes_a_closed_gate(
    model: float, data: float, typical: float, label: VerdictLabel
) -> None:
    assert label_of(model, data, typical, fits=False) == "fit too poor to say"


def test_every_verdict_occurs_among_the_cases() -> None:
    assert {label for *_, label in CASES} == set(VERDICTS)


def test_many_points_are_judged_as_one_by_one() -> None:
    for typical in (2.0, 0.0, 40.0):
        rows = [case for case in CASES if case[2] == typical]
        codes = verdicts(
            torch.tensor([row[0] for row in rows]),
            torch.tensor([row[1] for row in rows]),
            typical_lid=typical,
            fits=True,
        )
        assert codes.dtype == torch.int8
        assert [VERDICTS[code] for code in codes.tolist()] == [row[3] for row in rows]


def test_the_gate_may_differ_from_point_to_point() -> None:
    codes = verdicts(
        torch.zeros(3), torch.ones(3), typical_lid=1.0, fits=torch.tensor([True, False, True])
    )
    assert [VERDICTS[code] for code in codes.tolist()] == [
        "OD-Mem, exact",
        "fit too poor to say",
        "OD-Mem, exact",
    ]


def test_less_freedom_is_never_less_memorized() -> None:
    """Lowering the model's LID turns no memorized point into one that is not."""
    model = torch.linspace(45, -5, 1_001)
    for data in (0.0, 0.3, 0.9, 1.0, 2.0, 7.0, 28.0, 40.0, NAN):
        for typical in (0.0, 1.0, 2.0, 10.0, 40.0, NAN):
            codes = verdicts(model, torch.full_like(model, data), typical_lid=typical, fits=True)
            memorized = (codes >= VERDICTS.index(MEMORIZED[0])).int()
            assert bool((memorized.diff() >= 0).all()), (data, typical)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"got \(3,\) and \(2,\)"):
        verdicts(torch.zeros(3), torch.zeros(2), typical_lid=1.0, fits=True)


def test_memorized_are_the_five_verdicts_that_say_so() -> None:
    said = {label: explain(label, 0.0, 1.0, 2.0).memorized for label in VERDICTS}
    assert said == {
        "fit too poor to say": False,
        "not memorized": False,
        "OD-Mem": True,
        "OD-Mem, exact": True,
        "DD-Mem": True,
        "DD-Mem, exact": True,
        "memorized, cause not identifiable": True,
    }
    assert EXACT_BELOW == 0.5


@pytest.mark.parametrize(
    ("label", "held"),
    [
        ("not memorized", ("1.23 dimensions", "4.57 dimensions")),
        ("OD-Mem", ("1.23 dimensions", "4.57 dimensions", "overfitted")),
        ("OD-Mem, exact", ("4.57 dimensions", "overfitted")),
        ("DD-Mem", ("1.23 dimensions", "4.57 dimensions", "8.91 dimensions", "other data")),
        ("DD-Mem, exact", ("repeats", "other data")),
        ("memorized, cause not identifiable", ("1.23 dimensions", "not identifiable")),
        ("fit too poor to say", ("baselines",)),
    ],
)
def test_a_reason_holds_the_numbers(label: VerdictLabel, held: tuple[str, ...]) -> None:
    reason = explain(label, 1.234, 4.567, 8.911).reason
    assert all(part in reason for part in held), reason
    assert reason.endswith(".") and "nan" not in reason


def test_reasons_speak_of_one_dimension_and_of_unknown_ones() -> None:
    assert (
        "has 1 dimension here, the data 2 dimensions." in explain("not memorized", 1, 2, 2).reason
    )
    assert explain("not memorized", 3.0, NAN, 2.0).reason.endswith("has 3 dimensions here.")
    assert "nan" not in explain("DD-Mem", 1.0, 1.0, NAN).reason
    # 0.9996 reads as 1 at three digits, and so is followed by the singular.
    assert "1 dimension here," in explain("not memorized", 0.9996, 2.0, 2.0).reason


def test_codes_stand_on_the_device_of_the_input() -> None:
    # A device that holds no numbers: any step through the processor would raise.
    lids = torch.zeros(3, device="meta")
    codes = verdicts(lids, lids, typical_lid=1.0, fits=True)
    assert codes.device.type == "meta" and codes.dtype == torch.int8 and codes.shape == (3,)


def test_no_sentence_speaks_of_negative_dimensions() -> None:
    for label in VERDICTS:
        assert "-" not in explain(label, -20.0, -0.04, -3.0).reason.replace("over-", "")


@pytest.mark.parametrize("lid", [-0.0, 0.0, -1e-9, -0.04, -0.99 * EXACT_BELOW])
def test_a_shown_lid_just_below_zero_is_zero_without_a_sign(lid: float) -> None:
    assert f"{shown_lid(lid):.1f}" == "0.0"


@pytest.mark.parametrize("lid", [-EXACT_BELOW, -7.0, 0.2, 30.0])
def test_other_lids_are_shown_as_they_are(lid: float) -> None:
    assert shown_lid(lid) == lid
