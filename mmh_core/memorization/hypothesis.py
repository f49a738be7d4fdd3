"""The manifold memorization hypothesis itself: model LID against data LID gives a verdict.

Ross et al. 2025 (arXiv 2411.00113), Section 3. A point is memorized where the model's local
intrinsic dimension is too small, and the reason is one of two:

- overfitting (OD-Mem): `LID_model < LID_*`, the model has fewer dimensions than the data there;
- the data (DD-Mem): `LID_model ~ LID_*`, but `LID_*` itself is small beside the rest of the data.

LID 0 is an exact copy, a small positive LID a copy of a template or a part. The LID of a
model that does not fit its data means nothing, so the gate of fit comes before every verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

VerdictLabel = Literal[
    "fit too poor to say",
    "not memorized",
    "OD-Mem",
    "OD-Mem, exact",
    "DD-Mem",
    "DD-Mem, exact",
    "memorized, cause not identifiable",
]
#: A verdict in an array is an index into this tuple.
VERDICTS: tuple[VerdictLabel, ...] = get_args(VerdictLabel)
MEMORIZED: tuple[VerdictLabel, ...] = VERDICTS[2:]

#: Below half a dimension there is no direction left.
EXACT_BELOW = 0.5


def margin(lid: Tensor, relative: float = 0.25) -> Tensor:
    """Return how far below `lid` counts as less: half a dimension, or a quarter of it if more.

    Half a dimension separates whole numbers; in tens of dimensions the estimators of both sides
    err by a share of the value instead.
    """
    return (relative * lid).clamp(min=0.5)


def verdicts(
    model_lid: Tensor, data_lid: Tensor, *, typical_lid: float, fits: bool | Tensor
) -> Tensor:
    """Return the verdict of each of B points as an index (B,) int8 into `VERDICTS`.

    `model_lid` and `data_lid` (B,), the latter NaN where nobody knows it. `typical_lid` is the LID
    that the data has as a rule (its median over the distinct training points): a point whose true
    LID is clearly below it has few dimensions in the data itself, and so has one that the data
    repeats exactly, whatever is typical. `fits` is the gate. Without a data LID a model LID
    clearly below the typical one is memorization whose cause is not identifiable; without either,
    only an exact copy can be called. Errors: ValueError where the two LIDs differ in shape.
    """
    if model_lid.shape != data_lid.shape:
        raise ValueError(
            f"model_lid and data_lid must have one shape, got {tuple(model_lid.shape)} and "
            f"{tuple(data_lid.shape)}."
        )
    typical = torch.full_like(model_lid, typical_lid)
    has_data_lid = ~data_lid.isnan()
    exact = model_lid < EXACT_BELOW
    low = model_lid < typical - margin(typical)
    overfit = has_data_lid & (model_lid < data_lid - margin(data_lid))
    poor = (data_lid < typical - margin(typical)) & (low | exact)
    repeated = (data_lid < EXACT_BELOW) & exact
    from_data = has_data_lid & ~overfit & (poor | repeated)
    codes = torch.full_like(model_lid, VERDICTS.index("not memorized"), dtype=torch.int8)
    codes = codes.masked_fill(overfit, VERDICTS.index("OD-Mem"))
    codes = codes.masked_fill(overfit & exact, VERDICTS.index("OD-Mem, exact"))
    codes = codes.masked_fill(from_data, VERDICTS.index("DD-Mem"))
    codes = codes.masked_fill(from_data & exact, VERDICTS.index("DD-Mem, exact"))
    codes = codes.masked_fill(
        ~has_data_lid & (low | exact), VERDICTS.index("memorized, cause not identifiable")
    )
    gate = torch.as_tensor(fits, device=model_lid.device).expand(model_lid.shape)
    gate = gate & ~model_lid.isnan()
    codes = codes.masked_fill(~gate, VERDICTS.index("fit too poor to say"))
    return codes


@dataclass(frozen=True)
class Verdict:
    """A verdict, with its reason in one sentence."""

    label: VerdictLabel
    reason: str

    @property
    def memorized(self) -> bool:
        """Return whether the verdict says that the point is memorized."""
        return self.label in MEMORIZED


def explain(label: VerdictLabel, model_lid: float, data_lid: float, typical_lid: float) -> Verdict:
    """Return a verdict with its reason."""
    model, data, typical = (_dimensions(v) for v in (model_lid, data_lid, typical_lid))
    reasons: dict[VerdictLabel, str] = {
        "fit too poor to say": "The model does not denoise its own training data better than "
        "simple baselines do, so its LID here has no meaning yet.",
        "not memorized": f"The model has {model} here"
        + ("." if math.isnan(data_lid) else f", the data {data}."),
        "OD-Mem": f"The data has {data} here, the model only {model}: it has "
        "overfitted and reproduces a part of its training data. More data or a better model would "
        "prevent it.",
        "OD-Mem, exact": f"The data has {data} here, the model 0: it has overfitted "
        "and reproduces this training point. More data or a better model would prevent it.",
        "DD-Mem": f"The data itself has only {data} here, the model {model}, where {typical} "
        "would be typical: the model has learned it. Only other data would prevent it.",
        "DD-Mem, exact": "The data itself repeats this point, and the model has learned that. "
        "Only other data, without the copies, would prevent it.",
        "memorized, cause not identifiable": f"The model has only {model} here, but the data LID "
        "is unknown, so the cause is not identifiable.",
    }
    return Verdict(label, reasons[label])


def shown_lid(lid: float) -> float:
    """Return an LID estimate to display: 0 where it lies up to half a dimension below 0.

    No space has a negative dimension, and an estimator's own randomness leads there; what lies
    further below tells of the estimator or the network, and is not hidden.
    """
    return 0.0 if -EXACT_BELOW < lid <= 0 else lid


def whole_percent(share: float) -> str:
    """Return a share (0 to 1) in whole percent, never rounded to 0% or 100%."""
    if 0 < share < 0.01:
        return "less than 1%"
    return "more than 99%" if 0.99 < share < 1 else f"{share:.0%}"


def _dimensions(value: float) -> str:
    if math.isnan(value):
        return "an unknown number of dimensions"
    number = f"{max(value, 0.0):.3g}"
    return f"{number} dimension" + ("" if number == "1" else "s")
