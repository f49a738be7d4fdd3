"""The confidence of a cause: probabilities that are those of the cases, and nothing without."""

from __future__ import annotations

import math

import pytest
import torch

from mmh_core.memorization.cause import UNKNOWN, CauseLabel, ModelLids, TrainingNeighborhood
from mmh_core.memorization.cause_calibration import (
    FEATURES,
    CauseCalibration,
    CauseCase,
    calibrate_cause,
    features,
    judged_cause,
)
from mmh_core.statistics.agreement import reliability
from mmh_core.statistics.intervals import Interval

USUAL = Interval(10.0, 9.0, 11.0)


def case(truth: CauseLabel, copies: int, model: float, elsewhere: float) -> CauseCase:
    lid = Interval(0.0, 0.0, 0.0) if copies > 1 else Interval(10.0, 8.0, 12.0)
    return CauseCase(
        ModelLids(
            Interval(model, model - 0.5, model + 0.5),
            Interval(elsewhere, elsewhere - 1, elsewhere + 1),
        ),
        TrainingNeighborhood(copies, 0, lid, 1.0, USUAL),
        truth,
    )


def cases(count: int, seed: int = 0) -> list[CauseCase]:
    """Return cases of three causes, of which every tenth is labelled with another cause."""
    generator = torch.Generator().manual_seed(seed)
    made: list[CauseCase] = []
    labels: tuple[CauseLabel, ...] = ("OD-Mem", "DD-Mem", "both")
    for i in range(count):
        kind = i % 3
        noise = float(torch.rand(1, generator=generator))
        swapped = float(torch.rand(1, generator=generator)) < 0.1
        truth = labels[(kind + swapped) % 3]
        copies = 1 if kind == 0 else int(2 ** (1 + 6 * noise))
        made.append(case(truth, copies, 2 * noise, 3 + noise if kind == 2 else 13 + noise))
    return made


def test_the_confidence_is_calibrated_on_cases_that_it_was_not_fitted_on() -> None:
    calibration = calibrate_cause(cases(300))
    assert calibration.causes == ("OD-Mem", "DD-Mem", "both") and calibration.captions == 300
    assert calibration.accuracy == pytest.approx(0.9, abs=0.03)
    held_out = cases(600, seed=1)
    causes = [judged_cause(each.model, each.data, calibration) for each in held_out]
    right = torch.tensor([a.label == b.truth for a, b in zip(causes, held_out, strict=True)])
    confidence = torch.tensor([cause.confidence for cause in causes])
    bins, error = reliability(confidence, right)
    assert (
        error < 0.06
        and sum(each.right.low <= each.confidence <= each.right.high + 0.03 for each in bins) >= 4
    )
    assert float(confidence.mean()) == pytest.approx(0.9, abs=0.03)


def test_probabilities_are_those_of_a_penalized_regression() -> None:
    calibration = calibrate_cause(cases(90))
    assert calibration.weights is not None and calibration.weights.shape == (3, FEATURES + 1)
    rows = torch.stack([features(each.model, each.data) for each in cases(90)])
    design = torch.cat([rows, torch.ones(90, 1)], dim=1).double()
    names = ["OD-Mem", "DD-Mem", "both"]
    truth = torch.tensor([names.index(each.truth) for each in cases(90)])
    weights = calibration.weights.clone().requires_grad_()
    penalty = torch.tensor([1.0] * FEATURES + [0.01]).double()
    loss = torch.nn.functional.cross_entropy(design @ weights.T, truth, reduction="sum")
    (loss + (penalty * weights.square()).sum() / 2).backward()
    assert weights.grad is not None
    # The optimum of a convex loss: its slope is 0.
    torch.testing.assert_close(weights.grad, torch.zeros_like(weights), atol=1e-6, rtol=0)
    chances = [calibration.confidence(name, cases(3)[0].model, cases(3)[0].data) for name in names]
    assert sum(chances) == pytest.approx(1.0)


def test_one_cause_alone_gives_no_confidence() -> None:
    only = [each for each in cases(60) if each.truth == "DD-Mem"]
    calibration = calibrate_cause(only)
    assert calibration.weights is None and calibration.captions == len(only)
    assert math.isnan(judged_cause(only[0].model, only[0].data, calibration).confidence)
    with pytest.raises(ValueError, match="there are none"):
        calibrate_cause([])


def test_no_confidence_without_a_calibration_or_of_an_earlier_rule() -> None:
    first = cases(1)[0]
    for calibration in (None, CauseCalibration(0.9, 36)):
        cause = judged_cause(first.model, first.data, calibration)
        assert cause.label == "OD-Mem" and math.isnan(cause.confidence)
    assert judged_cause(first.model, None, calibrate_cause(cases(60))).label == "not identifiable"


def test_what_is_unknown_is_no_evidence() -> None:
    blank = TrainingNeighborhood(1, 0, UNKNOWN, 1.0, UNKNOWN)
    assert torch.equal(features(ModelLids(UNKNOWN), blank), torch.zeros(4).double())
    many = features(ModelLids(UNKNOWN), TrainingNeighborhood(10**9, 0, UNKNOWN, 1.0, UNKNOWN))
    assert many.tolist() == [4.0, 0.0, 0.0, 0.0]
