"""The reference distribution of a model: LID and guidance norms of prompts that are not memorized.

Absolute values do not carry over between models, samplers, steps or guidance scales, so
percentiles are only taken among images generated in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from mmh_core.pocket.assets import world_number
from mmh_core.pocket.calibration import calibration_captions
from mmh_core.pocket.second.embedded import second_references
from mmh_core.records import Progress
from mmh_core.studies.detection.labelled_prompts import pocket_labelled, pocket_reference_captions
from mmh_core.studies.images.kept_run import kept_image_run
from mmh_core.studies.images.run import ImageConfig, ImageResult
from mmh_core.subject.early_calibration import EarlyCalibration, early_calibration, early_times
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.subject import Subject
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Sampling

#: Seeds that nothing else uses.
SEEDS = (90_000, 90_001, 90_002)
_REFERENCE_KINDS = ("open", "varied")
#: Reference prompts of the second world.
_SECOND = 40


def pocket_prompts(folder: Path, seed: int) -> tuple[str, ...]:
    """Return the reference prompts of the shipped world: varied and open, calibration half.

    Of the second world `_SECOND` prompts of its reference kinds.
    """
    if world_number(folder) == 2:
        return second_references(folder, _SECOND)
    table = calibration_captions(seed)
    return tuple(str(text) for text in table[table.kind.isin(_REFERENCE_KINDS)].caption)


def reference_study(
    config: ImageConfig, model: TextToImage, log_delta: float, *, kept: Path | None = None
) -> Iterator[Progress[ReferencePrompts | None]]:
    """Generate reference prompts as the config says; the last progress has their figures.

    `log_delta` is the scale at which LID is estimated. Runs of finished prompts are kept in the
    folder `kept`, where it is given, and used again. Errors: MMHError for a config that cannot
    run.
    """
    plain = replace(config, frames=0, curve=True, estimators=())
    images: list[ImageResult] = []
    log_deltas = torch.empty(0)
    for number, prompt in enumerate(config.prompts):
        single, run = replace(plain, prompts=(prompt,)), None
        for step in kept_image_run(single, Subject(model), kept, log_delta):
            run = step.partial
        if run is None:
            raise ValueError("The image study yielded nothing.")
        images += run.images
        log_deltas = run.log_deltas
        message = f"Reference prompt {number + 1} of {len(config.prompts)}"
        yield Progress((number + 1) / (len(config.prompts) + 1), message, None)
    lids = [image.lid for image in images if image.lid is not None]
    yield Progress(
        1.0,
        "Finished",
        ReferencePrompts(
            model=model.name,
            sha256=model.sha256,
            log_delta=log_delta,
            log_deltas=log_deltas,
            prompts=tuple(image.prompt for image in images),
            conditional=torch.tensor([lid.conditional for lid in lids]),
            unconditional=torch.tensor([lid.unconditional for lid in lids]),
            guidance_norm=torch.stack([image.guidance_norm for image in images]),
            curve=torch.stack([image.curve for image in images]),
            sampling=Sampling(
                scheduler=config.sampling.scheduler,
                steps=config.sampling.steps,
                guidance=config.sampling.guidance,
                height=config.sampling.height,
                width=config.sampling.width,
            ),
        ),
    )


def pocket_reference_prompts(
    folder: Path,
    model: TextToImage,
    log_delta: float,
    seed: int = 0,
    *,
    kept: Path | None = None,
) -> Iterator[Progress[ReferencePrompts | None]]:
    """Run `reference_study` for the shipped model, at its card's settings."""
    config = ImageConfig(
        str(folder),
        pocket_prompts(folder, seed),
        SEEDS,
        model.sampling,
    )
    yield from reference_study(config, model, log_delta, kept=kept)


def pocket_early(
    folder: Path, model: TextToImage, seed: int = 0
) -> Iterator[Progress[EarlyCalibration]]:
    """Calibrate the early scan of the shipped model, and count what it finds.

    The times are chosen on memorized captions of the calibration half; those of the test half are
    counted, as trained with and paraphrased.
    """
    labelled = pocket_labelled(folder, seed)
    tested = [row for row in labelled if row.split == "test" and row.memorized]
    yield from early_calibration(
        model,
        pocket_reference_captions(folder, seed),
        times=early_times(model, labelled),
        memorized=[row.prompt for row in tested if row.counted],
        paraphrases=[row.prompt for row in tested if row.paraphrased],
    )
