"""The comparison of mitigations on the same seeds and the same starting noise."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from mmh_core.mitigations.catalogue import MITIGATIONS, check_strength, mitigation
from mmh_core.mitigations.interface import Mitigation
from mmh_core.records import MMHError, Progress
from mmh_core.studies.images.run import ImageConfig
from mmh_core.studies.images.study import checked as checked_images
from mmh_core.studies.mitigation.context import Comparison, lids_of_references
from mmh_core.studies.mitigation.kept_cells import kept_cell
from mmh_core.studies.mitigation.run import (
    MOST_CELLS,
    Cell,
    MitigationConfig,
    MitigationRun,
    Treatment,
)
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.unread_text import partly_read_lines, partly_read_prompts


def checked(config: MitigationConfig) -> MitigationConfig:
    """Return the config with `none` first, or refuse it. Errors: MMHError, ValueError."""
    checked_images(ImageConfig(config.model, config.prompts, config.seeds, config.sampling))
    for treatment in config.treatments:
        check_strength(treatment.mitigation, treatment.strength)
    none = Treatment("none", MITIGATIONS["none"].strength)
    distinct = dict.fromkeys((none, *config.treatments))
    treatments = tuple(
        treatment for treatment in distinct if treatment == none or treatment.mitigation != "none"
    )
    cells = len(treatments) * len(config.prompts) * len(config.seeds)
    if cells > MOST_CELLS:
        raise MMHError(
            f"{cells} images are more than one comparison may draw ({MOST_CELLS}): choose "
            "fewer mitigations, strengths, prompts or seeds."
        )
    return replace(config, treatments=treatments)


def treatments_of(text: str) -> tuple[Treatment, ...]:
    """Return the mitigations in name:strength pairs, the baselines first. Errors: MMHError."""
    treatments = [
        Treatment(name, MITIGATIONS[name].strength) for name in ("none", "random_tokens")
    ]
    for part in text.split(","):
        name, _, strength = (word.strip() for word in part.partition(":"))
        if name not in MITIGATIONS:
            raise MMHError(
                f"There is no mitigation {name!r}: choose from {', '.join(MITIGATIONS)}."
            )
        try:
            value = float(strength) if strength else MITIGATIONS[name].strength
        except ValueError:
            raise MMHError(
                f"The strength {strength!r} of {name} is no number: write {name}:"
                f"{MITIGATIONS[name].strength:g}, for example."
            ) from None
        treatments.append(Treatment(name, value))
    return tuple(dict.fromkeys(treatments))


def mitigation_study(
    config: MitigationConfig,
    subject: Subject,
    *,
    log_delta: float | None = None,
    catalogue: Mapping[str, Mitigation] = MITIGATIONS,
    kept: Path | None = None,
) -> Iterator[Progress[MitigationRun]]:
    """Generate every prompt with every mitigation; `none` is always the first.

    A run that is stopped keeps what was shown: finished images whose LID is still unknown are in a
    cell, and those of a cell that is not finished are the preview.

    LID is estimated at `log_delta`, unless given at the scale of the reference prompts or of the
    training set, and left out where there is neither. `catalogue` has the mitigations by name.
    Finished cells are kept in the folder `kept`, where it is given, and used again.
    Errors: MMHError and ValueError for a config that cannot be run; a mitigation that cannot be
    applied leaves a cell that says so.
    """
    config = checked(config)
    comparison = comparison_of(config, subject, log_delta=log_delta, catalogue=catalogue)
    training_set = subject.training_set
    started = time.monotonic()
    run = _empty_run(comparison)
    total = len(config.prompts) * len(config.treatments)
    yield Progress(0.0, "Generation starts", run)
    for number in range(len(config.prompts)):
        base: Cell | None = None
        for treatment in config.treatments:
            label = f"{catalogue[treatment.mitigation].label}, strength {treatment.strength:g}"
            before, cell = run, None
            for share, preview, ready in kept_cell(comparison, number, treatment, base, kept):
                if ready is not None:
                    cell, run = ready, _with_cell(before, ready, training_set)
                elif preview is not None:
                    run = replace(run, preview=preview, preview_of=label)
                run = replace(run, seconds=time.monotonic() - started)
                yield Progress((len(before.cells) + share) / total, label, run)
            if cell is None:
                raise ValueError("A cell was not drawn.")
            base = cell if base is None else base
    yield Progress(1.0, "Finished", replace(run, state="complete"))


def comparison_of(
    config: MitigationConfig,
    subject: Subject,
    *,
    log_delta: float | None = None,
    catalogue: Mapping[str, Mitigation] = MITIGATIONS,
) -> Comparison:
    """Return what all cells of a config share."""
    subject = subject.in_windows(config.sampling.windows)
    usable, training_set = subject.reference_prompts(config.sampling), subject.training_set
    scale = log_delta
    if scale is None and usable is not None:
        scale = usable.log_delta
    if scale is None and training_set is not None:
        scale = training_set.log_delta
    scale = math.nan if scale is None else scale
    lids = None if usable is None else lids_of_references(config, subject.model, usable)
    return Comparison(config, subject, usable, scale, lids, catalogue)


def expected_nfe(config: MitigationConfig) -> float:
    """Return about how many NFE of one branch a config takes, all images together."""
    per_image: float = sum(
        2.0 * config.sampling.steps + mitigation(treatment.mitigation).cost(config.sampling.steps)
        for treatment in checked(config).treatments
    )
    return per_image * len(config.prompts) * len(config.seeds)


def _with_cell(run: MitigationRun, cell: Cell, training_set: TrainingSet | None) -> MitigationRun:
    """Add a cell, and the training images that its own are nearest to; no preview is left."""
    stored = dict(run.nearest_images)
    if training_set is not None:
        rows = {int(id): row for row, id in enumerate(training_set.index.ids)}
        for id in cell.nearest.tolist():
            if id >= 0 and id not in stored:
                stored[id] = training_set.image(rows[id])
    return replace(
        run,
        cells=(*run.cells, cell),
        nearest_images=tuple(stored.items()),
        preview=run.preview[:0],
        preview_of="",
    )


def _empty_run(comparison: Comparison) -> MitigationRun:
    config, training_set = comparison.config, comparison.subject.training_set
    thresholds = None if training_set is None else training_set.thresholds
    return MitigationRun(
        config=config,
        state="drawing",
        model=comparison.subject.model.name,
        sha256=comparison.subject.model.sha256,
        device=comparison.subject.model.device.type,
        log_delta=comparison.log_delta,
        preview=torch.empty(
            0, 3, config.sampling.height, config.sampling.width, dtype=torch.uint8
        ),
        cells=(),
        nearest_images=(),
        seconds=0.0,
        copy_threshold=math.nan if thresholds is None else thresholds.descriptor,
        missing=tuple(
            partly_read_lines(partly_read_prompts(comparison.subject.model, config.prompts))
        ),
        notes=comparison.subject.model.notes,
        searched=config.searched,
        training_images=0 if training_set is None else len(training_set.index),
        embedder="" if training_set is None else training_set.embedder.name,
    )
