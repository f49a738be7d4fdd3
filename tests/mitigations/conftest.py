"""Random pipelines, written and loaded once a session, and requests for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pandas as pd
import pytest
import torch

from mmh_core.mitigations.interface import MitigationContext, without_work
from mmh_core.retrieval.embedders import PixelEmbedder
from mmh_core.retrieval.index import build_index
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request, Sampling
from mmh_core.text_to_image.stable_diffusion import load
from tests.text_to_image.pipelines import write_pipeline

ModelOf = Callable[[str], TextToImage]
SEEDS = (3, 7)


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> ModelOf:
    """Return the loaded model of a kind, for images of 32 pixels."""
    loaded: dict[str, TextToImage] = {}

    def model_of(kind: str) -> TextToImage:
        if kind not in loaded:
            folder = write_pipeline(tmp_path_factory.mktemp(kind), kind, size=4)
            loaded[kind] = load(folder)
        return loaded[kind]

    return model_of


def request_for(model: TextToImage, **changes: Any) -> Request:
    """Return a short request for a model."""
    height, width = model.image_size
    own = {field.name for field in fields(Sampling)}
    sampling = {"steps": 4, "guidance": 3.0, "height": height, "width": width}
    sampling |= {name: value for name, value in changes.items() if name in own}
    rest = {name: value for name, value in changes.items() if name not in own}
    return Request(
        **{"prompt": "the cat", "seeds": SEEDS, "sampling": Sampling(**sampling), **rest}
    )


def full_context(model: TextToImage) -> MitigationContext:
    """Return all that any mitigation asks for; targets so low or high that they take all steps."""
    images = torch.rand(5, 3, *model.image_size, generator=torch.Generator().manual_seed(2))
    embedder = PixelEmbedder()
    labels = pd.DataFrame({"id": range(5), "caption": "", "file": ""})
    return MitigationContext(
        generator=torch.Generator().manual_seed(0),
        reference_norms=torch.tensor([1e-3]),
        reference_lids=lambda by, log_delta: without_work(torch.tensor([1e6])),
        index=build_index(embedder(images), labels, embedder),
        embedder=embedder,
    )
