"""The re-trigger attack: an embedding for which a mitigated model gives a training image again.

A mitigation that only moves a prompt leaves the image in the model. Whoever knows the image can
search for another embedding that leads to it (Kowalczuk et al. 2026, "Finding DoRI: Discovery of
Retained Images in Diffusion Models", arXiv 2507.16880, who do so after pruning).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.mitigations.interface import Work, steered
from mmh_core.mitigations.optimization import descend
from mmh_core.text_to_image.generation import embeddings
from mmh_core.text_to_image.model import TextToImage, steered_model
from mmh_core.text_to_image.requests import Request

STEPS, RATE = 50, 0.05
#: High noise levels, one a step in turn: the prompt decides there which image comes about.
TIMES = (0.9, 0.75, 0.6)


@dataclass(frozen=True, eq=False)
class Retriggered:
    """The request with the embedding of the attack, everything else of the mitigation in force.

    `before` and `after` (B,) are the mean squared distances of the one-step prediction to the
    image, at the first and after the last step; `nfe` were spent on each image.
    """

    request: Request
    before: Tensor
    after: Tensor
    nfe: float


def retriggered(
    model: TextToImage,
    request: Request,
    image: Tensor,
    *,
    generator: torch.Generator,
    steps: int = STEPS,
) -> Work[Retriggered]:
    """Lower `|x0_hat(alpha x + sigma eps, t, embedding) - x|^2` over the embedding by AdamW.

    `image` (C, h, w) are the latents x of the training image, and `request` is a mitigated one:
    the network is that with its attention, the start its embedding, one for each seed. Rows that
    the mitigation has set to zero stay zero. An embedding that a mitigation has optimized is
    replaced: nothing else of such a mitigation is in force, and the attack says whether the model
    still has the image. Caveat: with enough steps an embedding may lead a model to an image that
    it never copied, so the share is to be compared with that of reference captions.
    """
    with torch.no_grad():
        start = embeddings(model, request)[0].detach().float().to(model.device)
        start = start.expand(len(request.seeds), -1, -1).clone()
        network = replace(steered_model(model, request).score_model, shape=tuple(image.shape))
    x = image.float().to(model.device).expand(len(start), *image.shape)
    free = (start != 0).any(2, keepdim=True)
    times = itertools.cycle(TIMES)

    def loss(rows: Tensor) -> Tensor:
        t = next(times)
        eps = torch.randn(x.shape, generator=generator, device=generator.device).to(x)
        x_t = network.noised(x, eps, t)
        x0 = network.x0(x_t, t, torch.where(free, rows, start))
        return (x0 - x).flatten(1).square().mean(1)

    descent = yield from descend(loss, start, 0.0, rate=RATE, steps=steps)
    embedding = torch.where(free, descent.values, start)
    return Retriggered(
        steered(request, embedding=embedding),
        descent.before,
        descent.after,
        2.0 * descent.steps + 1,
    )
