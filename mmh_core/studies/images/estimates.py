"""Copies, LID and verdicts of generated images, which are kept whatever fails."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.records import MMHError
from mmh_core.retrieval.pixel_match import is_flat
from mmh_core.studies.images.lid import deciding_level, estimate_curves, estimate_lids
from mmh_core.studies.images.run import ImageResult, ImageRun
from mmh_core.studies.images.verdict import cause_in, verdict_of
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.image_lid import ImageLid
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage

#: What a network, a reference and the memory of a device may raise. Torch raises a bare
#: RuntimeError for shapes and for memory alike.
FAILURES = (MMHError, ValueError, RuntimeError, MemoryError)
_LONGEST = 300


def lacking(run: ImageRun, what: str, failure: BaseException) -> ImageRun:
    """Return the run with a sentence of what it lacks and why."""
    reason = " ".join(str(failure).split()) or type(failure).__name__
    if len(reason) > _LONGEST:
        reason = f"{reason[:_LONGEST]} ..."
    if not isinstance(failure, MMHError | ValueError):
        reason = f"{type(failure).__name__}: {reason}"
    sentence = f"{what} ({reason.rstrip('.')}); the images are kept."
    return replace(run, missing=(*run.missing, sentence))


def read_part(
    run: ImageRun, count: int, model: TextToImage, training_set: TrainingSet | None
) -> Iterator[tuple[float, ImageRun]]:
    """Search for copies of the last `count` images, then estimate their LID and judge them.

    Yields the share done and the run: each pass of the network is a step of its own.
    """
    start, before = time.monotonic(), run.seconds_estimating
    run = _searched(run, count, training_set)
    yield 0.1, replace(run, seconds_estimating=since(start, before))
    mine, lids, failed = run.images[-count:], list[ImageLid](), None
    level = deciding_level(run.normal)
    try:
        for lids in estimate_lids(
            model, mine, run.log_delta, negative=run.config.sampling.negative, level=level
        ):
            run = replace(run, seconds_estimating=since(start, before))
            yield 0.1 + 0.9 * len(lids) / count, run
    except FAILURES as failure:
        failed = failure
    if failed is not None:
        run = lacking(run, f"LID of {_images(count - len(lids))} could not be read", failed)
    yield (
        1.0,
        replace(
            _judged(run, count, lids, training_set),
            state="reading",
            seconds_estimating=since(start, before),
        ),
    )


def add_curves(run: ImageRun, model: TextToImage) -> Iterator[tuple[float, ImageRun]]:
    """Estimate LID over the noise scales of all images; yield the share done and the run."""
    start, before = time.monotonic(), run.seconds_estimating
    try:
        for done, curves in estimate_curves(model, run.images, run.log_deltas):
            images = tuple(
                replace(one, curve=lid, curve_error=error)
                for one, (lid, error) in zip(run.images[: len(curves)], curves, strict=True)
            )
            run = replace(
                run,
                images=images + run.images[len(curves) :],
                seconds_estimating=since(start, before),
            )
            yield done, run
    except FAILURES as failure:
        yield 1.0, lacking(run, "LID over the noise scales could not be read", failure)


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
            run = replace(run, seconds_estimating=since(start, before))
            yield len(lids) / len(run.images), run
    except FAILURES as failure:
        failed = failure
    if failed is not None:
        what = f"{ESTIMATORS[name].label} could not be read for "
        run = lacking(run, f"{what}{_images(len(run.images) - len(lids))}", failed)
    images = tuple(
        replace(one, lids=(*one.lids, lids[i] if i < len(lids) else unread(name, run.log_delta)))
        for i, one in enumerate(run.images)
    )
    yield 1.0, replace(run, images=images, seconds_estimating=since(start, before))


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def unread(name: str, log_delta: float) -> ImageLid:
    """Return an estimate without numbers."""
    return ImageLid(name, ESTIMATORS[name].label, log_delta, *(math.nan,) * 5, nfe=0.0)


def image_batch(found: Sequence[ImageResult]) -> Tensor:
    """Return the images (B, 3, H, W) in [0, 1]."""
    return torch.stack([one.image for one in found]).float() / 255


def since(start: float, before: float) -> float:
    """Return the seconds since a start, on top of those before."""
    return before + time.monotonic() - start


def _searched(run: ImageRun, count: int, training_set: TrainingSet | None) -> ImageRun:
    if training_set is None:
        return run
    kept, mine = run.images[:-count], run.images[-count:]
    try:
        near = find_copies(training_set, image_batch(mine))
    except FAILURES as failure:
        return lacking(run, f"Copies of {_images(count)} could not be searched", failure)
    mine = tuple(
        replace(one, copy=copy, neighbors=neighbors)
        for one, (copy, neighbors) in zip(mine, near, strict=True)
    )
    return replace(run, images=kept + mine)


def _judged(
    run: ImageRun, count: int, lids: list[ImageLid], training_set: TrainingSet | None
) -> ImageRun:
    """Return the run with estimates and verdicts of its last images."""
    kept, mine = run.images[:-count], run.images[-count:]
    judged, plain = [], is_flat(image_batch(mine)).tolist()
    for number, one in enumerate(mine):
        lid = lids[number] if number < len(lids) else None
        if lid is not None and run.normal is not None:
            lid = run.normal.placed(lid)
        cut = run.cut[run.config.prompts.index(one.prompt)]
        verdict, reason = verdict_of(
            one.copy, lid, guided=run.config.sampling.guidance > 1, cut=cut, flat=plain[number]
        )
        value = math.nan if lid is None else lid.conditional
        cause = cause_in(training_set, one.prompt, verdict, value, one.copy)
        reason = reason if cause is None else f"{reason} {cause.reason}"
        found = () if lid is None else (lid,)
        judged.append(replace(one, lids=found, verdict=verdict, reason=reason, cause=cause))
    return replace(run, images=kept + tuple(judged))
