"""Seed agreement: whether a prompt gives the same image whatever it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mmh_core.detectors.inputs import Evidence
from mmh_core.detectors.measurement import Measurement, Need
from mmh_core.records import MMHError
from mmh_core.retrieval.embedder_choice import load_embedder
from mmh_core.retrieval.embedders import embed_all
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class SeedAgreement:
    """Score by the mean cosine of an image's descriptor with those of the prompt's other seeds.

    Its mean over a prompt is the mean pairwise similarity. `embedder` is a choice of
    `load_embedder`. No training image is needed, and no network forward beyond the images.
    """

    embedder: str = "pixels"
    name: ClassVar[str] = "seed_agreement"
    label: ClassVar[str] = "Seed agreement"
    reference: ClassVar[str] = "this project"
    needs: ClassVar[Need] = "image"

    @property
    def estimates(self) -> tuple[SeedAgreement]:
        """Return itself: one column."""
        return (self,)

    @torch.no_grad()
    def measure(self, model: TextToImage, evidence: Evidence) -> Measurement:
        """Return the similarities (B, 1). Raises MMHError for a prompt with a single seed."""
        trace = evidence.drawn()
        descriptors = embed_all(load_embedder(self.embedder), trace.images)
        values = descriptors.new_empty(len(evidence), 1)
        for rows in evidence.groups():
            if len(rows) < 2:
                raise MMHError(
                    "Seed agreement compares images of one prompt: draw at least two seeds."
                )
            mine = descriptors[rows]
            similar = mine @ mine.T
            values[rows, 0] = (similar.sum(1) - similar.diagonal()) / (len(rows) - 1)
        return Measurement(values, 0.0, trace.nfe)

    def score(self, values: Tensor) -> Tensor:
        """Return the similarity."""
        return values[:, 0]
