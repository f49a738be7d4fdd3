"""One cell of a comparison: apply a mitigation, generate, evaluate the images."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from mmh_core.mitigations.interface import Mitigated, Mitigation, reporting
from mmh_core.pocket.captions import VOTES, content_of
from mmh_core.records import MMHError
from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.retrieval.embedders import embed_all
from mmh_core.studies.images.generation import digest, pixels_of
from mmh_core.studies.images.lid import estimate_lid
from mmh_core.studies.mitigation.context import Comparison, context_for, in_force
from mmh_core.studies.mitigation.memory import peak_memory
from mmh_core.studies.mitigation.run import Cell, Treatment
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.training_set import TrainingSet, seed_similarity
from mmh_core.text_to_image.generation import generate
from mmh_core.text_to_image.model import steered_model

_PREVIEW_GAP = 0.7
#: Other prompts that an image is compared with, at most and at least.
_OTHERS, _FEWEST_OTHERS = 12, 4
#: The share of the work that is done when the images are finished.
_DRAWN = 0.9
#: The share done, a preview, and the cell.
Step = tuple[float, Tensor | None, Cell | None]
_NOTHING_YET: Step = (0.0, None, None)


def generate_cell(
    comparison: Comparison, number: int, prompt: str, treatment: Treatment, base: Cell | None
) -> Iterator[Step]:
    """Apply a mitigation and generate; yield the share done, previews, and the cell.

    The cell comes as soon as its images are finished, then with their LID. Between two yields
    there is about one network evaluation, or the LID of one image.
    """
    request = comparison.config.request(prompt)
    chosen = at_strength(comparison.catalogue[treatment.mitigation], treatment.strength)
    started = time.monotonic()
    with peak_memory(comparison.subject.model.device) as peak:
        context = context_for(comparison, number, chosen)
        try:
            work = chosen.apply(comparison.subject.model, request, context=context)
            mitigated = yield from reporting(work, _NOTHING_YET)
        except MMHError as error:
            yield 1.0, None, _refused(comparison, number, treatment, chosen, str(error))
            return
        latents, first, noise, last_preview = None, None, "", time.monotonic()
        yield _NOTHING_YET
        for step in generate(comparison.subject.model, mitigated.request):
            if first is None:
                first, noise = step.guidance_norm.float().cpu(), digest(step.x_t)
            latents = step.latents
            preview = None
            if time.monotonic() - last_preview > _PREVIEW_GAP:
                preview, last_preview = (
                    pixels_of(comparison.subject.model, step.x0_hat),
                    time.monotonic(),
                )
            yield _DRAWN * step.index / step.steps, preview, None
    if latents is None or first is None:
        raise ValueError("The scheduler made no step.")
    seconds = (time.monotonic() - started) / len(comparison.config.seeds)
    cell = replace(
        _read(comparison, number, treatment, mitigated, latents.float().cpu(), base),
        label=chosen.label,
        percentile=_percentiles(comparison, first),
        noise_sha256=noise,
        nfe=mitigated.nfe + mitigated.nfe_per_step * comparison.config.sampling.steps,
        seconds=seconds,
        peak_mb=peak(),
    )
    yield _DRAWN, None, cell
    if not math.isnan(comparison.log_delta):
        yield 1.0, None, _with_lid(comparison, cell, mitigated)


def _read(
    comparison: Comparison,
    number: int,
    treatment: Treatment,
    mitigated: Mitigated,
    latents: Tensor,
    base: Cell | None,
) -> Cell:
    """Return the cell with all results on its images."""
    model, training_set = comparison.subject.model, comparison.subject.training_set
    pixels = pixels_of(model, latents)
    images = pixels.float() / 255
    cell = replace(_blank(number, treatment, pixels, latents), used=mitigated.prompt)
    similarity = seed_similarity(training_set, images)
    cell = replace(cell, explanation=mitigated.explanation, seed_similarity=similarity)
    before = pixels if base is None else base.images
    cell = replace(
        cell, similarity_to_unmitigated=_similar(training_set, images, before.float() / 255)
    )
    if training_set is not None:
        near = find_copies(training_set, images)
        prompt = comparison.config.prompts[number]
        aligned, ranks = _aligned(comparison, images, prompt)
        cell = replace(
            cell,
            similarity=torch.tensor([copy.similarity for copy, _ in near]),
            nearest=torch.tensor([copy.nearest for copy, _ in near]),
            kinds=tuple(copy.kind for copy, _ in near),
            alignment=aligned,
            contents=tuple(
                content_of(neighbor.caption for neighbor in around[:VOTES]) for _, around in near
            ),
            content_asked=content_of([prompt]),
            subject_rank=ranks,
        )
    return cell


def _aligned(
    comparison: Comparison, images: Tensor, prompt: str
) -> tuple[Tensor, tuple[float, ...]]:
    """Return the alignment (B,) with the prompt, and the share of other prompts that fit better.

    The other prompts are reference prompts, evenly over them. NaN for the alignment without a CLIP
    of this world, and for the shares also with fewer than `_FEWEST_OTHERS`.
    """
    training_set, reference = comparison.subject.training_set, comparison.reference
    unknown = (math.nan,) * len(images)
    if training_set is None or training_set.alignment is None:
        return torch.tensor(unknown), unknown
    listed = comparison.config.prompts if reference is None else reference.prompts
    distinct = [text for text in dict.fromkeys(listed) if text != prompt]
    count = min(_OTHERS, len(distinct)) if len(distinct) >= _FEWEST_OTHERS else 0
    others = [distinct[i * len(distinct) // count] for i in range(count)]
    fits = training_set.alignment(images, [prompt, *others]).float().cpu()
    higher = (fits[:, 1:] > fits[:, :1]).float().mean(1)
    return fits[:, 0], tuple(higher.tolist())


def _with_lid(comparison: Comparison, cell: Cell, mitigated: Mitigated) -> Cell:
    """Estimate the LID of the images, given the embedding and the attention in force.

    With all probes: whether a mitigation raised it hangs on it, wherever it stands.
    """
    model, request = comparison.subject.model, mitigated.request
    cond = in_force(model, request).expand(len(cell.latents), -1, -1)
    estimate = estimate_lid(
        steered_model(model, request),
        cell.latents,
        cond,
        comparison.log_delta,
        prompt=cell.used,
        images=cell.images,
    )
    return replace(cell, lid=estimate.lid, lid_error=estimate.standard_error)


def at_strength(chosen: Mitigation, strength: float) -> Mitigation:
    """Return the mitigation with this strength. Errors: ValueError from its own check."""
    return cast(Mitigation, replace(cast(Any, chosen), strength=strength))


def _similar(training_set: TrainingSet | None, images: Tensor, others: Tensor) -> Tensor:
    """Return the cosine (B,) of the descriptors of pairs of images, NaN without a descriptor."""
    if training_set is None:
        return torch.full((len(images),), math.nan)
    vectors = embed_all(training_set.embedder, torch.cat([images, others])).double()
    own, baseline = torch.nn.functional.normalize(vectors, dim=1).chunk(2)
    return (own * baseline).sum(1).float()


def _percentiles(comparison: Comparison, norms: Tensor) -> Tensor:
    """Return the share of reference prompts whose first-step guidance norm is lower (B,)."""
    if comparison.reference is None:
        return torch.full_like(norms, math.nan)
    return (comparison.reference.guidance_norm[:, 0] < norms[:, None]).float().mean(1)


def _blank(number: int, treatment: Treatment, pixels: Tensor, latents: Tensor) -> Cell:
    count = len(pixels)
    unknown = torch.full((count,), math.nan)
    none: CopyKind = "none"
    return Cell(
        prompt=number,
        treatment=treatment,
        label="",
        used="",
        explanation="",
        refused="",
        images=pixels,
        latents=latents,
        similarity=unknown,
        nearest=torch.full((count,), -1),
        similarity_to_unmitigated=unknown,
        alignment=unknown,
        lid=unknown,
        lid_error=unknown,
        percentile=unknown,
        kinds=(none,) * count,
        seed_similarity=math.nan,
        noise_sha256="",
        nfe=0.0,
        seconds=0.0,
        peak_mb=math.nan,
    )


def _refused(
    comparison: Comparison, number: int, treatment: Treatment, chosen: Mitigation, why: str
) -> Cell:
    config = comparison.config
    pixels = torch.empty(0, 3, config.sampling.height, config.sampling.width, dtype=torch.uint8)
    latents = torch.empty(
        0, *comparison.subject.model.latent_shape(config.sampling.height, config.sampling.width)
    )
    cell = _blank(number, treatment, pixels, latents)
    return replace(cell, label=chosen.label, used=config.prompts[number], refused=why)
