"""What is examined: loaded models, their training sets and calibrations, kept for all pages."""

from __future__ import annotations

import gc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import streamlit as st

from mmh_core.installation import assets
from mmh_core.records import MMHError
from views import drawing, importing, models
from views.session import data_folder

if TYPE_CHECKING:
    from mmh_core.subject.calibration import Calibration
    from mmh_core.subject.early_calibration import EarlyCalibration
    from mmh_core.subject.reference_prompts import ReferencePrompts
    from mmh_core.subject.subject import IndexedFolder, Subject
    from mmh_core.subject.training_set import TrainingSet
    from mmh_core.text_to_image.model import TextToImage

#: Held by whoever loads: transformers and diffusers import their parts on first use. Nothing
#: cached may be asked for inside: the cache has locks of its own.
_LOADING = importing.LOCK


def subject(name: str, searched: IndexedFolder | None = None) -> Subject:
    """Return a model with its training set and its calibrations. Errors: MMHError.

    `searched` is the training set that a person chose in place of the model's own.
    """
    from mmh_core.subject.subject import Subject

    calibrated = replace(own_calibration(name), early=calibration(name))
    return Subject(model(name), training_set(name, searched), calibrated, name)


def use_threads(name: str) -> None:
    """Let torch compute on as many threads as a model is worth."""
    import torch

    torch.set_num_threads(models.threads_for(name))


def model(name: str) -> TextToImage:
    """Return a loaded model, kept for all pages. Errors: MMHError with what to do."""
    return _model(models.source_of(name), models.device())


@st.cache_resource(show_spinner="Loading the model", max_entries=2)
def _model(source: str, device: str) -> TextToImage:
    # What a bad file can cost is paid before the lock, and by its own caller alone.
    with _LOADING:
        from mmh_core.text_to_image.stable_diffusion import read
    files = read(source, device=device)
    with _LOADING:
        built = files.build()
    _loaded()[source] = built
    _freeze()
    return built


def _freeze() -> None:
    """Leave what is loaded by now, half a million objects, out of later garbage collections.

    Thawed first, so that a model that nobody holds any more goes.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@st.cache_resource(show_spinner=False)
def _loaded() -> WeakValueDictionary[str, TextToImage]:
    """Return the models that are in memory now; the cache cannot be asked without loading."""
    return WeakValueDictionary()


@st.cache_resource(show_spinner=False)
def prepare() -> Thread:
    """Load the shipped model beside the page, so that the first run does not wait for it.

    Once per server; the thread is there for those who want to wait. Other models are loaded by
    their first run: they take memory that nobody has asked for yet.
    """
    # Not a daemon: the interpreter must not end in the middle of an import.
    thread = Thread(target=_warm, name="load the shipped model")
    thread.start()
    return thread


def _warm() -> None:
    """Load the model and its reference side by side, and let the model make one step."""
    from mmh_core.text_to_image.generation import generate

    beside = Thread(target=_warm_reference, name="load the shipped reference")
    beside.start()
    # What is wrong with the files is said by the run that needs them.
    with suppress(MMHError):
        config = replace(models.default_settings(models.POCKET), prompts=("",), seeds=(0,))
        loaded = model(models.POCKET)
        with _LOADING:
            next(generate(loaded, config.request("")))
    beside.join()


def _warm_reference() -> None:
    with suppress(MMHError):
        training_set(models.POCKET)


def unread_words(name: str, prompt: str, windows: int = 1) -> str:
    """Return in a sentence what of a prompt the text encoder does not read in these windows.

    "" where it reads all, and while the model is not in memory.
    """
    from mmh_core.text_to_image.unread_text import unread_text

    loaded = _loaded().get(models.source_of(name))
    return "" if loaded is None else unread_text(loaded.in_windows(windows), prompt).words()


def training_set(name: str, searched: IndexedFolder | None = None) -> TrainingSet | None:
    """Return the training set that is searched with a model, None where nobody has one.

    It is the one that a person chose (`searched`), else the model's own, else the index the app
    was started with. Errors: MMHError.
    """
    if searched is not None:
        # As `open_subject` does with an index that is named.
        return replace(_folder_reference(searched), cause=own_calibration(name).cause)
    folder = models.folder_of(name)
    if folder is not None and (folder / "world.json").exists():
        stamp = (folder / "manifest.json").stat().st_mtime_ns
        drawing.wait_until_drawn(folder, stamp)
        return _pocket_reference(str(folder), stamp)
    started = models.searched_folder()
    return None if started is None else _folder_reference(started)


@st.cache_resource(show_spinner="Opening the index", max_entries=2)
def _folder_reference(searched: IndexedFolder) -> TrainingSet:
    from mmh_core.retrieval.embedder_choice import load_embedder
    from mmh_core.subject.training_set import folder_training_set

    with _LOADING:
        embedder = load_embedder(searched.embedder)
        return folder_training_set(searched.index, embedder, searched.images)


@st.cache_resource(show_spinner="Loading the training images", max_entries=2)
def _pocket_reference(folder: str, stamp: int) -> TrainingSet:
    from mmh_core.subject.calibration import calibration_beside
    from mmh_core.subject.training_set import pocket_training_set

    return pocket_training_set(Path(folder), calibration_beside(Path(folder)))


def own_calibration(name: str) -> Calibration:
    """Return the calibration beside a model, empty where there is none. Errors: MMHError."""
    from mmh_core.subject.calibration import Calibration, calibration_beside

    folder = models.folder_of(name)
    return Calibration() if folder is None else calibration_beside(folder)


def reference_prompts(name: str) -> ReferencePrompts | None:
    """Return the reference prompts of a model, None where it has none."""
    return own_calibration(name).reference_prompts


def calibration(name: str) -> EarlyCalibration | None:
    """Return the early scan's calibration of a model, None where nobody made one."""
    file = calibration_file(name)
    return None if file is None else _calibration(str(file), file.stat().st_mtime_ns).early


def calibration_file(name: str) -> Path | None:
    """Return the file with the calibration of a model's early scan, None where there is none.

    It is that of the data folder, else the one that came with the shipped model. Errors: MMHError
    for one that cannot be read.
    """
    kept = kept_calibration_file(name)
    own = assets() / name / kept.name if name == models.POCKET else None
    for path in (kept, own):
        if path is not None and _calibration_beside(path).early is not None:
            return path
    return None


def kept_calibration_file(name: str) -> Path:
    """Return the file in the data folder that keeps the calibration of a model."""
    from mmh_core.subject.calibration import FILE

    return data_folder() / "calibrations" / Path(name).name / FILE


def _calibration_beside(path: Path) -> Calibration:
    from mmh_core.subject.calibration import calibration_beside

    if path.is_file():
        return _calibration(str(path), path.stat().st_mtime_ns)
    return calibration_beside(path.parent)


@st.cache_resource(show_spinner=False, max_entries=4)
def _calibration(path: str, stamp: int) -> Calibration:
    from mmh_core.subject.calibration import read_calibration

    return read_calibration(Path(path))
