"""The cause of memorized captions whose cause is known: cases to calibrate on and to count."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mmh_core.detectors.catalogue import DETECTORS, adapted
from mmh_core.memorization.cause import ModelLids, TrainingNeighborhood, true_cause
from mmh_core.memorization.cause_calibration import (
    CauseCalibration,
    CauseCase,
    calibrate_cause,
    judged_cause,
)
from mmh_core.records import LabelledPrompt, Progress
from mmh_core.statistics.agreement import balanced_accuracy_interval
from mmh_core.statistics.intervals import Interval, half_width
from mmh_core.studies.detection.benchmark_run import CauseResults
from mmh_core.studies.detection.measured import Measured, measured
from mmh_core.subject.neighborhood import training_neighborhood
from mmh_core.subject.reference_prompts import ReferencePrompts, usual_lid
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet

LID = "lid_conditional_count"


def calibrate_causes(
    labelled: Sequence[LabelledPrompt], subject: Subject, seeds: Sequence[int], log_delta: float
) -> Iterator[Progress[CauseCalibration | None]]:
    """Calibrate on the calibration half's captions of known cause; the last one has the result.

    None without training images, and where no such caption is copied.
    """
    chosen = [row for row in labelled if row.split == "calibration" and true_cause(row)]
    training_set, half = subject.training_set, None
    detectors = adapted({LID: DETECTORS[LID]}, log_delta=log_delta, embedder="pixels")
    for half in measured(
        subject.model, [row.prompt for row in chosen], detectors, tuple(seeds), training_set
    ):
        done = len(half.prompts)
        message = f"Generating captions of known cause, {done} of {len(chosen)}"
        yield Progress(0.98 * done / len(chosen), message, None)
    cases: list[CauseCase] = []
    if half is not None and training_set is not None:
        reference = subject.reference_prompts(subject.sampling)
        cases = [case for _, case in cause_cases(chosen, half, training_set, reference)]
    yield Progress(1.0, "Finished", calibrate_cause(cases) if cases else None)


def cause_row(
    prompts: Sequence[LabelledPrompt],
    half: Measured,
    training_set: TrainingSet | None,
    reference: ReferencePrompts | None,
) -> CauseResults | None:
    """Return the causes of the prompts of known cause that are copied, and how many are right.

    `half` are the measurements of the prompts. None where there is no such prompt.
    """
    cases = [] if training_set is None else cause_cases(prompts, half, training_set, reference)
    if training_set is None or not cases:
        return None
    causes = [judged_cause(case.model, case.data, training_set.cause) for _, case in cases]
    truths = [case.truth for _, case in cases]
    right = torch.tensor([cause.label == true for cause, true in zip(causes, truths, strict=True)])
    accuracy = balanced_accuracy_interval(right, truths)
    return CauseResults(
        prompts=tuple(place for place, _ in cases),
        predicted=tuple(cause.label for cause in causes),
        true=tuple(truths),
        data_lid_estimate=torch.tensor([case.data.lid.value for _, case in cases]),
        model_lid=torch.tensor([case.model.lid.value for _, case in cases]),
        threshold=math.nan,
        accuracy=accuracy.value,
        low=accuracy.low,
        high=accuracy.high,
        confidence=torch.tensor([cause.confidence for cause in causes]),
        multiplicity=torch.tensor([float(case.data.repetitions) for _, case in cases]),
    )


def cause_cases(
    prompts: Sequence[LabelledPrompt],
    half: Measured,
    training_set: TrainingSet,
    reference: ReferencePrompts | None,
) -> list[tuple[int, CauseCase]]:
    """Return the places and the evidence of the prompts of known cause that are copied.

    What is no copy is not memorized, whatever the training set was built for, and has no cause.
    Of a prompt that copies several training images the one that it copies most often counts; the
    model's LID is the mean over the seeds that do, with Student's interval.
    """
    elsewhere = usual_lid(reference)
    seeds = len(half.copy_ids) // max(1, len(half.prompts))
    ids = half.copy_ids.reshape(-1, seeds)
    lids = half.found[LID].values[:, 0].reshape(-1, seeds)
    cases = []
    for place, prompt in enumerate(prompts):
        truth, copied = true_cause(prompt), ids[place][ids[place] >= 0]
        if truth is None or not len(copied):
            continue
        image = int(copied.mode().values)
        row = training_set.row(image)
        if row is not None:
            lid = _mean(lids[place][ids[place] == image])
            data: TrainingNeighborhood = training_neighborhood(training_set, row)
            cases.append((place, CauseCase(ModelLids(lid, elsewhere), data, truth)))
    return cases


def _mean(values: Tensor) -> Interval:
    """Return the mean with Student's interval, NaN ends for one value."""
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Interval(mean, math.nan, math.nan)
    half = half_width(float(values.double().std()) / math.sqrt(count), count)
    return Interval(mean, mean - half, mean + half)
