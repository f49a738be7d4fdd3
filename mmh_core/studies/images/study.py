"""The image study: generate images, and judge of each whether it is memorized.

Guidance norms and the region map are computed while generating, at no extra cost. LID is estimated
at the run's own final latents: encoding the image again would move the point.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest

import torch

from mmh_core.counting import plural
from mmh_core.dimension.estimators import DEFAULT_ESTIMATOR, ESTIMATORS
from mmh_core.formats.texts import check_text
from mmh_core.records import MMHError, Progress
from mmh_core.studies.images.curves_and_frames import (
    FAILURES,
    add_curves_and_frames,
    elapsed,
    with_missing,
)
from mmh_core.studies.images.generation import (
    GeneratedPart,
    generate_prompt,
    with_images,
)
from mmh_core.studies.images.lid import (
    LOG_DELTAS,
    UNCALIBRATED,
    check_estimators,
    scale_for,
)
from mmh_core.studies.images.run import (
    ImageConfig,
    ImageRun,
    image_batch,
)
from mmh_core.studies.images.verdict import VerdictBasis
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.image_lid import ImageLid
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import MOST_WORK, check_prompt
from mmh_core.text_to_image.unread_text import unread_text

#: The most prompts, images and decoded steps of one run.
MOST_PROMPTS, MOST_IMAGES, MOST_FRAMES = 64, 256, 64
#: Of the work of a prompt, the share of generating.
_GENERATING = 0.6


def image_study(
    config: ImageConfig,
    subject: Subject,
    *,
    log_delta: float | None = None,
) -> Iterator[Progress[ImageRun]]:
    """Generate every prompt with every seed and evaluate what the config asks for.

    Images come first, then their copies and LID, part after part; then curves, further estimators
    and decoded steps of all. Reference prompts serve only where they fit the run. LID is estimated
    at `log_delta`; unless given, at the scale of the reference prompts or of the training set's
    calibration, else at `UNCALIBRATED`. What fails after an image is there never takes it away:
    the run says what is missing. Errors: MMHError and ValueError for a config that cannot be run,
    and whatever fails before there is an image.
    """
    config = checked(config)
    check_negative(config)
    model = subject.model.in_windows(config.sampling.windows)
    training_set = subject.training_set
    check_estimators(model, config.estimators, config.sampling.height, config.sampling.width)
    run = _empty_run(config, model, training_set, subject.reference_prompts(config.sampling))
    if log_delta is not None:
        run = replace(run, log_delta=log_delta)
    yield Progress(0.0, "Generation starts", run)
    generated: list[GeneratedPart] = []
    later = 0.35 if config.curve or config.frames or config.estimators else 0.0
    share = (1 - later) / len(config.prompts)
    try:
        for number, prompt in enumerate(config.prompts):
            before = (
                ""
                if len(config.prompts) == 1
                else f"Prompt {number + 1} of {len(config.prompts)}: "
            )
            for progress, part in _prompt(run, model, training_set, prompt):
                if part is not None:
                    generated.append(part)
                run = progress.partial
                fraction = share * (number + progress.fraction)
                yield Progress(fraction, before + progress.message, run)
    except FAILURES as failure:
        if not run.images:
            raise
        requested = len(config.prompts) * len(config.seeds)
        problem = f"Only {len(run.images)} of {requested} images could be generated"
        run = replace(run, state="stopped", preview=run.preview[:0])
        yield Progress(1.0, "Stopped", with_missing(run, problem, failure))
        return
    yield from add_curves_and_frames(run, model, generated, 1 - later)


def checked(config: ImageConfig) -> ImageConfig:
    """Return the config, or refuse it in one sentence that names the value and what to do.

    Errors: MMHError for what a person can mistype, ValueError for an unknown choice.
    """
    if not 1 <= len(config.prompts) <= MOST_PROMPTS:
        raise MMHError(f"There are {len(config.prompts)} prompts: give 1 to {MOST_PROMPTS}.")
    for prompt in config.prompts:
        check_prompt(prompt)
    check_text(config.sampling.negative, "negative prompt")
    for prompt in config.prompts:
        config.request(prompt)
    if len(set(config.prompts)) < len(config.prompts):
        raise MMHError(
            "A prompt is given twice: equal prompts generate equal images, so give it once."
        )
    if len(set(config.seeds)) < len(config.seeds):
        raise MMHError("A seed is given twice: equal seeds generate equal images; give it once.")
    count = len(config.prompts) * len(config.seeds)
    work = count * config.sampling.pixels * config.sampling.steps
    if count > MOST_IMAGES:
        raise MMHError(
            f"{count} images are more than one run may generate ({MOST_IMAGES}): ask for fewer "
            "prompts or seeds."
        )
    if work > MOST_WORK:
        raise MMHError(
            f"{count} images of {config.sampling.height} x {config.sampling.width} in "
            f"{config.sampling.steps} steps are more than one run may generate: ask for fewer "
            "prompts, seeds or steps, or for smaller images."
        )
    for name in config.estimators:
        if name not in ESTIMATORS:
            raise ValueError(
                f"Unknown estimator {name!r}; choose from {', '.join(sorted(ESTIMATORS))}."
            )
    if not 0 <= config.frames <= MOST_FRAMES:
        raise MMHError(f"{config.frames} decoded steps: choose from 0 to {MOST_FRAMES}.")
    further = tuple(name for name in config.estimators if name != DEFAULT_ESTIMATOR)
    return replace(config, estimators=tuple(dict.fromkeys(further)))


def check_negative(config: ImageConfig) -> None:
    """Raise MMHError for a negative prompt that no branch of the network uses, as in diffusers."""
    if config.sampling.negative.strip() and config.sampling.guidance <= 1:
        raise MMHError(
            f"At guidance {config.sampling.guidance:g} the network is not evaluated without "
            "the prompt, so the negative prompt does nothing: choose a guidance above 1, or leave "
            "it out."
        )


def _prompt(
    run: ImageRun, model: TextToImage, training_set: TrainingSet | None, prompt: str
) -> Iterator[tuple[Progress[ImageRun], GeneratedPart | None]]:
    """Generate one prompt, with copies and LID of each part as soon as it is generated."""
    start, before = time.monotonic(), run.seconds_generating
    number = len(run.images) // len(run.config.seeds)
    for seen in generate_prompt(run.config, model, prompt):
        preview = run.preview if seen.preview is None else seen.preview
        run = replace(run, state="drawing", preview=preview, preview_prompt=number)
        if seen.generated is not None:
            run = with_images(run, model, training_set, prompt, seen.generated)
        run = replace(run, seconds_generating=elapsed(start, before))
        done = (seen.part + _GENERATING * seen.step / seen.steps) / seen.parts
        yield Progress(done, seen.message, run), seen.generated
        if seen.generated is None:
            continue
        for share, read in _evaluate_part(run, len(seen.generated.seeds), model, training_set):
            run = read
            done = (seen.part + _GENERATING + (1 - _GENERATING) * share) / seen.parts
            yield Progress(done, "Searching copies, estimating LID", run), None
        start, before = time.monotonic(), run.seconds_generating


def _evaluate_part(
    run: ImageRun, count: int, model: TextToImage, training_set: TrainingSet | None
) -> Iterator[tuple[float, ImageRun]]:
    """Search for copies of the last `count` images, then estimate their LID and judge them.

    Yields the share done and the run: each pass of the network is a step of its own.
    """
    start, before = time.monotonic(), run.seconds_estimating
    run = _searched(run, count, training_set)
    yield 0.1, replace(run, seconds_estimating=elapsed(start, before))
    added, lids, failed = run.images[-count:], list[ImageLid](), None
    sampling = run.config.sampling
    basis = VerdictBasis(
        *(model, training_set, run.reference, run.log_delta),
        guided=sampling.guidance > 1,
        negative=sampling.negative,
    )
    try:
        for lids in basis.lids(added):
            run = replace(run, seconds_estimating=elapsed(start, before))
            yield 0.1 + 0.9 * len(lids) / count, run
    except FAILURES as failure:
        failed = failure
    if failed is not None:
        run = with_missing(
            run, f"LID of {plural(count - len(lids), 'image')} could not be estimated", failed
        )
    cuts = [run.cut[run.config.prompts.index(one.prompt)] for one in added]
    judged = tuple(basis.judged(one, lid, cut) for one, lid, cut in zip_longest(added, lids, cuts))
    yield (
        1.0,
        replace(
            run,
            images=run.images[:-count] + judged,
            state="reading",
            seconds_estimating=elapsed(start, before),
        ),
    )


def _searched(run: ImageRun, count: int, training_set: TrainingSet | None) -> ImageRun:
    if training_set is None:
        return run
    kept, added = run.images[:-count], run.images[-count:]
    try:
        near = find_copies(training_set, image_batch(added))
    except FAILURES as failure:
        return with_missing(
            run, f"Copies of {plural(count, 'image')} could not be searched", failure
        )
    added = tuple(
        replace(one, copy=copy, neighbors=neighbors)
        for one, (copy, neighbors) in zip(added, near, strict=True)
    )
    return replace(run, images=kept + added)


def _empty_run(
    config: ImageConfig,
    model: TextToImage,
    training_set: TrainingSet | None,
    reference: ReferencePrompts | None,
) -> ImageRun:
    read = [unread_text(model, prompt) for prompt in config.prompts]
    scale = scale_for(training_set, reference)
    empty = torch.empty(0, 3, config.sampling.height, config.sampling.width, dtype=torch.uint8)
    return ImageRun(
        config=config,
        state="drawing",
        model=model.name,
        sha256=model.sha256,
        noise_sha256="",
        device=model.device.type,
        times=torch.empty(0),
        log_delta=scale,
        log_deltas=torch.tensor(LOG_DELTAS) if config.curve else torch.empty(0),
        preview=empty,
        preview_prompt=0,
        images=(),
        cut=tuple(reading.cut for reading in read),
        seed_similarity=(),
        searched=0 if training_set is None else len(training_set.index),
        embedder="pixels" if training_set is None else training_set.embedder.name,
        reference=reference,
        seconds_generating=0.0,
        seconds_estimating=0.0,
        missing=_uncalibrated(config, model, scale),
        needed=tuple(reading.windows for reading in read),
        notes=model.notes,
    )


def _uncalibrated(config: ImageConfig, model: TextToImage, scale: float) -> tuple[str, ...]:
    """Return a sentence on a LID whose image size is not the model's own and not calibrated."""
    height, width = model.image_size
    if scale == UNCALIBRATED or (config.sampling.height, config.sampling.width) == (height, width):
        return ()
    return (
        f"Nothing is calibrated for {config.sampling.height} x {config.sampling.width}: LID is "
        f"estimated at the noise scale of {height} x {width} and has no percentile.",
    )
