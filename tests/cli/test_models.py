"""How the command line names a model: its parts, where it lies, and from which folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmh_core.cli.app import main, with_parts
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
    monkeypatch: pytest.MonkeyPatch, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    def refused(*given: object) -> None:
        raise AssertionError("The network was asked.")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    for name in ("assets/pocket-sd", "models/anime", "a/b", "./x/y", "~/nomodel", "x" * 300):
        with pytest.raises(SystemExit) as ended:
            main(["images", "--model", name, *SMALL, "--out", str(elsewhere / "out")])
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert "does not exist: give a folder" in said
        if not name.startswith(("~", "xx")):
            assert f"The folder looked in is {elsewhere}." in said


def test_the_commands_of_the_shipped_model_work_from_any_folder(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmh_core.cli import pocket as cli_pocket
    from mmh_core.cli import review as cli_review
    from mmh_core.cli import training as cli_cure

    assert (cli_cure.POCKET / "model_index.json").is_file()
    assert (cli_pocket._POCKET / "model_index.json").is_file()
    assert cli_review._DEMONSTRATION.is_file()


def a_thing(folder: Path, name: str) -> str:
    """Make what is no model, or a model under another name, and return how it is named."""
    from PIL import Image

    if name == "notes.txt":
        (folder / name).write_text("a cat\n" * 9)
    elif name == "empty.safetensors":
        (folder / name).write_bytes(b"")
    elif name == "a.png":
        Image.new("RGB", (8, 8)).save(folder / name)
    elif name == "page.html":
        (folder / name).write_text("<!doctype html><title>404</title>")
    elif name == "link":
        (folder / name).symlink_to(folder / "gone")
    elif name == "folder":
        (folder / name).mkdir()
        (folder / name / "a.txt").write_text("a")
    elif name == "part/unet":
        write_pipeline(folder, "part", size=4)
        return str(folder / "tiny" / "unet")
    else:
        return name
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("notes.txt", "notes.txt is "),
        ("a.png", "a.png is "),
        ("page.html", "page.html is "),
        ("empty.safetensors", "it is empty"),
        ("link", "is a link to"),
        ("folder", "holds no whole model"),
        ("", "The model has no name"),
        ("  ", "The model has no name"),
        ("https://huggingface.co/owner/name", "write hub:owner/name"),
        ("https://huggingface.co/owner/name/tree/main", "write hub:owner/name"),
        ("http://www.huggingface.co/owner/name.v2-1/", "write hub:owner/name.v2-1"),
        ("huggingface.co/owner/name", "write hub:owner/name"),
        ("hf.co/owner/name?library=diffusers", "write hub:owner/name"),
        ("hub:https://huggingface.co/owner/name", "write hub:owner/name"),
        ("https://huggingface.co/owner/name.git", "write hub:owner/name "),
        (
            "https://huggingface.co/owner/name/blob/main/v1-5.safetensors",
            "`hf download owner/name v1-5.safetensors`",
        ),
        (
            "https://huggingface.co/o/n/resolve/main/sub/a.ckpt?download=true",
            "`hf download o/n sub/a.ckpt`",
        ),
        ("https://civitai.com/models/4201", "download its safetensors file"),
        ("hub:nothing", "names no model on the Hub"),
        ("hub:", "names no model on the Hub"),
        ("nowhere/model", "does not exist"),
        ("a\x00b", "does not exist"),
        ("x::unet=", "names a part in no known way"),
    ],
)
@pytest.mark.parametrize("command", ["score", "scan", "benchmark"])
def test_what_is_no_model_is_called_what_it_is_before_anything_else_is_asked(
    command: str, name: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "prompts.txt"
    table.write_text("a cat\n")
    words = {
        "score": ["score", "a cat"],
        "scan": ["scan", str(table), "--out", str(tmp_path / "out")],
        "benchmark": ["benchmark"],
    }[command]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--model", a_thing(tmp_path, name)])
    told = capsys.readouterr()
    assert ended.value.code == 2 and told.out == ""
    assert says in told.err and "calibrat" not in told.err
    assert told.err.startswith("Error: ") and told.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_index_of_a_folder_stands_for_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmh_core.text_to_image.model_names import home
    from mmh_core.text_to_image.stable_diffusion import check_model, load

    folder = write_pipeline(tmp_path, "tiny", size=4)
    index = folder / "model_index.json"
    check_model(str(index))
    assert load(index).sha256 == load(folder).sha256
    assert home(str(index)) == home(str(folder)) == folder
    with pytest.raises(SystemExit):
        main(["score", "a cat", "--model", str(index)])
    assert "has no calibration of all detectors" in capsys.readouterr().err
