"""The LID of an image given its prompt, as a differentiable loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from mmh_core.mitigations.interface import LidBy, Work
from mmh_core.mitigations.objectives import (
    DRAWS,
    PROBES,
    dsm_values,
    flipd_values,
    noises_for,
    signs_for,
)
from mmh_core.text_to_image.generation import embeddings, generate
from mmh_core.text_to_image.image_probes import decoded_generators
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request


@dataclass(frozen=True, eq=False)
class LidLoss:
    """LID (B,) as a function of the embedding (B, tokens, width), on fixed probes or noises.

    `nfe` is the cost of one evaluation with its gradient; without, it is half of that.
    """

    values: Callable[[Tensor], Tensor]
    nfe: float


def lid_of(
    model: TextToImage, latents: Tensor, log_delta: float, by: LidBy, prompt: str
) -> LidLoss:
    """Return the LID at latents (B, C, h, w) by one estimator at the scale `log_delta`.

    Probes and noises are the images' own, as everywhere else (`text_to_image.image_probes`).
    """
    if by not in get_args(LidBy):
        raise ValueError(f"Unknown estimator {by!r}; choose from {get_args(LidBy)}.")
    score_model = replace(model.score_model, shape=tuple(latents.shape[1:]))
    x = latents.float()
    with torch.no_grad():
        own = decoded_generators(model, by, prompt, x)
    if by == "flipd":
        signs = signs_for(x, own)
        # Every probe is a reverse pass within the graph, and is differentiated again.
        return LidLoss(
            lambda cond: flipd_values(score_model, x, log_delta, cond, signs), 2.0 * (1 + PROBES)
        )
    noises = noises_for(x, own)
    return LidLoss(lambda cond: dsm_values(score_model, x, log_delta, cond, noises), 2.0 * DRAWS)


def generated_latents(model: TextToImage, request: Request) -> Work[tuple[Tensor, float]]:
    """Return the final latents of the request and the NFE per image."""
    latents, nfe = None, 0.0
    yield
    for step in generate(model, request):
        latents = step.latents
        nfe += 1.0 if step.eps_u is None else 2.0
        yield
    if latents is None:
        raise ValueError("The scheduler made no step.")
    return latents.float(), nfe


def reference_lids(
    model: TextToImage,
    request: Request,
    prompts: tuple[str, ...],
    *,
    by: LidBy,
    log_delta: float,
) -> Work[Tensor]:
    """Estimate the LIDs (N * B,) of reference prompts' images at the request's seeds.

    Each prompt is generated with the request's sampling, without its steering.
    """
    lids = []
    for prompt in prompts:
        plain = replace(request, prompt=prompt, steering=None)
        latents, _ = yield from generated_latents(model, plain)
        cond = embeddings(model, plain)[0].float().expand(len(latents), -1, -1)
        with torch.no_grad():
            lid = lid_of(model, latents, log_delta, by, prompt).values(cond)
        lids.append(lid.detach())
    return torch.cat(lids)
