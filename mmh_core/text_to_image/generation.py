"""Generate images step by step with diffusers' own schedulers.

The images of diffusers' pipeline: the same start from the same seeds, both branches of guidance
in one batch, the same scheduler object. Two runs of one request on one machine give equal bits;
against diffusers, on another processor or in another batch, sums come in another order, which
moves a float32 image by some 1e-5. `t` and `x_t` follow the convention of `schedule`, whatever the
scheduler's own coordinates are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage, check_finite
from mmh_core.text_to_image.requests import Branches, Request, SchedulerName, Steering

# The names of diffusers' classes; each takes over the model's own scheduler configuration.
SCHEDULERS: dict[SchedulerName, str] = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpm++ 2m": "DPMSolverMultistepScheduler",
    "pndm": "PNDMScheduler",
}
# Its multistep formula looks back over four steps.
_PNDM_STEPS = 4
# Tables of float32, of which one may stop short of zero terminal SNR (2^-24 in diffusers).
_SAME_TABLE = 1e-6


@dataclass(frozen=True, eq=False)
class GenerationStep:
    """One step of a generation, number `index` of `steps`, for B images.

    At time `t` the network got `x_t` and predicted `eps_c` with the prompt and `eps_u` without it
    (or with the negative one); `x0_hat` is the image that the guided prediction aims at. All are
    latents (B, C, h, w) in float32. `guidance_norm` (B,) is `|eps_c - eps_u|_2`. With guidance 1
    the second branch is spared: `eps_u` is then None and the norm NaN. `latents` is the
    scheduler's state after the step, at the last one the sample.
    """

    index: int
    steps: int
    t: float
    x_t: Tensor
    x0_hat: Tensor
    eps_c: Tensor
    eps_u: Tensor | None
    guidance_norm: Tensor
    latents: Tensor


@torch.no_grad()
def generate(model: TextToImage, request: Request) -> Iterator[GenerationStep]:
    """Yield every step of a generation; closing the generator cancels it.

    A scale of 1 or below is no guidance, as in diffusers; one of a steering's `guidance_at` is
    applied as written. PNDM makes one step more than asked for. Raises MMHError when the request
    does not fit the model, and when one of its networks gives numbers that are not finite.
    """
    model = model.in_windows(request.sampling.windows)
    steering = request.steering or Steering()
    scheduler = _scheduler(model, request)
    mixing = None if steering.mixing is None else steering.mixing()
    guided = request.sampling.scale != 1 or steering.guidance_at is not None or mixing is not None
    cond = _embeddings(model, request, guided)
    latents = _starting_noise(model, request, steering) * scheduler.init_noise_sigma
    steps = len(scheduler.timesteps)
    for index, step in enumerate(scheduler.timesteps, start=1):
        t = _time(model, step)
        x_t = scheduler.scale_model_input(latents, step)
        inputs = torch.cat([x_t] * 2) if guided else x_t
        with _attention(steering, len(x_t) if guided else 0):
            output = model.unet(inputs, step, cond, return_dict=False)[0][:, : x_t.shape[1]]
        check_finite(model, output, "denoising network (UNet)")
        scale = request.sampling.scale if steering.guidance_at is None else steering.guidance_at(t)
        without, with_prompt = output.chunk(2) if guided else (None, output)
        network_input = x_t.float()
        eps_c = score_model_of_output(model, with_prompt).eps(network_input, t)
        eps_u = (
            None
            if without is None
            else score_model_of_output(model, without).eps(network_input, t)
        )
        norm = _guidance_norm(eps_c, eps_u)
        if without is None:
            mixed = output
        elif mixing is None:
            mixed = without + scale * (with_prompt - without)
        else:
            predict = _network_at(model, x_t, step)
            mixed = mixing(Branches(t, network_input, without, with_prompt, norm, scale, predict))
        x0_hat = score_model_of_output(model, mixed).x0(network_input, t)
        latents = scheduler.step(mixed, step, latents, return_dict=False)[0]
        yield GenerationStep(index, steps, t, network_input, x0_hat, eps_c, eps_u, norm, latents)


def first_input(model: TextToImage, request: Request) -> tuple[Tensor, float]:
    """Return `x_t` (B, C, h, w) in float32 and `t` of the first step, without any network.

    Differentiable with respect to the noise of the request's steering.
    """
    scheduler = _scheduler(model, request)
    step = scheduler.timesteps[0]
    noise = _starting_noise(model, request, request.steering or Steering())
    x_t = scheduler.scale_model_input(noise * scheduler.init_noise_sigma, step)
    return x_t.float(), _time(model, step)


def generate_images(model: TextToImage, request: Request) -> Tensor:
    """Run a generation to its end and return the images (B, 3, H, W)."""
    latents = None
    for step in generate(model, request):
        latents = step.latents
    if latents is None:
        raise ValueError("The scheduler made no step.")
    return model.decode(latents)


def score_model_of_output(model: TextToImage, output: Tensor) -> ScoreModel:
    """Return a score model whose network returns this output, in float32."""
    prediction = output.float()
    return replace(model.score_model, net=lambda x_t, t, cond: prediction)


def embeddings(model: TextToImage, request: Request) -> tuple[Tensor, Tensor]:
    """Return the embeddings with the prompt and without it, each (1 or B, tokens, width)."""
    model = model.in_windows(request.sampling.windows)
    steering = request.steering or Steering()
    cond, without = steering.embedding, steering.negative_embedding
    if cond is None:
        cond = model.encode_text([request.prompt])
    if without is None:
        without = (
            model.encode_text([request.sampling.negative]) if request.sampling.negative else None
        )
    return cond, model.unconditional if without is None else without


def _time(model: TextToImage, step: Tensor) -> float:
    return (float(step) + 1) / model.schedule.steps


def _attention(steering: Steering, leading: int) -> AbstractContextManager[object]:
    return nullcontext() if steering.attention is None else steering.attention(leading)


def _network_at(model: TextToImage, x_t: Tensor, step: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the network at one step as a function of the embedding."""

    def predict(embedding: Tensor) -> Tensor:
        cond = _rows(model, embedding, len(x_t)).contiguous()
        output: Tensor = model.unet(x_t, step, cond, return_dict=False)[0]
        return output[:, : x_t.shape[1]]

    return predict


