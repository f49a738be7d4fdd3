"""The pace of the early scan beside the published way to detect memorization, in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.detectors.inputs import encode, noise_inputs
from mmh_core.detectors.measurement import measure
from mmh_core.records import Progress
from mmh_core.subject.early_calibration import BATCH, SEEDS
from mmh_core.text_to_image.generation import generate
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request, Sampling

#: Wen et al. 2024: 50 steps with guidance, four images per prompt.
PUBLISHED_STEPS = 50
_ROUNDS, _PUBLISHED = 3, 2


@dataclass(frozen=True)
class Throughput:
    """The median pace of both ways, in prompts per second, each with four seeds.

    `times` is the median over the rounds of how many times faster the early scan was; the two take
    turns within a round, so that whatever else the machine does slows both.
    """

    early: float
    published: float
    times: float

    def words(self) -> str:
        """Return in a sentence how the early scan compares with the published way."""
        return (
            f"The early scan scores {self.early:.3g} prompts a second with {len(SEEDS)} seeds, "
            f"the published way ({PUBLISHED_STEPS} steps with guidance, {len(SEEDS)} images) "
            f"{self.published:.3g}: {self.times:.0f} times as many, in turns on this machine."
        )


def throughput(model: TextToImage, prompts: Sequence[str]) -> Iterator[Progress[Throughput]]:
    """Return the pace of the early scan on one batch of prompts, of the published way on two."""
    scan = EarlyScan()
    many = [prompts[i % len(prompts)] for i in range(BATCH)]

    def early() -> None:
        measure(model, noise_inputs(model, encode(model, many), SEEDS), [scan])

    def published() -> None:
        for prompt in many[:_PUBLISHED]:
            request = Request(
                prompt,
                SEEDS,
                Sampling(PUBLISHED_STEPS, max(model.guidance, 2.0), *model.image_size),
            )
            torch.stack([step.guidance_norm for step in generate(model, request)]).mean()

    paces: list[tuple[float, float]] = []
    for number in range(_ROUNDS):
        paces.append((BATCH / _seconds(early), _PUBLISHED / _seconds(published)))
        yield Progress(
            (number + 1) / _ROUNDS,
            f"Timing the early scan, round {number + 1} of {_ROUNDS}",
            Throughput(
                statistics.median(pace for pace, _ in paces),
                statistics.median(pace for _, pace in paces),
                statistics.median(fast / slow for fast, slow in paces),
            ),
        )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
