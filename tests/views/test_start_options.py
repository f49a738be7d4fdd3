"""What the app is started with is told before it starts, and read one way everywhere."""

from __future__ import annotations

import errno
import os
import socket
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from mmh_core.records import MMHError
from mmh_core.store.users import write_user
from views import serve
from views.start_options import checked, start_options


def test_options_are_absolute_and_others_are_left_alone(elsewhere: Path) -> None:
    found = start_options(["-q", "--data", "kept", "--models=m", "tests/x.py", "--endpoint", "u"])
    assert found.data == elsewhere / "kept"
    assert found.models == elsewhere / "m"
    assert (found.endpoint, found.embedder, found.users) == ("u", "pixels", None)
    assert start_options([]).data.name == ".mmh"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "."], "no option '--model' after `--`. Did you mean --models?"),
        (["--modles", "."], "Did you mean --models?"),
        (["--server.port", "1"], "options of Streamlit stand before `--`"),
        (["stray"], "no option 'stray'"),
        (["--models"], "--models needs a value"),
        (["--models", "--data"], "--models needs a value"),
        (["--models", "nowhere"], "--models: there is no folder"),
        (["--models=nowhere"], "--models: there is no folder"),
        (["--models", __file__], "--models: there is no folder"),
        (["--server-files", "nowhere"], "--server-files: there is no folder"),
        (["--index", "."], "belong together"),
        (["--index-images", "."], "belong together"),
        (["--index", "nowhere", "--index-images", "."], "--index: there is no folder"),
        (["--index", ".", "--index-images", "nowhere"], "--index-images: there is no folder"),
    ],
)
def test_options_that_cannot_work_are_refused(arguments: list[str], sentence: str) -> None:
    with pytest.raises(MMHError) as refused:
        checked(arguments)
    assert sentence in str(refused.value)


def test_streamlit_gets_what_it_got_where_nothing_is_asked() -> None:
    given = ["run", "app.py", "--server.port", "0", "--", "--data", "x"]
    assert serve.prepared(given) == (given, [])
    assert serve.prepared(["run", "app.py"]) == (["run", "app.py"], [])


def test_a_folder_without_models_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "old.ckpt").touch()
    said = serve.prepared(["run", "app.py", "--", "--models", str(tmp_path)])[1]
    assert len(said) == 1 and said[0].startswith(f"No model was found in {tmp_path}: --models")
    (tmp_path / "new.safetensors").touch()
    assert serve.prepared(["run", "app.py", "--", "--models", str(tmp_path)])[1] == []


def test_folders_are_those_of_where_the_app_was_called(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    given = ["--models", "mine", "--called-from", str(tmp_path)]
    assert checked(given).models == tmp_path / "mine"
    with pytest.raises(MMHError) as refused:
        checked(["--nothing"])
    assert "called-from" not in str(refused.value)


@pytest.mark.parametrize("name", ["file", "file/data", "file/a/b/c"])
def test_data_that_cannot_be_kept_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = ["--data", name, "--called-from", str(tmp_path)]
    with pytest.raises(MMHError) as refused:
        checked(given)
    assert f"in {tmp_path / name}, which cannot be written to" in str(refused.value)
    assert "--data FOLDER" in str(refused.value)


def test_data_of_a_folder_that_is_not_ones_own_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write anywhere, so the system's answer is replaced.
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path)
    with pytest.raises(MMHError, match="which cannot be written to"):
        checked(["--data", str(tmp_path / "new" / "data")])


def test_data_is_kept_in_a_folder_that_is_made_for_it(tmp_path: Path) -> None:
    assert checked(["--data", str(tmp_path / "a" / "b")]).data == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()


def test_a_port_in_use_is_told_before_anything_loads() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MMHError, match=f"Port {port} is in use"):
            serve.prepared(["run", "app.py", "--server.port", str(port)])
        with pytest.raises(MMHError, match=f"Port {port} is in use"):
            serve.prepared(["run", "app.py", f"--server.port={port}"])


@pytest.mark.parametrize("port", ["99999999", "65536", "-1"])
def test_a_port_that_no_machine_has_is_told(port: str) -> None:
    with pytest.raises(MMHError, match=f"Port {port} is none: choose one from 1 to 65535"):
        serve.prepared(["run", "app.py", "--server.port", port])


def test_what_is_no_number_is_left_to_streamlit() -> None:
    given = ["run", "app.py", "--server.port", "no"]
    assert serve.prepared(given) == (given, [])


@pytest.mark.parametrize("address", ["192.0.2.7", "no.such.name.invalid", "999.1.1.1", "a..b"])
def test_an_address_of_another_machine_is_told(address: str) -> None:
    with pytest.raises(MMHError, match=r"This machine has no address .* --server\.address"):
        serve.prepared(["run", "app.py", "--server.address", address])


@pytest.mark.parametrize(
    ("number", "sentence"), [(errno.EACCES, "may not listen at port 80"), (errno.ENOTSUP, "")]
)
def test_a_port_that_this_user_may_not_take_is_told(
    number: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError(number, "refused")

    monkeypatch.setattr(socket, "socket", Refusing)
    given = ["run", "app.py", "--server.port", "80"]
    if sentence:
        with pytest.raises(MMHError, match=sentence):
            serve.prepared(given)
    else:
        assert serve.prepared(given) == (given, [])


def test_what_cannot_start_is_one_sentence_and_exit_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["serve.py", "run", "app.py", "--", "--nothing"])
    with pytest.raises(SystemExit) as ended:
        serve.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: The app has no option '--nothing'") and said.count("\n") == 1


def test_a_list_of_users_puts_a_gate_before_the_app(tmp_path: Path) -> None:
    with pytest.raises(MMHError, match="There is no list of users"):
        serve.prepared(["run", "app.py", "--", "--users", str(tmp_path / "users")])
    write_user(tmp_path / "users", "ada", "correct horse battery")
    given, said = serve.prepared(["run", "app.py", "--", "--users", str(tmp_path / "users")])
    assert given[1] == str(serve.GUARDED) and serve.GUARDED.is_file()
    assert said == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_this_machine_alone_needs_no_word(address: str) -> None:
    given = ["run", "app.py", "--server.address", address]
    ours, said = serve.prepared(list(given))
    assert (ours[: len(given)], said) == (given, [])


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.7", "host.example"])
def test_the_network_is_told_who_may_come(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_check_listening", lambda address, port: None)
    given, said = serve.prepared(["run", "app.py", f"--server.address={address}"])
    hosts = [v for n, v in pairwise(given) if n == "--server.allowedHosts"]
    assert "localhost" in hosts and socket.gethostname() in hosts
    assert address in hosts or address == "0.0.0.0"
    assert "0.0.0.0" not in hosts and "*" not in hosts
    assert "Anybody who reaches" in said[0] and "--users" in said[0]
    write_user(tmp_path / "users", "ada", "correct horse battery")
    users = ["--", "--users", str(tmp_path / "users")]
    assert "sign-in page" in serve.prepared([*given, *users])[1][0]


def test_hosts_that_a_person_names_are_the_only_ones() -> None:
    given = ["run", "app.py", "--server.address", "0.0.0.0", "--server.allowedHosts", "a.example"]
    assert serve.prepared(given)[0] == given
