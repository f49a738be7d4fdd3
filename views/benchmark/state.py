"""The choices of the benchmark page, between its link, the session and the widgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from views.widgets.link_values import job_id
from views.widgets.linked_state import LinkedState

NAMES = ("detector", "job")


@dataclass(frozen=True)
class BenchmarkSettings:
    """The choices in the link or the session; None where the page chooses."""

    detector: str | None
    job: str | None


def _read(source: Mapping[str, object]) -> tuple[BenchmarkSettings, list[str]]:
    messages: list[str] = []
    detector, job = source.get("detector"), job_id("job", source.get("job"), messages)
    return BenchmarkSettings(None if detector is None else str(detector), job), messages


def _place(settings: BenchmarkSettings, first: bool) -> BenchmarkSettings:
    for name in NAMES:
        st.session_state[key(name)] = getattr(settings, name)
    return settings


def _query(settings: BenchmarkSettings) -> dict[str, str]:
    values = ((name, getattr(settings, name)) for name in NAMES)
    return {name: value for name, value in values if value is not None}


STATE = LinkedState("benchmark", "bm_", NAMES, _read, _place, _query)
key, restore, remember = STATE.key, STATE.restore, STATE.remember
