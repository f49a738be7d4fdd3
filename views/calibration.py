"""The early scan's calibration of a model: which file holds it, read once per version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mmh_core.installation import assets
from views import models as model_session
from views.session import data_folder

if TYPE_CHECKING:
    from mmh_core.subject.calibration import Calibration
    from mmh_core.subject.early_calibration import EarlyCalibration


def calibration(name: str) -> EarlyCalibration | None:
    """Return the early scan's calibration of a model, None where nobody made one."""
    place = calibration_place(name)
    return None if place is None else _read(str(place), place.stat().st_mtime_ns).early


def calibration_place(name: str) -> Path | None:
    """Return the file with the calibration of a model's early scan, None where there is none.

    It is that of the data folder, else the one that came with the embedded model. Errors: MMHError
    for one that cannot be read.
    """
    kept = kept_file(name)
    own = assets() / name / kept.name if name == model_session.POCKET else None
    for path in (kept, own):
        if path is not None and _beside(path).early is not None:
            return path
    return None


def kept_file(name: str) -> Path:
    """Return the file in the data folder that keeps the calibration of a model."""
    from mmh_core.subject.calibration import FILE

    return data_folder() / "calibrations" / Path(name).name / FILE


def _beside(path: Path) -> Calibration:
    from mmh_core.subject.calibration import calibration_beside

    if path.is_file():
        return _read(str(path), path.stat().st_mtime_ns)
    return calibration_beside(path.parent)


@st.cache_resource(show_spinner=False, max_entries=4)
def _read(path: str, stamp: int) -> Calibration:
    from mmh_core.subject.calibration import read_calibration

    return read_calibration(Path(path))
