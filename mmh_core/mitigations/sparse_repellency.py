"""Sparse repellency: keep the sample out of shields around the unmitigated images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmh_core.mitigations.interface import (
    NO_CONTEXT,
    Mitigated,
    MitigationContext,
    Work,
    check_share,
    steered,
)
from mmh_core.mitigations.lid_loss import generated_latents
from mmh_core.mitigations.padding_fix import without_padding
from mmh_core.mitigations.tokens import padding_rows
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
    """A second generation that is kept out of shields around the images of the first.

    After Kirchhof et al. 2025 (SPELL, arXiv 2410.06025): at every step, an `x0_hat` inside a
    shield moves out of it, and everything else is unchanged. The centers of the shields may be
    protected images or, as here, images generated before: the request's own unmitigated ones, of
    all its seeds, or of the selection seeds of the context, since a memorized prompt leads to one
    image from every noise. No training image is needed. Two things differ from the paper. Shields
    are cones around centered latents, since a change of brightness alone would leave a ball;
    `strength` is 1 minus the cosine allowed. And `x0_hat` does not leave along the radius, which
    gives a degraded copy, but towards the prediction with the prompt's padding at zero (Kim & No
    2026): `overshoot` times as far as leaving takes (`share_to_leave`) and beyond any other cone
    there, at most `farthest` times the difference of the two outputs.

    A request whose first images pass the detector `context.detector` is unchanged.
    """

    strength: float = 0.1
    overshoot: float = 2.0
    farthest: float = 2.0
    name: str = "sparse_repellency"
    label: str = "Sparse repellency (SPELL), variant"
    summary: str = (
        "Generates once, then again outside shields around the first images, which it leaves by "
        "zeroing the padding where the paper moves radially."
    )
    citation: str = (
        "after Kirchhof et al. 2025, arXiv 2410.06025, and Kim & No 2026, arXiv 2605.02908"
    )
    strength_label: str = "dissimilarity to the first image (1 - cosine)"
    strengths: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2)

    def cost(self, steps: int) -> float:
        """Return the cost of a first generation, scored by the detector, and of a third branch."""
        return 3.0 * steps

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext = NO_CONTEXT
    ) -> Work[Mitigated]:
        """Return the request repelled by its own images; MMHError for other encoders."""
        yield
        check_share(self.strength)
        zeroed = without_padding(model, request)
        if not len(padding_rows(model, request.prompt)):
            raise MMHError(
                "This prompt fills the whole text encoder, so it has no padding to set to zero: "
                "shorten it, or choose another mitigation."
            )
        spent = 0.0
        if context.detector is not None and context.threshold is not None:
            scored = yield from context.detector(context.selecting(request))
            spent += scored.nfe
            if scored.score < context.threshold:
                reason = (
                    f"the score {scored.score:.3g} is below the threshold {context.threshold:.3g}"
                )
                return Mitigated(
                    request,
                    request.prompt,
                    f"Nothing was repelled: {reason}.",
                    spent,
                )
        first = context.latents
        if first is None:
            first, generation_nfe = yield from generated_latents(model, context.selecting(request))
            spent += generation_nfe
        repellency = Repellency(
            model, zeroed, first.float(), 1 - self.strength, self.overshoot, self.farthest
        )

        def mixing() -> Mixing:
            return repellency.mix

        return Mitigated(
            steered(request, mixing=mixing),
            request.prompt,
            "At every step the prompt's padding was set to zero as far as it took to keep the "
            f"cosine with the first image's latents below {1 - self.strength:.2g}.",
            spent,
            3.0,
        )


@dataclass(frozen=True, eq=False)
class Repellency:
    """Shields around `centers` (K, C, h, w) for every step; there is no state between steps.

    `zeroed` (1, tokens, width) is the prompt's embedding without its padding.
    """

    model: TextToImage
    zeroed: Tensor
    centers: Tensor
    cosine: float
    overshoot: float
    farthest: float

    def mix(self, branches: Branches) -> Tensor:
        """Return the guided output, moved towards the one without padding inside a shield."""
        output = branches.guided(branches.scale)
        conditional = branches.predict(self.zeroed)
        other = branches.without + branches.scale * (conditional - branches.without)
        x0, x0_other = (
            score_model_of_output(self.model, prediction).x0(branches.x_t, branches.t)
            for prediction in (output, other)
        )
        share = share_to_leave(
            x0, x0_other, self.centers.to(x0), self.cosine, overshoot=self.overshoot
        )
        share = share.clamp(max=self.farthest).to(output)
        return output + share[:, None, None, None] * (other - output)


def share_to_leave(
    x: Tensor, towards: Tensor, centers: Tensor, cosine: float, *, overshoot: float = 1.0
) -> Tensor:
    """Return the smallest share (B,) of the way at which each row is in no cone any more.

    Rows x (B, C, h, w) go to `x + share (towards - x)`; they and the centers (K, C, h, w) are
    compared by the cosine of their centered latents, without each channel's mean over positions,
    so that neither brightness nor contrast counts. A row is in the cone of a center while its
    cosine with it exceeds `cosine`, from 0 to 1. Cones are convex, so the way is in each of them
    over one stretch of shares (`_stretches`), and what is looked for is the first share behind all
    stretches that join up. It is 0 for a row in no cone, and infinite where the way does not lead
    out of all. With an `overshoot` above 1 the row goes that many times as far, and on from there
    where that is within a cone.
    """
    if not 0 <= cosine <= 1:
        raise ValueError(f"The cosine must be from 0 to 1, got {cosine!r}.")
    rows, ways, axes = (_centered(vectors) for vectors in (x, towards - x, centers))
    enters, leaves = _stretches(rows, ways, axes, cosine)
    zero = rows.new_zeros(len(rows))
    least = _behind(enters, leaves, zero)
    share = torch.where(least > 0, _behind(enters, leaves, overshoot * least), zero)
    return share.to(x.dtype)


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
    # The middle of each of the three pieces; of an unbounded one, a point within it.
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
    """Return the positive roots of `a s^2 + b s + c`, the smaller first, infinity without one.

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
