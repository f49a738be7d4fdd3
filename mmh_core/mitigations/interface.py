"""The interface of mitigations: their context and their outcome.

A mitigation is a frozen dataclass whose fields are its hyperparameters. One of them is called
`strength`; `strength_label` is its meaning, `strengths` are values worth trying, weakest first. A
mitigation turns a request into a request and generates nothing itself: seeds, size, steps and
scheduler stay, so the same seed starts from the same noise (unless it is the noise that changes).

`Work` can be stopped: a generator that yields before each evaluation of a network, or before each
step of a generation, and returns its result. `yield from` passes a stop on to inner work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from mmh_core.records import MMHError, Named
from mmh_core.retrieval.embedders import Embedder
from mmh_core.retrieval.index import Index
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request, Steering

Result = TypeVar("Result")
Report = TypeVar("Report")
Work = Generator[None, None, Result]
LidBy = Literal["flipd", "denoising loss"]


def result_of(work: Work[Result]) -> Result:
    """Run work to its end and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


def without_work(value: Result) -> Work[Result]:
    """Return work without a single step, which returns this value."""
    yield from ()
    return value


def reporting(work: Work[Result], report: Report) -> Generator[Report, None, Result]:
    """Yield the same report wherever work can be stopped, and return what the work returns."""
    while True:
        yield report
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


@dataclass(frozen=True)
class RequestScore:
    """A detector's score of a request (higher = more memorized), and its NFE.

    A detector that generates may add how well the images fit the original prompt (`alignment`,
    higher = better); NaN where it is unknown. `wrong_content` is the share of images that show
    something else than the prompt names, which an alignment may not notice.
    """

    score: float
    nfe: float
    alignment: float = math.nan
    wrong_content: float = 0.0


@dataclass(frozen=True, eq=False)
class MitigationContext:
    """What some mitigations need besides a model and a request.

    `generator` samples words, probes and noises. `detector` scores a rewritten
    prompt, or a candidate of a chain, which passes below `threshold`; its score is the
    `score_name`. `reference_norms` (N,) are
    first-step guidance norms of reference prompts; `reference_lids` returns LIDs (N,) of their
    images by an estimator at a noise scale. `latents` (B, C, h, w) are the final latents of the
    unmitigated request, so that it need not be generated again. `index` has the training images'
    descriptors by `embedder`; at a cosine of `copy_similarity` an image counts as a copy of one.
    `selection_seeds` are those whose images a mitigation may look at while it searches, apart from
    the seeds that it is judged by; None where nothing is judged, and the request's own serve.
    """

    generator: torch.Generator | None = None
    detector: Callable[[Request], Work[RequestScore]] | None = None
    threshold: float | None = None
    score_name: str = "score"
    reference_norms: Tensor | None = None
    reference_lids: Callable[[LidBy, float], Work[Tensor]] | None = None
    latents: Tensor | None = None
    index: Index | None = None
    embedder: Embedder | None = None
    copy_similarity: float = 0.65
    selection_seeds: tuple[int, ...] | None = None

    def selecting(self, request: Request) -> Request:
        """Return the request with the seeds that a mitigation may look at the images of."""
        if self.selection_seeds is None:
            return request
        return replace(request, seeds=self.selection_seeds)

    def random(self) -> torch.Generator:
        """Return the generator; ValueError without one."""
        if self.generator is None:
            raise ValueError("This mitigation needs random numbers: pass a generator.")
        return self.generator


NO_CONTEXT = MitigationContext()


@dataclass(frozen=True, eq=False)
class Mitigated:
    """A mitigated request.

    `request` is what to generate now, `prompt` its text, `explanation` one sentence on what is
    different. Costs are NFE of one branch per image, a backward pass counting as one more: `nfe`
    were spent before generating, `branches` are evaluated at every step, None being those of the
    request (`branches_per_step`).
    """

    request: Request
    prompt: str
    explanation: str
    nfe: float = 0.0
    branches: float | None = None

    @property
    def nfe_per_step(self) -> float:
        """Return the NFE of every step of the generation."""
        return branches_per_step(self.request) if self.branches is None else self.branches


def holds_for_other_seeds(request: Request) -> bool:
    """Return whether nothing in the request's steering belongs to its seeds one by one."""
    steering = request.steering
    if steering is None:
        return True
    texts = (steering.embedding, steering.negative_embedding)
    return steering.noise is None and all(text is None or len(text) == 1 for text in texts)


class Mitigation(Named, Protocol):
    """A method that turns a request into one that copies less."""

    @property
    def strength(self) -> float:
        """Return how strongly it acts, in terms of `strength_label`."""

    @property
    def strength_label(self) -> str:
        """Return what the strength counts."""

    @property
    def strengths(self) -> tuple[float, ...]:
        """Return strengths worth trying, weakest first."""

    def cost(self, steps: int) -> float:
        """Return about how many NFE an image costs beyond plain generation in these steps."""
        return 0.0

    def apply(
        self, model: TextToImage, request: Request, *, context: MitigationContext
    ) -> Work[Mitigated]:
        """Return the mitigated request; MMHError for what the model or `context` does not allow.

        It can be stopped between any two network evaluations.
        """


def steered(request: Request, **changes: Any) -> Request:
    """Return the request with some fields of its steering replaced, the others kept."""
    return replace(request, steering=replace(request.steering or Steering(), **changes))


def with_prompt(request: Request, prompt: str) -> Request:
    """Return the request with another prompt, which also replaces an embedding that was set."""
    changed = replace(request, prompt=prompt)
    if request.steering is None or request.steering.embedding is None:
        return changed
    return steered(changed, embedding=None)


def branches_per_step(request: Request) -> float:
    """Return how many network evaluations of one branch the request takes at every step."""
    steering = request.steering or Steering()
    both = (
        request.sampling.scale != 1
        or steering.guidance_at is not None
        or steering.mixing is not None
    )
    return 2.0 if both else 1.0


def check_share(share: float) -> None:
    """Raise ValueError for a share outside [0, 1]."""
    if not 0 <= share <= 1:
        raise ValueError(f"The share must be from 0 to 1, got {share!r}.")


def quantile_of(values: Tensor | None, share: float, label: str) -> float:
    """Return a quantile of reference values; MMHError without any, ValueError for the share."""
    check_share(share)
    if values is None or not len(values):
        raise MMHError(
            f"There are no {label} of reference prompts to aim at: measure some reference prompts "
            "with this model first."
        )
    return float(values.float().quantile(share))
