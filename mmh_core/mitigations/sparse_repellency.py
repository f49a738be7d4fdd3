"""Keep the image in the making off the one that the prompt ends in by itself."""

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
from mmh_core.mitigations.work import Work
from mmh_core.records import MMHError
from mmh_core.text_to_image.generation import score_model_of_output
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Branches, Mixing, Request

#: A shorter latent has no direction.
_TINY = 1e-9
#: Of the square of b, the error of a discriminant in float64, with room.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class SparseRepellency:
    """Draw once, and again off the first image: forget the padding as far as that takes.

    After Kirchhof et al. 2025 (SPELL, arXiv 2410.06025): at every step, what is about to land in a
    shield around a reference moves out of it, and everything else is left alone. What a prompt is
    drawn to from every noise is what is to be avoided, so the references are the request's own
    unmitigated images, of all its seeds: no training image is needed. Two things differ from
    the paper. Shields are cones around centered latents, since a ball is also left by a change of
    brightness alone; `strength` is 1 minus the cosine allowed. And the way out is not straight
    away, which leaves a spoiled copy, but towards what the model would draw if the prompt's
    padding were zero (Kim & No 2026): `overshoot` times as far as leaving takes
    (`share_to_leave`) and beyond any other cone there, at most `farthest` times the difference of
    the two outputs.

    A request whose first drawing the detector `given.scan` passes is left alone.
    """

    strength: float = 0.1
    overshoot: float = 2.0
    farthest: float = 2.0
    name: str = "sparse_repellency"
    label: str = "Sparse repellency, variant"
    reference: str = "after Kirchhof et al. 2025, arXiv 2410.06025, and Kim & No 2026"
    strength_label: str = "unlikeness to the first image (1 - cosine)"
    strengths: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2)

    def cost(self, steps: int) -> float:
        """Return a first drawing, which the detector judges, and a further branch a step."""
        return 3.0 * steps

    def apply(
        self, model: TextToImage, request: Request, *, given: Given = NOTHING
    ) -> Work[Mitigated]:
        """Return the request that is kept off what it draws; MMHError for other encoders."""
        yield
        check_share(self.strength)
        zeroed = without_padding(model, request)
        if not len(padding_rows(model, request.prompt)):
            raise MMHError(
                "This prompt fills the whole text encoder, so that there is no padding to forget: "
                "shorten it, or choose another mitigation."
            )
        spent = 0.0
        if given.scan is not None and given.threshold is not None:
            found = yield from given.scan(request)
            spent += found.nfe
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
            first, drawing = yield from drawn_latents(model, request)
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
            f"cosine with the first image's latents below {1 - self.strength:.2g}.",
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
            score_model_of_output(self.model, said).x0(branches.x_t, branches.t)
            for said in (output, other)
        )
        share = share_to_leave(
            x0, x0_other, self.references.to(x0), self.cosine, overshoot=self.overshoot
        )
        share = share.clamp(max=self.farthest).to(output)
        return output + share[:, None, None, None] * (other - output)


def share_to_leave(
    x: Tensor, towards: Tensor, references: Tensor, cosine: float, *, overshoot: float = 1.0
) -> Tensor:
    """Return the smallest share (B,) of the way at which each row is in no cone any more.

    Rows x (B, C, h, w) go to `x + share (towards - x)`; they and the references (K, C, h, w) are
    compared by the cosine of their centered latents: without each channel's mean over places, so
    that neither brightness nor contrast counts. A row is in the cone of a reference while its
    cosine with it exceeds `cosine`, from 0 to 1. Cones are convex, so the way is in each of them
    over one stretch of shares (`_stretches`), and what is looked for is the first share behind all
    stretches that join up. It is 0 for a row in no cone, and infinite where the way does not lead
    out of all. With an `overshoot` above 1 the row goes that many times as far, and on from there
    where that is within a cone.
    """
    if not 0 <= cosine <= 1:
        raise ValueError(f"The cosine must be from 0 to 1, got {cosine!r}.")
    rows, ways, axes = (_centered(each) for each in (x, towards - x, references))
    enters, leaves = _stretches(rows, ways, axes, cosine)
    zero = rows.new_zeros(len(rows))
    least = _behind(enters, leaves, zero)
    wanted = torch.where(least > 0, _behind(enters, leaves, overshoot * least), zero)
    return wanted.to(x.dtype)


def _behind(enters: Tensor, leaves: Tensor, start: Tensor) -> Tensor:
    """Return the first share (B,) from `start` on that lies within no stretch (B, K)."""
    share = start
    # Every round but the last leaves one more stretch behind.
    for _ in range(enters.shape[1]):
        within = (enters <= share[:, None]) & (share[:, None] < leaves)
        share = torch.where(within, leaves, share[:, None]).amax(1)
    return share


def _stretches(rows: Tensor, ways: Tensor, axes: Tensor, cosine: float) -> tuple[Tensor, Tensor]:
    """Return where the way of each row enters and leaves the cone of each axis, each (B, K).

    With p a row, d its way and z the axis of unit length, p + s d is in the cone where
    `f(s) = (p.z + s d.z)^2 - cosine^2 |p + s d|^2 > 0` and `p.z + s d.z > 0`. Roots of the
    quadratic f with the right sign of the second are where the way enters or leaves; which of the
    two, the sign at the middle between neighboring ones tells. A way that never is in the cone
    enters it at infinity; one that is in it at 0 enters it there, and shares below 0 do not count.
    """
    axes = axes / torch.linalg.vector_norm(axes, dim=1, keepdim=True).clamp(min=_TINY)
    along, way_along = rows @ axes.T, ways @ axes.T
    square = cosine**2
    a = way_along.square() - square * ways.square().sum(1, keepdim=True)
    b = 2 * (along * way_along - square * (rows * ways).sum(1, keepdim=True))
    c = along.square() - square * rows.square().sum(1, keepdim=True)
    first, second = _roots(a, b, c)
    edges = torch.stack([torch.zeros_like(first), first, second])
    ends = torch.stack([first, second, torch.full_like(first, torch.inf)])
    # The middle of each of the three pieces; of one without end, a place within it.
    middles = torch.where(ends.isinf(), 2 * edges + 1, (edges + ends) / 2)
    inside = (along + middles * way_along > 0) & ((a * middles + b) * middles + c > 0)
    inside = inside & (ends > edges) & ~edges.isinf()
    enters = torch.where(inside, edges, torch.inf).amin(0)
    leaves = torch.where(inside, ends, -torch.inf).amax(0)
    return enters, leaves


def _centered(latents: Tensor) -> Tensor:
    """Return latents (B, C, h, w) without each channel's mean, as rows in float64."""
    latents = latents.double()
    return (latents - latents.mean((2, 3), keepdim=True)).flatten(1)


def _roots(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positive roots of `a s^2 + b s + c`, the smaller first, infinity for those amiss.

    By `q = -(b + sign(b) sqrt(b^2 - 4 a c)) / 2`, the roots are q / a and c / q: nothing cancels.
    """
    square = b.square() - 4 * a * c
    root = square.clamp(min=0).sqrt()
    q = -(b + torch.where(b < 0, -root, root)) / 2
    roots = torch.stack([q / a, c / q])
    # A double root, where a way meets the tip of a cone, may be missed by rounding.
    real = square >= -_ROUNDING * b.square()
    roots = torch.where((roots > 0) & real, roots, torch.inf)
    return roots.amin(0), roots.amax(0)
