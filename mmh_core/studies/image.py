"""Draw pictures with a text-to-image model, and say of each whether it is memorized.

Guidance norms and the region map are taken while drawing, at no extra cost. LID is read at the
run's own final latents: encoding the picture again would move the point.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mmh_core.records import Progress
from mmh_core.studies.image_config import checked
from mmh_core.studies.image_drawing import Drawn, Seen, cut_off, draw_prompt, pixels_of
from mmh_core.studies.image_lid import LOG_DELTAS, chosen_scale, read_curves, read_lids
from mmh_core.studies.image_reference import Reference, agreement, find_copies
from mmh_core.studies.image_run import ImageConfig, ImageRun, NormalPrompts, PictureResult
from mmh_core.studies.image_verdict import cause_in, verdict_of
from mmh_core.text_to_image.model import TextToImage

#: Of the work of a prompt, the part that draws.
_DRAWING = 0.6


def image_study(
    config: ImageConfig,
    model: TextToImage,
    reference: Reference | None,
    normal: NormalPrompts | None = None,
    *,
    log_delta: float | None = None,
) -> Iterator[Progress[ImageRun]]:
    """Draw every prompt with every seed and read what the config asks for.

    Pictures come first, then their copies and LID, part after part; then curves, further
    estimators and decoded steps of all. `normal` serves only where it fits the run. LID is read at
    `log_delta`; unless given, at the scale of `normal` or of the reference's calibration, else at
    one found on the run's own curves. Errors: MMHError and ValueError for a config that cannot be
    run.
    """
    config = checked(config)
    run = _empty_run(config, model, reference, normal)
    if log_delta is not None:
        run = replace(run, log_delta=log_delta)
    yield Progress(0.0, "Drawing starts", run)
    drawn: list[Drawn] = []
    later = 0.35 if config.curve or config.frames or config.estimators else 0.0
    share = (1 - later) / len(config.prompts)
    for number, prompt in enumerate(config.prompts):
        before = (
            "" if len(config.prompts) == 1 else f"Prompt {number + 1} of {len(config.prompts)}: "
        )
        for progress, part in _prompt(run, model, reference, prompt):
            if part is not None:
                drawn.append(part)
            run = progress.partial
            fraction = share * (number + progress.fraction)
            yield Progress(fraction, before + progress.message, run)
    yield from _later(run, model, drawn, 1 - later)


def _prompt(
    run: ImageRun, model: TextToImage, reference: Reference | None, prompt: str
) -> Iterator[tuple[Progress[ImageRun], Drawn | None]]:
    """Draw one prompt, and read copies and LID of each part as soon as it is drawn."""
    start, before = time.monotonic(), run.seconds_drawing
    number = len(run.pictures) // len(run.config.seeds)
    for seen in draw_prompt(run.config, model, prompt):
        preview = run.preview if seen.preview is None else seen.preview
        run = replace(run, state="drawing", preview=preview, preview_prompt=number)
        if seen.drawn is not None:
            run = _with_pictures(run, model, reference, prompt, seen.drawn)
        run = replace(run, seconds_drawing=_since(start, before))
        done = (seen.part + _DRAWING * seen.step / seen.steps) / seen.parts
        yield Progress(done, _drawing(seen), run), seen.drawn
        if seen.drawn is None:
            continue
        for read, message in _read(run, len(seen.drawn.seeds), model, reference):
            run = read
            done = (seen.part + (_DRAWING + 1) / 2) / seen.parts
            yield Progress(done, message, run), None
        start, before = time.monotonic(), run.seconds_drawing


def _drawing(seen: Seen) -> str:
    step = f"Drawing, step {seen.step} of {seen.steps}"
    return step if seen.parts == 1 else f"{step}, part {seen.part + 1} of {seen.parts}"


def _read(
    run: ImageRun, count: int, model: TextToImage, reference: Reference | None
) -> Iterator[tuple[ImageRun, str]]:
    """Search for copies of the last `count` pictures, then read their LID."""
    start, before = time.monotonic(), run.seconds_reading
    kept, mine = run.pictures[:-count], run.pictures[-count:]
    if reference is not None:
        pictures = _as_pictures(mine)
        near = find_copies(reference, pictures)
        mine = tuple(
            replace(one, copy=copy, neighbors=neighbors)
            for one, (copy, neighbors) in zip(mine, near, strict=True)
        )
        run = replace(run, pictures=kept + mine, seconds_reading=_since(start, before))
        yield run, "Reading the local intrinsic dimension"
    if math.isnan(run.log_delta):
        run = replace(run, log_delta=chosen_scale(model, mine))
    lids = read_lids(model, mine, run.log_delta, negative=run.config.negative)
    judged = []
    for one, lid in zip(mine, lids, strict=True):
        if run.normal is not None:
            lid = replace(lid, percentile=run.normal.percentile(lid.conditional))
        verdict, reason = verdict_of(one.copy, lid, guided=run.config.guidance != 1)
        cause = cause_in(reference, one.prompt, verdict, lid.conditional, one.copy)
        reason = reason if cause is None else f"{reason} {cause.reason}"
        judged.append(replace(one, lids=(lid,), verdict=verdict, reason=reason, cause=cause))
    run = replace(
        run,
        state="reading",
        pictures=kept + tuple(judged),
        seconds_reading=_since(start, before),
    )
    yield run, "Read copies and LID"


def _later(
    run: ImageRun, model: TextToImage, drawn: list[Drawn], base: float
) -> Iterator[Progress[ImageRun]]:
    """Add what a person looks at after the verdict: curves, further estimators, decoded steps."""
    config, start, before = run.config, time.monotonic(), run.seconds_reading
    if config.curve:
        yield Progress(base, "Reading LID over the noise scales", run)
        for done, curves in read_curves(model, run.pictures, run.log_deltas):
            pictures = tuple(
                replace(one, curve=lid, curve_error=error)
                for one, (lid, error) in zip(run.pictures[: len(curves)], curves, strict=True)
            )
            run = replace(
                run,
                pictures=pictures + run.pictures[len(curves) :],
                seconds_reading=_since(start, before),
            )
            share = base + (1 - base) * 0.6 * done
            yield Progress(share, "Reading LID over the noise scales", run)
    for name in config.estimators:
        yield Progress(base + (1 - base) * 0.7, f"Running {name.replace('_', ' ')}", run)
        lids = read_lids(model, run.pictures, run.log_delta, estimator=name)
        pictures = tuple(
            replace(one, lids=(*one.lids, lid))
            for one, lid in zip(run.pictures, lids, strict=True)
        )
        run = replace(run, pictures=pictures, seconds_reading=_since(start, before))
    if config.frames:
        yield Progress(base + (1 - base) * 0.8, "Decoding the steps", run)
        run = _with_frames(run, model, drawn)
    run = replace(run, state="complete", preview=run.preview[:0])
    yield Progress(1.0, "Finished", run)


def _with_pictures(
    run: ImageRun,
    model: TextToImage,
    reference: Reference | None,
    prompt: str,
    drawn: Drawn,
) -> ImageRun:
    """Decode a part of the pictures of a prompt, and add them to the run."""
    pixels = pixels_of(model, drawn.latents)
    known = None if reference is None or reference.truth is None else reference.truth(prompt)
    found = tuple(
        PictureResult(
            index=len(run.pictures) + i,
            prompt=prompt,
            seed=seed,
            picture=pixels[i],
            latents=drawn.latents[i],
            guidance_norm=drawn.norms[i],
            region=drawn.region[i],
            frames=pixels[:0],
            frame_steps=torch.empty(0, dtype=torch.int64),
            lids=(),
            curve=torch.empty(0),
            curve_error=torch.empty(0),
            copy=None,
            neighbors=(),
            truth=known,
            verdict="not read yet",
            reason="",
        )
        for i, seed in enumerate(drawn.seeds)
    )
    pictures = run.pictures + found
    done = (len(pictures) - 1) // len(run.config.seeds)
    same = agreement(reference, _as_pictures(pictures[done * len(run.config.seeds) :]))
    return replace(
        run,
        pictures=pictures,
        agreement=(*run.agreement[:done], same),
        times=drawn.times,
        noise_sha256=run.noise_sha256 or drawn.noise,
        preview=run.preview[:0],
    )


def _with_frames(run: ImageRun, model: TextToImage, drawn: list[Drawn]) -> ImageRun:
    """Decode the kept steps of all pictures."""
    pictures: list[PictureResult] = []
    for part in drawn:
        for kept in part.kept:
            one = run.pictures[len(pictures)]
            frames, steps = pixels_of(model, kept), torch.tensor(part.kept_steps)
            pictures.append(replace(one, frames=frames, frame_steps=steps))
    return replace(run, pictures=tuple(pictures))


def _empty_run(
    config: ImageConfig,
    model: TextToImage,
    reference: Reference | None,
    normal: NormalPrompts | None,
) -> ImageRun:
    usable = normal is not None and normal.fits(model.sha256, config)
    scale = math.nan if reference is None or reference.log_delta is None else reference.log_delta
    if usable and normal is not None:
        scale = normal.log_delta
    empty = torch.empty(0, 3, config.height, config.width, dtype=torch.uint8)
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
        pictures=(),
        cut=tuple(cut_off(model, prompt) for prompt in config.prompts),
        agreement=(),
        searched=0 if reference is None else len(reference.index),
        embedder="pixels" if reference is None else reference.embedder.name,
        normal=normal if usable else None,
        seconds_drawing=0.0,
        seconds_reading=0.0,
    )


def _as_pictures(found: tuple[PictureResult, ...]) -> Tensor:
    return torch.stack([one.picture for one in found]).float() / 255


def _since(start: float, before: float) -> float:
    return before + time.monotonic() - start
