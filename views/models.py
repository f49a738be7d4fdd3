"""The models that may be chosen, without loading one: what they are, need and are set to.

Whatever needs torch is imported inside the functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mmh_core.records import MMHError
from mmh_core.text_to_image.catalogue import threads_for as threads_for
from views import own_models
from views.start_options import start_options
from views.widgets.link_values import quoted

if TYPE_CHECKING:
    from mmh_core.studies.images.run import ImageConfig
    from mmh_core.subject.subject import IndexedFolder
    from mmh_core.text_to_image.model_folder import ModelListing

#: The model that ships with the app.
POCKET = "pocket-sd"


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


def device_name() -> str:
    """Return what the device of this server is called in a sentence."""
    return "the CPU" if device() == "cpu" else "the GPU"


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
    """Return all models that may be chosen.

    The catalogue, what `--models` holds, and what this window has named by its path.
    """
    from mmh_core.text_to_image.catalogue import CATALOGUE

    catalogued = [_choice_of(name) for name in CATALOGUE]
    listed = [_choice_in(source, name) for name, source in _listing().models.items()]
    own = [
        replace(_choice_in(name, name), label=own_models.label(name))
        for name in own_models.names()
    ]
    return catalogued + listed + own


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

    target, licence = torch.device(device()), "unknown to this app"
    try:
        weights = sum(_parameters(source).values())
    except MMHError as error:
        return ModelChoice(name, name, licence, False, str(error), "")
    need, free = needed_memory(weights, default_type(target)) / 1e9, free_memory(target)
    why = ""
    if free is not None and free < need * 1e9:
        why = f"It needs {need:.1f} GB of memory and {free / 1e9:.1f} GB are free."
    needs = f"about {max(need, 0.1):.1f} GB of memory on {device_name()}"
    return ModelChoice(name, name, licence, not why, why, needs)


def _choice_of(name: str) -> ModelChoice:
    import torch

    from mmh_core.text_to_image.catalogue import CATALOGUE
    from mmh_core.text_to_image.stable_diffusion import on_this_disk
    from mmh_core.text_to_image.weights import free_memory

    entry = CATALOGUE[name]
    target = device()
    need = entry.memory_gb if target == "cpu" else entry.memory_gb / 2
    free = free_memory(torch.device(target))
    why = ""
    if not entry.shipped and not on_this_disk(entry.source):
        why = (
            f"Its files are not on this machine ({entry.download_gb:g} GB): download them once "
            f"with `hf download {entry.source}`, then reload this page."
        )
    elif free is not None and free < need * 1e9:
        why = f"It needs {need:g} GB of memory and {free / 1e9:.1f} GB are free."
    return ModelChoice(
        name,
        entry.label,
        entry.licence,
        not why,
        why,
        f"about {need:g} GB of memory on {device_name()}",
    )


def estimated_forward_seconds(name: str) -> float | None:
    """Return the seconds that one forward pass for one image should take on this device.

    From how fast it multiplies matrices; None for a folder that cannot be read.
    """
    from mmh_core.text_to_image import duration_estimate
    from mmh_core.text_to_image.catalogue import CATALOGUE

    if name in CATALOGUE:
        return duration_estimate.estimated_forward_seconds(
            CATALOGUE[name].forward_tflop, _speed(device())
        )
    try:
        weights = _parameters(source_of(name))["unet"]
    except MMHError:
        return None
    base = default_settings(name)
    tflop = duration_estimate.estimated_tflop(weights, base.sampling.height, base.sampling.width)
    return duration_estimate.estimated_forward_seconds(tflop, _speed(device()))


def _parameters(source: str) -> dict[str, int]:
    """Return `parameters`, read once per version of the files: every rerun asks for it."""
    from mmh_core.text_to_image.model_names import parse_model_name

    parsed_name = parse_model_name(source)
    stamped = []
    for named in filter(None, (parsed_name.base, parsed_name.unet)):
        path = Path(named)
        inner = [path / "model_index.json", *path.glob("**/*.safetensors")]
        beside = path.with_suffix(".vae.safetensors")
        stamped += [(str(x), x.stat().st_mtime_ns) for x in (path, beside, *inner) if x.exists()]
    return _read_parameters(source, str(sorted(stamped)))


@st.cache_data(show_spinner=False)
def _read_parameters(source: str, stamps: str) -> dict[str, int]:
    from mmh_core.text_to_image.stable_diffusion import parameter_counts

    return parameter_counts(source)


@st.cache_resource(show_spinner=False)
def _speed(target: str) -> float:
    from mmh_core.text_to_image.duration_estimate import matrix_speed

    return matrix_speed(target)


def source_of(name: str) -> str:
    """Return by what a chosen model is loaded. Errors: MMHError for what may not be chosen."""
    from mmh_core.text_to_image.catalogue import CATALOGUE

    if name in CATALOGUE:
        return name
    # Only what the list holds: a name comes from an address.
    source = _listing().models.get(name)
    if source is not None:
        return source
    if own_models.is_accepted(name):
        return name
    raise MMHError(
        f"There is no model {name[:60]!r} here: choose one of the list, or start the app with "
        "`-- --models FOLDER` to name a folder of models."
    )


def take_own(text: str) -> str:
    """Offer the model at a path on this server in this window, and return its name.

    Its headers are read, not its weights. Errors: MMHError for a path that may not be named, and
    for what is no model that can be loaded, with what it is.
    """
    name = own_models.named(text)
    _parameters(name)
    own_models.remember(name)
    return name


def check_allowed(name: str) -> None:
    """Refuse a model that may not be chosen. Errors: MMHError."""
    source_of(name)


def model_of(value: object, messages: list[str]) -> str:
    """Return the model named, or the shipped one and a sentence where it may not be chosen."""
    if value is None:
        return POCKET
    try:
        check_allowed(str(value))
    except (MMHError, ValueError):
        names = ", ".join(choice.name for choice in choices())
        messages.append(
            f"model is {quoted(value)}; choose from {names}. Shown instead: the shipped model."
        )
        return POCKET
    if own_models.is_accepted(str(value)):
        # Named in another window; a link leads here.
        own_models.remember(str(value))
    return str(value)


def default_settings(name: str) -> ImageConfig:
    """Return what a model generates with unless told otherwise; it is not loaded for that.

    Errors: MMHError for what may not be chosen.
    """
    from mmh_core.studies.images.examples import unloaded_config
    from mmh_core.text_to_image.catalogue import CATALOGUE

    return unloaded_config(name, CATALOGUE.get(name), _base_folder(name))


def folder_of(name: str) -> Path | None:
    """Return the folder of a model on this disk, None for a name on the Hub or a single file.

    None too for a model with another network in it: what is kept beside it holds for its own.
    """
    from mmh_core.text_to_image.model_names import parse_model_name

    return None if parse_model_name(source_of(name)).unet else _base_folder(name)


def _base_folder(name: str) -> Path | None:
    from mmh_core.text_to_image.catalogue import CATALOGUE
    from mmh_core.text_to_image.model_names import parse_model_name

    source = parse_model_name(source_of(name)).base
    folder = Path(CATALOGUE[source].source if source in CATALOGUE else source)
    return folder if folder.is_dir() else None
