"""The score model under a request's steering, so that its LID is that of the steered network."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request


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
