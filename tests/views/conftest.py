"""The app's arguments, which pages read from the process, and pages with an empty data folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from tests.views.pages import opened
from views import session


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


@pytest.fixture
def fresh_page(
    tmp_path: Path, started_with: Callable[..., None]
) -> Iterator[Callable[[str], AppTest]]:
    """Yield what opens a page, not yet run, with `tmp_path` as data folder; end its jobs."""
    started_with("--data", tmp_path)
    yield opened
    session.jobs().runner.shutdown()
