"""Command lines of `./mmh`: whether one exists, and what becomes of one that runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from mmh_core.cli.app import app, main, with_parts

#: Words after ./mmh whose options are others' own: pytest's, Streamlit's and the app's.
PASSED_ON = {"app", "test", "commands"}


@cache
def command_tree() -> Any:
    """Return the commands with their options, which take as long to make as a test to run."""
    return typer.main.get_command(app)


def missing_from_cli(words: Sequence[str]) -> str:
    """Return what of the words after `./mmh` no command knows, "" where all is there."""
    if not words or words[0] in PASSED_ON:
        return ""
    command = command_tree()
    rest = with_parts(words)  # Every command that takes a model takes its parts too.
    while rest and not rest[0].startswith("-") and hasattr(command, "commands"):
        if rest[0] not in command.commands:
            return f"the command {rest[0]!r}"
        command = command.commands[rest.pop(0)]
    known = {"--help"}
    for option in command.params:
        known |= {*option.opts, *option.secondary_opts}
    asked = {word.split("=")[0] for word in rest if word.startswith("--")}
    return ", ".join(sorted(asked - known))


def status(*arguments: object) -> int:
    """Run a command and return its exit status."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    code = caught.value.code
    assert isinstance(code, int)
    return code


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must be refused, and return its sentence."""
    assert status(*arguments) == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err and printed.out == ""
    return printed.err


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the content of the files of a folder by their names."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
