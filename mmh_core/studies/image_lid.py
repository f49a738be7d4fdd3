"""Read the LID of drawn pictures: at one scale by any estimator, and over the noise scales."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.curve import lid_curve, plateau
from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.dimension.lanczos import Effort
from mmh_core.dimension.spectral import soft_spectral_count
from mmh_core.records import LidCurve, LidEstimate, MMHError
from mmh_core.studies.image_run import DEFAULT_ESTIMATOR, LidReading, PictureResult
from mmh_core.text_to_image.model import TextToImage

#: Two probes of five Lanczos steps: with fewer steps large dimensions come out a quarter too low;
#: with fewer probes the standard error grows where LID is large, and stays small at copies.
EFFORT = Effort(probes=2, steps=5)
#: Natural logarithms of the noise scales of a curve, in units of the latents' spread.
LOG_DELTAS = tuple(round(math.log(0.12) + 0.3 * k, 4) for k in range(9))
#: Numbers whose graph is kept at once: 24 pocket pictures, or one of Stable Diffusion.
_NUMBERS = 24 * 256


def read_lids(
    model: TextToImage,
    pictures: Sequence[PictureResult],
    log_delta: float,
    *,
    estimator: str = DEFAULT_ESTIMATOR,
    negative: str = "",
) -> list[LidReading]:
    """Read LID with the prompt and without it (or with the negative one), by one estimator.

    Both readings of a picture share their probes, so that their difference has less noise; other
    pictures have others. Errors: MMHError where D is beyond the estimator's limit.
    """
    latents = torch.stack([one.latents for one in pictures])
    with_prompt = _embeddings(model, [one.prompt for one in pictures])
    without = model.encode_text([negative]) if negative else model.unconditional
    without = without.expand(len(pictures), -1, -1)
    found = [
        estimate_lid(model, latents, cond, log_delta, estimator, pictures[0].seed)
        for cond in (with_prompt, without)
    ]
    spec = ESTIMATORS[estimator]
    return [
        LidReading(
            estimator=estimator,
            label=spec.label,
            log_delta=log_delta,
            conditional=float(found[0].lid[i]),
            conditional_error=float(found[0].standard_error[i]),
            unconditional=float(found[1].lid[i]),
            unconditional_error=float(found[1].standard_error[i]),
            percentile=math.nan,
            forwards=found[0].forwards + found[1].forwards,
        )
        for i in range(len(pictures))
    ]


def read_curves(
    model: TextToImage, pictures: Sequence[PictureResult], log_deltas: Tensor
) -> Iterator[tuple[float, list[tuple[Tensor, Tensor]]]]:
    """Read conditional LID over the scales; yield the share done and all curves so far."""
    done: list[tuple[Tensor, Tensor]] = []
    for part in _chunks(len(pictures), model):
        found = _curve(model, pictures[part], log_deltas)
        done += list(zip(found.lid.cpu(), found.standard_error.cpu(), strict=True))
        yield len(done) / len(pictures), list(done)


def chosen_scale(model: TextToImage, pictures: Sequence[PictureResult]) -> float:
    """Return the log delta at which an uncalibrated model's LID is read.

    The median over the pictures of the middle of their curves' plateaus, or of their flattest
    point where there is none.
    """
    scales = torch.tensor(LOG_DELTAS)
    parts = [_curve(model, pictures[part], scales) for part in _chunks(len(pictures), model)]
    lid = torch.cat([part.lid.cpu() for part in parts])
    error = torch.cat([part.standard_error.cpu() for part in parts])
    curve = LidCurve(scales, lid, error, parts[0].forwards)
    return float(plateau(curve, absolute=1.0, relative=0.1).log_delta.median())


def _curve(model: TextToImage, pictures: Sequence[PictureResult], log_deltas: Tensor) -> LidCurve:
    latents = torch.stack([one.latents for one in pictures]).to(model.device)
    return lid_curve(
        _counted,
        model.score_model,
        latents,
        log_deltas.to(model.device),
        cond=_embeddings(model, [one.prompt for one in pictures]),
        generator=_generator(pictures[0].seed),
    )


def _counted(
    model: ScoreModel,
    x: Tensor,
    log_delta: Tensor | float,
    *,
    cond: Tensor | None = None,
    generator: torch.Generator,
) -> LidEstimate:
    """Run the default estimator with this study's effort."""
    return soft_spectral_count(model, x, log_delta, cond=cond, effort=EFFORT, generator=generator)


def estimate_lid(
    model: TextToImage,
    latents: Tensor,
    cond: Tensor,
    log_delta: float,
    estimator: str,
    seed: int,
) -> LidEstimate:
    """Run an estimator at latents (B, C, h, w) given embeddings `cond` (B, tokens, width).

    As many at a time as fit into memory; `seed` fixes the probes. Errors: MMHError where D is
    beyond the estimator's limit.
    """
    spec = ESTIMATORS[estimator]
    run = _counted if estimator == DEFAULT_ESTIMATOR else spec.run
    dim = latents[0].numel()
    if spec.max_dim is not None and dim > spec.max_dim:
        raise MMHError(
            f"{spec.label} is for at most {spec.max_dim:,} dimensions and {model.name} has "
            f"{dim:,}: choose another estimator."
        )
    generator = _generator(seed)
    parts = [
        run(
            model.score_model,
            latents[part].to(model.device),
            log_delta,
            cond=cond[part],
            generator=generator,
        )
        for part in _chunks(len(latents), model)
    ]
    return LidEstimate(
        torch.cat([part.lid.cpu() for part in parts]),
        torch.cat([part.standard_error.cpu() for part in parts]),
        parts[0].forwards,
    )


def _chunks(count: int, model: TextToImage) -> list[slice]:
    size = max(1, _NUMBERS // model.score_model.ambient_dim)
    return [slice(start, start + size) for start in range(0, count, size)]


def _embeddings(model: TextToImage, prompts: Sequence[str]) -> Tensor:
    """Return one embedding per prompt, each distinct prompt encoded once."""
    distinct = list(dict.fromkeys(prompts))
    encoded = torch.cat([model.encode_text([prompt]) for prompt in distinct])
    return encoded[[distinct.index(prompt) for prompt in prompts]]


def _generator(seed: int) -> torch.Generator:
    """Return the probes' generator: of the run's first seed, apart from that of its noise."""
    return torch.Generator().manual_seed((seed * 2_654_435_761 + 97) % 2**63)
