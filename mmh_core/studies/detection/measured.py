"""All detectors on prompts that are generated once each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.detectors.generation import generated_inputs
from mmh_core.detectors.measurement import (
    Detector,
    Measurement,
    joined_measurements,
    measure_by_key,
)
from mmh_core.retrieval.copy_evidence import copied as kind_value
from mmh_core.retrieval.copy_evidence import is_copy
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True, eq=False)
class Measured:
    """The measurements of P prompts, S seeds each, prompt after prompt.

    `found` has a measurement of P S rows by the key of each detector; `copied` (P,) is the share
    of each prompt's images that copy a training image, NaN without training images. `copies`
    (P, S) is of every image 1 for a copy and 0 for none, and `copy_ids` (P S,) int64 the id of
    the training image that it copies, -1 for none.
    """

    prompts: tuple[str, ...]
    found: Mapping[str, Measurement]
    copied: Tensor
    copies: Tensor
    copy_ids: Tensor

    def per_prompt(self, values: Tensor) -> Tensor:
        """Return means (P, ...) of row values (P S, ...)."""
        return values.reshape(len(self.prompts), -1, *values.shape[1:]).mean(1)


def measured(
    model: TextToImage,
    prompts: Sequence[str],
    detectors: Mapping[str, Detector],
    seeds: Sequence[int],
    training_set: TrainingSet | None = None,
) -> Iterator[Measured]:
    """Generate prompts at the model's own settings and measure them; yield the results so far.

    Labels have no place here: the detectors see prompts and seeds.
    """
    parts: dict[str, list[Measurement]] = {name: [] for name in detectors}
    copies: list[Tensor] = []
    ids: list[Tensor] = []
    done = 0
    for inputs in generated_inputs(
        model, prompts, seeds, guidance=model.guidance, steps=model.steps
    ):
        for name, measurement in measure_by_key(model, inputs, detectors).items():
            parts[name].append(measurement)
        done += len(inputs.embeddings)
        named = torch.full((len(inputs.embeddings) * len(seeds),), -1)
        kinds = torch.full((len(inputs.embeddings), len(seeds)), math.nan)
        if training_set is not None and training_set.training is not None:
            near = find_copies(training_set, inputs.generated().images)
            kinds = torch.tensor([kind_value(copy.kind) for copy, _ in near]).reshape(kinds.shape)
            named = torch.tensor([copy.nearest if is_copy(copy.kind) else -1 for copy, _ in near])
        copies.append(kinds)
        ids.append(named)
        joined = {name: joined_measurements(measurements) for name, measurements in parts.items()}
        every = torch.cat(copies)
        yield Measured(tuple(prompts[:done]), joined, every.nanmean(1), every, torch.cat(ids))
