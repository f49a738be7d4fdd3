"""An estimator of LID on images, pass after pass of the network, on the model's probes.

LID is a property of an image: its probes are drawn from a digest of the model's weights and the
estimator's name, anew for each image. So an image has the same estimate alone and among others, on
every page, by command and from its file, with any caption where none is used, but for what a batch
of another size changes in the last digits of float32. Pixels and latents are not part of the
digest: they move in the last digit with the size of a batch, and a file holds eight bits of them.
Images share their probes, which makes differences between them more certain than each of them; the
mean over many images is as uncertain as one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.dimension.lanczos import Effort
from mmh_core.dimension.spectral import ProbeValues, joined_probes, soft_spectral_probes
from mmh_core.records import LidEstimate, MMHError
from mmh_core.statistics import half_width
from mmh_core.studies.images.run import DEFAULT_ESTIMATOR
from mmh_core.text_to_image.model import TextToImage

#: Probes where a verdict may depend on the estimate, and those that it begins with. Four products
#: each: `dimension.lanczos` says how near that comes.
PROBES, FIRST, PRODUCTS = 8, 4, 4
#: Probes of a curve and of an unconditional estimate: no verdict depends on them.
EFFORT = Effort(FIRST, PRODUCTS)


@dataclass(frozen=True, eq=False)
class Lids:
    """The LID of B images by one estimator, each with its cost.

    `lid` and `standard_error` (B,); `nfe` (B,) counts network evaluations; `draws` of each
    image are the independent values behind its error, None for a deterministic estimator.
    """

    lid: Tensor
    standard_error: Tensor
    nfe: Tensor
    draws: tuple[int | None, ...]


def lid_passes(
    model: TextToImage,
    latents: Tensor,
    cond: Tensor,
    log_delta: float,
    estimator: str,
    *,
    level: float = math.nan,
    draws: Sequence[int] | None = None,
) -> Iterator[Lids | None]:
    """Yield None between two passes of the network, and what they gave at last.

    The default estimator takes `FIRST` probes, and all `PROBES` for images whose 95 % interval
    holds `level` (for all of them where that is NaN); given `draws`, as many for each image.
    """
    check_limit(model, estimator, latents[0].numel())
    score_model = replace(model.score_model, shape=tuple(latents.shape[1:]))
    x = latents.to(model.device)
    own = [probe_generator(model.sha256, estimator) for _ in x]
    if estimator == DEFAULT_ESTIMATOR:
        yield from _counted(score_model, x, log_delta, cond, own, level, draws)
    else:
        run = ESTIMATORS[estimator].run
        yield _lids(run(score_model, x, log_delta, cond=cond, generator=own))


def _counted(
    model: ScoreModel,
    x: Tensor,
    log_delta: float,
    cond: Tensor,
    own: list[torch.Generator],
    level: float,
    draws: Sequence[int] | None,
) -> Iterator[Lids | None]:
    """Run the default estimator with some probes at all images, and with more where wanted."""
    everywhere = math.isnan(level) if draws is None else min(draws) >= PROBES
    first = PROBES if everywhere else FIRST
    begun = yield from _probed(model, x, log_delta, cond, own, first)
    lids = _lids(begun.estimate(model.ambient_dim))
    if draws is None:
        rows = [i for i in range(len(x)) if not _decided(lids, i, level)]
    else:
        rows = [i for i, count in enumerate(draws) if count > first]
    if everywhere or not rows:
        yield lids
        return
    more = yield from _probed(
        model, x[rows], log_delta, cond[rows], [own[i] for i in rows], PROBES - first
    )
    previous = ProbeValues(begun.counts[rows], begun.squares[rows], begun.nfe)
    yield _replaced(lids, rows, _lids(joined_probes([previous, more]).estimate(model.ambient_dim)))


def _probed(
    model: ScoreModel,
    x: Tensor,
    log_delta: float,
    cond: Tensor,
    own: list[torch.Generator],
    probes: int,
) -> Generator[None, None, ProbeValues]:
    """Return what so many further probes of each image say, a yield after each pass."""
    parts = []
    for part in soft_spectral_probes(
        model, x, log_delta, cond=cond, effort=replace(EFFORT, probes=probes), generator=own
    ):
        parts.append(part)
        yield
    return joined_probes(parts)


def _lids(estimate: LidEstimate) -> Lids:
    count = len(estimate.lid)
    return Lids(
        estimate.lid.cpu(),
        estimate.standard_error.cpu(),
        torch.full((count,), estimate.nfe),
        (estimate.draws,) * count,
    )


def _replaced(lids: Lids, rows: list[int], by: Lids) -> Lids:
    """Return the LIDs with those of some rows replaced."""
    at, draws = torch.tensor(rows), list(lids.draws)
    for row, count in zip(rows, by.draws, strict=True):
        draws[row] = count
    return Lids(
        lids.lid.index_copy(0, at, by.lid),
        lids.standard_error.index_copy(0, at, by.standard_error),
        lids.nfe.index_copy(0, at, by.nfe),
        tuple(draws),
    )


def _decided(lids: Lids, row: int, level: float) -> bool:
    """Return whether the level lies outside the 95 % interval; never where it is unknown."""
    off = abs(float(lids.lid[row]) - level)
    return off > half_width(float(lids.standard_error[row]), lids.draws[row])


def probe_generator(sha256: str, estimator: str) -> torch.Generator:
    """Return the generator of the probes of every image of a model."""
    digest = hashlib.sha256(f"{sha256} {estimator}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def check_limit(model: TextToImage, name: str, dim: int) -> None:
    """Raise MMHError where an image has more dimensions than an estimator can take."""
    spec = ESTIMATORS[name]
    if spec.max_dim is not None and dim > spec.max_dim:
        raise MMHError(
            f"{spec.label} is for at most {spec.max_dim:,} dimensions and an image of this size "
            f"has {dim:,} in {model.name}: choose another estimator or a smaller size."
        )


def last_of(passes: Iterator[Lids | None]) -> Lids:
    """Run all passes and return what they gave."""
    [last] = [answer for answer in passes if answer is not None]
    return last
