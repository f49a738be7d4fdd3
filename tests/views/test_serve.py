"""Tests of the start of the app: libraries load beside the server, and only once it is made."""

from __future__ import annotations

import importlib
import tomllib

import pytest

from tests.chromium import REPOSITORY
from views import serve


def test_libraries_wait_until_the_server_is_made() -> None:
    seen, loaded = list[list[str]](), list[str]()

    def made() -> bool:
        seen.append(list(loaded))
        return len(seen) == 3

    serve.load_beside(made, lambda *names: loaded.extend(names)).join(timeout=10)
    assert seen == [[], [], []]
    assert loaded == list(serve.LIBRARIES)


def test_a_server_that_never_comes_loads_nothing() -> None:
    loaded: list[str] = []
    waiting = serve.load_beside(lambda: False, lambda *names: loaded.extend(names), 0.05)
    waiting.join(timeout=10)
    assert loaded == [] and not waiting.is_alive()


def test_a_server_is_made_where_streamlit_says_so() -> None:
    from streamlit import runtime

    assert serve._server_made() == runtime.exists()


def test_streamlit_asks_nobody_for_the_address_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from streamlit import net_util
    from streamlit.web.server import server_util

    # An app that ran before in this process has asked for the same.
    importlib.reload(net_util)

    from views.access.addresses import ask_nobody

    asked: list[str] = []
    monkeypatch.setattr(net_util, "_make_blocking_http_get", lambda url, **_: asked.append(url))
    monkeypatch.setattr(net_util, "get_external_ip", net_util.get_external_ip)
    # A page of another site that opens a socket.
    assert not server_util.is_url_from_allowed_origins("http://evil.example")
    assert asked
    asked.clear()
    ask_nobody()
    assert not server_util.is_url_from_allowed_origins("http://evil.example")
    assert net_util.get_external_ip() is None and asked == []


@pytest.mark.parametrize("address", [None, "0.0.0.0", "::", "127.0.0.1", "192.168.1.5"])
def test_a_bare_start_asks_nobody_for_the_address(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    """As `streamlit run app.py --server.address ADDRESS` without a screen."""
    from streamlit import config, net_util
    from streamlit.web import bootstrap

    asked: list[str] = []
    monkeypatch.setattr(net_util, "_make_blocking_http_get", lambda url, **_: asked.append(url))
    monkeypatch.setattr(net_util, "_external_ip", None)
    written = tomllib.loads((REPOSITORY / ".streamlit/config.toml").read_text())
    given = {"browser.serverAddress": written["browser"]["serverAddress"], "server.headless": True}
    before = {name: config.get_option(name) for name in (*given, "server.address")}
    try:
        for name, value in {**given, "server.address": address}.items():
            config.set_option(name, value, where_defined="a test")
        bootstrap._print_url(is_running_hello=False)
    finally:
        for name, value in before.items():
            config.set_option(name, value)
    assert asked == []


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], None),
        (["--server.address", "127.0.0.1"], None),
        (["--server.address", "0.0.0.0"], None),
        (["--server.address=0.0.0.0"], None),
        (["--server.address", "127.0.0.2"], "127.0.0.2"),
        (["--server.address", "127.0.0.2", "--browser.serverAddress", "mmh.example"], None),
    ],
)
def test_the_browser_opens_where_the_app_listens(options: list[str], shown: str | None) -> None:
    ours = serve.prepared(["run", "app.py", "--server.port", "0", *options])[0]
    added = ours[4 + len(options) :]
    found = None
    if "--browser.serverAddress" in added:
        found = added[added.index("--browser.serverAddress") + 1]
    assert found == shown
