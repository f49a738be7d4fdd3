"""What all commands write: places to write to, progress and warnings on standard error, JSON."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import typer

from mmh_core.cli.tables import plain
from mmh_core.files import check_replaceable, write_text
from mmh_core.installation import app_folder, is_installed
from mmh_core.records import MMHError, Progress

Result = TypeVar("Result")
#: Seconds between two lines of progress within one stage: in a terminal, and in a file.
LIVE, LOGGED = 0.5, 30.0


def check_writable(*paths: Path | None) -> None:
    """Refuse a file that cannot be written, before the work and not after it.

    None stands for no file. Raises MMHError.
    """
    for path in paths:
        if path is None:
            continue
        check_replaceable(path)
        if is_installed() and path.resolve().is_relative_to(app_folder().resolve()):
            raise MMHError(
                f"{path} belongs to the installed program: name another place, or work in a "
                "checkout of the project, where these files are made."
            )
        folder = next((parent for parent in path.absolute().parents if parent.exists()), path)
        if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise MMHError(
                f"{path} cannot be written: name a file in a folder that this user may write to."
            )


def run_steps(progress: Iterator[Progress[Result | None]]) -> Result:
    """Run long work to its end and return its last result, with progress on standard error.

    Raises MMHError for work without a result.
    """
    result = run_to_end(progress)
    if result is None:
        raise MMHError("The work gave no result. Report this with the command you ran.")
    return result


def run_to_end(progress: Iterator[Progress[Result | None]]) -> Result | None:
    """Run long work to its end, with progress on standard error; return its last result, if any.

    A terminal shows one line, written over itself; a file gets a line for every new stage and
    every half minute. Messages that differ only in numbers or after a colon are of one stage.
    """
    live = sys.stderr.isatty()
    last: Progress[Result | None] | None = None
    last_time, stage = -math.inf, ""
    try:
        for last in progress:
            now, current = time.monotonic(), re.sub(r"[\d,.]", "", last.message.split(":")[0])
            if current != stage or now - last_time > (LIVE if live else LOGGED):
                last_time, stage = now, current
                line = f"{last.fraction:4.0%}  {last.message}"
                sys.stderr.write(f"\r\x1b[K{line}" if live else f"{line}\n")
                sys.stderr.flush()
    finally:
        # After a failure too: what is said of it stands in a line of its own.
        if live and last is not None:
            sys.stderr.write("\n")
    return None if last is None else last.partial


def write_json(value: object, path: Path | None) -> None:
    """Write records, tensors and plain values as JSON to a file, or print them for None.

    NaN and infinity become null. Raises MMHError for a file that cannot be written.
    """
    text = json.dumps(plain(value), indent=2, allow_nan=False) + "\n"
    if path is None:
        typer.echo(text, nl=False)
    else:
        write_text(path, text)


def warn(sentences: Iterable[str]) -> None:
    """Write what a run lacks to standard error."""
    for sentence in sentences:
        typer.echo(f"Warning: {sentence}", err=True)
