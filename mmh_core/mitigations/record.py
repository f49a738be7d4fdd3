"""What every mitigation takes and gives.

A mitigation is a frozen dataclass whose fields are its hyperparameters. One of them is called
`strength`; what it means and which values are worth trying, weakest first, stand beside it. It
turns a request into a request and draws nothing itself: seeds, size, steps and scheduler stay, so
the same seed starts from the same noise (but where changing the noise is the mitigation).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from mmh_core.mitigations.lid_loss import LidBy
from mmh_core.mitigations.work import Work
from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import Embedder
from mmh_core.retrieval.index import Index
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request, Steering


@dataclass(frozen=True)
class Scan:
    """Hold what a detector says of a request (higher = more memorized), and its NFE.

    A scan that draws may add how well the images fit the prompt as it was asked (`alignment`,
    higher = better); NaN where it is not known. `astray` is the share of images that show another
    kind of image than what was asked, which an alignment may not notice.
    """

    score: float
    nfe: float
    alignment: float = math.nan
    astray: float = 0.0


@dataclass(frozen=True, eq=False)
class Given:
    """Hold what some mitigations need besides a model and a request.

    `generator` draws words, probes and noises. `scan` is the detector that judges a rewritten
    prompt, or the outcome of a chain, and `threshold` the score below which it is satisfied.
    `normal_norms` (N,) are first-step guidance norms of reference prompts, and `normal_lids`
    returns LIDs (N,) of their images by an estimator at a scale: what is normal for this model.
    `latents` (B, C, h, w) are what the unmitigated request ends in, to spare drawing it again.
    `index` and its `embedder` hold the training images; `copy_similarity` is the cosine of
    descriptors at which an image counts as a copy of one.
    """

    generator: torch.Generator | None = None
    scan: Callable[[Request], Work[Scan]] | None = None
    threshold: float | None = None
    normal_norms: Tensor | None = None
    normal_lids: Callable[[LidBy, float], Work[Tensor]] | None = None
    latents: Tensor | None = None
    index: Index | None = None
    embedder: Embedder | None = None
    copy_similarity: float = 0.65

    def drawing(self) -> torch.Generator:
        """Return the generator; ValueError without one."""
        if self.generator is None:
            raise ValueError("This mitigation draws random numbers: give a generator.")
        return self.generator


NOTHING = Given()


@dataclass(frozen=True, eq=False)
class Mitigated:
    """Hold the outcome of a mitigation.

    `request` is what to draw now, `prompt` the text in force, `changed` one sentence on what is
    different. Per image, in network evaluations of one branch, a backward pass counting as one
    more: `nfe` were spent before drawing, and drawing takes `nfe_per_step` at every step, 2 being
    usual under guidance.
    """

    request: Request
    prompt: str
    changed: str
    nfe: float = 0.0
    nfe_per_step: float = 2.0


class Mitigation(Protocol):
    """Turn a request into one that copies less."""

    @property
    def name(self) -> str:
        """Return the key in the catalogue."""

    @property
    def label(self) -> str:
        """Return the name for people."""

    @property
    def reference(self) -> str:
        """Return where the recipe comes from."""

    @property
    def strength(self) -> float:
        """Return how strongly it acts; `strength_label` says in which terms."""

    @property
    def strength_label(self) -> str:
        """Return what the strength is."""

    @property
    def strengths(self) -> tuple[float, ...]:
        """Return strengths worth trying, weakest first."""

    def cost(self, steps: int) -> float:
        """Return about how many NFE an image costs beyond plain drawing in these steps."""

    def apply(self, model: TextToImage, request: Request, *, given: Given) -> Work[Mitigated]:
        """Work out the mitigated request; MMHError for what the model or `given` does not allow.

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
    """Refuse a share outside [0, 1]."""
    if not 0 <= share <= 1:
        raise ValueError(f"The share must be from 0 to 1, got {share!r}.")


def quantile_of(values: Tensor | None, share: float, what: str) -> float:
    """Return a quantile of what is normal; MMHError without values, ValueError for the share."""
    check_share(share)
    if values is None or not len(values):
        raise MMHError(
            f"There are no {what} of reference prompts to aim at: measure some reference prompts "
            "with this model first."
        )
    return float(values.float().quantile(share))