def _scheduler(model: TextToImage, request: Request) -> Any:
    """Return a new scheduler with its steps set: no two generations share its state."""
    import diffusers

    if request.sampling.scheduler == "pndm" and model.score_model.target == "x0":
        raise MMHError(f"The scheduler pndm cannot run {model.name}: choose another scheduler.")
    if request.sampling.scheduler == "pndm" and request.sampling.steps < _PNDM_STEPS:
        raise MMHError(f"The scheduler pndm needs at least {_PNDM_STEPS} steps: choose more.")
    trained = model.schedule.steps
    scheduler: Any = None
    if request.sampling.steps < trained:
        scheduler_class = getattr(diffusers, SCHEDULERS[request.sampling.scheduler])
        scheduler = scheduler_class.from_config(dict(model.scheduler))
        _check_supports(scheduler, model, request.sampling.scheduler)
        scheduler.set_timesteps(request.sampling.steps, device=model.device)
    # Schedulers that leave out step 0 need one more than they are asked for.
    if scheduler is None or float(scheduler.timesteps.max()) > trained - 1:
        raise MMHError(
            f"{request.sampling.steps} steps do not fit into the {trained} that {model.name} was "
            f"trained on: choose at most {trained - 2:,}."
        )
    return scheduler


def _check_supports(scheduler: Any, model: TextToImage, name: SchedulerName) -> None:
    """Raise MMHError for a scheduler that drops what the model's configuration asks for.

    diffusers drops what a class does not know, here a rescaling to zero terminal SNR or a
    thresholding, and then samples by another noise schedule than the model has.
    """
    table = torch.tensor(model.schedule.alphas_cumprod, dtype=torch.float64)
    apart = float((scheduler.alphas_cumprod.double().cpu() - table).abs().max())
    dropped = _unsupported_settings(model, name)
    if apart <= _SAME_TABLE and not dropped:
        return
    problem = f"does not know {dropped[0]}" if dropped else "makes another noise schedule"
    others = [
        other for other in SCHEDULERS if other != name and not _unsupported_settings(model, other)
    ]
    raise MMHError(
        f"The scheduler {name} {problem}, with which {model.name} was trained: choose "
        f"another, such as {' or '.join(others)}."
    )


def _unsupported_settings(model: TextToImage, name: SchedulerName) -> list[str]:
    """Return the settings of a model that a scheduler does not know."""
    import diffusers

    parameters = signature(getattr(diffusers, SCHEDULERS[name]).__init__).parameters
    flags = ("rescale_betas_zero_snr", "thresholding")
    return [flag for flag in flags if model.scheduler.get(flag) and flag not in parameters]


def _embeddings(model: TextToImage, request: Request, guided: bool) -> Tensor:
    """Return one embedding per row of the batch, those without the prompt first."""
    images = len(request.seeds)
    cond, without = embeddings(model, request)
    if not guided:
        return _rows(model, cond, images).contiguous()
    return torch.cat([_rows(model, without, images), _rows(model, cond, images)])


def _rows(model: TextToImage, embedding: Tensor, images: int) -> Tensor:
    expected = model.unconditional.shape[1:]
    if embedding.shape[1:] != expected or len(embedding) not in (1, images):
        raise ValueError(
            f"An embedding must be (1 or {images}, {', '.join(map(str, expected))}), got "
            f"{tuple(embedding.shape)}."
        )
    return embedding.to(model.device, model.dtype).expand(images, -1, -1)


def _starting_noise(model: TextToImage, request: Request, steering: Steering) -> Tensor:
    """Return standard normal noise, each image's from its own generator on the CPU."""
    if request.sampling.height % model.factor or request.sampling.width % model.factor:
        raise MMHError(
            f"{model.name} needs sizes that are multiples of {model.factor}, got "
            f"{request.sampling.height} x {request.sampling.width}."
        )
    shape = model.latent_shape(request.sampling.height, request.sampling.width)
    if steering.noise is not None:
        if steering.noise.shape != (len(request.seeds), *shape):
            raise ValueError(
                f"noise must be {(len(request.seeds), *shape)}, got {tuple(steering.noise.shape)}."
            )
        return steering.noise.to(model.device, model.dtype)
    noise = [
        torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed), dtype=model.dtype)
        for seed in request.seeds
    ]
    return torch.cat(noise).to(model.device)


def _guidance_norm(eps_c: Tensor, eps_u: Tensor | None) -> Tensor:
    if eps_u is None:
        return eps_c.new_full((len(eps_c),), math.nan)
    norm: Tensor = torch.linalg.vector_norm(eps_c - eps_u, dim=(1, 2, 3))
    return norm
