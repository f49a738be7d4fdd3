"""Seed-to-seed similarity: whether a prompt gives the same image from every noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.detectors.measurement import Measurement, ModelSettings, Need, OneColumn
from mmh_core.records import MMHError
from mmh_core.retrieval.embedder_choice import load_embedder
from mmh_core.retrieval.embedders import embed_all, similarity_to_others
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class SeedSimilarity(OneColumn):
    """The mean cosine of an image's descriptor with those of the prompt's other seeds.

    Its mean over a prompt is the mean pairwise similarity. `embedder` is a choice of
    `load_embedder`. It needs no training images, and no NFE beyond the generation.
    """

    embedder: str = "pixels"
    name: ClassVar[str] = "seed_agreement"
    label: ClassVar[str] = "Seed-to-seed similarity"
    summary: ClassVar[str] = (
        "The mean similarity of an image to those of the prompt's other seeds."
    )
    citation: ClassVar[str] = "this project, after Carlini et al. 2023, arXiv 2301.13188"
    needs: ClassVar[Need] = "image"

    def adapted(self, settings: ModelSettings) -> SeedSimilarity:
        """Return this detector with the descriptor of the model's training set."""
        return replace(self, embedder=settings.embedder)

    def lacking(self, model: TextToImage, seeds: int) -> str:
        """Return why it cannot be computed, "" for two seeds or more."""
        return "it needs two seeds" if seeds < 2 else ""

    @torch.no_grad()
    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the similarities (B, 1). Raises MMHError for a prompt with a single seed."""
        trace = inputs.generated()
        descriptors = embed_all(load_embedder(self.embedder), trace.images)
        values = descriptors.new_empty(len(inputs), 1)
        for rows in inputs.groups():
            if len(rows) < 2:
                raise MMHError(
                    "Seed-to-seed similarity compares images of one prompt: use two seeds or more."
                )
            values[rows, 0] = similarity_to_others(descriptors[rows]).to(values.dtype)
        return Measurement(values, 0.0, trace.nfe)
