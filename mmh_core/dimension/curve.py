"""LID over the noise scale, and the choice of a scale without knowing the truth.

Each direction leaves the curve where delta passes its width: between the scales of the noise floor
and of the data's curvature the curve is flat, and its height there is the dimension. Multi-scale
data has several plateaus.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.probes import Randomness
from mmh_core.records import LidCurve, LidEstimate, Plateau, PlateauStatus

_FEWEST_SCALES = 3
#: How much higher a finer plateau is at least: half a dimension, as between two whole numbers.
_HIGHER = 0.5


class Estimator(Protocol):
    """A function that estimates the LID of points `x` (B, *shape) at one noise scale."""

    def __call__(
        self,
        model: ScoreModel,
        x: Tensor,
        log_delta: Tensor | float,
        *,
        cond: Tensor | None = None,
        generator: Randomness,
    ) -> LidEstimate:
        """Return the estimate."""


def lid_curve(
    estimator: Estimator,
    model: ScoreModel,
    x: Tensor,
    log_deltas: Tensor,
    *,
    cond: Tensor | None = None,
    generator: Randomness,
) -> LidCurve:
    """Run one estimator at each of the scales `log_deltas` (K,), increasing.

    `estimator` is a function of this package, its options fixed with `functools.partial`. Every
    scale starts from the same state of the generators, so that the random draws are the same
    along the curve and their noise does not roughen it; afterwards the generator has moved on by
    one estimate. The standard errors of neighboring scales are therefore not independent.
    """
    scales = log_deltas.detach()
    if scales.dim() != 1 or not len(scales) or not bool((scales.diff() > 0).all()):
        raise ValueError(f"log_deltas must be a list of increasing scales, got {log_deltas!r}.")
    generators = [generator] if isinstance(generator, torch.Generator) else generator
    starts = [generator.get_state() for generator in generators]
    estimates = []
    for scale in scales.tolist():
        for source, start in zip(generators, starts, strict=True):
            source.set_state(start)
        estimates.append(estimator(model, x, scale, cond=cond, generator=generator))
    return LidCurve(
        scales,
        torch.stack([part.lid for part in estimates], dim=1),
        torch.stack([part.standard_error for part in estimates], dim=1),
        sum(part.nfe for part in estimates),
    )


def plateau(
    curve: LidCurve,
    band: tuple[float, float] | None = None,
    *,
    absolute: float = 0.25,
    relative: float = 0.05,
    min_width: float = 1.0,
    prefer: Literal["longest", "finest"] = "longest",
) -> Plateau:
    """Choose the scale of each curve: a flat stretch inside a trusted band.

    `band` is (lowest, highest) log delta, by default the whole curve. After a running median over
    three scales (which keeps the stairs of a count) a stretch is flat while its range is at most
    `max(absolute, relative * value)`; of equally long ones the smallest delta wins. Status:
    "plateau" for a width of at least `min_width`; "edge of the band" for at least half of it at an
    end of the band; otherwise "no plateau", with the value at the flattest point and width 0. A
    single direction that leaves the curve stays within a range of .25 for a width of .5, hence the
    default of twice that. Beyond the data's extent every curve is flat at 0: end the band below.

    "several plateaus" where at smaller noise than the longest one there is another, higher by half
    a dimension at least: directions that are thin and not missing, so that the longest plateau
    alone does not say what the LID, a limit of small noise, is. `prefer` chooses which of them is
    returned: the longest, or the finest, which is right where `band` begins above the noise at
    which the network's approximation error dominates.
    """
    for name, value in (("absolute", absolute), ("relative", relative), ("min_width", min_width)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be finite and above 0, got {value!r}.")
    scales, lid = _inside(curve, band)
    smooth = _running_median(lid)
    first, last = _longest_flat(scales, smooth, absolute, relative)
    full, edge = _wide_enough(scales, first, last, min_width)
    chosen = full | edge
    finest = _finest_flat(scales, smooth, (first, last), absolute, relative, min_width)
    several = chosen & (finest[0] < first)
    if prefer == "finest":
        first, last = torch.where(several, torch.stack(finest), torch.stack((first, last)))
    point = _flattest(scales, smooth)
    rows = torch.arange(len(lid), device=lid.device)
    width = scales[last] - scales[first]
    return Plateau(
        torch.where(chosen, _median_between(lid, first, last), smooth[rows, point]),
        torch.where(chosen, (scales[first] + scales[last]) / 2, scales[point]),
        torch.where(chosen, width, torch.zeros_like(width)),
        tuple(map(_status, several.tolist(), full.tolist(), edge.tolist())),
    )


def _finest_flat(
    scales: Tensor,
    lid: Tensor,
    longest: tuple[Tensor, Tensor],
    absolute: float,
    relative: float,
    min_width: float,
) -> tuple[Tensor, Tensor]:
    """Return the first and last index (B,) of the finest plateau, stepping up from the longest.

    Each step looks for the longest flat stretch at smaller noise than all before; it counts where
    it is higher and of full width, since half a plateau at the edge of small noise may be no more
    than the network's approximation error.
    """
    first, last = longest
    height = _median_between(lid, first, last)
    below, none = first, torch.zeros_like(first)
    index = torch.arange(len(scales), device=lid.device)
    while bool((below > 0).any()):
        finer = lid.where(index < below[:, None], torch.nan)
        start, end = _longest_flat(scales, finer, absolute, relative)
        value = _median_between(lid, start, end)
        wide, _ = _wide_enough(scales, start, end, min_width)
        higher = value - height > (relative * value.abs()).clamp(min=_HIGHER)
        another = (below > 0) & wide & higher
        first, last = torch.where(another, start, first), torch.where(another, end, last)
        height = torch.where(another, value, height)
        below = torch.where(another, start, none)
    return first, last


def _wide_enough(
    scales: Tensor, first: Tensor, last: Tensor, min_width: float
) -> tuple[Tensor, Tensor]:
    """Return which stretches (B,) are plateaus, and which are half of one at the band's edge."""
    width = scales[last] - scales[first]
    full = width >= min_width * (1 - 1e-5)
    at_edge = (first == 0) | (last == len(scales) - 1)
    return full, ~full & at_edge & (width >= min_width / 2)


