"""The command `app` passes its words on as they stand, and says where names belong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmh_core.cli.app import main
from mmh_core.cli.serving import started_with, with_options_kept
from mmh_core.installation import data_folder
from views.start_options import checked

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--server.port", "8600"],
        ["--server.port=8600", "--server.headless", "true"],
        ["--", "--users", "u"],
        ["--server.port", "8600", "--", "--data", "d"],
        ["--", "--help"],
        ["--", "--models", "--", "x"],
        ["-h"],
    ],
)
def test_words_behind_app_are_kept(words: list[str]) -> None:
    assert with_options_kept(["app", *words]) == ["app", "--", *words]


@pytest.mark.parametrize(
    "words",
    [[], ["images", "--", "x"], ["app", "--help"], ["app", "--server.port", "1", "--help"]],
)
def test_other_commands_and_help_are_left_alone(words: list[str]) -> None:
    assert with_options_kept(words) == words


@pytest.mark.parametrize(
    ("given", "data"),
    [
        ([], None),
        (["--server.port", "8600"], None),
        (["--", "--data", "kept"], "kept"),
        (["--server.port", "8600", "--", "--data=a/b", "--embedder", "pocket"], "a/b"),
    ],
)
def test_names_belong_to_the_folder_of_the_call(
    given: list[str], data: str | None, tmp_path: Path
) -> None:
    words = started_with(given, tmp_path)
    streamlits, ours = words[: words.index("--")], words[words.index("--") + 1 :]
    assert streamlits == given[: given.index("--") if "--" in given else len(given)]
    expected = data_folder(tmp_path) if data is None else tmp_path / data
    assert checked(ours).data == expected


def test_help_says_where_data_goes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["app", "--help"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--data FOLDER for what the app keeps" in said
    assert "the present folder where the program was installed" in said


def test_commands_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    listed = []
    for words in (["commands"], ["--help"]):
        with pytest.raises(SystemExit):
            main(words)
        listed.append(capsys.readouterr().out)
    assert listed[0] == listed[1] and "mitigate" in listed[0]


def test_the_command_line_loads_nothing_heavy_before_it_knows_what_is_asked() -> None:
    """The app's server would wait for torch, and so would every help."""
    heavy = {"diffusers", "numpy", "pandas", "pyarrow", "scipy", "sklearn", "streamlit", "torch"}
    code = f"import mmh_core.cli.app, sys; print(*({heavy} & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ended.stdout.strip(), ended.stderr) == ("", "")
