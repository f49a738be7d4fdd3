"""An estimator of LID on images, pass after pass of the network.

LID is a property of an image: its probes are drawn from a digest of the model's weights, the
estimator's name, the prompt and the image (`text_to_image.image_probes`). So an image has the same
estimate alone and among others, on every page, by command and from its file, but for what a batch
of another size changes in the last digits of float32.

The default estimator takes `FIRST` probes, and all `PROBES` where a verdict or a cause may turn
within the `SURE` interval of the first ones (`verdict.settled_verdict`). The first look decides by
a wider interval than the one that is printed, so that looking twice costs no coverage: a verdict
is wrong as rarely as with all probes, and the printed interval holds the LID as often.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.dimension.jacobian import rows_at_once
from mmh_core.dimension.lanczos import Effort
from mmh_core.dimension.probes import rademacher
from mmh_core.dimension.spectral import ProbeValues, joined_probes, soft_spectral_values
from mmh_core.records import LidEstimate, MMHError
from mmh_core.statistics.intervals import half_width
from mmh_core.text_to_image.model import TextToImage

#: Probes where a verdict may depend on the estimate, and those that it begins with. Four products
#: each: `dimension.lanczos` says how near that comes.
PROBES, FIRST, PRODUCTS = 8, 4, 4
#: Probes without the prompt, of those with it: of the difference, which varies far less.
UNPROMPTED = 1
#: Probes of a curve: no verdict depends on it.
EFFORT = Effort(FIRST, PRODUCTS)
#: The level of the interval by which the first probes decide.
SURE = 0.98

Result = TypeVar("Result")
Report = TypeVar("Report")
#: Whether the first estimate of the image in a row settles its verdict.
Settled = Callable[[int, LidEstimate], bool]
#: Passes of the network with a yield after each, and the values of all of them for each image.
ProbePasses = Generator[None, None, list[ProbeValues]]


def deciding_passes(
    model: TextToImage,
    latents: Tensor,
    branches: Sequence[Tensor],
    log_delta: float,
    own: Sequence[torch.Generator],
    settled: Settled | None,
) -> Generator[None, None, list[list[ProbeValues]]]:
    """Return for each branch the images' values of probes of the default estimator.

    `branches` are embeddings (B, tokens, width): those of the prompts, and maybe those of no
    prompt, which have the first `UNPROMPTED` probes of the others. With the prompt an image has
    `FIRST` probes where `settled` says so of the row and its first estimate, else `PROBES`, and so
    has every image where `settled` is None. `own` are the generators of the images' probes.
    """
    first = PROBES if settled is None else FIRST
    signs = rademacher(latents, first, own)
    probed = [(branches[0], signs), *((cond, signs[:, :UNPROMPTED]) for cond in branches[1:])]
    values = yield from _shared_passes(model, latents, log_delta, probed)
    dim, prompted = latents[0].numel(), values[0]
    rows = [
        row
        for row, one in enumerate(prompted)
        if settled is not None and not settled(row, one.estimate(dim))
    ]
    if rows:
        more = rademacher(latents[rows], PROBES - FIRST, [own[row] for row in rows])
        added = yield from sign_passes(model, latents[rows], branches[0][rows], log_delta, more)
        for row, one in zip(rows, added, strict=True):
            prompted[row] = joined_probes([prompted[row], one])
    return values


def _shared_passes(
    model: TextToImage,
    latents: Tensor,
    log_delta: float,
    probed: Sequence[tuple[Tensor, Tensor]],
) -> Generator[None, None, list[list[ProbeValues]]]:
    """Return for each of some embeddings (B, ...) with probes (B, K, ...) the images' values.

    Where all probes of an image fit in one pass each has a row of its own, so that embeddings
    share the passes; in a large network all probes of an embedding share one forward pass.
    """
    counts = [signs.shape[1] for _, signs in probed]
    images = rows_at_once(latents[0].numel()) // sum(counts)
    if len(probed) == 1 or images < 1:
        values = []
        for cond, signs in probed:
            values.append((yield from sign_passes(model, latents, cond, log_delta, signs)))
        return values
    images = math.ceil(len(latents) / math.ceil(len(latents) / images))
    joint = list[ProbeValues]()
    for start in range(0, len(latents), images):
        part = slice(start, start + images)
        conds = [cond[part, None].expand(-1, signs.shape[1], -1, -1) for cond, signs in probed]
        signs = torch.cat([signs[part] for _, signs in probed], dim=1)
        x = latents[part, None].expand(signs.shape).flatten(0, 1)
        rows = signs.flatten(0, 1)[:, None]
        one = yield from sign_passes(
            model, x, torch.cat(conds, dim=1).flatten(0, 1), log_delta, rows
        )
        joint += one
    ends = torch.tensor([0, *counts]).cumsum(0).tolist()
    return [
        [joined_probes(joint[row + low : row + high]) for row in range(0, len(joint), sum(counts))]
        for low, high in pairwise(ends)
    ]


def clear_of(levels: Sequence[float]) -> Callable[[object, LidEstimate], bool] | None:
    """Return whether an estimate, of whatever image, is clear of levels; None without any.

    A level that is NaN is none.
    """
    present = [level for level in levels if not math.isnan(level)]
    return (lambda _, estimate: decided(estimate, present)) if present else None


def decided(estimate: LidEstimate, levels: Sequence[float]) -> bool:
    """Return whether the `SURE` interval of the estimate of one image holds none of the levels."""
    half = sure_half_width(estimate)
    return all(abs(float(estimate.lid) - level) > half for level in levels)


def sure_half_width(estimate: LidEstimate) -> float:
    """Return half the `SURE` interval of the estimate of one image."""
    return half_width(float(estimate.standard_error), estimate.probes, SURE)


def sign_passes(
    model: TextToImage,
    latents: Tensor,
    cond: Tensor,
    log_delta: float,
    signs: Tensor,
) -> ProbePasses:
    """Return each image's values of the probes `signs` (B, K, ...) of the default estimator."""
    parts = []
    x = latents.to(model.device)
    for part in soft_spectral_values(
        shaped(model, latents), x, log_delta, cond=cond, signs=signs.to(x), steps=PRODUCTS
    ):
        parts.append(part)
        yield
    values = joined_probes(parts)
    return [values.point(row) for row in range(len(latents))]


