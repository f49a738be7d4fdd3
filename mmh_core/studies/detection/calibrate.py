"""The calibration of all detectors on labelled prompts: choose scales, measure, fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mmh_core.detectors import combined_score
from mmh_core.detectors.catalogue import DETECTORS, adapted
from mmh_core.detectors.combined_score import check_labels, fit_combined
from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.detectors.generation import generated_inputs
from mmh_core.detectors.measurement import Demanding, Detector
from mmh_core.detectors.tuning import TunedSetting, grid_settings, keyed, tuned
from mmh_core.dimension.curve import lid_curve, plateau
from mmh_core.dimension.estimators import DEFAULT_ESTIMATOR
from mmh_core.dimension.spectral import soft_spectral_count
from mmh_core.records import LabelledPrompt, MMHError, Progress
from mmh_core.studies.detection.measured import Measured, measured
from mmh_core.studies.images.lid import LOG_DELTAS
from mmh_core.studies.images.lid_passes import EFFORT
from mmh_core.subject.detector_calibration import DetectorCalibration, ReferenceMeasurements
from mmh_core.subject.early_calibration import (
    PUBLISHED_TIMES,
    SEEDS,
    EarlyCalibration,
    early_times,
)
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.image_probes import probe_generators
from mmh_core.text_to_image.model import TextToImage

#: Reference prompts whose curves choose the scale of LID where none is known.
_FOR_SCALE = 4


def calibrate_detectors(
    labelled: Sequence[LabelledPrompt],
    subject: Subject,
    *,
    seeds: tuple[int, ...] = SEEDS,
    log_delta: float | None = None,
    names: Sequence[str] = tuple(DETECTORS),
    early: EarlyCalibration | None = None,
    tune: bool = False,
    kept: Path | None = None,
) -> Iterator[Progress[DetectorCalibration | None]]:
    """Measure the prompts of the calibration half; the last progress has the result.

    All constants, percentiles and thresholds come from its reference prompts. Where some prompts
    are memorized, their labels choose the times of the early scan and fit the combined score. LID
    is estimated at `log_delta`, else at the reference's calibrated scale, else on the plateau of a
    few reference prompts. Detectors for which the model makes too few steps, or the seeds are too
    few, are left out. `early` is the calibration by which the model's tables are scanned, where
    there is one: the early scan reads at its times and compares with its reference prompts.
    With `tune` the labels set times, noise scales and signs of all detectors by the one rule of
    `detectors.tuning`, all settings measured in one pass over the same images; without, times and
    signs of the others are as published, and LID has one scale. Finished parts are kept in the
    folder `kept`, where it is given, and used again.
    Errors: MMHError without reference prompts, or with too few memorized ones.
    """
    model, training_set = subject.model, subject.training_set
    calibrating = [p for p in labelled if p.split == "calibration" and p.counted]
    is_reference = torch.tensor([not row.memorized for row in calibrating])
    if not bool(is_reference.any()):
        raise MMHError("There are no reference prompts to calibrate on: add some.")
    if not bool(is_reference.all()):
        check_labels(~is_reference)
    yield Progress(0.0, "Choosing where to read", None)
    if early is not None:
        early.check(model)
        times = early.high, early.low
    else:
        published = tune or bool(is_reference.all())
        times = PUBLISHED_TIMES if published else early_times(model, labelled, seeds[:2])
    scale = training_set.log_delta if log_delta is None and training_set is not None else log_delta
    if scale is None:
        scale = lid_noise_scale(
            model, [row.prompt for row in calibrating if not row.memorized], seeds[0]
        )
    embedder = embedder_of(training_set)
    chosen, left_out = _usable(model, names, len(seeds))
    detectors = adapted(chosen, log_delta=scale, embedder=embedder, early=times)
    empty = DetectorCalibration(
        model.name,
        model.sha256,
        model.sampling,
        seeds,
        scale,
        embedder,
        *times,
        tuple(row.prompt for row in calibrating if not row.memorized),
        (),
        None,
        left_out=left_out,
    )
    tune, half = tune and not bool(is_reference.all()), None
    grids = {name: grid_settings(one) if tune else (one,) for name, one in detectors.items()}
    yield Progress(0.01, f"Measuring calibration prompts, 0 of {len(calibrating)}", None)
    texts = [row.prompt for row in calibrating]
    for half in measured(model, texts, keyed(grids), seeds, kept=kept):
        done = len(half.prompts)
        yield Progress(
            0.01 + 0.98 * done / len(calibrating),
            f"Measuring calibration prompts, {done} of {len(calibrating)}",
            None,
        )
    if half is None:
        raise ValueError("No prompt was measured.")
    settings, at_settings = tuned(half.found, ~is_reference, grids)
    half = replace(half, found=at_settings)
    if tune:
        empty = _at_settings(empty, settings)
    yield Progress(1.0, "Calibrated", _calibrated(empty, half, is_reference, early))


def _at_settings(
    empty: DetectorCalibration, settings: tuple[TunedSetting, ...]
) -> DetectorCalibration:
    """Return the calibration with the settings of the rule, the early scan's times among them."""
    for setting in settings:
        if setting.name == EarlyScan.name:
            empty = replace(empty, high=setting.t, low=setting.low)
    return replace(empty, tuned=settings)


