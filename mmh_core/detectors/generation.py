"""One generation of each prompt, with the trace that detectors are computed from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmh_core.detectors.inputs import (
    DetectorInputs,
    Trace,
    encode,
    joined_traces,
    noise_inputs,
    rows_at_once,
)
from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.text_to_image.generation import GenerationStep, generate
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request, Sampling, SchedulerName, Steering


def generated_inputs(
    model: TextToImage,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    guidance: float,
    steps: int,
    scheduler: SchedulerName = "ddim",
) -> Iterator[DetectorInputs]:
    """Yield inputs with a trace for every prompt and seed, some prompts at a time.

    All seeds of a prompt come in one part; measuring a part and dropping it bounds the memory,
    `joined` concatenates parts. Both branches of guidance are computed whatever the scale is, for
    2 network evaluations per step and image. Raises MMHError for a request that does not fit the
    model.
    """
    size = rows_at_once(model)
    together = max(1, size // max(1, len(seeds)))
    for start in range(0, len(prompts), together):
        texts = prompts[start : start + together]
        inputs = noise_inputs(model, encode(model, texts), seeds)
        traces = []
        for part in torch.split(torch.arange(len(inputs)), size):
            request = Request(
                prompt="",
                seeds=tuple(seeds[i] for i in inputs.noise_index[part].tolist()),
                steering=Steering(
                    embedding=inputs.embeddings[inputs.prompt_index[part]],
                    noise=inputs.noise[inputs.noise_index[part]],
                    guidance_at=lambda t: guidance,
                ),
                sampling=Sampling(
                    steps=steps,
                    guidance=guidance,
                    height=model.image_size[0],
                    width=model.image_size[1],
                    scheduler=scheduler,
                ),
            )
            traces.append(trace(model, request))
        yield replace(inputs, trace=joined_traces(traces), prompts=tuple(texts))


def trace(model: TextToImage, request: Request) -> Trace:
    """Return the trace of one request, generated to its end; it has to be guided."""
    times, norms, moves, rows = [], [], [], 0
    last: GenerationStep | None = None
    for step in generate(model, request):
        if step.eps_u is None:
            raise ValueError("A trace needs both branches: the request has no guidance.")
        if last is not None:
            moves.append(_length(step.x_t - last.x_t))
        times.append(step.t)
        norms.append(step.guidance_norm.cpu())
        rows += len(step.eps_c) + len(step.eps_u)
        last = step
    if last is None:
        raise ValueError("The sampler made no step.")
    final = last.latents.float()
    moves.append(_length(final - last.x_t))
    images = [model.decode(part).cpu() for part in torch.split(final, rows_at_once(model))]
    return Trace(
        torch.tensor(times),
        torch.stack(norms, dim=1),
        torch.stack(moves, dim=1),
        region_map(model.score_model, last).cpu(),
        final.cpu(),
        torch.cat(images),
        request.sampling.scale,
        rows / len(final),
    )


def region_map(model: ScoreModel, step: GenerationStep) -> Tensor:
    """Return `sum_channels (s_c - s_u)^2` at one step, (B, h, w): where the prompt acts.

    Kim & Lee 2026 use the last step, where it localizes the parts of the image that depend on the
    prompt alone.
    """
    if step.eps_u is None:
        raise ValueError("A region map needs both branches: the request has no guidance.")
    sigma = model.schedule.sigma(torch.tensor(step.t, dtype=torch.float64)).item()
    return ((step.eps_c - step.eps_u) / sigma).square().sum(1)


def _length(difference: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(difference.flatten(1), dim=1)
    return length.cpu()
