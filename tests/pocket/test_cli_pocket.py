"""Bad values on the command line end with a sentence and exit status 2."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmh_core.subject.devices import device_of
from tests.commands import refusal


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--device", "tpu"], "device must be cpu, cuda or auto, got 'tpu'."),
        (["--device", "cuda"], "There is no CUDA device here"),
        (["--minutes", "0"], "minutes must be a number above 0, got 0.0."),
        (["--minutes", "-3"], "minutes must be a number above 0, got -3.0."),
        (["--minutes", "nan"], "minutes must be a number above 0, got nan."),
        (["--minutes", "inf"], "minutes must be a number above 0, got inf."),
        (["--minutes", "soon"], "Invalid value for '--minutes'"),
        (["--seed", "1.5"], "Invalid value for '--seed'"),
        (["--seed", "-1"], "seed must be a whole number from 0, got -1."),
    ],
)
def test_bad_values_of_a_build_are_refused_before_any_work(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folders = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    assert sentence in refusal(capsys, "pocket", "build", *folders, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    for option in ("--out", "--work"):
        said = refusal(capsys, "pocket", "build", option, str(tmp_path / "file" / "model"))
        assert "cannot be written" in said
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("gone")
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "world.json").mkdir()
    for name in (
        "none",
        "file",
        "empty",
        "link",
        "world",
        "a/b",
        "pocket-sd",
        "owner/name",
        "a\n",
    ):
        said = refusal(capsys, "pocket", "check", str(tmp_path / name), "--device", "cpu")
        assert said.startswith("Error: ") and said.count("\n") == 1
        assert "name the folder that `./mmh pocket build` wrote" in said
        assert "hub" not in said.lower() and "sd-1" not in said


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, wanted in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=found: found)
        assert device_of("auto") == torch.device(wanted)
        assert device_of("cpu") == torch.device("cpu")
