"""What a run has beside its verdicts: LID curves, further estimators, decoded steps.

A failure here loses no image: a sentence of the run says what is missing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from mmh_core.counting import plural
from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.records import MMHError, Progress
from mmh_core.studies.images.generation import GeneratedPart, pixels_of
from mmh_core.studies.images.lid import estimate_curves, estimate_lids, with_curves
from mmh_core.studies.images.run import ImageRun
from mmh_core.subject.image_lid import ImageLid
from mmh_core.text_to_image.model import TextToImage

#: What a network, a reference and the memory of a device may raise. Torch raises a bare
#: RuntimeError for shapes and for memory alike.
FAILURES = (MMHError, ValueError, RuntimeError, MemoryError)
_LONGEST = 300


def with_missing(run: ImageRun, what: str, failure: BaseException) -> ImageRun:
    """Return the run with a sentence on what is missing and why."""
    reason = " ".join(str(failure).split()) or type(failure).__name__
    if len(reason) > _LONGEST:
        reason = f"{reason[:_LONGEST]} ..."
    if not isinstance(failure, MMHError | ValueError):
        reason = f"{type(failure).__name__}: {reason}"
    sentence = f"{what} ({reason.rstrip('.')}); the images are kept."
    return replace(run, missing=(*run.missing, sentence))


def add_curves_and_frames(
    run: ImageRun, model: TextToImage, generated: list[GeneratedPart], base: float
) -> Iterator[Progress[ImageRun]]:
    """Yield the run as curves, further estimators and decoded steps are added to it."""
    config, length = run.config, 1 - base
    if config.curve:
        for share, read in add_curves(run, model):
            run = read
            yield Progress(
                base + length * 0.6 * share, "Estimating LID over the noise scales", run
            )
    for number, name in enumerate(config.estimators):
        for share, read in add_estimator(run, model, name):
            run = read
            done = 0.6 + 0.2 * (number + share) / len(config.estimators)
            yield Progress(base + length * done, f"Running {name.replace('_', ' ')}", run)
    if config.frames:
        yield Progress(base + length * 0.8, "Decoding the steps", run)
        for share, read in add_frames(run, model, generated):
            run = read
            yield Progress(base + length * (0.8 + 0.2 * share), "Decoding the steps", run)
    run = replace(run, state="complete", preview=run.preview[:0])
    yield Progress(1.0, "Finished", run)


def add_curves(run: ImageRun, model: TextToImage) -> Iterator[tuple[float, ImageRun]]:
    """Estimate LID over the noise scales of all images; yield the share done and the run."""
    start, before = time.monotonic(), run.seconds_estimating
    try:
        for done, curves in estimate_curves(model, run.images, run.log_deltas):
            run = replace(
                run,
                images=with_curves(run.images, curves),
                seconds_estimating=elapsed(start, before),
            )
            yield done, run
    except FAILURES as failure:
        yield 1.0, with_missing(run, "LID over the noise scales could not be estimated", failure)


def add_estimator(
    run: ImageRun, model: TextToImage, name: str
) -> Iterator[tuple[float, ImageRun]]:
    """Estimate the LID of all images by one more estimator; yield the share done and the run.

    Where it fails for some, they have an estimate without numbers, so that columns stay in place.
    """
    start, before = time.monotonic(), run.seconds_estimating
    lids, failed = list[ImageLid](), None
    try:
        for lids in estimate_lids(
            model, run.images, run.log_delta, estimator=name, negative=run.config.sampling.negative
        ):
            run = replace(run, seconds_estimating=elapsed(start, before))
            yield len(lids) / len(run.images), run
    except FAILURES as failure:
        failed = failure
    if failed is not None:
        what = f"{ESTIMATORS[name].label} could not be estimated for "
        run = with_missing(run, f"{what}{plural(len(run.images) - len(lids), 'image')}", failed)
    images = tuple(
        replace(
            one, lids=(*one.lids, lids[i] if i < len(lids) else failed_lid(name, run.log_delta))
        )
        for i, one in enumerate(run.images)
    )
    yield 1.0, replace(run, images=images, seconds_estimating=elapsed(start, before))


def add_frames(
    run: ImageRun, model: TextToImage, generated: list[GeneratedPart]
) -> Iterator[tuple[float, ImageRun]]:
    """Decode the kept steps, image after image; yield the share done and the run."""
    kept = [(latents, part.kept_steps) for part in generated for latents in part.kept]
    try:
        for number, (latents, steps) in enumerate(kept):
            frames = pixels_of(model, latents)
            one = replace(run.images[number], frames=frames, frame_steps=torch.tensor(steps))
            images = (*run.images[:number], one, *run.images[number + 1 :])
            run = replace(run, images=images)
            yield (number + 1) / len(kept), run
    except FAILURES as failure:
        yield 1.0, with_missing(run, "Not all steps could be decoded", failure)


def failed_lid(name: str, log_delta: float) -> ImageLid:
    """Return the LID of an estimator that failed: NaN in all figures."""
    return ImageLid(name, ESTIMATORS[name].label, log_delta, *(math.nan,) * 5, nfe=0.0)


def elapsed(start: float, before: float) -> float:
    """Return the seconds since a start, on top of those before."""
    return before + time.monotonic() - start
