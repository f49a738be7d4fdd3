"""The threshold of the cause, fitted on captions of known cause."""

from __future__ import annotations

import pytest
from torch import Tensor

from mmh_core.memorization.cause_calibration import (
    CauseCalibration,
    calibrate_cause,
)
from mmh_core.records import LabelledPrompt
from tests.memorization.test_cause import varying

LABELLED = tuple(
    LabelledPrompt(f"{kind} {i}", True, kind, split, kind == "overfit")
    for split in ("calibration", "test")
    for kind in ("overfit", "duplicate")
    for i in range(3)
)


def corpus(caption: str) -> tuple[Tensor, Tensor]:
    """Return images in 6 directions for overfitted captions, a single one for the others."""
    if caption.startswith("overfit"):
        return varying(2, 6), varying(30, 6, seed=5)
    return varying(1, 1), varying(0, 1)


def test_the_threshold_parts_the_calibration_half() -> None:
    found = calibrate_cause(LABELLED, corpus)
    assert found == CauseCalibration(3.0, 1.0, 6)
    # The test half, however odd, changes nothing.
    odd = tuple(
        LabelledPrompt(p.prompt, True, p.kind, "test", not p.overfitted)
        for p in LABELLED
        if p.split == "test"
    )
    assert calibrate_cause((*LABELLED[:6], *odd), corpus) == found


def test_one_cause_alone_fits_nothing() -> None:
    with pytest.raises(ValueError, match="needs overfitted captions"):
        calibrate_cause(LABELLED[:3], corpus)