def estimator_pass(
    model: TextToImage,
    latents: Tensor,
    cond: Tensor,
    log_delta: float,
    estimator: str,
    own: Sequence[torch.Generator],
) -> list[LidEstimate]:
    """Return each image's LID by one estimator with its own options.

    Errors: MMHError where D is beyond the estimator's limit.
    """
    check_limit(model, estimator, latents[0].numel())
    run, x = ESTIMATORS[estimator].run, latents.to(model.device)
    estimate = run(shaped(model, latents), x, log_delta, cond=cond, generator=own)
    return [
        LidEstimate(lid[None], error[None], estimate.nfe, probes=estimate.probes)
        for lid, error in zip(estimate.lid, estimate.standard_error, strict=True)
    ]


def shaped(model: TextToImage, latents: Tensor) -> ScoreModel:
    """Return the score model for latents of this size."""
    return replace(model.score_model, shape=tuple(latents.shape[1:]))


def check_limit(model: TextToImage, name: str, dim: int) -> None:
    """Raise MMHError where an image has more dimensions than an estimator can take."""
    spec = ESTIMATORS[name]
    if spec.max_dim is not None and dim > spec.max_dim:
        raise MMHError(
            f"{spec.label} is for at most {spec.max_dim:,} dimensions and an image of this size "
            f"has {dim:,} in {model.name}: choose another estimator or a smaller size."
        )


def reporting(
    passes: Generator[None, None, Result], report: Report
) -> Generator[Report, None, Result]:
    """Yield the same report between two passes, and return what the passes gave."""
    while True:
        try:
            next(passes)
        except StopIteration as end:
            result: Result = end.value
            return result
        yield report
