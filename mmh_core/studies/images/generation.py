"""The generation of the images of one prompt, with what later steps of the study need."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.detectors.generation import region_map
from mmh_core.studies.images.run import ImageConfig, ImageResult, ImageRun, image_batch
from mmh_core.subject.training_set import TrainingSet, seed_similarity
from mmh_core.text_to_image.generation import GenerationStep, first_input, generate
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.pixels import to_uint8
from mmh_core.text_to_image.requests import Request

#: Seconds between two previews, and at least so many times as long as making one.
_PREVIEW_GAP, _PREVIEW_SHARE = 0.7, 12.0
#: Number of weights from which on a batch saves no time on a CPU.
LARGE = 50_000_000
#: Latent numbers in one part of a small network: 8 images of the shipped model.
_PART = 8 * 256


@dataclass(frozen=True, eq=False)
class GeneratedPart:
    """B generated images of a prompt in T steps, with F decoded steps.

    `latents` (B, C, h, w), the final ones; `norms` (B, T), guidance norms; `times` (T,); `region`
    (B, h, w); `kept` (B, F, C, h, w), the predicted clean latents of the steps `kept_steps`;
    `noise_sha256`, the digest of the starting noise of all images of the prompt; `seeds` those of
    these B.
    """

    seeds: tuple[int, ...]
    latents: Tensor
    norms: Tensor
    times: Tensor
    region: Tensor
    kept: Tensor
    kept_steps: tuple[int, ...]
    noise_sha256: str


@dataclass(frozen=True, eq=False)
class GenerationProgress:
    """The progress of a generation: a preview if one is due, the images at the last step.

    The step is number `step` of `steps`, from 1, in part number `part` of `parts`, from 0.
    """

    part: int
    parts: int
    step: int
    steps: int
    preview: Tensor | None
    generated: GeneratedPart | None

    @property
    def message(self) -> str:
        """Return the step that is generated, and the part where there are several."""
        step = f"Generating, step {self.step} of {self.steps}"
        return step if self.parts == 1 else f"{step}, part {self.part + 1} of {self.parts}"


def generate_prompt(
    config: ImageConfig, model: TextToImage, prompt: str
) -> Iterator[GenerationProgress]:
    """Generate the images of one prompt, part after part; yield the progress at every step."""
    whole = config.request(prompt)
    start_noise = first_input(model, whole)[0]
    noise_sha256 = digest(start_noise)
    size = min(at_once(model, start_noise[0].numel()), len(whole.seeds))
    starts = range(0, len(whole.seeds), size)
    for number, start in enumerate(starts):
        request = replace(whole, seeds=whole.seeds[start : start + size])
        for step, preview, generated in _generate_part(config, model, request, noise_sha256):
            yield GenerationProgress(
                number, len(starts), step.index, step.steps, preview, generated
            )


def at_once(model: TextToImage, numbers: int) -> int:
    """Return how many images of a prompt, of so many latent numbers, are generated in one batch.

    A large network gains little from a batch, and nothing on a processor, and a small one nothing
    beyond 16 rows: with small parts the first image comes sooner, memory stays bounded, and
    whoever stops keeps what is finished.
    """
    if sum(weight.numel() for weight in model.unet.parameters()) < LARGE:
        return max(1, _PART // numbers)
    return 1 if model.device.type == "cpu" else 4


def _generate_part(
    config: ImageConfig, model: TextToImage, request: Request, noise_sha256: str
) -> Iterator[tuple[GenerationStep, Tensor | None, GeneratedPart | None]]:
    norms, times, kept, kept_steps = [], [], [], []
    last_preview, gap = time.monotonic(), _PREVIEW_GAP
    for step in generate(model, request):
        norms.append(step.guidance_norm.float().cpu())
        times.append(step.t)
        if step.index in _kept_steps(step.steps, config.frames):
            kept.append(step.x0_hat.float().cpu())
            kept_steps.append(step.index)
        last = step.index == step.steps
        preview = None
        if not last and time.monotonic() - last_preview > gap:
            preview_start = time.monotonic()
            preview = pixels_of(model, step.x0_hat)
            last_preview = time.monotonic()
            gap = max(_PREVIEW_GAP, _PREVIEW_SHARE * (last_preview - preview_start))
        if not last:
            yield step, preview, None
    generated = GeneratedPart(
        request.seeds,
        step.latents.float().cpu(),
        torch.stack(norms, dim=1),
        torch.tensor(times),
        _region(model, step),
        torch.stack(kept, dim=1) if kept else torch.empty(len(step.latents), 0),
        tuple(kept_steps),
        noise_sha256,
    )
    yield step, None, generated


def _kept_steps(steps: int, frames: int) -> frozenset[int]:
    """Return the steps whose image is kept: evenly spaced, the last one always."""
    return frozenset(round(steps * (i + 1) / frames) for i in range(frames))


def _region(model: TextToImage, step: GenerationStep) -> Tensor:
    """Return the region map (B, h, w) at the last step, NaN without guidance."""
    if step.eps_u is None:
        return torch.full_like(step.eps_c[:, 0], math.nan).cpu()
    return region_map(model.score_model, step).float().cpu()


def with_images(
    run: ImageRun,
    model: TextToImage,
    training_set: TrainingSet | None,
    prompt: str,
    generated: GeneratedPart,
) -> ImageRun:
    """Decode a part of the images of a prompt, and add them to the run."""
    pixels = pixels_of(model, generated.latents)
    truth = (
        None if training_set is None or training_set.truth is None else training_set.truth(prompt)
    )
    new = tuple(
        ImageResult(
            index=len(run.images) + i,
            prompt=prompt,
            seed=seed,
            image=pixels[i],
            latents=generated.latents[i],
            guidance_norm=generated.norms[i],
            region=generated.region[i],
            frames=pixels[:0],
            frame_steps=torch.empty(0, dtype=torch.int64),
            truth=truth,
        )
        for i, seed in enumerate(generated.seeds)
    )
    images = run.images + new
    number = (len(images) - 1) // len(run.config.seeds)
    of_prompt = image_batch(images[number * len(run.config.seeds) :])
    similarity = seed_similarity(training_set, of_prompt)
    return replace(
        run,
        images=images,
        seed_similarity=(*run.seed_similarity[:number], similarity),
        times=generated.times,
        noise_sha256=run.noise_sha256 or generated.noise_sha256,
        preview=run.preview[:0],
    )


@torch.no_grad()
def pixels_of(model: TextToImage, latents: Tensor) -> Tensor:
    """Return the images of latents as uint8 (B, 3, H, W), a few at a time."""
    parts = [model.decode(part).cpu() for part in torch.split(latents, 8)]
    return torch.from_numpy(to_uint8(torch.cat(parts))).permute(0, 3, 1, 2).contiguous()


def digest(noise: Tensor) -> str:
    """Return the SHA-256 of a noise as float32 bytes."""
    return hashlib.sha256(noise.float().contiguous().cpu().numpy().tobytes()).hexdigest()
