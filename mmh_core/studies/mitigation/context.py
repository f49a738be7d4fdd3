"""The context that the cells of a comparison share, and that of each mitigation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from mmh_core.mitigations.catalogue import MITIGATIONS
from mmh_core.mitigations.interface import LidBy, Mitigation, MitigationContext, RequestScore, Work
from mmh_core.mitigations.lid_loss import generated_latents, reference_lids
from mmh_core.pocket.captions import VOTES, content_of
from mmh_core.retrieval.copy_evidence import copy_rate
from mmh_core.studies.images.generation import pixels_of
from mmh_core.studies.images.lid import estimate_lid
from mmh_core.studies.mitigation.run import MitigationConfig
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage, steered_model
from mmh_core.text_to_image.requests import Request

#: A request passes when its score, a share of its images, is below this: when it is 0.
_NONE = 1e-3
#: An image is suspicious whose LID is lower than that of this share of reference images.
_RARE = 0.05
#: Reference prompts generated to estimate their LIDs by an estimator other than the usual one.
REFERENCE_PROMPTS = 12

#: LIDs (N,) of reference prompts' images by an estimator at a scale.
ReferenceLids = Callable[[LidBy, float], Work[Tensor]]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What all cells of a run share; `reference` are those prompts that fit its sampling."""

    config: MitigationConfig
    subject: Subject
    reference: ReferencePrompts | None
    log_delta: float
    reference_lids: ReferenceLids | None = None
    catalogue: Mapping[str, Mitigation] = field(default_factory=lambda: MITIGATIONS)


def lids_of_references(
    config: MitigationConfig, model: TextToImage, reference: ReferencePrompts
) -> ReferenceLids:
    """Return a function that estimates reference prompts' LIDs, once per estimator and scale.

    The estimates that come with `reference` are by another estimator at another scale, and LIDs
    compare only where both are equal. `REFERENCE_PROMPTS` of them, one image each, of the first
    selection seed.
    """
    distinct = tuple(dict.fromkeys(reference.prompts))
    count = min(REFERENCE_PROMPTS, len(distinct))
    prompts = tuple(distinct[i * len(distinct) // count] for i in range(count))
    request = replace(config.request(""), seeds=config.searched[:1])

    cached: dict[tuple[LidBy, float], Tensor] = {}

    def lids(by: LidBy, log_delta: float) -> Work[Tensor]:
        if (by, log_delta) not in cached:
            cached[by, log_delta] = yield from reference_lids(
                model, request, prompts, by=by, log_delta=log_delta
            )
        return cached[by, log_delta]

    return lids


def context_for(comparison: Comparison, number: int, chosen: Mitigation) -> MitigationContext:
    """Return what a mitigation may use: selection seeds, reference values, the index.

    No image of the seeds that are judged is among it, and scoring them is an error. Only the
    chain may look for copies, since that is its recipe. Any other mitigation would be judged by
    what it was selected with: its detector is LID where there are reference prompts, else
    the guidance norm.
    """
    reference, training_set = comparison.reference, comparison.subject.training_set
    seed, prompt = comparison.config.seeds[0], comparison.config.prompts[number]
    detector, threshold, score_name = None, None, MitigationContext().score_name
    if training_set is not None and (chosen.name == "automatic_chain" or reference is None):
        detector, threshold, score_name = (
            partial(copy_rate_score, comparison.subject.model, training_set, prompt),
            _NONE,
            "copy rate",
        )
    elif reference is not None:
        low = float(reference.conditional.float().quantile(_RARE))
        detector, threshold, score_name = (
            partial(low_lid_score, comparison.subject.model, reference.log_delta, low),
            _NONE,
            "share of images of low LID",
        )
    thresholds = None if training_set is None else training_set.thresholds
    if detector is not None:
        detector = partial(_with_selection_seeds, detector, frozenset(comparison.config.seeds))
    return MitigationContext(
        generator=torch.Generator().manual_seed((seed * 7_919 + 13) % 2**63),
        detector=detector,
        threshold=threshold,
        score_name=score_name,
        reference_norms=None if reference is None else reference.guidance_norm[:, 0],
        reference_lids=comparison.reference_lids,
        index=None if training_set is None else training_set.index,
        embedder=None if training_set is None else training_set.embedder,
        copy_similarity=MitigationContext().copy_similarity
        if thresholds is None
        else thresholds.descriptor,
        selection_seeds=comparison.config.searched,
    )


def _with_selection_seeds(
    detector: Callable[[Request], Work[RequestScore]], judged: frozenset[int], request: Request
) -> Work[RequestScore]:
    """Score a request, or raise ValueError for one with a seed that is judged."""
    both = sorted(judged.intersection(request.seeds))
    if both:
        raise ValueError(f"A mitigation searches with the seeds {both}, by which it is judged.")
    scored = yield from detector(request)
    return scored


@torch.no_grad()
def low_lid_score(
    model: TextToImage, log_delta: float, low: float, request: Request
) -> Work[RequestScore]:
    """Generate a request and score it by the share of its images whose LID is below `low`.

    By the usual estimator given the embedding and the attention in force, at the scale
    `log_delta`.
    """
    latents, nfe = yield from generated_latents(model, request)
    cond = in_force(model, request).expand(len(latents), -1, -1)
    steered = steered_model(model, request)
    images = pixels_of(model, latents)
    estimate = estimate_lid(
        *(steered, latents, cond, log_delta), prompt=request.prompt, images=images, levels=[low]
    )
    return RequestScore(float((estimate.lid < low).float().mean()), nfe + estimate.nfe)


def in_force(model: TextToImage, request: Request) -> Tensor:
    """Return the embedding (1 or B, tokens, width) that the request generates with."""
    steering = request.steering
    if steering is not None and steering.embedding is not None:
        return steering.embedding.to(model.device, model.dtype)
    return model.encode_text([request.prompt])


@torch.no_grad()
def copy_rate_score(
    model: TextToImage, training_set: TrainingSet, prompt: str | None, request: Request
) -> Work[RequestScore]:
    """Generate a request and score it by its copy rate.

    Given the original prompt, the score also has how well the images fit it, and how many show
    something else.
    """
    latents, nfe = yield from generated_latents(model, request)
    images = pixels_of(model, latents).float() / 255
    copies = find_copies(training_set, images)
    score = RequestScore(copy_rate(copy.kind for copy, _ in copies), nfe)
    if prompt is None:
        return score
    intended = content_of([prompt])
    contents = [content_of(neighbor.caption for neighbor in near[:VOTES]) for _, near in copies]
    wrong_content = [bool(intended and content and content != intended) for content in contents]
    score = replace(score, wrong_content=sum(wrong_content) / len(wrong_content))
    if training_set.alignment is None:
        return score
    return replace(score, alignment=float(training_set.alignment(images, [prompt]).mean()))
