"""The record of a text-to-image model: a score model over latents, with its way in and out.

Nothing here knows diffusers: the networks are called as it builds them, and `stable_diffusion`
alone builds them. Latents are `scaling * posterior mode` of the autoencoder, which is what the
network was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mmh_core.diffusion.schedule import Discrete
from mmh_core.diffusion.score_model import Net, ScoreModel
from mmh_core.records import MMHError
from mmh_core.text_to_image.pixels import check_images
from mmh_core.text_to_image.prompt_text import MOST_WINDOWS, encode_prompts
from mmh_core.text_to_image.requests import Request, Sampling

# A time in float32 gives back its step number within 6e-5 at a thousand steps.
_ON_A_STEP = 1e-3


@dataclass(frozen=True, eq=False)
class TextToImage:
    """A latent diffusion model that is conditioned on text.

    `score_model` takes latents (B, *shape) and a text embedding (B, tokens, width) as `cond`; None
    stands for the embedding of the empty prompt, `unconditional` (1, tokens, width). `sha256` is
    the digest of the weight files. `scheduler` is the configuration of the sampler, from which one
    is made per use. `image_size` is (height, width), `guidance` and `steps` are recommendations.
    `notes` are sentences on what was chosen while it was read from its files. `windows` is in how
    many windows of its text encoder it reads a prompt: `in_windows` changes that. Parameters are
    frozen, so a graph is only built for an input that asks for one. Shared weights serve several
    callers; a caller changes none.
    """

    name: str
    sha256: str
    score_model: ScoreModel
    unconditional: Tensor
    tokenizer: Callable[..., Any]
    text_encoder: nn.Module
    unet: nn.Module
    autoencoder: Any
    scheduler: Mapping[str, Any]
    scaling: float
    image_size: tuple[int, int]
    guidance: float = 7.5
    steps: int = 50
    notes: tuple[str, ...] = ()
    windows: int = 1

    @property
    def schedule(self) -> Discrete:
        """Return the schedule, which is always a table."""
        schedule = self.score_model.schedule
        if not isinstance(schedule, Discrete):
            raise ValueError(f"The schedule must be a table of steps, got {schedule!r}.")
        return schedule

    @property
    def sampling(self) -> Sampling:
        """Return the sampling that the model's card recommends."""
        return Sampling(self.steps, self.guidance, *self.image_size, windows=self.windows)

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the weights."""
        return next(self.unet.parameters()).dtype

    @property
    def factor(self) -> int:
        """Return how many pixels one latent spans along each side."""
        return self.image_size[0] // self.score_model.shape[1]

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape of the latents of images of this size."""
        return self.score_model.shape[0], height // self.factor, width // self.factor

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Return the text embedding of each prompt, (B, tokens, width).

        What exceeds the encoder's windows is cut off; `unread_text.cut_off` returns it.
        Placeholders of textual inversion stand for all their tokens. Errors: MMHError for an
        encoder that gives numbers which are not finite.
        """
        embeddings = encode_prompts(
            self.tokenizer, self.text_encoder, prompts, self.device, self.windows
        )
        check_finite(self, embeddings, "text encoder")
        return embeddings

    def in_windows(self, windows: int) -> TextToImage:
        """Return the model that reads every prompt, the empty one too, in so many windows.

        One after another, as the web UIs do it (`prompt_text`); the weights are shared.
        """
        if windows == self.windows:
            return self
        if not 1 <= windows <= MOST_WINDOWS:
            raise MMHError(f"{windows} context windows: choose from 1 to {MOST_WINDOWS}.")
        window = self.unconditional[:, : self.unconditional.shape[1] // self.windows]
        empty = window.repeat(1, windows, 1)
        net = latent_net(self.unet, self.schedule, empty)
        return replace(
            self,
            windows=windows,
            unconditional=empty,
            score_model=replace(self.score_model, net=net),
        )

    def encode(self, images: Tensor) -> Tensor:
        """Return the latents (B, C, h, w) of images (B, 3, H, W): the posterior's mode, scaled.

        Float32. Raises ValueError for a size that is not a multiple of `factor`.
        """
        check_images(images)
        height, width = images.shape[2:]
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"Height and width must be multiples of {self.factor}, got {height} x {width}."
            )
        inputs = (2 * images - 1).to(self.device, self.dtype)
        latents: Tensor = self.autoencoder.encode(inputs).latent_dist.mode()
        check_finite(self, latents, "autoencoder (VAE)")
        return latents.float() * self.scaling

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images of latents (B, C, h, w), clipped to [0, 1]."""
        inputs = latents.to(self.device, self.dtype) / self.scaling
        raw: Tensor = self.autoencoder.decode(inputs, return_dict=False)[0]
        check_finite(self, raw, "autoencoder (VAE)")
        return (raw * 0.5 + 0.5).clamp(0, 1).float()


def check_finite(model: TextToImage, numbers: Tensor, part: str) -> None:
    """Raise MMHError, with the name of the model and the part, for NaN and infinity."""
    if bool(torch.isfinite(numbers).all()):
        return
    half = model.dtype != torch.float32
    step = (
        f"its weights run in {str(model.dtype).removeprefix('torch.')}, so load it in float32"
        if half
        else "its weights are damaged or diverged in training, so take another copy or an earlier "
        "checkpoint"
    )
    raise MMHError(f"The {part} of {model.name} gave numbers that are not finite: {step}.")


def latent_net(unet: nn.Module, schedule: Discrete, unconditional: Tensor) -> Net:
    """Wrap a UNet that is fed step numbers as a `net(x_t, t, cond)`.

    On a step the number is an integer, between steps a fraction, always in float32: half
    precision holds no odd number above 2,048. Channels beyond those of the input are a learned
    variance and are dropped.
    """
    dtype = next(unet.parameters()).dtype

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        step = schedule.step_at(t.double())
        whole = step.round()
        step = torch.where((step - whole).abs() < _ON_A_STEP, whole, step).float()
        if cond is None:
            cond = unconditional.expand(len(x_t), -1, -1)
        output: Tensor = unet(x_t.to(dtype), step, cond.to(dtype), return_dict=False)[0]
        return output[:, : x_t.shape[1]].to(x_t.dtype)

    return net


def steered_model(model: TextToImage, request: Request) -> TextToImage:
    """Return the model whose predictions use the attention of the request's steering.

    The score model's network with the prompt is `eps_c` of every step of the request's generation,
    and without one (`cond` None) the model's own. How the branches are mixed, guidance included,
    is no property of the network and is left out. Without attention it is the very model.
    """
    attention = None if request.steering is None else request.steering.attention
    if attention is None:
        return model
    net = model.score_model.net

    def steered(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        if cond is None:
            return net(x_t, t, cond)
        with attention(0):
            return net(x_t, t, cond)

    return replace(model, score_model=replace(model.score_model, net=steered))
