"""An estimator of LID on images, pass after pass of the network.

LID is a property of an image: its probes are drawn from a digest of the model's weights, the
estimator's name, the prompt and the image (`text_to_image.image_probes`). So an image has the same
estimate alone and among others, on every page, by command and from its file, but for what a batch
of another size changes in the last digits of float32.

The default estimator takes `FIRST` probes, and all `PROBES` where a verdict may turn: where the
`SURE` interval of the first ones contains one of the LIDs at which it does. The first look decides
by a wider interval than the one that is printed, so that looking twice costs no coverage: a
verdict is wrong as rarely as with all probes, and the printed interval holds the LID as often.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.dimension.lanczos import Effort
from mmh_core.dimension.spectral import ProbeValues, joined_probes, soft_spectral_probes
from mmh_core.records import LidEstimate, MMHError
from mmh_core.statistics.intervals import half_width
from mmh_core.text_to_image.model import TextToImage

#: Probes where a verdict may depend on the estimate, and those that it begins with. Four products
#: each: `dimension.lanczos` says how near that comes.
PROBES, FIRST, PRODUCTS = 8, 4, 4
#: Probes without the prompt, of those with it: of the difference, which varies far less.
UNPROMPTED = 2
#: Probes of a curve: no verdict depends on it.
EFFORT = Effort(FIRST, PRODUCTS)
#: The level of the interval by which the first probes decide.
SURE = 0.98

Result = TypeVar("Result")
Report = TypeVar("Report")
#: Passes of the network with a yield after each, and the values of all of them for each image.
ProbePasses = Generator[None, None, list[ProbeValues]]


def deciding_passes(
    model: TextToImage,
    latents: Tensor,
    cond: Tensor,
    log_delta: float,
    own: Sequence[torch.Generator],
    levels: Sequence[float],
    *,
    certain: Sequence[bool] = (),
) -> ProbePasses:
    """Return each image's values of `FIRST` or of all `PROBES` probes of the default estimator.

    `levels` are the LIDs at which a verdict turns, NaN where unknown; where all are,
    every image has all probes, and so have those marked in `certain`. `own` are the generators of
    the images' probes.
    """
    present = [level for level in levels if not math.isnan(level)]
    if not present:
        return (yield from probe_passes(model, latents, cond, log_delta, own, PROBES))
    values = yield from probe_passes(model, latents, cond, log_delta, own, FIRST)
    dim = latents[0].numel()
    marked = certain or [False] * len(values)
    rows = [
        row
        for row, first in enumerate(values)
        if marked[row] or not decided(first.estimate(dim), present)
    ]
    if rows:
        more = yield from probe_passes(
            *(model, latents[rows], cond[rows], log_delta),
            [own[row] for row in rows],
            PROBES - FIRST,
        )
        for row, added in zip(rows, more, strict=True):
            values[row] = joined_probes([values[row], added])
    return values


def decided(estimate: LidEstimate, levels: Sequence[float]) -> bool:
    """Return whether the `SURE` interval of the estimate of one image holds none of the levels."""
    half = half_width(float(estimate.standard_error), estimate.draws, SURE)
    return all(abs(float(estimate.lid) - level) > half for level in levels)


def probe_passes(
    model: TextToImage,
    latents: Tensor,
    cond: Tensor,
    log_delta: float,
    own: Sequence[torch.Generator],
    probes: int,
) -> ProbePasses:
    """Return each image's values of so many further probes of the default estimator."""
    parts = []
    for part in soft_spectral_probes(
        shaped(model, latents),
        latents.to(model.device),
        log_delta,
        cond=cond,
        effort=replace(EFFORT, probes=probes),
        generator=own,
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
        LidEstimate(lid[None], error[None], estimate.nfe, draws=estimate.draws)
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
