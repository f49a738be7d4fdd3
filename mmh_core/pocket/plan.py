"""The length of a build's stages for the time available."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mmh_core.files import write_text
from mmh_core.pocket.autoencoder import train_autoencoder
from mmh_core.pocket.build import STAGES, BuildConfig, fitting_of
from mmh_core.pocket.clip import captioned, train_clip
from mmh_core.pocket.denoiser import LatentSet, train_denoiser
from mmh_core.pocket.descriptor import train_descriptor
from mmh_core.pocket.fit import Fitted
from mmh_core.pocket.folder import Place
from mmh_core.pocket.tokenizer import LENGTH
from mmh_core.records import MMHError

#: Steps that are timed, after as many to warm up.
TIMED = 3
#: Share of the time for what is not training: drawing the world, encoding, writing.
ASIDE = 0.08
SIDE, LATENT_SIDE = 64, 8


def with_steps(config: BuildConfig, steps: dict[str, int]) -> BuildConfig:
    """Return the config with other numbers of steps, by stage; warm-ups keep their share."""
    changed = {}
    for stage in STAGES:
        before = fitting_of(config, stage)
        warm_up = max(1, round(before.warm_up * steps[stage] / before.steps))
        fitting = replace(before, steps=steps[stage], warm_up=warm_up)
        changed[stage] = replace(getattr(config, stage), fitting=fitting)
    return replace(config, **changed)


def timed(run: Iterator[Fitted], clock: Callable[[], float] = time.monotonic) -> float:
    """Return the seconds of a step, the first `TIMED` left out."""
    for _, _ in zip(range(TIMED), run, strict=False):
        pass
    start = clock()
    taken = sum(1 for _ in zip(range(TIMED), run, strict=False))
    return (clock() - start) / max(1, taken)


def step_seconds(
    config: BuildConfig,
    device: torch.device,
    measure: Callable[[Iterator[Fitted]], float] = timed,
) -> dict[str, float]:
    """Return the seconds that one step of each stage takes here."""
    config = with_steps(config, dict.fromkeys(STAGES, 2 * TIMED))
    generator = torch.Generator().manual_seed(0)
    count = 2 * max(fitting_of(config, stage).batch for stage in STAGES)
    shape = (count, 3, SIDE, SIDE)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    def ids(captions: list[str]) -> torch.Tensor:
        return torch.arange(len(captions) * LENGTH).reshape(-1, LENGTH) % config.vocabulary

    names = [str(i) for i in range(count)]
    texts = captioned([(name,) for name in names], names, ids)
    latents = torch.randn(count, 4, LATENT_SIDE, LATENT_SIDE, generator=generator)
    context = torch.randn(count, LENGTH, config.clip.text_width, generator=generator)
    data = LatentSet(latents, torch.ones(count), texts, context, context[:1])
    place, precision = Place(device, 0), config.precision
    runs: dict[str, Iterator[Fitted]] = {
        "autoencoder": train_autoencoder(images, config.autoencoder, place, precision),
        "clip": train_clip(images, texts, config.clip, place, precision),
        "descriptor": train_descriptor(
            images, torch.arange(count), config.descriptor, place, precision
        ),
        "denoiser": train_denoiser(data, config.denoiser, place, precision),
    }
    return {stage: measure(run) for stage, run in runs.items()}


def fitted_to(
    minutes: float,
    config: BuildConfig,
    device: torch.device,
    work: Path,
    *,
    measure: Callable[[BuildConfig, torch.device], dict[str, float]] = step_seconds,
) -> BuildConfig:
    """Return the config with the steps of all stages scaled to this many minutes.

    A few steps of each stage are timed on random images first. The steps found are kept in
    `work`, so that a build that is started again continues with the same ones.
    """
    if not 0 < minutes < math.inf:
        raise ValueError(f"minutes must be a number above 0, got {minutes!r}.")
    path, settings = work / "plan.json", {"minutes": minutes, "config": repr(config)}
    kept = _kept(path)
    if kept is None or any(kept.get(key) != value for key, value in settings.items()):
        seconds = measure(config, device)
        needed = sum(fitting_of(config, stage).steps * seconds[stage] for stage in STAGES)
        factor = minutes * 60 * (1 - ASIDE) / needed
        steps = {s: max(1, round(fitting_of(config, s).steps * factor)) for s in STAGES}
        kept = {**settings, "step_seconds": seconds, "steps": steps}
        write_text(path, json.dumps(kept, indent=2) + "\n")
    return with_steps(config, kept["steps"])


def _kept(path: Path) -> dict[str, Any] | None:
    """Return the plan of an earlier start, or None."""
    try:
        plan: dict[str, Any] = json.loads(path.read_text())
        {stage: int(plan["steps"][stage]) for stage in STAGES}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise MMHError(f"The plan {path} cannot be read: remove it and start again.") from error
    return plan
