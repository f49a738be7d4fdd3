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


def test_streamlit_asks_nobody_for_the_address_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from streamlit import net_util
    from streamlit.web.server import server_util

    asked: list[str] = []
    monkeypatch.setattr(net_util, "_make_blocking_http_get", lambda url, **_: asked.append(url))
    monkeypatch.setattr(net_util, "get_external_ip", net_util.get_external_ip)
    # A page of another site that opens a socket.
    assert not server_util.is_url_from_allowed_origins("http://evil.example")
    assert asked
    asked.clear()
    serve.ask_nobody()
    assert not server_util.is_url_from_allowed_origins("http://evil.example")
    assert net_util.get_external_ip() is None and asked == []