def _usable(
    model: TextToImage, names: Sequence[str], seeds: int
) -> tuple[dict[str, Detector], tuple[str, ...]]:
    """Return the detectors by these names that the run suffices for, and why others are not."""
    chosen = {name: DETECTORS[name] for name in dict.fromkeys(names)}
    left_out = {
        name: f"{detector.label} is left out: {reason}."
        for name, detector in chosen.items()
        if isinstance(detector, Demanding) and (reason := detector.lacking(model, seeds))
    }
    kept = {name: each for name, each in chosen.items() if name not in left_out}
    return kept, tuple(left_out.values())


def _calibrated(
    empty: DetectorCalibration,
    half: Measured,
    is_reference: Tensor,
    early: EarlyCalibration | None,
) -> DetectorCalibration:
    """Return the scores of reference prompts, and the combined score where there are others."""
    estimates = []
    for name, measurement in half.found.items():
        columns = measurement.values.reshape(len(is_reference), len(empty.seeds), -1)
        reference = columns[is_reference]
        estimates.append(
            ReferenceMeasurements(name, reference, measurement.nfe, measurement.generation)
        )
    alone = replace(empty, estimates=tuple(estimates))
    if early is not None:
        alone = alone.scanning_by(early)
    for name in alone.names:
        alone.reference_scores(name)  # Refused here, where the person can calibrate anew.
    if bool(is_reference.all()) or not set(combined_score.COMBINED) & set(half.found):
        return alone
    scores = alone.scores({name: measurement.values for name, measurement in half.found.items()})
    return replace(alone, combined=fit_combined(scores, ~is_reference))


def lid_noise_scale(model: TextToImage, prompts: Sequence[str], seed: int) -> float:
    """Return the log delta at which a model without a calibrated scale is read.

    The median over a few reference prompts of the middle of their LID curves' plateaus, or of
    their flattest point where there is none.
    """
    scales, estimator = torch.tensor(LOG_DELTAS), partial(soft_spectral_count, effort=EFFORT)
    deltas = []
    for inputs in generated_inputs(
        model, prompts[:_FOR_SCALE], (seed,), guidance=model.guidance, steps=model.steps
    ):
        for row in range(len(inputs)):
            curve = lid_curve(
                estimator,
                model.score_model,
                inputs.generated().latents[row : row + 1].to(model.device),
                scales.to(model.device),
                cond=inputs.embeddings[row : row + 1].to(model.device),
                generator=probe_generators(
                    *(model, DEFAULT_ESTIMATOR),
                    [inputs.text(row)],
                    inputs.generated().images[row : row + 1],
                ),
            )
            deltas.append(plateau(curve, absolute=1.0, relative=0.1).log_delta.cpu())
    return float(torch.cat(deltas).median())


def embedder_of(training_set: TrainingSet | None) -> str:
    """Return the name by which `load_embedder` finds the embedder of a reference."""
    if training_set is not None and training_set.embedder.name.startswith("pocket"):
        return "pocket"
    return "pixels"