def _status(several: bool, full: bool, edge: bool) -> PlateauStatus:
    if several:
        return "several plateaus"
    if full:
        return "plateau"
    return "edge of the band" if edge else "no plateau"


def _inside(curve: LidCurve, band: tuple[float, float] | None) -> tuple[Tensor, Tensor]:
    """Return the scales (K,) and values (B, K) of the band."""
    scales = curve.log_delta
    low, high = band if band is not None else (-math.inf, math.inf)
    kept = (scales >= low) & (scales <= high)
    if int(kept.sum()) < _FEWEST_SCALES:
        raise ValueError(
            f"The band {band!r} must hold at least {_FEWEST_SCALES} scales of the curve, which "
            f"runs from {scales[0].item():.4g} to {scales[-1].item():.4g}."
        )
    return scales[kept].to(curve.lid), curve.lid[:, kept]


def _running_median(lid: Tensor) -> Tensor:
    """Return the median of each value and its two neighbors; the ends keep their own."""
    padded = torch.cat([lid[:, :1], lid, lid[:, -1:]], dim=1)
    return padded.unfold(1, 3, 1).median(dim=2).values


def _longest_flat(
    scales: Tensor, lid: Tensor, absolute: float, relative: float
) -> tuple[Tensor, Tensor]:
    """Return the first and last index (B,) of the longest stretch that stays within tolerance.

    NaN makes every stretch that holds it not flat.
    """
    first = torch.zeros(len(lid), dtype=torch.long, device=lid.device)
    last, longest = first, lid.new_zeros(len(lid))
    slack = 1e-3 * scales.diff().min()
    for count in range(2, len(scales) + 1):
        stretches = lid.unfold(1, count, 1)
        low, high = stretches.amin(2), stretches.amax(2)
        tolerance = (relative * (low + high).abs() / 2).clamp(min=absolute)
        width = (scales[count - 1 :] - scales[: len(scales) - count + 1]).expand_as(low)
        width = torch.where(high - low <= tolerance, width, -1.0)
        best = width.amax(1)
        # The earliest stretch within rounding of the longest one.
        start = (width >= best[:, None] - slack).int().argmax(1)
        tied = (best > longest - slack) & (start < first)
        better = (best > longest + slack) | tied
        longest = torch.where(better, best, longest)
        first = torch.where(better, start, first)
        last = torch.where(better, start + count - 1, last)
    return first, last


def _flattest(scales: Tensor, lid: Tensor) -> Tensor:
    """Return the index (B,) of the smallest slope, by central differences."""
    (slope,) = torch.gradient(lid, spacing=(scales,), dim=1)
    return slope.abs().nan_to_num(torch.inf).argmin(1)


def _median_between(lid: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Return the median (B,) of lid between two indices, both included."""
    index = torch.arange(lid.shape[1], device=lid.device)
    inside = (index >= first[:, None]) & (index <= last[:, None])
    # The mean of the two middle values for an even number of them.
    return lid.where(inside, torch.nan).nanquantile(0.5, dim=1)
