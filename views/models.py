"""Join models to Streamlit: which may be chosen, loading them, and what they are compared with.

Like `session`, of which it is a part: whatever needs torch is imported inside the functions.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import streamlit as st

from mmh_core.records import MMHError
from mmh_core.text_to_image.catalogue import threads_for as threads_for
from views import importing
from views.start_options import start_options

if TYPE_CHECKING:
    from mmh_core.studies.images.run import ImageConfig
    from mmh_core.subject.calibration import Calibration
    from mmh_core.subject.reference_prompts import ReferencePrompts
    from mmh_core.subject.subject import IndexedFolder
    from mmh_core.subject.training_set import TrainingSet
    from mmh_core.text_to_image.model import TextToImage
    from mmh_core.text_to_image.model_folder import ModelListing

#: The model that ships with the app.
POCKET = "pocket-sd"
#: Held by whoever loads: transformers and diffusers import their parts on first use. Nothing
#: cached may be asked for inside: the cache has locks of its own.
_LOADING = importing.LOCK


@dataclass(frozen=True)
class ModelChoice:
    """A model that can be chosen.

    `ready` is whether it can be loaded now; `why` says otherwise what is missing, and `needs` what
    memory and time it takes here.
    """

    name: str
    label: str
    licence: str
    ready: bool
    why: str
    needs: str


def device() -> str:
    """Return the device of this server: a GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def models_folder() -> Path | None:
    """Return the folder named after `-- --models`, in which a person may choose, None without."""
    models = start_options().models
    return None if models is None else models.resolve()


def searched_folder() -> IndexedFolder | None:
    """Return what is named after `-- --index` and `--index-images`, None without both."""
    from mmh_core.subject.subject import IndexedFolder

    given = start_options()
    if given.index is None or given.index_images is None:
        return None
    return IndexedFolder(given.index, given.index_images, given.embedder)


def choices() -> list[ModelChoice]:
    """Return all models that may be chosen: the catalogue, then what `--models` holds."""
    from mmh_core.text_to_image.catalogue import CATALOGUE

    found = [_choice_of(name) for name in CATALOGUE]
    return found + [_choice_in(source, name) for name, source in _listing().models.items()]


def left_out() -> tuple[str, bool]:
    """Return a sentence on what in `--models` cannot be chosen and why, "" without any.

    With it whether nothing there can be chosen.
    """
    root = models_folder()
    if root is None:
        return "", False
    if not root.is_dir():
        return f"There is no folder {root}, which the app was started with: check its name.", True
    listing = _listing()
    return listing.sentence(root), not listing.models


def _listing() -> ModelListing:
    from mmh_core.text_to_image.model_folder import ModelListing, stamps

    root = models_folder()
    return (
        ModelListing() if root is None or not root.is_dir() else _listed(str(root), stamps(root))
    )


@st.cache_data(show_spinner=False, max_entries=4)
def _listed(root: str, stamps: tuple[tuple[str, int, int], ...]) -> ModelListing:
    """Return what lies in a folder, looked at once per version of its files."""
    from mmh_core.text_to_image.model_folder import list_models

    return list_models(Path(root))


def _choice_in(source: str, name: str) -> ModelChoice:
    """Describe a model of the folder of models, by the headers of its files."""
    import torch

    from mmh_core.text_to_image.stable_diffusion import default_type
    from mmh_core.text_to_image.weights import free_memory, needed_memory

    place, licence = torch.device(device()), "unknown to this app"
    try:
        weights = sum(_parameters(source).values())
    except MMHError as error:
        return ModelChoice(name, name, licence, False, str(error), "")
    need, free = needed_memory(weights, default_type(place)) / 1e9, free_memory(place)
    why = ""
    if free is not None and free < need * 1e9:
        why = f"It needs {need:.1f} GB of memory and {free / 1e9:.1f} GB are free."
    needs = f"about {max(need, 0.1):.1f} GB of memory on {place}"
    return ModelChoice(name, name, licence, not why, why, needs)


