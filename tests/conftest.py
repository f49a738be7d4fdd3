"""What all tests share: one thread, several processes, and a browser where there is one."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import chdir
from functools import cache
from pathlib import Path

import joblib
import pytest
import torch

from mmh_core.installation import assets
from mmh_core.pocket.furnish import ShippedData, open_shipped_data
from mmh_core.store import sqlite_file
from mmh_core.subject import training_set
from tests.chromium import INSTALL, app_server, browser_page, chromium, color_scheme, find_chromium

__all__ = ["app_server", "browser_page", "chromium", "color_scheme"]

_without_browser = pytest.StashKey[int]()


def pytest_configure() -> None:
    """Compute on one thread.

    A sum split over threads is added up in another order, so with torch's default the last digits
    depend on the number of cores; and the tests' small tensors are no slower on one.
    """
    torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Leave modules and tests, close to a million objects, out of garbage collections.

    They stay to the end. A whole collection takes a third of a second with them: several while
    they are made, and later one at the end of every job (`mmh_core.store.job_record`).
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def unflushed() -> Iterator[None]:
    """Let the system write to the disk when it likes, since no test cuts the power.

    A flush waits for milliseconds, and the tests of verdicts alone flush a thousand times. Those
    that look at flushing put a function of their own in the place of this one.
    """
    assert "synchronous = FULL" in sqlite_file._SAFE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(sqlite_file, "_SAFE", sqlite_file._SAFE.replace("FULL", "OFF"))
        yield


@pytest.fixture(scope="session", autouse=True)
def shipped_data_opened_once() -> Iterator[None]:
    """Open the shipped model's training images once, not for every command that is tested.

    Reading thousands of images takes more than a second. Other folders, such as copies that a test
    damages, are opened each time.
    """
    shipped = (assets() / "pocket-sd").resolve()
    kept = cache(lambda: open_shipped_data(shipped))

    def opened(folder: Path) -> ShippedData:
        return kept() if folder.resolve() == shipped else open_shipped_data(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_set, "open_shipped_data", opened)
        yield


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Yield an empty folder, the current one until the test ends."""
    with chdir(tmp_path):
        yield tmp_path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes `-n auto` starts, 0 for this one alone.

    Only the default choice of tests is spread: those of browsers and the slow ones start servers,
    fill the memory and wait for a limited time.
    """
    spread = config.option.markexpr in config.getini("addopts")
    return processes(joblib.cpu_count()) if spread else 0


def processes(cores: int) -> int:
    """Return one process per core, at most four: each takes up to two GB of memory."""
    return min(cores, 4) if cores > 1 else 0


@pytest.hookimpl(trylast=True)  # After -m and -k, so that only tests asked for are counted.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect browser tests where no Chromium is installed."""
    browser = [item for item in items if item.get_closest_marker("browser")]
    if browser and find_chromium() is None:
        config.stash[_without_browser] = len(browser)
        config.hook.pytest_deselected(items=browser)
        items[:] = [item for item in items if item not in browser]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how many browser tests were left out and how to have them run."""
    if count := config.stash.get(_without_browser, 0):
        terminalreporter.write_line(
            f"Chromium is missing, so {count} of the tests were left out; {INSTALL}"
        )
