"""The pages of the reference that are made from the code: commands, detectors, mitigations."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Iterator
from typing import Any

import typer.main

from mmh_core.cli.app import app
from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.mitigations.catalogue import MITIGATIONS

_WIDTH = 90


def commands_page() -> str:
    """Return what `--help` of every command says, as one page of Markdown."""
    blocks = [
        "# Commands",
        "What `--help` of each command says. In an installed package they begin with `mmh`, in a "
        "checkout with `./mmh`. Progress goes to standard error, results to standard output or "
        "to the file named. What a person can act on ends with one sentence and exit status 2.",
        "`./mmh app` opens the app (`./mmh app --help` lists its options), `./mmh test` runs the "
        "tests and `./mmh docs` shows this documentation.",
    ]
    for name, text in help_texts():
        blocks.append(f"## {name}\n\n```text\n{text}\n```")
    return "\n\n".join(blocks) + "\n"


def help_texts() -> Iterator[tuple[str, str]]:
    """Yield each command that computes something, with its help, groups followed into."""
    root: Any = typer.main.get_command(app)
    yield from _below("", root)


def _below(prefix: str, group: Any) -> Iterator[tuple[str, str]]:
    for name in group.commands:
        command = group.commands[name]
        full = f"{prefix} {name}".strip()
        if hasattr(command, "commands"):
            yield from _below(full, command)
        else:
            yield full, _help_of(full, command)


def _help_of(name: str, command: Any) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        command.main(
            ["--help"],
            prog_name=f"./mmh {name}",
            standalone_mode=False,
            terminal_width=_WIDTH,
            max_content_width=_WIDTH,
        )
    return text.getvalue().strip()


def detectors_page() -> str:
    """Return a section for each detector: its name, its paper and how it works."""
    blocks = [
        "# Detectors",
        "One score per image or prompt; higher means more memorized. The name in code style is "
        "the one in files and options. The texts are those of the code. Why they work: "
        "[explanation](../explanation/detectors.md).",
    ]
    for name, detector in DETECTORS.items():
        blocks.append(
            f"## {detector.label}\n\n`{name}` · {detector.citation}\n\n{detector.summary}\n\n"
            f"{_text(type(detector))}"
        )
    return "\n\n".join(blocks) + "\n"


def mitigations_page() -> str:
    """Return a section for each mitigation: its name, its paper, its strengths and its text."""
    blocks = [
        "# Mitigations",
        "Each turns a request into a request that copies less. The name in code style is the one "
        "for `./mmh mitigate --mitigations NAME:STRENGTH`. The texts are those of the code. Why "
        "they work: [explanation](../explanation/mitigations.md).",
    ]
    for name, mitigation in MITIGATIONS.items():
        worth = ", ".join(f"{strength:g}" for strength in mitigation.strengths)
        strengths = f"Strength: {mitigation.strength_label}"
        strengths += f"; worth trying: {worth}." if worth else "."
        blocks.append(
            f"## {mitigation.label}\n\n`{name}` · {mitigation.citation}\n\n"
            f"{mitigation.summary}\n\n{strengths}\n\n"
            f"{_text(type(mitigation))}"
        )
    return "\n\n".join(blocks) + "\n"


def _text(described: type) -> str:
    return inspect.getdoc(described) or ""


#: Address in the documentation -> what makes the page.
PAGES = {
    "reference/commands.md": commands_page,
    "reference/detectors.md": detectors_page,
    "reference/mitigations.md": mitigations_page,
}
