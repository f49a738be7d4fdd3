"""A text-to-image model with known answers: every prompt is a Gaussian along the axes.

Prompts: a duplicate (a point), a template (two free directions), and two ordinary ones. Without a
prompt the model draws N(0, BROAD). All closed forms of the tests follow from

    eps = sigma (x_t - alpha m) / (alpha^2 l + sigma^2),  P = alpha^2 l / (alpha^2 l + sigma^2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from mmh_core.diffusion.schedule import Discrete
from mmh_core.diffusion.score_model import ScoreModel, Target
from mmh_core.text_to_image.model import TextToImage, latent_net
from tests.text_to_image.pipelines import SCHEDULE as BETAS

PROMPTS = ("duplicate", "template", "ordinary", "another")
SHAPE = (2, 4, 4)
DIM = math.prod(SHAPE)
BROAD = 1.0


def _table() -> tuple[float, ...]:
    ends = (float(str(BETAS[name])) ** 0.5 for name in ("beta_start", "beta_end"))
    roots = torch.linspace(*ends, 1000, dtype=torch.float64)
    return tuple((1 - roots.square()).cumprod(0).tolist())


SCHEDULE = Discrete(_table())


def means() -> Tensor:
    """Return the mean of every prompt, (4, D): memorized ones far from 0."""
    generator = torch.Generator().manual_seed(1)
    spread = torch.tensor([1.0, 1.0, 0.2, 0.3], dtype=torch.float64)[:, None]
    return spread * torch.randn(len(PROMPTS), DIM, generator=generator, dtype=torch.float64)


def variances() -> Tensor:
    """Return the variances of every prompt along the axes, (4, D)."""
    found = torch.zeros(len(PROMPTS), DIM, dtype=torch.float64)
    found[1, :2] = 0.5
    found[2, : DIM // 2], found[2, DIM // 2 :] = 0.8, 1.6
    found[3, : DIM // 2], found[3, DIM // 2 :] = 1.4, 0.7
    return found


def eps_of(x_t: Tensor, mean: Tensor, variance: Tensor, t: float) -> Tensor:
    """Return the noise prediction (..., D) of a Gaussian along the axes, by its formula."""
    alpha, sigma = kernel(t)
    return sigma * (x_t - alpha * mean) / (alpha**2 * variance + sigma**2)


def kernel(t: float) -> tuple[float, float]:
    """Return alpha and sigma at time t."""
    at = torch.tensor(t, dtype=torch.float64)
    return SCHEDULE.alpha(at).item(), SCHEDULE.sigma(at).item()


class GaussianUNet(nn.Module):
    """Answer like a UNet, by formula; the embedding of a prompt is its row of an identity.

    `rows` counts the rows of every forward pass, `reversed` those of every reverse pass.
    """

    def __init__(self, target: Target) -> None:
        """Hold the target, and one parameter by which the device is known."""
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1), requires_grad=False)
        # What lies in the middle of this network is its prediction itself.
        self.mid_block = nn.Identity()
        self.target = target
        self.rows = self.reversed = 0

    def forward(
        self, x_t: Tensor, step: Tensor, cond: Tensor, return_dict: bool = False
    ) -> tuple[Tensor]:
        """Return eps or v for x_t (b, *SHAPE), step numbers and embeddings (b, 1, 4)."""
        self.rows += len(x_t)
        t = (step.double().expand(len(x_t)) + 1) / SCHEDULE.steps
        alpha, sigma = (each[:, None] for each in (SCHEDULE.alpha(t), SCHEDULE.sigma(t)))
        code = cond[:, 0].double()
        free = 1 - code.sum(1, keepdim=True)
        mean, variance = code @ means(), code @ variances() + free * BROAD
        flat = x_t.flatten(1).double()
        eps = sigma * (flat - alpha * mean) / (alpha**2 * variance + sigma**2)
        answer = eps
        if self.target == "v":
            answer = (eps - sigma * flat) / alpha  # v = alpha eps - sigma x0
        answer = self.mid_block(answer.to(x_t.dtype).reshape(x_t.shape))
        if answer.requires_grad:
            answer.register_hook(self._count)
        return (answer,)

    def _count(self, gradient: Tensor) -> None:
        self.reversed += len(gradient)


class Words:
    """Give every known prompt its number, any other text 4."""

    model_max_length = 1

    def __call__(self, texts: list[str], **settings: Any) -> Any:
        """Return the numbers (B, 1)."""
        numbers = [PROMPTS.index(text) if text in PROMPTS else len(PROMPTS) for text in texts]
        return SimpleNamespace(input_ids=torch.tensor(numbers)[:, None])


class OneHot(nn.Module):
    """Encode prompt number i as row i of an identity, and no prompt as zeros."""

    def forward(self, ids: Tensor) -> tuple[Tensor]:
        """Return embeddings (B, 1, 4)."""
        return (torch.cat([torch.eye(len(PROMPTS)), torch.zeros(1, len(PROMPTS))])[ids],)


@dataclass(frozen=True)
class Numbers:
    """A tokenizer that gives every text one number."""

    number_of: Callable[[str], int]
    model_max_length: int = 3
    bos_token_id: int = 0
    eos_token_id: int = 0
    pad_token_id: int = 0

    def __call__(self, texts: list[str] | str, **settings: Any) -> Any:
        """Return the numbers (B, 1); of one text that there is nothing it would cut off."""
        if isinstance(texts, str):
            return {"input_ids": [], "offset_mapping": []}
        return SimpleNamespace(input_ids=torch.tensor([self.number_of(t) for t in texts])[:, None])


class Weakened(nn.Module):
    """A text encoder that gives number n the row n % 4 of an identity, weaker the higher n."""

    def forward(self, ids: Tensor) -> tuple[Tensor]:
        """Return embeddings (B, 1, 4)."""
        strength = 0.97 ** (ids // len(PROMPTS))
        return (torch.eye(len(PROMPTS))[ids % len(PROMPTS)] * strength[..., None],)


class Enlarger:
    """Decode latents by showing their channels' mean, every number as 8 x 8 gray pixels."""

    def decode(self, latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        """Return raw images (B, 3, 32, 32)."""
        gray = latents.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        return (gray.repeat_interleave(8, 2).repeat_interleave(8, 3),)


def world(target: Target = "eps") -> TextToImage:
    """Return the model whose network predicts eps or v."""
    unet, unconditional = GaussianUNet(target), torch.zeros(1, 1, len(PROMPTS))
    net = latent_net(unet, SCHEDULE, unconditional)
    return TextToImage(
        name="gaussians",
        sha256="0" * 64,
        score_model=ScoreModel(net, SCHEDULE, target, SHAPE),
        unconditional=unconditional,
        tokenizer=Words(),
        text_encoder=OneHot(),
        unet=unet,
        autoencoder=Enlarger(),
        scheduler={
            **BETAS,
            "num_train_timesteps": SCHEDULE.steps,
            "prediction_type": {"eps": "epsilon", "v": "v_prediction"}[target],
        },
        scaling=1.0,
        image_size=(32, 32),
    )


def numbered_world(number_of: Callable[[str], int]) -> TextToImage:
    """Return the model with a Gaussian of its own for the number of every text.

    Numbers 0 and 1 of each four are close to the duplicate and the template, 2 and 3 to the two
    ordinary prompts.
    """
    return replace(world(), tokenizer=Numbers(number_of), text_encoder=Weakened())


def unet_of(model: TextToImage) -> GaussianUNet:
    """Return the network of the model, with its counts set to 0."""
    assert isinstance(model.unet, GaussianUNet)
    model.unet.rows = model.unet.reversed = 0
    return model.unet
