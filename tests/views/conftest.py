"""The app's arguments, which pages read from the process, and the one thread of its work."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch


@pytest.fixture
def started_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what gives the process the arguments of `./mmh app`, until the test ends.

    Models of the app compute on one thread, as all tests: several would wait for one another
    where others share the cores.
    """
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)

    def start(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["app.py", *map(str, arguments)])

    return start
