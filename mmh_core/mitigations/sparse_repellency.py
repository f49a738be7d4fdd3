"""Keep the picture in the making off the one that the prompt ends in by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.lid_loss import drawn_latents
from mmh_core.mitigations.padding_fix import without_padding
from mmh_core.mitigations.record import (
    NOTHING,
    Given,
    Mitigated,
    branches_per_step,
    check_share,
    steered,
)
from mmh_core.mitigations.tokens import padding_rows
from mmh_core.records import MMHError
from mmh_core.text_to_image.generation import answering
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Branches, Mixing, Request

#: A shorter latent has no direction.
_TINY = 1e-9


@dataclass(frozen=True)
class SparseRepellency:
    """Draw once, and again off the first picture: forget the padding as far as that takes.

    After Kirchhof et al. 2025 (SPELL, arXiv 2410.06025): at every step, what is about to land in a
    shield around a reference moves out of it, and everything else is left alone. What a prompt is
    drawn to from every noise is what is to be avoided, so the references are the request's own
    unmitigated pictures, of all its seeds: no training picture is needed. Two things differ from
    the paper. Shields are cones around centered latents, since a ball is also left by a change of
    brightness alone; `strength` is 1 minus the cosine allowed. And the way out is not straight
    away, which leaves a spoiled copy, but towards what the model would draw if the prompt's
    padding were zero (Kim & No 2026): `overshoot` times as far as leaving takes
    (`share_to_leave`), at most `farthest` times the difference of the two outputs.

    A request whose first drawing the detector `given.scan` passes is left alone.
    """

    strength: float = 0.1
    overshoot: float = 2.0
    farthest: float = 2.0
    name: str = "sparse_repellency"
    label: str = "First picture avoided"
    reference: str = "after Kirchhof et al. 2025, arXiv 2410.06025, and Kim & No 2026"
    strength_label: str = "unlikeness to the first picture (1 - cosine)"
    strengths: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2)

    def cost(self, steps: int) -> float:
        """Return a first drawing, which the detector judges, and a further branch a step."""
        return 3.0 * steps

    def apply(self, model: TextToImage, request: Request, *, given: Given = NOTHING) -> Mitigated:
        """Return the request that is kept off what it draws; MMHError for other encoders."""
        check_share(self.strength)
        zeroed = without_padding(model, request)
        if not len(padding_rows(model, request.prompt)):
            raise MMHError(
                "This prompt fills the whole text encoder, so that there is no padding to forget: "
                "shorten it, or choose another mitigation."
            )
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
        repellency = Repellency(
            model, zeroed, first.float(), 1 - self.strength, self.overshoot, self.farthest
        )

        def mixing() -> Mixing:
            return repellency.mix

        return Mitigated(
            steered(request, mixing=mixing),
            request.prompt,
            "At every step the prompt's padding was forgotten as far as it took to keep the "
            f"cosine with the first picture's latents below {1 - self.strength:.2g}.",
            spent,
            3.0,
        )


@dataclass(frozen=True, eq=False)
class Repellency:
    """Hold what keeps a drawing off `references` (K, C, h, w): it remembers nothing.

    `zeroed` (1, tokens, width) is the prompt's embedding without its padding.
    """

    model: TextToImage
    zeroed: Tensor
    references: Tensor
    cosine: float
    overshoot: float
    farthest: float

    def mix(self, branches: Branches) -> Tensor:
        """Return the guided output, moved towards the one without padding where that is due."""
        output = branches.guided(branches.scale)
        asked = branches.ask(self.zeroed)
        other = branches.without + branches.scale * (asked - branches.without)
        x0, x0_other = (
            answering(self.model, said).x0(branches.x_t, branches.t) for said in (output, other)
        )
        share = share_to_leave(x0, x0_other, self.references.to(x0), self.cosine)
        share = (self.overshoot * share).clamp(max=self.farthest).to(output)
        return output + share[:, None, None, None] * (other - output)


def share_to_leave(x: Tensor, towards: Tensor, references: Tensor, cosine: float) -> Tensor:
    """Return the smallest share (B,) of the way at which each row is in no cone any more.

    Rows x (B, C, h, w) go to `x + share (towards - x)`; they and the references (K, C, h, w) are
    compared by the cosine of their centered latents: without each channel's mean over places, so
    that neither brightness nor contrast counts. With z the unit vector of the reference nearest
    to a row p, and d its way, the cone is left where
    `(p.z + s d.z)^2 = cosine^2 |p + s d|^2`; the share s is the smaller positive root of this
    quadratic. It is 0 outside the cone, and infinite where the way does not lead out of it.
    """
    rows, ways, axes = (_centered(each) for each in (x, towards - x, references))
    axes = axes / torch.linalg.vector_norm(axes, dim=1, keepdim=True).clamp(min=_TINY)
    along, nearest = (rows @ axes.T).max(1)
    way_along = (ways * axes[nearest]).sum(1)
    lengths, way_lengths = rows.square().sum(1), ways.square().sum(1)
    a = way_along.square() - cosine**2 * way_lengths
    b = 2 * (along * way_along - cosine**2 * (rows * ways).sum(1))
    c = along.square() - cosine**2 * lengths
    inside = (along > 0) & (c > 0)
    return torch.where(inside, _smallest_positive_root(a, b, c), 0.0)


def _centered(latents: Tensor) -> Tensor:
    return (latents - latents.mean((2, 3), keepdim=True)).flatten(1)


def _smallest_positive_root(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the smallest positive root of `a s^2 + b s + c` (B,), infinity where there is none.

    By `q = -(b + sign(b) sqrt(b^2 - 4 a c)) / 2`, the roots are q / a and c / q: nothing cancels.
    From inside a cone they are real, so a negative discriminant is rounding.
    """
    root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
    q = -(b + torch.where(b < 0, -root, root)) / 2
    roots = torch.stack([q / a, c / q])
    return torch.where(roots > 0, roots, torch.inf).amin(0)
