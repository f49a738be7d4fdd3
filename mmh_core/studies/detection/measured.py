"""All detectors on prompts that are generated once each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmh_core.detectors.generation import generated_inputs
from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.detectors.measurement import (
    Detector,
    Measurement,
    joined_measurements,
    measure_by_key,
)
from mmh_core.retrieval.copy_evidence import copied as kind_value
from mmh_core.retrieval.copy_evidence import is_copy
from mmh_core.store.kept import kept_path, load_kept, save_kept
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage

#: Prompts of a part that is kept: a minute or two of work with all settings of all detectors.
_KEPT = 4


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


@dataclass(frozen=True, eq=False)
class MeasuredPart:
    """The measurements of some prompts by the detectors' keys, and which images are copies."""

    keys: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    copies: Tensor
    copy_ids: Tensor


def measured(
    model: TextToImage,
    prompts: Sequence[str],
    detectors: Mapping[str, Detector],
    seeds: Sequence[int],
    training_set: TrainingSet | None = None,
    *,
    kept: Path | None = None,
) -> Iterator[Measured]:
    """Generate prompts at the model's own settings and measure them; yield the results so far.

    Labels have no place here: the detectors see prompts and seeds. Finished parts are kept in the
    folder `kept`, where it is given, and used again.
    """
    parts: list[MeasuredPart] = []
    for part in _parts(model, prompts, detectors, seeds, training_set, kept):
        parts.append(part)
        whole = _joined(parts)
        by_key = dict(zip(detectors, whole.measurements, strict=True))
        copies = whole.copies
        texts = tuple(prompts[: len(copies)])
        yield Measured(texts, by_key, copies.nanmean(1), copies, whole.copy_ids)


def _parts(
    model: TextToImage,
    prompts: Sequence[str],
    detectors: Mapping[str, Detector],
    seeds: Sequence[int],
    training_set: TrainingSet | None,
    kept: Path | None,
) -> Iterator[MeasuredPart]:
    """Yield the measurements of the prompts, as many at a time as are kept or fit into memory."""
    size = max(1, len(prompts)) if kept is None else _KEPT
    searched = None
    if training_set is not None:
        searched = training_set.name, len(training_set.index), training_set.thresholds
    for start in range(0, len(prompts), size):
        texts = prompts[start : start + size]
        key = (tuple(texts), dict(detectors), tuple(seeds))
        path = kept_path(kept, (model.sha256, model.sampling, searched, key))
        if (part := load_kept(path, MeasuredPart)) is not None:
            yield part
            continue
        parts = []
        for inputs in generated_inputs(
            model, texts, seeds, guidance=model.guidance, steps=model.steps
        ):
            by_key = measure_by_key(model, inputs, detectors)
            parts.append(
                MeasuredPart(
                    tuple(by_key), tuple(by_key.values()), *_copies(inputs, seeds, training_set)
                )
            )
            if path is None:
                yield parts[-1]
        if path is not None:
            part = _joined(parts)
            save_kept(path, part)
            yield part


def _copies(
    inputs: DetectorInputs, seeds: Sequence[int], training_set: TrainingSet | None
) -> tuple[Tensor, Tensor]:
    """Return which images (P, S) are copies, NaN without training images, and of which (P S,)."""
    kinds = torch.full((len(inputs.embeddings), len(seeds)), math.nan)
    if training_set is None or training_set.training is None:
        return kinds, torch.full((kinds.numel(),), -1)
    near = find_copies(training_set, inputs.generated().images)
    kinds = torch.tensor([kind_value(copy.kind) for copy, _ in near]).reshape(kinds.shape)
    return kinds, torch.tensor([copy.nearest if is_copy(copy.kind) else -1 for copy, _ in near])


def _joined(parts: Sequence[MeasuredPart]) -> MeasuredPart:
    keys = parts[0].keys
    return MeasuredPart(
        keys,
        tuple(
            joined_measurements([part.measurements[place] for part in parts])
            for place in range(len(keys))
        ),
        torch.cat([part.copies for part in parts]),
        torch.cat([part.copy_ids for part in parts]),
    )
