"""What commands take: seeds, models with their data, calibrations and tables of prompts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mmh_core.cli.output import check_writable, run_steps, warn
from mmh_core.installation import PROGRAM
from mmh_core.records import LabelledPrompt, MMHError

if TYPE_CHECKING:
    from mmh_core.subject.calibration import Calibration
    from mmh_core.subject.subject import IndexedFolder, Subject
    from mmh_core.text_to_image.model import TextToImage


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
    check_writable(path)
    if not path.exists():
        return None
    try:
        return read_calibration(path)
    except MMHError as error:
        raise MMHError(
            f"{printable_path(path)} holds no calibration that can be added to: name another "
            "file, or remove this one."
        ) from error


def seed_numbers(text: str) -> tuple[int, ...]:
    """Return the seeds in a text, separated by commas. Errors: ValueError."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"seeds must be whole numbers such as 0,1,2, got {text!r}.") from None


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
