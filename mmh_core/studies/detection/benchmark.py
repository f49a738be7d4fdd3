"""The benchmark of detectors, on the same labelled prompts, seeds and images.

The calibration half fits what has to be fitted: constants of detectors on its reference prompts,
times, noise scales and signs of all detectors by one rule (`detectors.tuning`) and the combined
score on all its labels.
The test half is only counted on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mmh_core.detectors import combined_score
from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.detectors.guidance_norm import GuidanceTrace
from mmh_core.detectors.lid import Lid
from mmh_core.records import LabelledPrompt, MMHError, Progress
from mmh_core.statistics.cross_validation import FOLDS
from mmh_core.studies.detection.benchmark_run import (
    SCAN,
    BenchmarkRun,
    CombinedRow,
    DetectorRow,
)
from mmh_core.studies.detection.calibrate import calibrate_detectors
from mmh_core.studies.detection.causes import LID, cause_row
from mmh_core.studies.detection.counted_rows import detector_row, text_rows
from mmh_core.studies.detection.measured import Measured, measured
from mmh_core.subject.detector_calibration import DetectorCalibration
from mmh_core.subject.early_calibration import SEEDS, EarlyCalibration
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.unread_text import partly_read_lines, partly_read_prompts

#: The key of conditional LID at the model's own scale.
_OWN_LID = "lid_at_own_scale"


def benchmark_study(
    labelled: Sequence[LabelledPrompt],
    subject: Subject,
    *,
    seeds: tuple[int, ...] = SEEDS,
    log_delta: float | None = None,
    names: Sequence[str] = tuple(DETECTORS),
    early: EarlyCalibration | None = None,
    kept: Path | None = None,
) -> Iterator[Progress[BenchmarkRun]]:
    """Calibrate on one half, measure the other and compare; the last progress has the result.

    `names` are the detectors to run. The LID of the run is at `log_delta`, unless given where
    `calibrate_detectors` estimates it, which is also the first scale of the detectors' grid.
    `early` is the early scan by which the model's tables are scanned, which must know nothing of
    the test half: it has a row of its own, beside the early scan that is set by the rule of all.
    Finished parts are kept in the folder `kept`, where it is given, and used again.
    Errors: MMHError where a half lacks memorized or reference prompts and for an early scan that
    was calibrated on reference prompts of the test half, ValueError for an unknown detector.
    """
    check_labelled(labelled)
    model = subject.model
    for name in names:
        if name not in DETECTORS:
            raise ValueError(f"Unknown detector {name!r}; choose from {', '.join(DETECTORS)}.")
    if early is not None:
        _check_unseen(labelled, early)
    run, calibration = empty_run(labelled, model, seeds), None
    started = time.monotonic()
    for step in calibrate_detectors(
        labelled,
        subject,
        seeds=seeds,
        log_delta=log_delta,
        names=(LID, *names),
        tune=True,
        kept=kept,
    ):
        calibration = step.partial
        yield Progress(0.49 * step.fraction, step.message, run)
    if calibration is None:
        raise ValueError("The calibration gave no result.")
    for last in compare(labelled, subject, calibration, early, kept=kept):
        seconds = time.monotonic() - started
        done = 0.49 + 0.51 * last.fraction
        yield Progress(done, last.message, replace(last.partial, seconds=seconds))


def compare(
    labelled: Sequence[LabelledPrompt],
    subject: Subject,
    calibration: DetectorCalibration,
    early: EarlyCalibration | None = None,
    *,
    kept: Path | None = None,
) -> Iterator[Progress[BenchmarkRun]]:
    """Measure the test half by a calibration and count; the last progress has the result.

    `early` is the early scan by which tables are scanned, for a row of its own. Errors: MMHError
    for the calibration of another model or of other settings.
    """
    model, training_set = subject.model, subject.training_set
    calibration.check(model)
    detectors = dict(calibration.detectors)
    # Figures of LID are at the model's own scale, whatever separates best.
    detectors[_OWN_LID] = Lid(log_delta=calibration.log_delta)
    if early is not None:
        early.check(model)
        detectors[SCAN] = early.detector()
    tested = tuple(row for row in labelled if row.split == "test")
    run, half = empty_run(labelled, model, calibration.seeds), None
    texts = [row.prompt for row in tested]
    for half in measured(model, texts, detectors, calibration.seeds, training_set, kept=kept):
        done = len(half.prompts)
        message = f"Measuring the test prompts, {done} of {len(tested)}"
        yield Progress(0.98 * done / len(tested), message, run)
    if half is None:
        raise ValueError("No prompt was measured.")
    yield Progress(0.98, "Comparing the detectors", run)
    reference = subject.reference_prompts(model.sampling)
    compared = _compared(run, calibration, early, tested, half, training_set, reference)
    yield Progress(1.0, "Finished", compared)


def check_labelled(labelled: Sequence[LabelledPrompt]) -> None:
    """Raise MMHError for labelled prompts that cannot be compared on, before the work."""
    for split in ("calibration", "test"):
        labels = [row.memorized for row in labelled if row.split == split]
        if min(labels.count(True), labels.count(False)) < FOLDS:
            raise MMHError(
                f"Each half needs at least {FOLDS} memorized and reference prompts, and the "
                f"{split} half has {labels.count(True)} and {labels.count(False)}: label at least "
                f"{2 * FOLDS} prompts of both."
            )


def _check_unseen(labelled: Sequence[LabelledPrompt], early: EarlyCalibration) -> None:
    """Raise MMHError for an early scan that was calibrated on prompts of the test half."""
    seen = {one.prompt for one in labelled if one.split == "test"} & set(early.prompts)
    if seen:
        raise MMHError(
            f"The early scan was calibrated on {len(seen)} of the prompts to test it on: leave "
            "out --calibration, and it is calibrated on the other half."
        )


def _compared(
    run: BenchmarkRun,
    calibration: DetectorCalibration,
    early: EarlyCalibration | None,
    prompts: tuple[LabelledPrompt, ...],
    half: Measured,
    training_set: TrainingSet | None,
    reference: ReferencePrompts | None,
) -> BenchmarkRun:
    """Count on the test half; nothing is fitted to it."""
    columns = {name: half.found[name].values for name in calibration.detectors}
    scores, images = calibration.scores(columns), calibration.image_scores(columns)

    def row(name: str, label: str, source: str, cost: tuple[float, float]) -> DetectorRow:
        reference = calibration.reference_scores(name)
        counted = detector_row((name, label, source), cost, scores[name], reference, prompts)
        return replace(counted, images=images[name], settings=calibration.settings(name))

    rows = tuple(
        row(name, detector.label, detector.citation, (cost.nfe, cost.generation))
        for name, detector in calibration.detectors.items()
        for cost in (half.found[name],)
    )
    if early is not None:
        rows += (_scan_row(early, half, prompts),)
    combined = None
    if (fitted := calibration.combined) is not None:
        costs = [half.found[name] for name in fitted.names]
        total = sum(cost.nfe for cost in costs), max(cost.generation for cost in costs)
        combined = CombinedRow(
            fitted.names,
            fitted.weights,
            fitted.bias,
            fitted.mean,
            fitted.spread,
            fitted.cv_auc,
            row(combined_score.NAME, combined_score.LABEL, "this project", total),
        )
    own = replace(half, found={**half.found, LID: half.found[_OWN_LID]})
    lid = own.per_prompt(own.found[LID].values)[:, 0]
    words, wordless = text_rows(run.prompts)
    return replace(
        run,
        state="complete",
        missing=(*run.missing, *calibration.left_out, *_without_score(rows, prompts), *wordless),
        prompts=prompts,
        copied=half.copied,
        lid=lid,
        data_lid=_data_lids(prompts, training_set),
        detectors=rows,
        combined=combined,
        cause=cause_row(prompts, own, training_set, reference),
        text_baselines=words,
        copies=half.copies,
        guidance_norm=_guidance_norms(half),
    )


def _scan_row(
    early: EarlyCalibration, half: Measured, prompts: tuple[LabelledPrompt, ...]
) -> DetectorRow:
    """Return the row of the early scan as tables are scanned, with times and threshold of its own.

    It is set on other prompts than the detectors beside it.
    """
    measurement, detector = half.found[SCAN], early.detector()
    images = detector.score(measurement.values).reshape(len(prompts), -1)
    counted = detector_row(
        (SCAN, "Early scan, as tables are scanned", detector.citation),
        (measurement.nfe, measurement.generation),
        images.mean(1),
        early.reference_scores(),
        prompts,
    )
    settings = (
        f"t = {early.high:g} and {early.low:g}, sign as published, all set when the model was "
        "calibrated"
    )
    return replace(counted, images=images, settings=settings)


def _guidance_norms(half: Measured) -> Tensor | None:
    """Return the mean guidance norm of each prompt (P,), None where it is not measured."""
    trace = half.found.get(GuidanceTrace().name)
    return None if trace is None else half.per_prompt(trace.values)[:, 0]


def _without_score(
    rows: tuple[DetectorRow, ...], prompts: tuple[LabelledPrompt, ...]
) -> tuple[str, ...]:
    """Return a sentence on the prompts that a detector could not score."""
    sentences = []
    for row in rows:
        lost = [f"“{prompts[int(i)].prompt[:80]}”" for i in (~row.scores.isfinite()).nonzero()]
        if lost:
            named = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
            sentences.append(f"{row.label} has no score for {named}, which it does not count.")
    return tuple(sentences)


def _data_lids(prompts: tuple[LabelledPrompt, ...], training_set: TrainingSet | None) -> Tensor:
    truth = None if training_set is None else training_set.truth
    truths = [None if truth is None else truth(row.prompt) for row in prompts]
    return torch.tensor(
        [math.nan if prompt_truth is None else prompt_truth.lid for prompt_truth in truths]
    )


def empty_run(
    labelled: Sequence[LabelledPrompt], model: TextToImage, seeds: tuple[int, ...]
) -> BenchmarkRun:
    """Return the record of a comparison that has no result yet."""
    empty = torch.empty(0)
    return BenchmarkRun(
        model=model.name,
        sha256=model.sha256,
        sampling=model.sampling,
        seeds=seeds,
        state="measuring",
        prompts=tuple(labelled),
        copied=empty,
        lid=empty,
        data_lid=empty,
        detectors=(),
        combined=None,
        cause=None,
        seconds=0.0,
        missing=tuple(
            partly_read_lines(partly_read_prompts(model, [row.prompt for row in labelled]))
        ),
        notes=model.notes,
    )
