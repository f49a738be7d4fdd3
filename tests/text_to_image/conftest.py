"""Random pipelines, written once a session and loaded once a session.

Other folders' tests import the fixtures, which makes one of each per folder: what they return is
kept here, for all of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.stable_diffusion import load
from tests.text_to_image.pipelines import write_pipeline

FolderOf = Callable[[str], Path]
ModelOf = Callable[[str], TextToImage]

_written: dict[str, Path] = {}
_loaded: dict[str, TextToImage] = {}


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> FolderOf:
    """Return the folder of a pipeline by its kind; tests read it and never write to it."""

    def folder_of(kind: str) -> Path:
        if kind not in _written:
            # Images of 32 pixels where the depth of the network allows them.
            size = 4 if kind.startswith("tiny") else 8
            _written[kind] = write_pipeline(tmp_path_factory.mktemp(kind), kind, size=size)
        return _written[kind]

    return folder_of


@pytest.fixture(scope="session")
def model_of(folder_of: FolderOf) -> ModelOf:
    """Return the loaded model of a kind."""

    def model_of(kind: str) -> TextToImage:
        if kind not in _loaded:
            _loaded[kind] = load(folder_of(kind))
        return _loaded[kind]

    return model_of


@pytest.fixture
def own_folder(folder_of: FolderOf, tmp_path: Path) -> Path:
    """Return a copy of the tiny pipeline that the test may damage."""
    return Path(shutil.copytree(folder_of("tiny"), tmp_path / "tiny"))