def _choice_of(name: str) -> ModelChoice:
    import torch

    from mmh_core.text_to_image.catalogue import CATALOGUE
    from mmh_core.text_to_image.stable_diffusion import on_this_disk
    from mmh_core.text_to_image.weights import free_memory

    entry = CATALOGUE[name]
    place = device()
    need = entry.memory_gb if place == "cpu" else entry.memory_gb / 2
    free = free_memory(torch.device(place))
    why = ""
    if not entry.shipped and not on_this_disk(entry.source):
        why = (
            f"Its files are not on this machine ({entry.download_gb:g} GB): download them once "
            f"with `hf download {entry.source}`, then reload this page."
        )
    elif free is not None and free < need * 1e9:
        why = f"It needs {need:g} GB of memory and {free / 1e9:.1f} GB are free."
    return ModelChoice(
        name, entry.label, entry.licence, not why, why, f"about {need:g} GB of memory on {place}"
    )


def guessed_forward(name: str) -> float | None:
    """Return the seconds that one forward pass for one image should take on this device.

    From how fast it multiplies matrices; None for a folder that cannot be read.
    """
    from mmh_core.text_to_image import speed
    from mmh_core.text_to_image.catalogue import CATALOGUE

    if name in CATALOGUE:
        return speed.guessed_forward(CATALOGUE[name].forward_tflop, _speed(device()))
    try:
        weights = _parameters(source_of(name))["unet"]
    except MMHError:
        return None
    base = default_settings(name)
    tflop = speed.guessed_tflop(weights, base.sampling.height, base.sampling.width)
    return speed.guessed_forward(tflop, _speed(device()))


def _parameters(source: str) -> dict[str, int]:
    """Return `parameters`, read once per version of the files: every rerun asks for it."""
    from mmh_core.text_to_image.places import parse_model_name

    wanted = parse_model_name(source)
    stamped = []
    for named in filter(None, (wanted.base, wanted.unet)):
        place = Path(named)
        inner = [place / "model_index.json", *place.glob("**/*.safetensors")]
        beside = place.with_suffix(".vae.safetensors")
        stamped += [(str(x), x.stat().st_mtime_ns) for x in (place, beside, *inner) if x.exists()]
    return _read_parameters(source, str(sorted(stamped)))


@st.cache_data(show_spinner=False)
def _read_parameters(source: str, stamps: str) -> dict[str, int]:
    from mmh_core.text_to_image.stable_diffusion import parameters

    return parameters(source)


@st.cache_resource(show_spinner=False)
def _speed(place: str) -> float:
    from mmh_core.text_to_image.speed import matrix_speed

    return matrix_speed(place)


def source_of(name: str) -> str:
    """Return by what a chosen model is loaded. Errors: MMHError for what may not be chosen."""
    from mmh_core.text_to_image.catalogue import CATALOGUE

    if name in CATALOGUE:
        return name
    # Only what the list holds: a name comes from an address.
    source = _listing().models.get(name)
    if source is not None:
        return source
    raise MMHError(
        f"There is no model {name[:60]!r} here: choose one of the list, or start the app with "
        "`-- --models FOLDER` to name a folder of models."
    )


def model(name: str) -> TextToImage:
    """Return a loaded model, kept for all pages. Errors: MMHError with what to do."""
    return _model(source_of(name), device())


@st.cache_resource(show_spinner="Loading the model", max_entries=2)
def _model(source: str, place: str) -> TextToImage:
    # What a bad file can cost is paid before the lock, and by its own caller alone.
    with _LOADING:
        from mmh_core.text_to_image.stable_diffusion import read
    files = read(source, device=place)
    with _LOADING:
        found = files.build()
    _loaded()[source] = found
    _freeze()
    return found


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
    """Load the embedded model beside the page, so that the first run does not wait for it.

    Once per server; the thread is there for those who want to wait. Other models are loaded by
    their first run: they take memory that nobody has asked for yet.
    """
    # Not a daemon: the interpreter must not end in the middle of an import.
    thread = Thread(target=_warm, name="load the embedded model")
    thread.start()
    return thread


