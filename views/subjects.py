"""What is examined, put together of parts that are each kept for all pages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from views import models as model_session
from views.calibration import calibration

if TYPE_CHECKING:
    from mmh_core.subject.subject import Subject


def subject(name: str) -> Subject:
    """Return a model with its training set and its calibrations. Errors: MMHError."""
    from mmh_core.subject.subject import Subject

    calibrated = replace(model_session.own_calibration(name), early=calibration(name))
    model, training_set = model_session.model(name), model_session.training_set(name)
    return Subject(model, training_set, calibrated, name)
