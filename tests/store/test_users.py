"""A list of users keeps nobody's password, and is refused where it is damaged."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mmh_core.records import MMHError
from mmh_core.store.users import password_fits, password_record, read_users, write_user

PASSWORD = "correct horse battery"


def test_a_password_fits_its_own_record_and_no_other() -> None:
    record = password_record(PASSWORD)
    assert password_fits(PASSWORD, record)
    assert not password_fits(PASSWORD + " ", record)
    assert not password_fits("", record)
    # Salted: equal passwords make different records.
    assert record != password_record(PASSWORD)
    assert PASSWORD not in record


@pytest.mark.parametrize("record", ["", "plain", "scrypt$a$b", "scrypt$$", "md5$YWE=$YWE=", "$$$"])
def test_what_is_no_record_fits_nothing(record: str) -> None:
    assert not password_fits("", record)
    assert not password_fits("plain", record)


@pytest.mark.parametrize("name", ["Ada Lovelace", "Łukasz", "李", "o'neil@example", "a" * 60])
def test_users_are_kept_without_their_passwords(tmp_path: Path, name: str) -> None:
    path = tmp_path / "users"
    write_user(path, "other", "another password")
    write_user(path, name, PASSWORD)
    users = read_users(path)
    assert set(users) == {name, "other"}
    assert password_fits(PASSWORD, users[name])
    assert PASSWORD not in path.read_text("utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_user(path, name, "a new password")
    assert not password_fits(PASSWORD, read_users(path)[name])
    assert read_users(path)["other"] == users["other"]


@pytest.mark.parametrize("name", ["", " a", "a ", "a:b", "#a", "a\nb", "a\x00", "a" * 61])
def test_names_that_a_list_cannot_hold_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MMHError, match="choose another"):
        write_user(tmp_path / "users", name, PASSWORD)
    assert not (tmp_path / "users").exists()


def test_a_short_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MMHError, match="at least 10 characters"):
        write_user(tmp_path / "users", "a", "short")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "names no user"),
        (b"# only a comment\n\n", "names no user"),
        (b"ada\n", "Line 1 .* is no user"),
        (b"ada:secret\n", "Line 1 .* is no user"),
        (b"# x\nada:scrypt$QQ==$QQ==\n", "Line 2 .* is no user"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a" * (2**20 + 1), "too large"),
    ],
)
def test_damaged_lists_are_refused(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "users"
    path.write_bytes(content)
    with pytest.raises(MMHError, match=match):
        read_users(path)
    with pytest.raises(MMHError, match=match):
        write_user(path, "ada", PASSWORD)
    assert path.read_bytes() == content


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MMHError, match="There is no list of users"):
        read_users(tmp_path / "users")


@pytest.mark.parametrize("name", ["/", "/etc/passwd", "/dev/null", "folder", "pipe", "a\0b"])
def test_what_is_no_list_of_users_is_left_alone(tmp_path: Path, name: str) -> None:
    """To add a user to it would be a step that does not work."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MMHError) as refused:
        read_users(tmp_path / name)
    assert "--users FILE` has made, or one that is not there" in str(refused.value)
    assert f"--users {tmp_path / name}`" not in str(refused.value)