def _warm() -> None:
    """Load the model and its reference side by side, and let the model make one step."""
    from mmh_core.text_to_image.generation import generate

    beside = Thread(target=_warm_reference, name="load the embedded reference")
    beside.start()
    # What is wrong with the files is said by the run that needs them.
    with suppress(MMHError):
        config = replace(default_settings(POCKET), prompts=("",), seeds=(0,))
        found = model(POCKET)
        with _LOADING:
            next(generate(found, config.request("")))
    beside.join()


def _warm_reference() -> None:
    with suppress(MMHError):
        training_set(POCKET)


def not_read(name: str, prompt: str, windows: int = 1) -> str:
    """Say in a sentence what of a prompt the model's text encoder does not read in these windows.

    "" where it reads all, and while the model is not in memory.
    """
    from mmh_core.text_to_image.prompt_reading import read_prompt

    found = _loaded().get(source_of(name))
    return "" if found is None else read_prompt(found.in_windows(windows), prompt).words()


def notes(name: str) -> tuple[str, ...]:
    """Return what was chosen while a model was read, none while it is not in memory."""
    found = _loaded().get(source_of(name))
    return () if found is None else found.notes


def training_set(name: str) -> TrainingSet | None:
    """Return the training set that belongs to a model, None where nobody has it.

    For a model without its own that is the index the app was started with. Errors: MMHError.
    """
    folder = folder_of(name)
    if folder is not None and (folder / "world.json").exists():
        return _pocket_reference(str(folder), (folder / "manifest.json").stat().st_mtime_ns)
    searched = searched_folder()
    return None if searched is None else _folder_reference(searched)


@st.cache_resource(show_spinner="Opening the index", max_entries=1)
def _folder_reference(searched: IndexedFolder) -> TrainingSet:
    from mmh_core.retrieval.embedders import load_embedder
    from mmh_core.subject.training_set import folder_training_set

    with _LOADING:
        embedder = load_embedder(searched.embedder)
        return folder_training_set(searched.index, embedder, searched.images)


@st.cache_resource(show_spinner="Reading the training images", max_entries=2)
def _pocket_reference(folder: str, stamp: int) -> TrainingSet:
    from mmh_core.subject.calibration import calibration_beside
    from mmh_core.subject.training_set import pocket_training_set

    return pocket_training_set(Path(folder), calibration_beside(Path(folder)))


def own_calibration(name: str) -> Calibration:
    """Return the calibration beside a model, empty where there is none. Errors: MMHError."""
    from mmh_core.subject.calibration import Calibration, calibration_beside

    folder = folder_of(name)
    return Calibration() if folder is None else calibration_beside(folder)


def normal(name: str) -> ReferencePrompts | None:
    """Return what is normal for a model, None where it was never found out."""
    return own_calibration(name).reference_prompts


def default_settings(name: str) -> ImageConfig:
    """Return what a model is drawn with unless told otherwise; it is not loaded for that.

    Errors: MMHError for what may not be chosen.
    """
    from mmh_core.studies.images.examples import unloaded_config
    from mmh_core.text_to_image.catalogue import CATALOGUE

    return unloaded_config(name, CATALOGUE.get(name), _base_folder(name))


def folder_of(name: str) -> Path | None:
    """Return the folder of a model on this disk, None for a name on the Hub or a single file.

    None too for a model with another network in it: what is kept beside it holds for its own.
    """
    from mmh_core.text_to_image.places import parse_model_name

    return None if parse_model_name(source_of(name)).unet else _base_folder(name)


def _base_folder(name: str) -> Path | None:
    from mmh_core.text_to_image.catalogue import CATALOGUE
    from mmh_core.text_to_image.places import parse_model_name

    source = parse_model_name(source_of(name)).base
    folder = Path(CATALOGUE[source].source if source in CATALOGUE else source)
    return folder if folder.is_dir() else None
