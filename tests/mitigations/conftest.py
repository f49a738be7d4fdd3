"""Random pipelines, written and loaded once a session, and requests for them."""

from __future__ import annotations

import pandas as pd
import torch

from mmh_core.mitigations.interface import MitigationContext, without_work
from mmh_core.retrieval.embedders import PixelEmbedder
from mmh_core.retrieval.index import build_index
from mmh_core.text_to_image.model import TextToImage
from tests.text_to_image.conftest import ModelOf, folder_of, model_of
from tests.text_to_image.pipelines import SEEDS, request_for

__all__ = ["SEEDS", "ModelOf", "folder_of", "model_of", "request_for"]


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
