"""A run of the image study made by hand: every case that a report or a file may meet."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from mmh_core.studies.images.run import ImageConfig, ImageResult, ImageRun
from mmh_core.subject.copies import ImageCopyEvidence, TrainingNeighbor
from mmh_core.subject.image_lid import ImageLid
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.training_set import PromptTruth
from mmh_core.text_to_image.requests import Sampling

#: A text that must be shown and never obeyed.
HOSTILE = '<img src="http://example.org/x.png" onerror=alert(1)> & ![p](http://example.org/p.png)'
STEPS, LOG_DELTAS = 5, (-2.1, -1.5, -0.9, -0.3)
NAN = math.nan


def drawn_run() -> ImageRun:
    """Return two prompts with two seeds each, searched in a known training set."""
    config = ImageConfig("pocket-sd", ("a red fox", HOSTILE), (0, 7), Sampling(STEPS, 7.5, 16, 16))
    images = (
        _image(0, "a red fox", 0, "exact copy", 5.0, percentile=0.0, copy=_copy("exact")),
        _image(1, "a red fox", 7, "template copy", 11.5, percentile=0.2, copy=_copy("template")),
        _image(2, HOSTILE, 0, "suspicious, no copy found", 6.0, percentile=0.004),
        _image(3, HOSTILE, 7, "not memorized", 24.0, percentile=0.6),
    )
    return ImageRun(
        config=config,
        state="complete",
        model="pocket-sd",
        sha256="0f" * 32,
        noise_sha256="a0" * 32,
        device="cpu",
        times=torch.linspace(1, 0.2, STEPS),
        log_delta=-0.9,
        log_deltas=torch.tensor(LOG_DELTAS),
        preview=torch.empty(0, 3, 16, 16, dtype=torch.uint8),
        preview_prompt=0,
        images=images,
        cut=("", "the last words"),
        seed_similarity=(0.875, NAN),
        searched=1234,
        embedder="pocket",
        reference=reference_prompts(),
        seconds_generating=12.5,
        seconds_estimating=3.25,
    )


def unsearched_run() -> ImageRun:
    """Return a run of a model whose training set nobody has, without guidance and curves."""
    run = drawn_run()
    images = tuple(
        replace(
            one,
            copy=None,
            neighbors=(),
            truth=None,
            curve=torch.empty(0),
            curve_error=torch.empty(0),
            guidance_norm=torch.full((STEPS,), NAN),
            region=torch.full((2, 2), NAN),
            verdict="cannot be judged",
            lids=(replace(one.lids[0], percentile=NAN, conditional_error=NAN),),
        )
        for one in run.images
    )
    return replace(
        run,
        config=replace(
            run.config, curve=False, sampling=replace(run.config.sampling, guidance=1.0)
        ),
        images=images,
        searched=0,
        embedder="pixels",
        reference=None,
        log_deltas=torch.empty(0),
    )


def reference_prompts() -> ReferencePrompts:
    """Return 101 reference images whose quantiles are round numbers: 0, 1, ..., 100."""
    rising = torch.arange(101.0)
    return ReferencePrompts(
        model="pocket-sd",
        sha256="0f" * 32,
        log_delta=-0.9,
        log_deltas=torch.tensor(LOG_DELTAS),
        prompts=("a dog",) * 101,
        conditional=rising,
        unconditional=rising,
        guidance_norm=rising[:, None].expand(101, STEPS).clone(),
        curve=rising[:, None].expand(101, len(LOG_DELTAS)).clone(),
        sampling=Sampling(scheduler="ddim", steps=STEPS, guidance=7.5, height=16, width=16),
    )


def noise(seed: int, side: int = 16) -> Tensor:
    """Return an image that no other seed gives."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, side, side), generator=generator, dtype=torch.uint8)


def _image(
    index: int,
    prompt: str,
    seed: int,
    verdict: str,
    lid: float,
    *,
    percentile: float,
    copy: ImageCopyEvidence | None = None,
) -> ImageResult:
    reading = ImageLid(
        "soft_spectral_count",
        "Soft spectral count",
        -0.9,
        lid,
        0.75,
        lid + 9.5,
        1.25,
        percentile,
        22.0,
    )
    return ImageResult(
        index=index,
        prompt=prompt,
        seed=seed,
        image=noise(index),
        latents=torch.zeros(4, 2, 2),
        guidance_norm=torch.linspace(40.0 + index, 10.0, STEPS),
        region=torch.ones(2, 2),
        frames=torch.empty(0, 3, 16, 16, dtype=torch.uint8),
        frame_steps=torch.empty(0, dtype=torch.int64),
        lids=(reading, replace(reading, estimator="flipd", label="FLIPD", conditional=-31.5)),
        curve=torch.tensor([20.0, 16.0, lid, 4.0]),
        curve_error=torch.tensor([0.5, 0.5, 0.75, 0.5]),
        copy=_copy("none") if copy is None else copy,
        neighbors=tuple(
            TrainingNeighbor(
                40 + k, 0.97 - k / 10, f"{HOSTILE} {k}", "overfit", 60, noise(100 + k)
            )
            for k in range(3)
        ),
        truth=PromptTruth("overfit", "portrait/fox", True, 7.0, 2, 120),
        verdict=verdict,  # type: ignore[arg-type]
        reason=f"Reason of image {index}: {HOSTILE}",
    )


def _copy(kind: str) -> ImageCopyEvidence:
    found = ImageCopyEvidence("exact", "", 40, 0.97, 0.31, 0.12, 60, 3, 0.9, 8)
    return replace(found, kind=kind)  # type: ignore[arg-type]
