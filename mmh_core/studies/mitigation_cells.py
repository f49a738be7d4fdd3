"""Draw one cell of a comparison: apply a mitigation, draw with it, read what came out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from mmh_core.mitigations.catalogue import mitigation
from mmh_core.mitigations.record import Given, Mitigated, Mitigation, Scan
from mmh_core.records import MMHError
from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.retrieval.embedders import embed_all
from mmh_core.studies.image_config import request_for
from mmh_core.studies.image_drawing import digest, pixels_of
from mmh_core.studies.image_lid import estimate_lid
from mmh_core.studies.image_reference import Reference, agreement, find_copies
from mmh_core.studies.image_run import DEFAULT_ESTIMATOR, ImageConfig, NormalPrompts
from mmh_core.studies.memory import peak_memory
from mmh_core.studies.mitigation_run import Cell, MitigationConfig, Treatment
from mmh_core.text_to_image.generation import generate
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request

#: A chain passes when fewer pictures than this share are copies, that is none.
_NO_COPY = 1e-6
_PREVIEW_GAP = 0.7


@dataclass(frozen=True, eq=False)
class Ground:
    """Hold what all cells of a run share."""

    config: MitigationConfig
    model: TextToImage
    reference: Reference | None
    normal: NormalPrompts | None
    log_delta: float


def as_images(config: MitigationConfig) -> ImageConfig:
    """Return the images study's config of the same requests."""
    return ImageConfig(
        config.model,
        config.prompts,
        config.seeds,
        config.steps,
        config.guidance,
        config.height,
        config.width,
        config.scheduler,
        config.negative,
    )


def draw_cell(
    ground: Ground, number: int, prompt: str, treatment: Treatment, base: Cell | None
) -> Iterator[tuple[float, Tensor | None, Cell | None]]:
    """Apply a treatment and draw; yield the share done, previews, and the cell at last."""
    request = request_for(as_images(ground.config), prompt)
    chosen = _with_strength(mitigation(treatment.mitigation), treatment.strength)
    started = time.monotonic()
    with peak_memory(ground.model.device) as peak:
        yield 0.0, None, None
        try:
            mitigated = chosen.apply(ground.model, request, given=_given(ground, base, chosen))
        except MMHError as error:
            yield 1.0, None, _refused(ground, number, treatment, chosen, str(error))
            return
        latents, first, noise, shown = None, None, "", time.monotonic()
        for step in generate(ground.model, mitigated.request):
            if first is None:
                first, noise = step.guidance_norm.float().cpu(), digest(step.x_t)
            latents = step.latents
            preview = None
            if time.monotonic() - shown > _PREVIEW_GAP:
                preview, shown = pixels_of(ground.model, step.x0_hat), time.monotonic()
            yield 0.9 * step.index / step.steps, preview, None
    if latents is None or first is None:
        raise ValueError("The scheduler made no step.")
    seconds = (time.monotonic() - started) / len(ground.config.seeds)
    cell = _read(ground, number, treatment, mitigated, latents.float().cpu(), base)
    forwards = mitigated.forwards + mitigated.forwards_per_step * ground.config.steps
    yield (
        1.0,
        None,
        replace(
            cell,
            label=chosen.label,
            percentile=_percentiles(ground, first),
            noise_sha256=noise,
            forwards=forwards,
            seconds=seconds,
            peak_mb=peak(),
        ),
    )


def _read(
    ground: Ground,
    number: int,
    treatment: Treatment,
    mitigated: Mitigated,
    latents: Tensor,
    base: Cell | None,
) -> Cell:
    """Say of the pictures what can be said."""
    model, reference = ground.model, ground.reference
    pixels = pixels_of(model, latents)
    pictures, count = pixels.float() / 255, len(pixels)
    unknown = torch.full((count,), math.nan)
    cell = replace(_blank(number, treatment, pixels, latents), used=mitigated.prompt)
    cell = replace(cell, changed=mitigated.changed, agreement=agreement(reference, pictures))
    before = pixels if base is None else base.pictures
    cell = replace(cell, moved=_similar(reference, pictures, before.float() / 255))
    if reference is not None:
        near = find_copies(reference, pictures)
        asked = ground.config.prompts[number]
        align = reference.alignment
        cell = replace(
            cell,
            similarity=torch.tensor([copy.similarity for copy, _ in near]),
            nearest=torch.tensor([copy.nearest for copy, _ in near]),
            kinds=tuple(copy.kind for copy, _ in near),
            alignment=unknown if align is None else align(pictures, asked).float().cpu(),
        )
    if not math.isnan(ground.log_delta):
        cond = _in_force(model, mitigated.request).expand(count, -1, -1)
        seed = ground.config.seeds[0]
        found = estimate_lid(model, latents, cond, ground.log_delta, DEFAULT_ESTIMATOR, seed)
        cell = replace(cell, lid=found.lid, lid_error=found.standard_error)
    return cell


