"""Tests of the start of the app: libraries load beside the server, and only once it is made."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

import serve


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(serve, "load", lambda *given: names.extend(given))
    return names


def test_libraries_wait_until_the_server_is_made(
    monkeypatch: pytest.MonkeyPatch, loaded: list[str]
) -> None:
    seen: list[list[str]] = []

    def exists() -> bool:
        seen.append(list(loaded))
        return len(seen) == 3

    monkeypatch.setitem(sys.modules, "streamlit.runtime", SimpleNamespace(exists=exists))
    serve.load_beside().join(timeout=10)
    assert seen == [[], [], []]
    assert loaded == list(serve.LIBRARIES)


def test_a_server_that_never_comes_loads_nothing(
    monkeypatch: pytest.MonkeyPatch, loaded: list[str]
) -> None:
    monkeypatch.delitem(sys.modules, "streamlit.runtime", raising=False)
    monkeypatch.setattr(serve, "_PATIENCE", 0.05)
    serve.load_beside().join(timeout=10)
    assert loaded == []
