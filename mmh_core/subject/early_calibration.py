"""The early scan of prompts, many at a time, and its calibration.

The scoring of a batch is one function of a model, a calibration and texts, so that any engine can
call it on its own workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.detectors.early_times import choose_times
from mmh_core.detectors.inputs import encode, is_empty_prompt, noise_inputs
from mmh_core.detectors.measurement import measure
from mmh_core.records import LabelledPrompt, MMHError, Progress
from mmh_core.subject.near_duplicate_prompts import near_duplicate_groups
from mmh_core.subject.reference_scores import Proportion, share_below, threshold_among, usable
from mmh_core.text_to_image.model import TextToImage

#: Seeds of every scan by default, and prompts of one batch.
SEEDS, BATCH = (0, 1, 2, 3), 48
#: With at least so many memorized prompts, half are held out to count how many are detected.
FEWEST = 8
#: Asthana & Belagiannis 2026, for Stable Diffusion.
PUBLISHED_TIMES = (0.98, 0.04)


@dataclass(frozen=True)
class EarlyCalibration:
    """The early scan of a model's reference prompts.

    `columns` (N, S, 2) are guidance norm and cosine of N reference prompts with the seeds, at the
    times `high` and `low`. It serves one model, that with `sha256`, and these seeds. `memorized`
    (M, S, 2) are the same of memorized prompts that neither times nor thresholds were chosen on:
    its detection rate on them is unbiased; None where there were none. Where they
    are captions just as the model was trained with, `paraphrases` (Q, S, 2) are the same of other
    wordings of such captions; else None. A prompt without effect has no cosine, NaN.
    `windows` is in how many windows of its text encoder the model read, None for one.
    """

    model: str
    sha256: str
    seeds: tuple[int, ...]
    prompts: tuple[str, ...]
    columns: Tensor
    high: float
    low: float
    memorized: Tensor | None = None
    paraphrases: Tensor | None = None
    windows: int | None = None

    def detector(self) -> EarlyScan:
        """Return the scan fitted to these prompts."""
        return EarlyScan(self.high, self.low).fitted(self.columns.flatten(0, 1))

    def reference_scores(self) -> Tensor:
        """Return the scores of the reference prompts that have one, sorted. Errors: MMHError."""
        return usable(self._scores(self.columns), EarlyScan.label)

    def _scores(self, columns: Tensor) -> Tensor:
        scores = self.detector().score(columns.flatten(0, 1))
        return scores.reshape(columns.shape[:2]).mean(1)

    def flagged_memorized(self, fpr: float) -> Proportion | None:
        """Return how many memorized prompts exceed the threshold of this false-positive rate.

        None where the calibration had no memorized prompts to spare.
        """
        return self._flagged(self.memorized, fpr)

    def flagged_paraphrases(self, fpr: float) -> Proportion | None:
        """Return how many paraphrases of memorized captions do, None where there were none."""
        return self._flagged(self.paraphrases, fpr)

    def _flagged(self, columns: Tensor | None, fpr: float) -> Proportion | None:
        if columns is None or not len(columns):
            return None
        above = self._scores(columns) > self.threshold(fpr)
        return Proportion(int(above.sum()), len(above))

    def threshold(self, fpr: float) -> float:
        """Return the score that at most this share of the reference prompts exceeds."""
        return threshold_among(self.reference_scores(), fpr)

    def check(self, model: TextToImage) -> None:
        """Raise MMHError for another model than the one calibrated."""
        if model.sha256 != self.sha256:
            raise MMHError(
                f"The calibration is of {self.model} with other weights than {model.name}: "
                "calibrate this model first, with the command calibrate."
            )
        if model.windows != (self.windows or 1):
            raise MMHError(
                f"The calibration of {self.model} is for --windows {self.windows or 1} and not "
                f"{model.windows}: calibrate with --windows {model.windows}, then name the file "
                "by --calibration."
            )


@dataclass(frozen=True)
class EarlyScores:
    """The scores of P prompts, means over the seeds, and their parts (P,).

    `percentile` (0 to 1) is the share of reference prompts with a lower score; `nfe` the network
    evaluations per prompt and seed. A prompt without effect has NaN.
    """

    score: Tensor
    guidance_norm: Tensor
    cosine: Tensor
    percentile: Tensor
    nfe: float


def score_prompts(
    model: TextToImage, calibration: EarlyCalibration, prompts: Sequence[str]
) -> EarlyScores:
    """Return the early-scan scores of a batch of prompts, a pure function of its arguments.

    Errors: MMHError for a calibration of another model, and for a model whose network gives
    numbers that are not finite, which nothing can be said by.
    """
    calibration.check(model)
    detector = calibration.detector()
    columns, nfe = _measured(model, detector, prompts, calibration.seeds)
    score = detector.score(columns.flatten(0, 1)).reshape(columns.shape[:2]).mean(1)
    below = share_below(calibration.reference_scores(), score)
    return EarlyScores(score, columns[..., 0].mean(1), columns[..., 1].mean(1), below, nfe)


def early_times(
    model: TextToImage, labelled: Sequence[LabelledPrompt], seeds: tuple[int, ...] = SEEDS[:2]
) -> tuple[float, float]:
    """Return the two times of the early scan, chosen on the calibration half without paraphrases.

    Published times are for latents of 64 x 64: see `detectors.early_times`. Errors: MMHError where
    one label is missing.
    """
    calibrating = [p for p in labelled if p.split == "calibration" and p.counted]
    if not calibrating:
        raise MMHError("There are no labelled prompts to choose the scan's times on: add some.")
    inputs = noise_inputs(model, encode(model, [row.prompt for row in calibrating]), seeds)
    return choose_times(model, inputs, torch.tensor([row.memorized for row in calibrating]))


def early_calibration(
    model: TextToImage,
    prompts: Sequence[str],
    seeds: tuple[int, ...] = SEEDS,
    *,
    times: tuple[float, float] = PUBLISHED_TIMES,
    memorized: Sequence[str] = (),
    paraphrases: Sequence[str] = (),
) -> Iterator[Progress[EarlyCalibration]]:
    """Measure reference prompts at the two times; the last progress has the calibration.

    `memorized` are prompts that the times were not chosen on, to count what the scan finds, and
    `paraphrases` other wordings of such, to count the same of them.
    Errors: MMHError for fewer than 20 prompts, which say nothing about rare scores.
    """
    distinct = list(dict.fromkeys(prompts))
    if len(distinct) < 20:
        raise MMHError(
            f"{len(distinct)} different reference prompts are too few to calibrate: give at least "
            "20."
        )
    parts = []
    for start in range(0, len(distinct), BATCH):
        texts = distinct[start : start + BATCH]
        parts.append(_measured(model, EarlyScan(*times), texts, seeds)[0])
        done = start + len(texts)
        yield Progress(
            done / len(distinct),
            f"Scoring reference prompts, {done} of {len(distinct)}",
            EarlyCalibration(
                model.name,
                model.sha256,
                seeds,
                tuple(distinct[:done]),
                torch.cat(parts),
                *times,
                windows=None if model.windows == 1 else model.windows,
            ),
        )
    counted = len(memorized) + len(paraphrases)
    if counted:
        calibration = EarlyCalibration(
            model.name, model.sha256, seeds, tuple(distinct), torch.cat(parts), *times
        )
        calibration = replace(
            calibration,
            memorized=_measured_batches(model, EarlyScan(*times), memorized, seeds),
            paraphrases=_measured_batches(model, EarlyScan(*times), paraphrases, seeds),
        )
        yield Progress(
            1.0, f"Counted what the scan finds of {counted} memorized prompts", calibration
        )


def calibrate_early(
    model: TextToImage, labelled: Sequence[LabelledPrompt], seeds: tuple[int, ...] = SEEDS
) -> Iterator[Progress[EarlyCalibration]]:
    """Calibrate on the reference prompts; memorized ones choose the times and are counted.

    Of memorized prompts every second one chooses the times and the others are counted, since what
    the times were chosen on would flatter; near-duplicates go together; fewer than `FEWEST`
    different ones all choose.
    Errors: those of `early_calibration`.
    """
    reference = [row for row in labelled if not row.memorized]
    memorized = [row for row in labelled if row.memorized]
    groups = near_duplicate_groups([row.prompt for row in memorized])
    unseen = groups[1::2] if len(groups) >= FEWEST else []
    kept = [memorized[index] for group in unseen for index in group]
    choosing = [row for row in memorized if row not in kept]
    times = early_times(model, [*reference, *choosing]) if choosing else PUBLISHED_TIMES
    yield from early_calibration(
        model,
        [row.prompt for row in reference],
        seeds,
        times=times,
        memorized=[row.prompt for row in kept],
    )


def _measured(
    model: TextToImage, detector: EarlyScan, prompts: Sequence[str], seeds: tuple[int, ...]
) -> tuple[Tensor, float]:
    """Return the columns (P, S, 2) of prompts, and the network evaluations per row."""
    embeddings = encode(model, prompts)
    inputs = noise_inputs(model, embeddings, seeds)
    measurement = measure(model, inputs, [detector])[detector.name]
    if not bool(measurement.values[:, 0].isfinite().all()):
        raise MMHError(
            f"The network of {model.name} gave numbers that are not finite, so nothing can be "
            "said of its prompts: its weights are damaged or do not bear half precision; load "
            "them in float32 or take another checkpoint."
        )
    columns = measurement.values.reshape(len(prompts), len(seeds), -1).clone()
    columns[is_empty_prompt(model, embeddings), :, 1] = torch.nan
    return columns, measurement.nfe


def _measured_batches(
    model: TextToImage, detector: EarlyScan, prompts: Sequence[str], seeds: tuple[int, ...]
) -> Tensor | None:
    """Return the columns (P, S, 2) of different prompts, batch by batch, None without any."""
    distinct = list(dict.fromkeys(prompts))
    parts = [
        _measured(model, detector, distinct[start : start + BATCH], seeds)[0]
        for start in range(0, len(distinct), BATCH)
    ]
    return torch.cat(parts) if parts else None
