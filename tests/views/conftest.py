"""The app's arguments, which pages read from the process, and the one thread of its work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from streamlit.components.v2 import manifest_scanner


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


@pytest.fixture(scope="session", autouse=True)
def components_searched_once() -> Iterator[None]:
    """Search the installed packages for Streamlit's components once, not for every browser.

    Streamlit's harness reads the metadata of all of them for each, longer than most pages take.
    """
    with pytest.MonkeyPatch.context() as patch:
        search = cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", search)
        yield
