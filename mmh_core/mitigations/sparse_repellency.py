"""Keep the picture in the making off the one that the prompt ends in by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.correction import corrected
from mmh_core.mitigations.lid_loss import drawn_latents
from mmh_core.mitigations.record import (
    NOTHING,
    Given,
    Mitigated,
    branches_per_step,
    check_share,
    steered,
)
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Branches, Mixing, Request

#: Of a reference without any contrast, and of a row: the share of its length below which what is
#: across the axis is rounding, which has no direction.
_TINY, _ROUNDING = 1e-9, 1e-6


@dataclass(frozen=True)
class SparseRepellency:
    """Draw once, and again with `x0_hat` kept off the latents in which the first drawing ended.

    After Kirchhof et al. 2025 (SPELL, arXiv 2410.06025): at every step, what is about to land in a
    shield around a reference moves out of it, `overshoot` times as far as it would have to, and
    everything else is left alone. A picture that a prompt is drawn to from every noise is what is
    to be avoided, so the references are the request's own unmitigated pictures, of all its seeds;
    no training picture is needed. Two things differ from the paper: shields are cones instead of
    balls, since a ball is also left by a change of brightness alone (`out_of_cones`), and only the
    nearest reference repels, since those of a memorized prompt are all the same. `strength` is 1
    minus the cosine allowed.

    A request whose first drawing the detector `given.scan` passes is left alone. Caveat: the
    picture is moved and not the model, so its LID rises less than a changed prompt's.
    """

    strength: float = 0.1
    overshoot: float = 1.6
    name: str = "sparse_repellency"
    label: str = "Kept off the first picture"
    reference: str = "after Kirchhof et al. 2025, arXiv 2410.06025"
    strength_label: str = "unlikeness to the first picture (1 - cosine)"
    strengths: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2)

    def cost(self, steps: int) -> float:
        """Return a first drawing, of which the detector says whether a second one is due."""
        return 2.0 * steps

    def apply(self, model: TextToImage, request: Request, *, given: Given = NOTHING) -> Mitigated:
        """Return the request that is kept off what it draws; ValueError for no such strength."""
        check_share(self.strength)
        spent = 0.0
        if given.scan is not None and given.threshold is not None:
            found = given.scan(request)
            spent += found.forwards
            if found.score < given.threshold:
                said = f"the score {found.score:.3g} is below the threshold {given.threshold:.3g}"
                return Mitigated(
                    request,
                    request.prompt,
                    f"Nothing was repelled: {said}.",
                    spent,
                    branches_per_step(request),
                )
        first = given.latents
        if first is None:
            first, drawing = drawn_latents(model, request)
            spent += drawing
        references = first.float()

        def correct(x0_hat: Tensor) -> Tensor:
            kept = references.to(x0_hat)
            return out_of_cones(x0_hat, kept, 1 - self.strength, self.overshoot)

        def mix(branches: Branches) -> Tensor:
            return corrected(model, branches, correct)

        def mixing() -> Mixing:
            return mix

        return Mitigated(
            steered(request, mixing=mixing),
            request.prompt,
            "At every step the picture was kept off the first one of this prompt where their "
            f"latents' cosine exceeded {1 - self.strength:.2g}.",
            spent,
        )


def out_of_cones(x: Tensor, references: Tensor, cosine: float, overshoot: float = 1.0) -> Tensor:
    """Return x (B, C, h, w) with each row outside the cone around its nearest reference.

    Rows and references (K, C, h, w) are compared by the cosine of their centered latents: without
    each channel's mean over places, so that neither brightness, color cast nor contrast counts.
    With the unit vector z of the nearest reference, `x - mean = a z + b w`, w a unit vector
    orthogonal to z: where `a / sqrt(a^2 + b^2)` exceeds `cosine` = c, the nearest point of the
    cone's surface is `(a c + b s)(c z + s w)`, s = sqrt(1 - c^2), and the row goes `overshoot`
    times as far. Means stay. A row along z itself has no w, and shrinks to that length only.
    """
    mean = x.mean((2, 3), keepdim=True)
    rows = (x - mean).flatten(1)
    axes = (references - references.mean((2, 3), keepdim=True)).flatten(1)
    axes = axes / torch.linalg.vector_norm(axes, dim=1, keepdim=True).clamp(min=_TINY)
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    along = rows @ axes.T
    a, nearest = along.max(1, keepdim=True)
    z = axes[nearest[:, 0]]
    across = rows - a * z
    b = torch.linalg.vector_norm(across, dim=1, keepdim=True)
    w = across / torch.maximum(b, _ROUNDING * lengths + _TINY)
    sine = (1 - cosine**2) ** 0.5
    surface = (a * cosine + b * sine) * (cosine * z + sine * w)
    inside = a > cosine * lengths
    moved = mean + (rows + overshoot * (surface - rows)).view_as(x)
    return torch.where(inside[:, :, None, None], moved, x)
