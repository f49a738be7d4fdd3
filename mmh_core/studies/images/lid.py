"""The LID of images: at one noise scale by any estimator, and over the noise scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from mmh_core.dimension.estimators import DEFAULT_ESTIMATOR, ESTIMATORS
from mmh_core.dimension.probes import rademacher
from mmh_core.mitigations.interface import result_of
from mmh_core.records import LidEstimate
from mmh_core.studies.images.lid_passes import (
    FIRST,
    Settled,
    check_limit,
    clear_of,
    deciding_passes,
    estimator_pass,
    reporting,
    sign_passes,
)
from mmh_core.studies.images.run import ImageResult
from mmh_core.subject.image_lid import ImageLid
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.image_probes import probe_generators
from mmh_core.text_to_image.model import TextToImage

#: The scale of LID without a calibrated one, in units of the latents' spread: one scale for
#: all, since a scale found on a run's own curves would make LID depend on the company.
UNCALIBRATED = math.log(0.34)
#: Natural logarithms of the noise scales of a curve, in units of the latents' spread.
LOG_DELTAS = tuple(round(math.log(0.12) + 0.3 * k, 4) for k in range(9))
#: Numbers of one pass: 8 images of the shipped model, or one of Stable Diffusion.
_NUMBERS = 8 * 256

#: The generators of some images' probes, made anew at each call.
Generators = Callable[[], list[torch.Generator]]
#: Whether an estimate of few probes settles the verdict on an image.
SettledImage = Callable[[ImageResult, LidEstimate], bool]
#: Passes of the network that return each image's LID with the prompt and without it.
Pairs = Generator[None, None, list[tuple[LidEstimate, LidEstimate]]]


def scale_for(training_set: TrainingSet | None, reference: ReferencePrompts | None) -> float:
    """Return the log delta of LID estimates: that of `reference`, else the calibrated one.

    Where neither is known it is `UNCALIBRATED`, whatever the images are.
    """
    if reference is not None:
        return reference.log_delta
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
    settled: SettledImage | None = None,
) -> Iterator[list[ImageLid]]:
    """Estimate LID with the prompt and without it (or with the negative one), by one estimator.

    Yields all estimates so far; between two yields is one pass of the network and its products.
    Both estimates of an image share their probes, so that their difference has less noise. By the
    default estimator images whose verdict is `settled` by a first look get fewer probes, and
    without the prompt only the difference is estimated, by one probe.
    Errors: MMHError where D is beyond the estimator's limit.
    """
    done: list[ImageLid] = []
    without = model.encode_text([negative]) if negative else model.unconditional
    for part in _chunks([image.latents for image in images]):
        latents = torch.stack([image.latents for image in images[part]])
        cond = _embeddings(model, [image.prompt for image in images[part]])
        both = cond, without.expand(len(cond), -1, -1)
        own = partial(_generators, model, images[part], estimator)
        if estimator == DEFAULT_ESTIMATOR:
            sure = _settled_rows(images[part], settled)
            passes = _probed_pairs(model, latents, both, log_delta, own(), sure)
        else:
            passes = _pairs(model, latents, both, log_delta, estimator, own)
        pairs = yield from reporting(passes, list(done))
        done += [_image_lid(estimator, log_delta, *pair) for pair in pairs]
        yield list(done)


def _probed_pairs(
    model: TextToImage,
    latents: Tensor,
    both: tuple[Tensor, Tensor],
    log_delta: float,
    own: Sequence[torch.Generator],
    settled: Settled | None,
) -> Pairs:
    """Return each image's LID with the prompt and without it by the default estimator."""
    dim = latents[0].numel()
    # Without a prompt both are one and the same.
    branches = both[:1] if torch.equal(*both) else both
    values = yield from deciding_passes(model, latents, branches, log_delta, own, settled)
    if len(branches) == 1:
        return [(one.estimate(dim), one.estimate(dim)) for one in values[0]]
    return [
        (prompted.estimate(dim), unprompted.estimate_beside(prompted, dim))
        for prompted, unprompted in zip(*values, strict=True)
    ]


def _settled_rows(images: Sequence[ImageResult], settled: SettledImage | None) -> Settled | None:
    """Return the same of the rows of a batch of images."""
    return None if settled is None else lambda row, estimate: settled(images[row], estimate)


def _pairs(
    model: TextToImage,
    latents: Tensor,
    both: tuple[Tensor, Tensor],
    log_delta: float,
    estimator: str,
    own: Generators,
) -> Pairs:
    """Return each image's LID with the prompt and without it by any other estimator."""
    prompted = estimator_pass(model, latents, both[0], log_delta, estimator, own())
    yield
    unprompted = estimator_pass(model, latents, both[1], log_delta, estimator, own())
    return list(zip(prompted, unprompted, strict=True))


