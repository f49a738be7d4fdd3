"""How the command line names a model: its parts, where it lies, and from which folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmh_core.cli import main, with_parts
from mmh_core.records import MMHError
from tests.text_to_image.pipelines import write_pipeline
from tests.text_to_image.test_checkpoints import trained

SMALL = ["--prompt", "the cat", "--seeds", "0", "--steps", "2", "--height", "32", "--width", "32"]


@pytest.mark.parametrize(
    ("given", "model"),
    [
        (["--base", "b", "--unet", "u"], "b::unet=u"),
        (["--unet=u", "--base=b"], "b::unet=u"),
        (["--model", "m", "--vae", "v"], "m::vae=v"),
        (["--model=m", "--vae=v", "--unet", "u"], "m::unet=u::vae=v"),
        (["--base", "b"], "b"),
        (["--model", "a", "--model", "m", "--unet", "t", "--unet", "u"], "m::unet=u"),
    ],
)
@pytest.mark.parametrize("command", ["images", "scan", "score", "calibrate", "mitigate"])
def test_parts_are_joined_to_the_model(given: list[str], model: str, command: str) -> None:
    words = with_parts([command, "--out", "x", *given, "--", "--unet"])
    assert words == [command, "--out", "x", "--model", model, "--", "--unet"]


@pytest.mark.parametrize(
    "words", [[], ["images"], ["images", "--model", "m"], ["manifold", "--base", "x"], ["index"]]
)
def test_without_parts_nothing_changes(words: list[str]) -> None:
    assert with_parts(words) == words


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--unet", "u"], "name the model that it belongs to by --base MODEL"),
        (["--vae", "v"], "name the model"),
        (["--base", "b", "--model", "m"], "both name the model"),
        (["--base"], "--base needs a value"),
        (["--base", "b", "--unet"], "--unet needs a value"),
    ],
)
def test_what_cannot_be_meant_is_asked(given: list[str], says: str) -> None:
    with pytest.raises(MMHError, match=says):
        with_parts(["images", *given])


def test_a_checkpoint_of_training_is_drawn_with_its_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_pipeline(tmp_path, "tiny", size=4)
    step = tmp_path / "run" / "checkpoint-500"
    trained(step, base, "unet_ema")
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(["images", "--base", str(base), "--unet", str(step), *SMALL, "--out", str(out)])
    assert ended.value.code in (0, None)
    run = json.loads((out / "run.json").read_text())
    assert f"{base}::unet={step}" in json.dumps(run)
    with pytest.raises(SystemExit) as ended:
        main(["images", "--model", str(step), *SMALL, "--out", str(tmp_path / "other")])
    assert ended.value.code == 2
    assert f"--base MODEL --unet {step / 'unet_ema'}" in capsys.readouterr().err


def test_what_lies_elsewhere_is_never_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    def refused(*given: object) -> None:
        raise AssertionError("The network was asked.")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.chdir(tmp_path)
    for name in ("assets/pocket-sd", "models/anime", "a/b", "./x/y", "~/nomodel", "x" * 300):
        with pytest.raises(SystemExit) as ended:
            main(["images", "--model", name, *SMALL, "--out", str(tmp_path / "out")])
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert "does not exist: give a folder" in said
        if not name.startswith(("~", "xx")):
            assert f"The folder looked in is {tmp_path}." in said


def test_the_commands_of_the_embedded_model_work_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmh_core import cli_cure, cli_pocket, cli_review

    monkeypatch.chdir(tmp_path)
    assert (cli_cure.POCKET / "model_index.json").is_file()
    assert (cli_pocket._POCKET / "model_index.json").is_file()
    assert cli_review._DEMONSTRATION.is_file()
