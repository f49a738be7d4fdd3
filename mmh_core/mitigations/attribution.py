"""Which tokens of a prompt make a detector speak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from mmh_core.mitigations.first_step import first_step
from mmh_core.mitigations.lid_loss import LidBy, drawn_latents, lid_of
from mmh_core.mitigations.objectives import guidance_norms, guided_score_norms
from mmh_core.mitigations.record import NOTHING, Given
from mmh_core.mitigations.tokens import prompt_tokens
from mmh_core.mitigations.work import Work
from mmh_core.text_to_image.generation import embeddings
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request

if TYPE_CHECKING:
    import pandas as pd

AttributionBy = Literal["guidance norm", "guided score norm", "flipd", "denoising loss", "random"]


@dataclass(frozen=True, eq=False)
class Attribution:
    """Hold a score per token of a prompt, higher = more to blame.

    `tokens` are T texts as written, `spans` their places in `prompt`, `scores` (T,) float32 at
    least 0. Scores by different detectors do not compare. `nfe` is the cost per image.
    """

    by: AttributionBy
    prompt: str
    tokens: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    scores: Tensor
    nfe: float

    def frame(self) -> pd.DataFrame:
        """Return one row per token."""
        import pandas as pd

        return pd.DataFrame({"token": self.tokens, "score": self.scores.numpy(force=True)})


def attribute(
    model: TextToImage,
    request: Request,
    by: AttributionBy,
    *,
    log_delta: float = -0.2,
    given: Given = NOTHING,
) -> Work[Attribution]:
    """Score each token by the L2 norm of its row in a detector's gradient (Ross et al. 2025).

    The gradient is with respect to the prompt's embedding, at the first step for the two norms and
    at the unmitigated image and the scale `log_delta` for the two LIDs; norms are averaged over
    the seeds. A placeholder of several vectors is one token with several rows. "random" draws
    uniform scores, the control. Rows of the embedding have seen all earlier tokens, so blame can
    lie on a later token than the one that caused it; the rows of the end and padding tokens belong
    to no token and are left out.
    """
    if by not in get_args(AttributionBy):
        raise ValueError(f"Unknown attribution {by!r}; choose from {get_args(AttributionBy)}.")
    tokens = prompt_tokens(model, request.prompt)
    if by == "random":
        generator = given.drawing()
        drawn = torch.rand(len(tokens.texts), generator=generator, device=generator.device)
        scores, nfe = drawn.cpu(), 0.0
    else:
        gradient, nfe = yield from _gradient(model, request, by, log_delta, given)
        scores = torch.stack([_norm(gradient[:, list(rows)]) for rows in tokens.rows]).cpu()
    return Attribution(by, request.prompt, tokens.texts, tokens.spans, scores, nfe)


def _norm(rows: Tensor) -> Tensor:
    """Return the norm of a token's rows (B, R, width), averaged over the seeds."""
    norms: Tensor = torch.linalg.vector_norm(rows.float().flatten(1), dim=1)
    return norms.mean()


def _gradient(
    model: TextToImage, request: Request, by: AttributionBy, log_delta: float, given: Given
) -> Work[tuple[Tensor, float]]:
    """Return the gradient (B, tokens, width) to the embedding, and the network evaluations."""
    if by == "flipd" or by == "denoising loss":
        gradient, nfe = yield from _lid_gradient(model, request, by, log_delta, given)
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
    model: TextToImage, request: Request, by: LidBy, log_delta: float, given: Given
) -> Work[tuple[Tensor, float]]:
    latents, drawing = given.latents, 0.0
    if latents is None:
        latents, drawing = yield from drawn_latents(model, request)
    yield
    lid = lid_of(model, latents, log_delta, by, given.drawing())
    start = embeddings(model, request)[0].detach().float().to(model.device)
    with torch.enable_grad():
        cond = start.repeat(len(latents) // len(start), 1, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(lid.values(cond).sum(), cond)
    return gradient, drawing + lid.nfe
