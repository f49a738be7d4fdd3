"""A scan by copy search: the similarity of a request's images to the training images."""

from __future__ import annotations

import torch

from mmh_core.mitigations.lid_loss import generated_latents
from mmh_core.mitigations.record import Scan
from mmh_core.mitigations.work import Work
from mmh_core.retrieval.embedders import Embedder
from mmh_core.retrieval.index import Index, check_same_embedder, search
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request


@torch.no_grad()
def copy_scan(
    model: TextToImage, request: Request, index: Index, embedder: Embedder
) -> Work[Scan]:
    """Score a request by the largest similarity of its images to a training image.

    It depends on everything that steers a generation, and costs one. MMHError for an index of
    another embedder.
    """
    check_same_embedder(index, embedder)
    latents, nfe = yield from generated_latents(model, request)
    nearest = search(index, embedder(model.decode(latents)), k=1)
    return Scan(float(nearest.similarity.max()), nfe)
