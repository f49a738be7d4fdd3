"""Which files of a server may be named from the browser is its owner's to say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st

from mmh_core.records import MMHError
from views.access.server_files import ServerFiles, checked_path, server_files

EVERYWHERE = ServerFiles(True)


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, object], None]:
    """Return what sets the address and the hosts of the server."""

    def set_options(address: object, hosts: object) -> None:
        options = {"server.address": address, "server.allowedHosts": hosts}
        monkeypatch.setattr(st, "get_option", options.__getitem__)

    return set_options


@pytest.fixture(autouse=True)
def no_options(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Start the app without options; return what gives it some."""

    def start(*arguments: object) -> None:
        monkeypatch.setattr("sys.argv", ["app.py", *map(str, arguments)])

    start()
    return start


@pytest.mark.parametrize(
    ("address", "hosts", "allowed"),
    [
        ("127.0.0.1", ["localhost", "127.0.0.1"], True),
        ("localhost", ["localhost"], True),
        ("::1", ["localhost"], True),
        ("0.0.0.0", ["localhost"], False),
        ("10.0.0.7", ["localhost"], False),
        (None, ["localhost"], False),
        # A proxy in front, under a name of its own.
        ("127.0.0.1", ["localhost", "mmh.example"], False),
        # Any name at all.
        ("127.0.0.1", [], False),
    ],
)
def test_a_shared_server_allows_none(
    address: object,
    hosts: object,
    allowed: bool,
    listening: Callable[[object, object], None],
) -> None:
    listening(address, hosts)
    assert server_files() == ServerFiles(allowed)
    if not allowed:
        with pytest.raises(MMHError, match="its owner allows no file of it to be named"):
            checked_path("/etc")


def test_a_list_of_users_makes_a_server_shared_and_a_folder_opens_it(
    tmp_path: Path, listening: Callable[[object, object], None], no_options: Callable[..., None]
) -> None:
    listening("127.0.0.1", ["localhost"])
    no_options("--users", tmp_path / "users.txt")
    assert not server_files().allowed
    (tmp_path / "models").mkdir()
    no_options("--users", tmp_path / "users.txt", "--server-files", tmp_path / "models")
    assert server_files() == ServerFiles(True, tmp_path / "models")
    listening("0.0.0.0", ["box.example"])
    assert server_files() == ServerFiles(True, tmp_path / "models")


def test_a_path_leads_nowhere_but_into_the_folder_allowed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "in-not"
    for folder in (inside / "a", outside):
        folder.mkdir(parents=True)
    (outside / "b").touch()
    (inside / "link").symlink_to(outside)
    files = ServerFiles(True, inside)
    assert checked_path("a", files) == checked_path(f" {inside}/a ", files) == inside / "a"
    assert checked_path(".", files) == inside
    missing = [str(outside), str(outside / "b"), str(outside / "c"), "../in-not/b", "link", "/etc"]
    for name in (*missing, "link/b", "a/../../in-not"):
        # Whether it is there or not sounds the same.
        with pytest.raises(MMHError, match="lies outside of"):
            checked_path(name, files)
    with pytest.raises(MMHError, match="There is no 'c' on this server"):
        checked_path("c", files)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("  ", "Write the path"),
        ("a/b", "no whole path"),
        ("hub:owner/name", "no whole path"),
        ("/nowhere/x", "There is no '/nowhere/x'"),
        ("/a\0b", "cannot be used"),
        ("/" + "a" * 5000, "cannot be used"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_in_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(MMHError, match=sentence) as refused:
        checked_path(name, EVERYWHERE)
    assert len(str(refused.value)) < 300


def test_links_are_followed_to_what_they_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert checked_path(str(tmp_path / "link"), EVERYWHERE) == (tmp_path / "real").resolve()
