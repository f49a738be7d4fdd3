"""What is examined, opened by one function for the app, the command line, benchmarks and tests."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmh_core.subject.calibration import Calibration, calibration_beside, read_calibration
from mmh_core.subject.devices import device_of
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.training_set import (
    TrainingSet,
    folder_training_set,
    pocket_alignment,
    pocket_training_set,
)
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Sampling

if TYPE_CHECKING:
    import torch

    from mmh_core.diffusion.score_model import ScoreModel
    from mmh_core.text_to_image.requests import Request


@dataclass(frozen=True)
class IndexedFolder:
    """A training set of one's own: the folder `index`, built from `images` by `embedder`."""

    index: Path
    images: Path
    embedder: str = "pixels"

    def arguments(self) -> tuple[str, ...]:
        """Return the same for the command line."""
        named = ("--index", str(self.index), "--index-images", str(self.images))
        return (*named, "--embedder", self.embedder)


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with its training set and its calibration, either None or empty where unknown.

    `name` is what it was opened by. The truth, where there is one, is the training set's.
    """

    model: TextToImage
    training_set: TrainingSet | None = None
    calibration: Calibration = field(default_factory=Calibration)
    name: str = ""

    @property
    def sampling(self) -> Sampling:
        """Return the sampling that the model's card recommends."""
        return self.model.sampling

    def reference_prompts(self, sampling: Sampling) -> ReferencePrompts | None:
        """Return the reference prompts that images of this sampling may be compared with."""
        references = self.calibration.reference_prompts
        fits = references is not None and references.fits(self.model.sha256, sampling)
        return references if fits else None

    def score_model(self, request: Request) -> ScoreModel:
        """Return the score model that the request samples from, steering in force."""
        from mmh_core.text_to_image.model import steered_model

        return steered_model(self.model, request).score_model

    def in_windows(self, windows: int) -> Subject:
        """Return it with a model with so many windows of its text encoder."""
        return replace(self, model=self.model.in_windows(windows))


def open_subject(
    name: str,
    device: str | torch.device = "auto",
    *,
    index: IndexedFolder | None = None,
    calibration: Path | Calibration | None = None,
    windows: int = 1,
) -> Subject:
    """Open a model by a name of the catalogue, a folder, a file, its parts or `hub:owner/name`.

    The training set is the `index` that is named, else the one beside the model. The calibration
    is that of the file that is named (or one that `open_calibration` opened), else the model's
    own. `device` is cpu, cuda or auto, a GPU where there is one. Errors: MMHError for what cannot
    be opened, and for the calibration of another model, with what to do.
    """
    from mmh_core.text_to_image.stable_diffusion import load

    # What is small is looked at first: loading takes its time.
    calibrated = (
        calibration
        if isinstance(calibration, Calibration)
        else open_calibration(name, calibration)
    )
    training_set = open_training_set(name, index, calibrated)
    model = load(name, device=device_of(device)).in_windows(windows)
    if calibration is not None:
        calibrated.check(model)
    return Subject(model, training_set, calibrated, name)


def open_training_set(
    name: str, index: IndexedFolder | None = None, calibration: Calibration | None = None
) -> TrainingSet | None:
    """Return the index of one's own, else the training set beside a model, None without either.

    The model's own is compared by the calibration that is given, else by the one beside it. An
    index of one's own has what belongs to the model: the calibrated scale of LID and cause, and
    the CLIP beside a model with a world.
    """
    from mmh_core.retrieval.embedder_choice import load_embedder

    folder = model_folder(name)
    if folder is not None and not (folder / "world.json").exists():
        folder = None
    if index is not None:
        searched = folder_training_set(index.index, load_embedder(index.embedder), index.images)
        calibrated = calibration or Calibration()
        return replace(
            searched,
            cause=calibrated.cause,
            log_delta=calibrated.log_delta,
            # Whether an image shows its prompt does not depend on what is searched.
            alignment=None if folder is None else pocket_alignment(folder),
        )
    if folder is None:
        return None
    return pocket_training_set(folder, calibration or calibration_beside(folder))


def open_calibration(name: str, named: Path | None = None) -> Calibration:
    """Return the calibration in the file that is named, else the one beside a model.

    What only the maker of a model knows is taken from beside it, where the file has none. Errors:
    MMHError.
    """
    folder = model_folder(name)
    own = Calibration() if folder is None else calibration_beside(folder)
    return own if named is None else read_calibration(named).completed(own)


def model_folder(name: str) -> Path | None:
    """Return the folder of a model on this disk, None for a Hub name and for a single file."""
    from mmh_core.text_to_image.model_names import home

    folder = home(name)
    # A name that is none may be too long for any file.
    with suppress(OSError):
        return folder if folder.is_dir() else None
    return None
