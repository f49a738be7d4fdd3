"""Results of an image in words."""

from __future__ import annotations

import math

from mmh_core.memorization.hypothesis import shown_lid, whole_percent
from mmh_core.retrieval.image_names import named_training_image
from mmh_core.studies.images.run import ImageResult, ImageRun
from mmh_core.subject.caption_kinds import kind_words
from mmh_core.subject.image_lid import ImageLid
from mmh_core.subject.training_set import PromptTruth
from views.images.settings import SCHEDULERS
from views.widgets.words import number, seeds_words

LID = (
    "Local intrinsic dimension: the number of directions in which the image can change and "
    "still be likely under the model. Near 0 the model can produce this one image only. ± SE is "
    "the standard error of the estimate."
)
PERCENTILE = (
    "The share of images of the model's reference prompts with a lower LID, generated with the "
    "same settings. 0 % is lower than all of them."
)
SIMILARITY = (
    "Cosine similarity of two image descriptors: 1 is the same image, about 0 has nothing in "
    "common. At or above the copy threshold the pixels decide whether it is a copy."
)
SEED_SIMILARITY = (
    "Mean similarity of the images of one prompt. Near 1, every seed gives the same image: a "
    "sign of memorization that needs no training set."
)


def similarity(similarity: float, threshold: float = math.nan) -> str:
    """Return a similarity with the copy threshold, below which no copy is proposed."""
    if math.isnan(similarity):
        return "unknown"
    if math.isnan(threshold):
        return f"{similarity:.3f} (no copy threshold)"
    return f"{similarity:.3f} (copy threshold {threshold:.3f})"


def lid_with_error(lid: ImageLid | None) -> str:
    """Return a LID with its standard error where there is one."""
    if lid is None:
        return "not estimated yet"
    return with_error(lid.conditional, lid.conditional_error)


def with_error(value: float, error: float) -> str:
    """Return a dimension with its standard error where that is known."""
    value = shown_lid(value)
    if math.isnan(error):
        return number(value, 1)
    return f"{number(value, 1)} ± {number(error, 1)} SE"


def percentile(lid: ImageLid | None) -> str:
    """Return where a LID stands among reference prompts."""
    if lid is None:
        return "not estimated yet"
    if math.isnan(lid.percentile):
        return "not calibrated for these settings"
    return percentile_words(lid.percentile)


def percentile_words(percentile: float) -> str:
    """Return how many images of reference prompts have a lower LID, from their share (0 to 1)."""
    if percentile == 0:
        return "no image of reference prompts is lower"
    return f"{whole_percent(percentile)} of images of reference prompts are lower"


def nearest(image: ImageResult) -> str:
    """Return how near the nearest training image is, beside the threshold."""
    near = image.evidence_neighbor
    if near is None:
        flat = image.copy is not None and image.copy.kind == "flat"
        return "one color: nothing to compare" if flat else "no training images to search"
    return similarity(near.similarity, math.nan if image.copy is None else image.copy.threshold)


def training_image_name(id: int, file: str) -> str:
    """Return the id of a training image, and its file where it has one."""
    return named_training_image(f"{id:,}", file)


def truth(prompt: PromptTruth | None) -> str:
    """Return how a prompt of the shipped world was trained, by construction."""
    if prompt is None:
        return "not a training caption"
    wording = "training caption" if prompt.trained else "paraphrase of a training caption"
    return f"{kind_words(prompt.kind)} ({wording}), data LID {number(prompt.lid, 0)}"


def settings(run: ImageRun) -> str:
    """Return how a run was generated, in one line."""
    config = run.config
    parts = [
        run.model,
        seeds_words(config.seeds),
        f"{config.sampling.steps} steps",
        f"guidance {config.sampling.guidance:g}",
        SCHEDULERS[config.sampling.scheduler],
        f"{config.sampling.height} x {config.sampling.width}",
    ]
    return ", ".join(parts)