def _given(ground: Ground, base: Cell | None, chosen: Mitigation) -> Given:
    """Return what mitigations may use: the unmitigated latents, what is normal, the index.

    Only the chain may look for copies with these very seeds, since that is its recipe; any other
    mitigation would be judged by what it was selected with, so its detector is the guidance norm.
    """
    normal, reference = ground.normal, ground.reference
    seed = ground.config.seeds[0]
    drawing = chosen.name == "automatic_chain" or normal is None
    scan = (
        None
        if reference is None or not drawing
        else lambda request: copy_share(ground.model, request, reference)
    )
    return Given(
        generator=torch.Generator().manual_seed((seed * 7_919 + 13) % 2**63),
        scan=scan,
        threshold=None if scan is None else _NO_COPY,
        normal_norms=None if normal is None else normal.guidance_norm[:, 0],
        normal_lids=None if normal is None else normal.conditional,
        latents=None if base is None else base.latents,
        index=None if reference is None else reference.index,
        embedder=None if reference is None else reference.embedder,
    )


def copy_share(model: TextToImage, request: Request, reference: Reference) -> Scan:
    """Draw a request and score it by the share of its pictures that are copies."""
    latents, forwards = None, 0.0
    for step in generate(model, request):
        latents = step.latents
        forwards += 1.0 if step.eps_u is None else 2.0
    if latents is None:
        raise ValueError("The scheduler made no step.")
    near = find_copies(reference, pixels_of(model, latents).float() / 255)
    return Scan(sum(copy.kind != "none" for copy, _ in near) / len(near), forwards)


def _with_strength(chosen: Mitigation, strength: float) -> Mitigation:
    """Return the mitigation with this strength. Errors: ValueError from its own check."""
    return cast(Mitigation, replace(cast(Any, chosen), strength=strength))


def _in_force(model: TextToImage, request: Request) -> Tensor:
    """Return the embedding (1 or B, tokens, width) that the request draws with."""
    steering = request.steering
    if steering is not None and steering.embedding is not None:
        return steering.embedding.to(model.device, model.dtype)
    return model.encode_text([request.prompt])


def _similar(reference: Reference | None, pictures: Tensor, others: Tensor) -> Tensor:
    """Return the cosine (B,) of the descriptors of pairs of pictures, NaN without a descriptor."""
    if reference is None:
        return torch.full((len(pictures),), math.nan)
    found = embed_all(reference.embedder, torch.cat([pictures, others])).double()
    ours, theirs = torch.nn.functional.normalize(found, dim=1).chunk(2)
    return (ours * theirs).sum(1).float()


def _percentiles(ground: Ground, norms: Tensor) -> Tensor:
    """Return the share of normal prompts whose first-step guidance norm is lower (B,)."""
    if ground.normal is None:
        return torch.full_like(norms, math.nan)
    return (ground.normal.guidance_norm[:, 0] < norms[:, None]).float().mean(1)


def _blank(number: int, treatment: Treatment, pixels: Tensor, latents: Tensor) -> Cell:
    count = len(pixels)
    unknown = torch.full((count,), math.nan)
    none: CopyKind = "none"
    return Cell(
        prompt=number,
        treatment=treatment,
        label="",
        used="",
        changed="",
        refused="",
        pictures=pixels,
        latents=latents,
        similarity=unknown,
        nearest=torch.full((count,), -1),
        moved=unknown,
        alignment=unknown,
        lid=unknown,
        lid_error=unknown,
        percentile=unknown,
        kinds=(none,) * count,
        agreement=math.nan,
        noise_sha256="",
        forwards=0.0,
        seconds=0.0,
        peak_mb=math.nan,
    )


def _refused(
    ground: Ground, number: int, treatment: Treatment, chosen: Mitigation, why: str
) -> Cell:
    config = ground.config
    pixels = torch.empty(0, 3, config.height, config.width, dtype=torch.uint8)
    latents = torch.empty(0, *ground.model.latent_shape(config.height, config.width))
    cell = _blank(number, treatment, pixels, latents)
    return replace(cell, label=chosen.label, used=config.prompts[number], refused=why)
