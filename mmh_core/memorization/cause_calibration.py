"""The confidence of a cause, calibrated on images whose cause is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.memorization.cause import (
    CAUSES,
    Cause,
    CauseLabel,
    ModelLids,
    TrainingNeighborhood,
    cause_of,
)
from mmh_core.statistics.agreement import balanced_accuracy_interval

#: Cases of a cause from which its probability is calibrated.
FEWEST_CASES = 5
#: Strength of the penalty on weights, as a multiple of a unit normal prior: few cases must not
#: make any answer certain.
_PENALTY = 1.0
#: Numbers of `features`.
FEATURES = 4
#: Copies beyond 2 to the power of this say no more.
_DOUBLINGS = 8.0


@dataclass(frozen=True)
class CauseCase:
    """The evidence on one memorized image, and the cause that is true of it."""

    model: ModelLids
    data: TrainingNeighborhood
    truth: CauseLabel


@dataclass(frozen=True)
class CauseCalibration:
    """A multinomial logistic regression of the cause on the evidence of `cause_of`.

    `weights` (C, F + 1), the bias last, give the log odds of the C `causes` that had cases; None
    where fewer than two had. `accuracy` is the balanced one of the rule on these cases, `captions`
    their number.
    """

    accuracy: float
    captions: int
    causes: tuple[str, ...] = ()
    weights: Tensor | None = None

    def confidence(self, label: str, model: ModelLids, data: TrainingNeighborhood) -> float:
        """Return the probability of a cause, NaN without weights and for one without cases."""
        if self.weights is None or label not in self.causes:
            return math.nan
        row = torch.cat([features(model, data), torch.ones(1, dtype=torch.float64)])
        chances = (self.weights.double() @ row).softmax(0)
        return float(chances[self.causes.index(label)])


def judged_cause(
    model: ModelLids, data: TrainingNeighborhood | None, calibration: CauseCalibration | None
) -> Cause:
    """Return the cause by the rule, with its calibrated confidence where there is one."""
    cause = cause_of(model, data)
    if data is None or calibration is None:
        return cause
    return replace(cause, confidence=calibration.confidence(cause.label, model, data))


def features(model: ModelLids, data: TrainingNeighborhood) -> Tensor:
    """Return the evidence as numbers (4,) of comparable size.

    Doublings of the image in the training set; how far the data's LID, the model's LID here (below
    that of the data) and the model's LID elsewhere are below the usual data LID, as shares of it.
    What is unknown is 0.
    """
    usual = data.usual.value if data.usual.value > 0 else math.nan
    doublings = math.log2(max(1.0, data.repetitions / data.usual_multiplicity))
    shortfalls = (
        (usual - data.lid.value) / usual,
        (data.lid.value - model.lid.value) / usual,
        (usual - model.elsewhere.value) / usual,
    )
    values = [min(doublings, _DOUBLINGS) / 2, *(2 * value for value in shortfalls)]
    return torch.tensor(values, dtype=torch.float64).nan_to_num(0.0).clamp(-4, 4)


def calibrate_cause(cases: Sequence[CauseCase]) -> CauseCalibration:
    """Return the calibration by these cases.

    A cause with fewer than five cases gets no probability, and without two causes there is none.
    Errors: ValueError without any case.
    """
    if not cases:
        raise ValueError("A cause is calibrated on images of known cause, and there are none.")
    right = torch.tensor([cause_of(case.model, case.data).label == case.truth for case in cases])
    truths = [case.truth for case in cases]
    accuracy = balanced_accuracy_interval(right, truths).value
    causes = tuple(cause for cause in CAUSES if truths.count(cause) >= FEWEST_CASES)
    weights = None
    if len(causes) > 1:
        fitting = [case for case in cases if case.truth in causes]
        rows = torch.stack([features(case.model, case.data) for case in fitting])
        weights = _fitted(rows, torch.tensor([causes.index(case.truth) for case in fitting]))
    return CauseCalibration(accuracy, len(cases), causes, weights)


def _fitted(rows: Tensor, classes: Tensor) -> Tensor:
    """Return the weights (C, F + 1) of the penalized regression, by Newton's method.

    The objective is convex: the log likelihood with a normal prior on weights and, tenfold wider,
    on the biases.
    """
    design = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], dim=1)
    count, width = int(classes.max()) + 1, design.shape[1]
    penalty = torch.full((width,), _PENALTY, dtype=torch.float64)
    penalty[-1] = _PENALTY / 100
    truth = torch.nn.functional.one_hot(classes, count).double()
    weights = torch.zeros(count, width, dtype=torch.float64)
    for _ in range(50):
        chances = (design @ weights.T).softmax(1)
        slope = (chances - truth).T @ design + penalty * weights
        spread = torch.diag_embed(chances) - chances[:, :, None] * chances[:, None, :]
        curvature = torch.einsum("nab,ni,nj->aibj", spread, design, design)
        full = curvature.reshape(count * width, -1) + torch.diag(penalty.repeat(count))
        step = torch.linalg.solve(full, slope.flatten()).reshape(count, width)
        # A long step may overshoot far from the optimum.
        weights = weights - step / max(1.0, float(step.norm()) / 5)
        if float(step.norm()) < 1e-9:
            break
    return weights
