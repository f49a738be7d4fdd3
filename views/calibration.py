"""Join the early scan's calibrations to Streamlit: which a model has, read once per version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mmh_core.installation import assets
from views import models as model_session
from views.session import data_folder

if TYPE_CHECKING:
    from mmh_core.subject.early_calibration import EarlyCalibration


def calibration(name: str) -> EarlyCalibration | None:
    """Return the early scan's calibration of a model, None where nobody made one.

    It lies beside the model, or in the folder `calibrations/NAME` of the data folder.
    """
    place = calibration_place(name)
    if place is None:
        return None
    return _calibration(str(place), (place / file_name()).stat().st_mtime_ns)


def calibration_place(name: str) -> Path | None:
    """Return the folder with the calibration of a model, without reading it."""
    own = assets() / name if name == model_session.POCKET else None
    for folder in (data_folder() / "calibrations" / Path(name).name, own):
        if folder is not None and (folder / file_name()).is_file():
            return folder
    return None


def file_name() -> str:
    """Return the name of a calibration's file."""
    from mmh_core.subject.early_calibration import FILE

    return FILE


@st.cache_resource(show_spinner=False, max_entries=2)
def _calibration(folder: str, stamp: int) -> EarlyCalibration | None:
    from mmh_core.subject.early_calibration import read_early

    return read_early(Path(folder))
