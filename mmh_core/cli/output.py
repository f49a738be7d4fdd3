"""What all commands share: their models and tables, places to write to, progress, JSON."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from mmh_core.cli.tables import plain
from mmh_core.files import check_replaceable, write_text
from mmh_core.installation import PROGRAM, app_folder, is_installed
from mmh_core.records import LabelledPrompt, MMHError, Progress

if TYPE_CHECKING:
    from mmh_core.subject.calibration import Calibration
    from mmh_core.subject.subject import IndexedFolder, Subject
    from mmh_core.text_to_image.model import TextToImage

Result = TypeVar("Result")
#: Seconds between two lines of progress within one stage: in a terminal, and in a file.
LIVE, LOGGED = 0.5, 30.0


def check_places(*paths: Path | None) -> None:
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


def kept_calibration(path: Path) -> Calibration | None:
    """Return the calibration in a file that a command is about to update, None for a new file.

    Refuses, before the work, a folder and a file of another kind. Raises MMHError.
    """
    from mmh_core.retrieval.image_names import printable_path
    from mmh_core.subject.calibration import FILE, read_calibration

    if path.is_dir():
        raise MMHError(
            f"{printable_path(path)} is a folder: name a file for the calibration, such as "
            f"{printable_path(path / FILE)}."
        )
    check_places(path)
    if not path.exists():
        return None
    try:
        return read_calibration(path)
    except MMHError as error:
        raise MMHError(
            f"{printable_path(path)} holds no calibration that can be added to: name another "
            "file, or remove this one."
        ) from error


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


def seed_numbers(text: str) -> tuple[int, ...]:
    """Return the seeds in a text, separated by commas. Errors: ValueError."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"seeds must be whole numbers such as 0,1,2, got {text!r}.") from None


def warn(sentences: Iterable[str]) -> None:
    """Write what a run lacks to standard error."""
    for sentence in sentences:
        typer.echo(f"Warning: {sentence}", err=True)


def warn_truncated(model: TextToImage, prompts: Sequence[str]) -> None:
    """Write to standard error which prompts the text encoder truncates or cannot encode."""
    from mmh_core.text_to_image.unread_text import partly_read_lines, partly_read_prompts

    warn(partly_read_lines(partly_read_prompts(model, prompts)))


def index_of(
    index: Path | None, images: Path | None, embedder: str = "pixels"
) -> IndexedFolder | None:
    """Return the training set that the options name, None for that of the model itself."""
    from mmh_core.subject.subject import IndexedFolder

    if index is None:
        if images is not None:
            raise MMHError("--index-images is there without --index: name the index too.")
        return None
    if images is None:
        raise MMHError(
            "--index needs --index-images: name the folder that the index was built from."
        )
    # Before a model is loaded, which takes seconds.
    if not index.exists():
        raise MMHError(
            f"There is no index {index}: build one with `{PROGRAM} index IMAGES --out INDEX`."
        )
    if not images.is_dir():
        raise MMHError(f"There is no folder {images}: name the one that the index was built from.")
    return IndexedFolder(index, images, embedder)


def load_subject(
    name: str,
    device: str,
    *,
    index: IndexedFolder | None = None,
    calibration: Path | Calibration | None = None,
    windows: int = 1,
) -> Subject:
    """Open a subject, with its notes on standard error.

    It computes on as many threads as the pages take, or on fewer where the environment says so.
    """
    from mmh_core.subject.subject import open_subject

    _take_threads(name)
    _draw_images(name)
    subject = open_subject(name, device, index=index, calibration=calibration, windows=windows)
    _write_notes(subject.model)
    return subject


def _draw_images(name: str) -> None:
    """Draw the training images of a shipped world, with their progress, where none are kept."""
    from mmh_core.pocket.assets import drawing, has_to_draw
    from mmh_core.subject.subject import model_folder

    folder = model_folder(name)
    if folder is not None and (folder / "world.json").exists() and has_to_draw(folder):
        run_steps(drawing(folder))


def load_model(name: str, device: str, windows: int = 1) -> TextToImage:
    """Open a model alone, with notes and threads as `load_subject`, to compare with no image."""
    from mmh_core.subject.devices import device_of
    from mmh_core.text_to_image.stable_diffusion import load

    _take_threads(name)
    model = load(name, device=device_of(device)).in_windows(windows)
    _write_notes(model)
    return model


def _take_threads(name: str) -> None:
    import torch

    from mmh_core.text_to_image.catalogue import threads_for

    torch.set_num_threads(min(torch.get_num_threads(), threads_for(name)))


def _write_notes(model: TextToImage) -> None:
    for note in model.notes:
        typer.echo(f"Note: {note}", err=True)


def no_calibration(model: str, named: Path | None, command: str, of_what: str = "") -> MMHError:
    """Return what to do where a model, or the file that was named, has no such calibration."""
    where = f"{model} has" if named is None else f"{named} has"
    out = "FILE" if named is None else shlex.quote(str(named))
    return MMHError(
        f"{where} no calibration{of_what}: make one with `{PROGRAM} {command} --model "
        f"{shlex.quote(model)} --out {out}`, then name it by --calibration."
    )


def labelled_prompts(
    prompts: Path | None, reference: Path | None, column: str, folder: Path
) -> tuple[LabelledPrompt, ...] | None:
    """Return the prompts of tables with labels, else those of the shipped model in `folder`.

    What is left out of the tables is said on standard error. None without tables for a model that
    has no labelled prompts. Errors: MMHError for tables that cannot be read, and for a table of
    reference prompts alone.
    """
    from mmh_core.pocket.assets import world_seed
    from mmh_core.store.table_summary import summarize
    from mmh_core.studies.detection.labelled_prompts import pocket_labelled, read_labelled

    if prompts is None:
        if reference is not None:
            raise MMHError(
                "--reference goes with --prompts, the table of memorized prompts: name it."
            )
        own = (folder / "world.json").exists()
        return pocket_labelled(folder, world_seed(folder)) if own else None
    for table in (prompts, *([] if reference is None else [reference])):
        summary = summarize(table, column=column)
        typer.echo(summary.text(), err=True)
        summary.check()
    return read_labelled(prompts, column, reference)