def estimate_curves(
    model: TextToImage, images: Sequence[ImageResult], log_deltas: Tensor
) -> Iterator[tuple[float, list[tuple[Tensor, Tensor]]]]:
    """Estimate conditional LID over the scales; yield the share done and all curves so far.

    All scales of an image share its probes, so that their noise does not roughen its curve.
    """
    done: list[tuple[Tensor, Tensor]] = []
    for part in _chunks([image.latents for image in images]):
        latents = torch.stack([image.latents for image in images[part]])
        cond = _embeddings(model, [image.prompt for image in images[part]])
        columns: list[list[LidEstimate]] = []
        for scale in log_deltas.tolist():
            signs = rademacher(latents, FIRST, _generators(model, images[part], DEFAULT_ESTIMATOR))
            share = len(done) + len(columns) / len(log_deltas) * len(cond)
            values = yield from reporting(
                sign_passes(model, latents, cond, scale, signs),
                (share / len(images), list(done)),
            )
            columns.append([one.estimate(latents[0].numel()) for one in values])
        done += [
            (
                torch.cat([estimate.lid for estimate in row]).cpu(),
                torch.cat([estimate.standard_error for estimate in row]).cpu(),
            )
            for row in zip(*columns, strict=True)
        ]
        yield len(done) / len(images), list(done)


def with_curves(
    images: Sequence[ImageResult], curves: Sequence[tuple[Tensor, Tensor]]
) -> tuple[ImageResult, ...]:
    """Return the images with as many curves as there are, each with its standard error."""
    first = tuple(
        replace(one, curve=lid, curve_error=error)
        for one, (lid, error) in zip(images, curves, strict=False)
    )
    return (*first, *images[len(curves) :])


def estimate_lid(
    model: TextToImage,
    latents: Tensor,
    cond: Tensor,
    log_delta: float,
    *,
    prompt: str,
    images: Tensor,
    levels: Sequence[float] = (),
) -> LidEstimate:
    """Estimate the LID at latents (B, C, h, w) given embeddings `cond` (B, tokens, width).

    By the default estimator, as many images at a time as fit into memory. `images` uint8
    (B, 3, H, W) are those of the latents, all of one `prompt`: probes are drawn from both. They
    are fewer for an image whose first look is clear of all `levels`.
    """
    estimates = []
    for part in _chunks(list(latents)):
        count = len(latents[part])
        own = probe_generators(model, DEFAULT_ESTIMATOR, [prompt] * count, images[part])
        passes = deciding_passes(
            model, latents[part], [cond[part]], log_delta, own, clear_of(levels)
        )
        [prompted] = result_of(passes)
        estimates += [one.estimate(latents[0].numel()) for one in prompted]
    counts = [estimate.probes for estimate in estimates if estimate.probes is not None]
    return LidEstimate(
        torch.cat([estimate.lid for estimate in estimates]).cpu(),
        torch.cat([estimate.standard_error for estimate in estimates]).cpu(),
        sum(estimate.nfe for estimate in estimates) / len(estimates),
        probes=min(counts),
    )


def _image_lid(
    estimator: str, log_delta: float, prompted: LidEstimate, unprompted: LidEstimate
) -> ImageLid:
    return ImageLid(
        estimator=estimator,
        label=ESTIMATORS[estimator].label,
        log_delta=log_delta,
        conditional=float(prompted.lid),
        conditional_error=float(prompted.standard_error),
        unconditional=float(unprompted.lid),
        unconditional_error=float(unprompted.standard_error),
        percentile=math.nan,
        nfe=prompted.nfe + unprompted.nfe,
        probes=prompted.probes,
        unconditional_probes=unprompted.probes,
    )


def _generators(
    model: TextToImage, images: Sequence[ImageResult], estimator: str
) -> list[torch.Generator]:
    """Return the generators of the images' probes, in their first state."""
    pixels = torch.stack([image.image for image in images])
    return probe_generators(model, estimator, [image.prompt for image in images], pixels)


def _chunks(latents: Sequence[Tensor]) -> list[slice]:
    size = max(1, _NUMBERS // latents[0].numel())
    return [slice(start, start + size) for start in range(0, len(latents), size)]


def _embeddings(model: TextToImage, prompts: Sequence[str]) -> Tensor:
    """Return one embedding per prompt, each distinct prompt encoded once."""
    distinct = list(dict.fromkeys(prompts))
    encoded = torch.cat([model.encode_text([prompt]) for prompt in distinct])
    return encoded[[distinct.index(prompt) for prompt in prompts]]
