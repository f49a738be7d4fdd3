"""Both guidance branches at the first step of a request, before anything is generated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.mitigations.interface import RequestScore, Work
from mmh_core.records import MMHError
from mmh_core.text_to_image.generation import embeddings, first_input, generate
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request

#: Shares of the image in the first input below it are none: Stable Diffusion's is .068, and that
#: of schedules rescaled to zero terminal SNR 0 or, in diffusers' Euler, 2^-12.
_NO_SIGNAL = 1e-3


@dataclass(frozen=True, eq=False)
class FirstStep:
    """The first input `x_t` (B, C, h, w) at `t` and the embedding of each image.

    `cond` and `without` are (B, tokens, width).
    """

    model: TextToImage
    x_t: Tensor
    t: float
    cond: Tensor
    without: Tensor

    def eps_c(self, cond: Tensor) -> Tensor:
        """Return the prediction with the prompt, for any embedding."""
        return self.model.score_model.eps(self.x_t, self.t, cond)

    def eps_u(self) -> Tensor:
        """Return the prediction without the prompt."""
        with torch.no_grad():
            return self.model.score_model.eps(self.x_t, self.t, self.without)


def first_step(model: TextToImage, request: Request) -> FirstStep:
    """Return what the first step of a request is computed from. Errors: `check_first_step`'s."""
    with torch.no_grad():
        x_t, t = first_input(model, request)
        check_first_step(model, t)
        cond, without = (
            embedding.to(model.device, torch.float32).expand(len(x_t), -1, -1)
            for embedding in embeddings(model, request)
        )
    return FirstStep(model, x_t, t, cond, without)


def check_first_step(model: TextToImage, t: float) -> None:
    """Raise MMHError where `eps_c - eps_u` is 0 at time t for every prompt.

    With `y = p x0 + q eps` predicted, `eps_c - eps_u = alpha (y_c - y_u) / d` (`score_model`),
    which vanishes with alpha: at zero terminal SNR, for all networks but those that predict eps.
    """
    if model.score_model.target == "eps":
        return
    alpha = float(model.schedule.alpha(torch.tensor(t, dtype=torch.float64)))
    if alpha < _NO_SIGNAL:
        raise MMHError(
            f"This is not defined for {model.name}: its first step sees noise alone (zero "
            "terminal SNR), where the guidance norm is 0 for every prompt. Choose a mitigation or "
            "detector that does not use the first step's guidance norm."
        )


def delta_of_noise(model: TextToImage, request: Request) -> Callable[[Tensor], Tensor]:
    """Return `eps_c - eps_u` at the first step as a differentiable function of `x_t`."""
    at = first_step(model, request)

    def delta(x_t: Tensor) -> Tensor:
        eps_u = model.score_model.eps(x_t, at.t, at.without)
        return model.score_model.eps(x_t, at.t, at.cond) - eps_u

    return delta


def guidance_norm_score(model: TextToImage, request: Request) -> Work[RequestScore]:
    """Score a request by its first-step guidance norm, averaged over its seeds: 2 NFE.

    It depends on prompt, embeddings, noise and attention, not on later steps. Errors:
    `check_first_step`'s.
    """
    yield
    # Guidance 1 would spare the branch that is compared with.
    check_first_step(model, first_input(model, request)[1])
    steps = generate(model, _guided(request))
    norm = next(steps).guidance_norm
    steps.close()  # type: ignore[attr-defined]
    return RequestScore(float(norm.mean()), 2.0)


def _guided(request: Request) -> Request:
    """Return the request with guidance, so that both branches are computed."""
    if request.sampling.scale > 1:
        return request
    return replace(request, sampling=replace(request.sampling, guidance=2.0))
