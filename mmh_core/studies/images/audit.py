"""The audit of an image from any source: LID, copies, neighbors and region map."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mmh_core.formats.png_latents import png_latents
from mmh_core.formats.texts import check_text
from mmh_core.records import Progress
from mmh_core.retrieval.copy_evidence import is_copy
from mmh_core.retrieval.images import read_image
from mmh_core.retrieval.pixel_match import bounded, fitted
from mmh_core.studies.images.generation import pixels_of
from mmh_core.studies.images.lid import (
    LOG_DELTAS,
    estimate_curves,
    scale_for,
    with_curves,
)
from mmh_core.studies.images.run import ImageResult
from mmh_core.studies.images.verdict_basis import VerdictBasis
from mmh_core.subject.copies import ImageCopyEvidence, TrainingNeighbor
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.crop_search import search_crops
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.unread_text import cut_off

#: Mean difference, in shades of 256, up to which an image counts as decoded from latents. Rounding
#: makes none on the same machine; half precision, or another machine, less than one.
_SAME_IMAGE = 1.0
#: The short edge to which a whole image is reduced before it is searched.
WHOLE = 512


def audit_study(
    data: bytes,
    caption: str,
    subject: Subject,
) -> Iterator[Progress[ImageResult]]:
    """Return LID, copies, neighbors and region map of an image in a file's bytes.

    It is cut to the model's shape around its middle and resized, then encoded; LID is estimated at
    these latents, so that the LID of an image that the autoencoder reconstructs badly is a little
    high. A PNG that was generated here carries its latents: where the model decodes them to the
    pixels of the file they are taken, and LID is the one that was estimated when it was generated.
    With an empty caption both LIDs are the unconditional one. The region map is taken at the
    smallest noise, with one fixed noise. `image` is what was read, at the model's size, and the
    only decoded frame what the autoencoder gives back. The percentile is among reference images of
    the model's recommended settings. Errors: MMHError for what is no image.
    """
    check_text(caption, "caption")
    model, training_set = subject.model, subject.training_set
    read = read_image(data)
    image = fitted(read, model.image_size)
    latents = _latents(model, data, image)
    truth = None
    if caption and training_set is not None and training_set.truth is not None:
        truth = training_set.truth(caption)
    norm, region = _guidance(model, latents, caption)
    result = ImageResult(
        index=0,
        prompt=caption,
        seed=0,
        image=(image * 255).round().to(torch.uint8),
        latents=latents[0],
        guidance_norm=norm,
        region=region,
        frames=pixels_of(model, latents),
        frame_steps=torch.zeros(1, dtype=torch.int64),
        truth=truth,
    )
    if training_set is not None:
        yield Progress(0.2, "Searching the training images", result)
        copy, near = _searched(training_set, read, image)
        result = replace(result, copy=copy, neighbors=near)
    yield Progress(0.4, "Estimating the local intrinsic dimension", result)
    reference = subject.reference_prompts(subject.sampling)
    yield from _read(result, model, training_set, reference)


def _latents(model: TextToImage, data: bytes, image: Tensor) -> Tensor:
    """Return the latents (1, C, h, w) of the file where they are the image's, or encode it."""
    latents = png_latents(data)
    if latents is not None and latents.shape == model.score_model.shape:
        difference = (model.decode(latents[None])[0].cpu() - image).abs().mean()
        if 255 * float(difference) <= _SAME_IMAGE:
            return latents[None]
    return model.encode(image[None]).cpu()


def _searched(
    training_set: TrainingSet, whole: Tensor, image: Tensor
) -> tuple[ImageCopyEvidence, tuple[TrainingNeighbor, ...]]:
    """Return the evidence for the image as the model sees it, or as it was brought.

    Nobody knows what was done to an image from anywhere, so that its parts are searched for, too.
    Where the file has another shape than the model, the model sees only its middle, while the
    training set holds it whole. A training set whose images all have the model's size does not.
    """
    [match] = find_copies(training_set, image[None])
    match = search_crops(training_set, image, match)
    if training_set.training is not None or whole.shape == image.shape or is_copy(match[0].kind):
        return match
    [other] = find_copies(training_set, bounded(whole, WHOLE)[None])
    ranked = ("exact", "template", "likely")
    kinds = [kind for kind in ranked if kind in (match[0].kind, other[0].kind)]
    return other if kinds and other[0].kind == kinds[0] else match


def _read(
    image: ImageResult,
    model: TextToImage,
    training_set: TrainingSet | None,
    reference: ReferencePrompts | None,
) -> Iterator[Progress[ImageResult]]:
    scale, lid = scale_for(training_set, reference), None
    basis = VerdictBasis(model, training_set, reference, scale)
    for lids in basis.lids((image,)):
        lid = next(iter(lids), None)
        yield Progress(0.5, "Estimating the local intrinsic dimension", image)
    if lid is None:
        raise ValueError("No LID was estimated.")
    image = basis.judged(image, lid, cut_off(model, image.prompt))
    for share, curves in estimate_curves(model, (image,), torch.tensor(LOG_DELTAS)):
        [image] = with_curves((image,), curves)
        yield Progress(0.6 + 0.4 * share, "Estimating LID over the noise scales", image)
    yield Progress(1.0, "Finished", image)


@torch.no_grad()
def _guidance(model: TextToImage, latents: Tensor, caption: str) -> tuple[Tensor, Tensor]:
    """Return `|eps_c - eps_u|` (1,) and the region map (h, w) at step 1 of the schedule."""
    if not caption:
        return torch.full((1,), math.nan), torch.full_like(latents[0, 0], math.nan)
    t = torch.full((1,), 1 / model.schedule.steps, dtype=torch.float64)
    alpha, sigma = float(model.schedule.alpha(t)[0]), float(model.schedule.sigma(t)[0])
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    x_t = (alpha * latents + sigma * noise).to(model.device)
    cond = model.encode_text([caption])
    guidance = model.score_model.eps(x_t, t, cond) - model.score_model.eps(x_t, t, None)
    region = (guidance / sigma).square().sum(1)[0]
    return guidance.flatten(1).norm(dim=1).cpu(), region.float().cpu()
