"""LID of an image given its prompt, as something to differentiate, and what is normal for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from mmh_core.mitigations.objectives import (
    DRAWS,
    PROBES,
    dsm_values,
    flipd_values,
    noises_for,
    signs_for,
)
from mmh_core.mitigations.work import Work
from mmh_core.text_to_image.generation import embeddings, generate
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request

LidBy = Literal["flipd", "denoising loss"]


@dataclass(frozen=True, eq=False)
class LidOf:
    """Hold LID (B,) as a function of the embedding (B, tokens, width), on fixed random draws.

    `nfe` is the cost of one evaluation with its gradient; without, it is half of that.
    """

    values: Callable[[Tensor], Tensor]
    nfe: float


def lid_of(
    model: TextToImage, latents: Tensor, log_delta: float, by: LidBy, generator: torch.Generator
) -> LidOf:
    """Return the LID at latents (B, C, h, w) by one estimator at the scale `log_delta`."""
    if by not in get_args(LidBy):
        raise ValueError(f"Unknown estimator {by!r}; choose from {get_args(LidBy)}.")
    score_model = replace(model.score_model, shape=tuple(latents.shape[1:]))
    x = latents.float()
    if by == "flipd":
        signs = signs_for(x, generator)
        # Every probe is a reverse pass within the graph, and is differentiated again.
        return LidOf(
            lambda cond: flipd_values(score_model, x, log_delta, cond, signs), 2.0 * (1 + PROBES)
        )
    noises = noises_for(x, generator)
    return LidOf(lambda cond: dsm_values(score_model, x, log_delta, cond, noises), 2.0 * DRAWS)


def drawn_latents(model: TextToImage, request: Request) -> Work[tuple[Tensor, float]]:
    """Draw the request; its final latents and the network evaluations per image."""
    latents, nfe = None, 0.0
    yield
    for step in generate(model, request):
        latents = step.latents
        nfe += 1.0 if step.eps_u is None else 2.0
        yield
    if latents is None:
        raise ValueError("The scheduler made no step.")
    return latents.float(), nfe


def normal_lids(
    model: TextToImage,
    request: Request,
    prompts: tuple[str, ...],
    *,
    by: LidBy,
    log_delta: float,
    generator: torch.Generator,
) -> Work[Tensor]:
    """Estimate the LIDs (N * B,) of reference prompts' images at the request's seeds.

    Each prompt is drawn as the request asks, without its steering.
    """
    found = []
    for prompt in prompts:
        asked = replace(request, prompt=prompt, steering=None)
        latents, _ = yield from drawn_latents(model, asked)
        cond = embeddings(model, asked)[0].float().expand(len(latents), -1, -1)
        with torch.no_grad():
            lid = lid_of(model, latents, log_delta, by, generator).values(cond)
        found.append(lid.detach())
    return torch.cat(found)
