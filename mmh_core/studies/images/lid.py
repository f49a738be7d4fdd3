"""The LID of images: at one noise scale by any estimator, and over the noise scales."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.records import LidEstimate
from mmh_core.studies.images.lid_passes import (
    FIRST,
    Lids,
    check_limit,
    last_of,
    lid_passes,
)
from mmh_core.studies.images.run import DEFAULT_ESTIMATOR, ImageResult
from mmh_core.subject.image_lid import ImageLid
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage

#: The scale of LID without a calibrated one, in units of the latents' spread: one scale for
#: all, since a scale found on a run's own curves would make LID depend on the company.
UNCALIBRATED = math.log(0.34)
#: Natural logarithms of the noise scales of a curve, in units of the latents' spread.
LOG_DELTAS = tuple(round(math.log(0.12) + 0.3 * k, 4) for k in range(9))
#: Numbers of one pass: 8 images of the embedded model, or one of Stable Diffusion.
_NUMBERS = 8 * 256


def deciding_level(normal: ReferencePrompts | None) -> float:
    """Return the LID below which an image is suspicious, NaN where nobody knows what is normal."""
    if normal is None:
        return math.nan
    return normal.level()


def scale_for(training_set: TrainingSet | None, normal: ReferencePrompts | None) -> float:
    """Return the log delta at which LID is estimated: that of `normal`, else the calibrated one.

    Where neither is known it is `UNCALIBRATED`, whatever the images are.
    """
    if normal is not None:
        return normal.log_delta
    if training_set is not None and training_set.log_delta is not None:
        return training_set.log_delta
    return UNCALIBRATED


def check_estimators(model: TextToImage, names: Sequence[str], height: int, width: int) -> None:
    """Raise MMHError for an estimator that cannot take images of this size, before generating."""
    for name in names:
        check_limit(model, name, math.prod(model.latent_shape(height, width)))


def estimate_lids(
    model: TextToImage,
    images: Sequence[ImageResult],
    log_delta: float,
    *,
    estimator: str = DEFAULT_ESTIMATOR,
    negative: str = "",
    level: float = math.nan,
) -> Iterator[list[ImageLid]]:
    """Estimate LID with the prompt and without it (or with the negative one), by one estimator.

    Yields all estimates so far; between two yields is one pass of the network and its products.
    Both estimates of an image share their probes, so that their difference has less noise. `level`
    is the LID that decides a verdict: images that are clearly off it get fewer probes.
    Errors: MMHError where D is beyond the estimator's limit.
    """
    done: list[ImageLid] = []
    without = model.encode_text([negative]) if negative else model.unconditional
    for part in _chunks([image.latents for image in images]):
        latents = torch.stack([image.latents for image in images[part]])
        prompts = [image.prompt for image in images[part]]
        estimates = list[Lids]()
        for cond in (_embeddings(model, prompts), without.expand(len(prompts), -1, -1)):
            # The same probes without the prompt as with it.
            draws = [count or 0 for count in estimates[0].draws] if estimates else None
            for answer in lid_passes(
                model, latents, cond, log_delta, estimator, level=level, draws=draws
            ):
                estimates += [] if answer is None else [answer]
                yield list(done)
        done += _paired(estimator, log_delta, *estimates)
        yield list(done)


def estimate_curves(
    model: TextToImage, images: Sequence[ImageResult], log_deltas: Tensor
) -> Iterator[tuple[float, list[tuple[Tensor, Tensor]]]]:
    """Estimate conditional LID over the scales; yield the share done and all curves so far.

    All scales of an image share its probes, so that their noise does not roughen its curve.
    """
    done: list[tuple[Tensor, Tensor]] = []
    for part in _chunks([image.latents for image in images]):
        latents = torch.stack([image.latents for image in images[part]])
        prompts = [image.prompt for image in images[part]]
        cond, estimates, few = _embeddings(model, prompts), list[Lids](), [FIRST] * len(prompts)
        for scale in log_deltas.tolist():
            for answer in lid_passes(model, latents, cond, scale, DEFAULT_ESTIMATOR, draws=few):
                estimates += [] if answer is None else [answer]
                share = len(estimates) / len(log_deltas) * len(prompts)
                yield (len(done) + share) / len(images), list(done)
        lid = torch.stack([estimate.lid for estimate in estimates], dim=1)
        error = torch.stack([estimate.standard_error for estimate in estimates], dim=1)
        done += list(zip(lid, error, strict=True))
        yield len(done) / len(images), list(done)


def estimate_lid(
    model: TextToImage,
    latents: Tensor,
    cond: Tensor,
    log_delta: float,
    estimator: str,
    *,
    level: float = math.nan,
) -> LidEstimate:
    """Run an estimator at latents (B, C, h, w) given embeddings `cond` (B, tokens, width).

    As many at a time as fit into memory. `level` is that of `read_lids`, and so are the numbers.
    Errors: MMHError where D is beyond the estimator's limit.
    """
    parts = []
    for part in _chunks(list(latents)):
        passes = lid_passes(model, latents[part], cond[part], log_delta, estimator, level=level)
        parts.append(last_of(passes))
    counts = [count for part in parts for count in part.draws]
    known_counts = [count for count in counts if count is not None]
    return LidEstimate(
        torch.cat([part.lid for part in parts]),
        torch.cat([part.standard_error for part in parts]),
        float(torch.cat([part.nfe for part in parts]).mean()),
        draws=min(known_counts) if len(known_counts) == len(counts) else None,
    )


def _paired(estimator: str, log_delta: float, with_it: Lids, without: Lids) -> list[ImageLid]:
    return [
        ImageLid(
            estimator=estimator,
            label=ESTIMATORS[estimator].label,
            log_delta=log_delta,
            conditional=float(with_it.lid[i]),
            conditional_error=float(with_it.standard_error[i]),
            unconditional=float(without.lid[i]),
            unconditional_error=float(without.standard_error[i]),
            percentile=math.nan,
            nfe=float(with_it.nfe[i] + without.nfe[i]),
            draws=with_it.draws[i],
            unconditional_draws=without.draws[i],
        )
        for i in range(len(with_it.lid))
    ]


def _chunks(latents: Sequence[Tensor]) -> list[slice]:
    size = max(1, _NUMBERS // latents[0].numel())
    return [slice(start, start + size) for start in range(0, len(latents), size)]


def _embeddings(model: TextToImage, prompts: Sequence[str]) -> Tensor:
    """Return one embedding per prompt, each distinct prompt encoded once."""
    distinct = list(dict.fromkeys(prompts))
    encoded = torch.cat([model.encode_text([prompt]) for prompt in distinct])
    return encoded[[distinct.index(prompt) for prompt in prompts]]
