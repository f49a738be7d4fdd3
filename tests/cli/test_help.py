"""The help of every command: options of one name say one thing, and models name their parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from mmh_core.cli.app import app

#: Names that mean two things, with how many: a new one is to be named otherwise.
HOMONYMS = {"--steps": 3, "--width": 2, "--captions": 2, "--robust": 2}


def commands(command: Any = None, name: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, with the words that call it."""
    command = typer.main.get_command(app) if command is None else command
    if not hasattr(command, "commands"):
        yield " ".join(name), command
    for word, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*name, word))


COMMANDS = dict(commands())


def test_options_of_the_same_name_have_the_same_help() -> None:
    """What is given, a file or a folder, is told by the sign behind the name."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for name, command in COMMANDS.items():
        for option in command.params:
            if option.param_type_name == "option" and option.help:
                for word in option.opts:
                    texts = found.setdefault((word, option.metavar or ""), {})
                    texts.setdefault(option.help, []).append(name)
    assert len(found) > 40
    several = {word: texts for (word, _), texts in found.items() if len(texts) > 1}
    assert {word: len(texts) for word, texts in several.items()} == HOMONYMS, several


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    found = CliRunner().invoke(app, [*name.split(), "--help"])
    assert found.exit_code == 0, found.output
    command, said = COMMANDS[name], " ".join(found.output.split())
    assert command.help and command.help.split("\n")[0].split(".")[0][:40] in said
    for option in command.params:
        assert option.help, f"{name} {option.name} has no help"
    takes_model = any("--model" in option.opts for option in command.params)
    assert ("A table is CSV" in said) == (name in ("benchmark", "calibrate", "scan"))
    for part in ("--base MODEL", "--unet FOLDER", "--vae FILE"):
        assert (part in said) == takes_model
