"""Token attribution: how much each token of a prompt contributes to a detector's score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

from mmh_core.mitigations.first_step import first_step
from mmh_core.mitigations.interface import NO_CONTEXT, LidBy, MitigationContext, Work
from mmh_core.mitigations.lid_loss import generated_latents, lid_of
from mmh_core.mitigations.objectives import guidance_norms, guided_score_norms
from mmh_core.mitigations.tokens import prompt_tokens
from mmh_core.text_to_image.generation import embeddings
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request

AttributionBy = Literal["guidance norm", "guided score norm", "flipd", "denoising loss", "random"]
#: The names of the scores as people read them.
ATTRIBUTION_LABELS: dict[AttributionBy, str] = {
    "guidance norm": "guidance norm",
    "guided score norm": "norm of the guided score",
    "flipd": "FLIPD",
    "denoising loss": "LID by the denoising loss",
    "random": "random control",
}
#: Draws by which the band of the control is simulated, and the share of them that it holds.
_DRAWS, _WITHIN = 4_000, 0.95


@dataclass(frozen=True, eq=False)
class Attribution:
    """A score per token of a prompt, higher = contributes more to memorization.

    `tokens` are T texts as written, `spans` their positions in `prompt`, `scores` (T,) float32 at
    least 0. Scores by different detectors do not compare. `nfe` is the cost per image.
    """

    by: AttributionBy
    prompt: str
    tokens: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    scores: Tensor
    nfe: float


def attribute(
    model: TextToImage,
    request: Request,
    by: AttributionBy,
    *,
    log_delta: float = -0.2,
    context: MitigationContext = NO_CONTEXT,
) -> Work[Attribution]:
    """Score each token by the L2 norm of its row in a detector's gradient (Ross et al. 2025).

    The gradient is with respect to the prompt's embedding, at the first step for the two norms and
    at the unmitigated image and the scale `log_delta` for the two LIDs; norms are averaged over
    the seeds. A placeholder of several vectors is one token with several rows. "random" samples
    uniform scores, the control. Rows of the embedding depend on all earlier tokens, so the score
    can fall on a later token than the one that causes it; the rows of the end and padding tokens
    belong to no token and are left out.
    """
    if by not in get_args(AttributionBy):
        raise ValueError(f"Unknown attribution {by!r}; choose from {get_args(AttributionBy)}.")
    tokens = prompt_tokens(model, request.prompt)
    if by == "random":
        generator = context.random()
        uniform = torch.rand(len(tokens.texts), generator=generator, device=generator.device)
        scores, nfe = uniform.cpu(), 0.0
    else:
        gradient, nfe = yield from _gradient(model, request, by, log_delta, context)
        scores = torch.stack([_norm(gradient[:, list(rows)]) for rows in tokens.rows]).cpu()
    return Attribution(by, request.prompt, tokens.texts, tokens.spans, scores, nfe)


@cache
def control_ratio(tokens: int) -> float:
    """Return the ratio to the median that the largest of so many control scores seldom exceeds.

    The .95 quantile of max / median of uniform scores, simulated; a ratio, since scores by
    different detectors have different units. Infinite for one token, which nothing is larger than.
    """
    if tokens < 2:
        return math.inf
    scores = torch.rand(_DRAWS, tokens, generator=torch.Generator().manual_seed(0))
    return float((scores.max(1).values / scores.quantile(0.5, dim=1)).quantile(_WITHIN))


def control_band(attribution: Attribution) -> float:
    """Return the score up to which a token is not told from the random control."""
    if len(attribution.tokens) < 2:
        return math.inf
    return control_ratio(len(attribution.tokens)) * float(attribution.scores.quantile(0.5))


def above_control(attribution: Attribution) -> tuple[int, ...]:
    """Return the tokens whose scores are above the band of the control, largest first."""
    above = attribution.scores > control_band(attribution)
    order = attribution.scores.argsort(descending=True, stable=True)
    return tuple(int(token) for token in order if above[token])


def _norm(rows: Tensor) -> Tensor:
    """Return the norm of a token's rows (B, R, width), averaged over the seeds."""
    norms: Tensor = torch.linalg.vector_norm(rows.float().flatten(1), dim=1)
    return norms.mean()


def _gradient(
    model: TextToImage,
    request: Request,
    by: AttributionBy,
    log_delta: float,
    context: MitigationContext,
) -> Work[tuple[Tensor, float]]:
    """Return the gradient (B, tokens, width) to the embedding, and the NFE."""
    if by == "flipd" or by == "denoising loss":
        gradient, nfe = yield from _lid_gradient(model, request, by, log_delta, context)
    else:
        yield
        at = first_step(model, request)
        with torch.enable_grad():
            cond = at.cond.detach().clone().requires_grad_()
            eps_c, eps_u = at.eps_c(cond), at.eps_u()
            if by == "guidance norm":
                values = guidance_norms(eps_c, eps_u)
            else:
                values = guided_score_norms(
                    model.score_model, eps_c, eps_u, at.t, request.sampling.scale
                )
            (gradient,) = torch.autograd.grad(values.sum(), cond)
        nfe = 3.0
    return gradient, nfe


def _lid_gradient(
    model: TextToImage, request: Request, by: LidBy, log_delta: float, context: MitigationContext
) -> Work[tuple[Tensor, float]]:
    latents, generation_nfe = context.latents, 0.0
    if latents is None:
        latents, generation_nfe = yield from generated_latents(model, request)
    yield
    lid = lid_of(model, latents, log_delta, by, request.prompt)
    start = embeddings(model, request)[0].detach().float().to(model.device)
    with torch.enable_grad():
        cond = start.repeat(len(latents) // len(start), 1, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(lid.values(cond).sum(), cond)
    return gradient, generation_nfe + lid.nfe
