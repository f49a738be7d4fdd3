"""Records of the image study: its config with what may be asked for, and the results so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from mmh_core.memorization.cause import Cause
from mmh_core.memorization.verdict import IMAGE_ROWS
from mmh_core.memorization.verdict import ImageVerdict as ImageVerdict
from mmh_core.retrieval.copy_evidence import is_copy
from mmh_core.subject.copies import ImageCopyEvidence, TrainingNeighbor
from mmh_core.subject.image_lid import ImageLid
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.training_set import PromptTruth
from mmh_core.text_to_image.requests import Request, Sampling
from mmh_core.text_to_image.unread_text import UnreadText

if TYPE_CHECKING:
    import pandas as pd

    from mmh_core.text_to_image.model import TextToImage

RunState = Literal["drawing", "reading", "complete", "stopped"]
#: Seeds that a page or a command takes by default.
DEFAULT_SEEDS = (0, 1, 2, 3)


@dataclass(frozen=True)
class ImageConfig:
    """The config of an image run: one image for each prompt and seed.

    `model` is a name of the catalogue or a folder; `estimators`
    are names of `dimension.estimators`, run at the chosen scale beside the default one. `curve`
    asks for LID over the noise scales, `frames` for so many decoded steps of each image (0:
    none).
    """

    model: str
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    sampling: Sampling
    estimators: tuple[str, ...] = ()
    curve: bool = True
    frames: int = 8

    def request(self, prompt: str) -> Request:
        """Return the request for all images of one prompt. Errors: MMHError, ValueError."""
        return Request(prompt, self.seeds, self.sampling)


def default_config(model: TextToImage, source: str, prompt: str) -> ImageConfig:
    """Return the config that the model's card recommends; `source` is what it was loaded by."""
    return ImageConfig(source, (prompt,), DEFAULT_SEEDS, model.sampling)


@dataclass(frozen=True)
class ImageResult:
    """One generated image with all results.

    `image` uint8 (3, H, W); `latents` float32 (C, h, w), the run's own final ones, at which LID
    is read; `guidance_norm` (T,) is `|eps_c - eps_u|_2` at every step; `region` (h, w) is
    `|s_c - s_u|^2` summed over channels at the last step: where in the image the prompt acts.
    Both are NaN without guidance. `frames` uint8 (F, 3, H, W) are decoded `x0_hat` at the steps
    `frame_steps` (F,), empty until they are made. `curve` and `curve_error` (K,) are conditional
    LID over the run's `log_deltas`, empty until read. `index` counts the images of the run.
    `cause` is there for memorized images of a model whose training set is at hand. What has a
    default is filled in as it is read.
    """

    index: int
    prompt: str
    seed: int
    image: Tensor
    latents: Tensor
    guidance_norm: Tensor
    region: Tensor
    frames: Tensor
    frame_steps: Tensor
    lids: tuple[ImageLid, ...] = ()
    curve: Tensor = field(default_factory=lambda: torch.empty(0))
    curve_error: Tensor = field(default_factory=lambda: torch.empty(0))
    copy: ImageCopyEvidence | None = None
    neighbors: tuple[TrainingNeighbor, ...] = ()
    truth: PromptTruth | None = None
    verdict: ImageVerdict = "not read yet"
    reason: str = ""
    cause: Cause | None = None

    @property
    def lid(self) -> ImageLid | None:
        """Return the LID by the default estimator, None before it was made."""
        return self.lids[0] if self.lids else None

    @property
    def reconstruction(self) -> Tensor | None:
        """Return the autoencoder reconstruction of an uploaded image, None of a generated one."""
        return self.frames[0] if len(self.frames) == len(self.frame_steps) == 1 else None

    @property
    def evidence_neighbor(self) -> TrainingNeighbor | None:
        """Return the training image that the copy evidence names, None where none was searched.

        Of a copy that is the one nearest in pixels: of several versions of an image, another may
        have the more similar descriptor.
        """
        named = [n for n in self.neighbors if self.copy is not None and n.id == self.copy.nearest]
        return next(iter((*named, *self.neighbors)), None)

    def frame(self) -> pd.DataFrame:
        """Return one row: LID, evidence and verdict, the columns of `ImageRun.frame`."""
        import pandas as pd

        return pd.DataFrame([_row(self)])


@dataclass(frozen=True)
class PromptScan:
    """The early scan of one prompt, which needs no image: higher = more memorized.

    `percentile` (0 to 1) is the share of reference prompts with a lower score; above `threshold`,
    which the share `fpr` of them exceeds, a prompt is flagged. That threshold flags
    `flagged_memorized` of `memorized` memorized prompts that the scan was not fitted on (-1 of 0
    where nobody counted); where these are captions as trained with, `flagged_paraphrases` of
    `paraphrases` other wordings.
    `score` and `percentile` are NaN for a prompt that the model takes for the empty one.
    """

    score: float
    percentile: float
    threshold: float
    fpr: float
    flagged_memorized: int
    memorized: int
    flagged_paraphrases: int | None = None
    paraphrases: int | None = None

    @property
    def flagged(self) -> bool:
        """Return whether a scan of a table would flag the prompt."""
        return self.score > self.threshold


@dataclass(frozen=True)
class ImageRun:
    """One run of the image study, finished or in progress.

    `sha256` is the digest of the model's weights and `noise_sha256` that of the starting noise.
    `times` (T,) are those of the steps, `log_deltas` (K,) the axis of LID curves, `log_delta` the
    scale at which LID is compared. `preview` uint8 (B, 3, H, W) is what the running prompt aims at
    now, empty otherwise, with `preview_prompt` its number. `cut` holds for each prompt what
    exceeds the text encoder and is not read, "" where all is. `seed_similarity` is for each prompt
    the mean similarity of its images' descriptors, NaN for one image. `searched` is the number of
    training images that were searched, 0 without a training set, and `embedder` says by what.
    `reference` are the reference prompts of percentiles, None without any for these settings.
    Seconds and network evaluations (per image) are split into generating, and LID and copies.
    `missing` says in sentences which part of the run failed, and why. `scans` are the early scans
    of the prompts, empty where the model has no calibration of it. `needed` is for each prompt the
    number of context windows that would hold all of it, empty where unknown, and `notes` are the
    model's, on what was chosen while it was read from its files.
    """

    config: ImageConfig
    state: RunState
    model: str
    sha256: str
    noise_sha256: str
    device: str
    times: Tensor
    log_delta: float
    log_deltas: Tensor
    preview: Tensor
    preview_prompt: int
    images: tuple[ImageResult, ...]
    cut: tuple[str, ...]
    seed_similarity: tuple[float, ...]
    searched: int
    embedder: str
    reference: ReferencePrompts | None
    seconds_generating: float
    seconds_estimating: float
    missing: tuple[str, ...] = ()
    scans: tuple[PromptScan, ...] = ()
    needed: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def unread(self) -> list[str]:
        """Return for each prompt in a sentence which end of it is not read, "" where all is."""
        needed = self.needed or (0,) * len(self.cut)
        return [
            UnreadText(cut, "", windows).words()
            for cut, windows in zip(self.cut, needed, strict=True)
        ]

    @property
    def copies(self) -> tuple[ImageResult, ...]:
        """Return the images that are exact or template copies by the search."""
        return tuple(
            image for image in self.images if image.copy is not None and is_copy(image.copy.kind)
        )

    def copies_of(self, prompt: str) -> tuple[int, int]:
        """Return how many images of a prompt are copies, of how many images."""
        copies = sum(image.prompt == prompt for image in self.copies)
        return copies, sum(image.prompt == prompt for image in self.images)

    def frame(self) -> pd.DataFrame:
        """Return one row per image: settings, LID, evidence and verdict."""
        import pandas as pd

        return pd.DataFrame([_row(image) for image in self.images])


def _row(image: ImageResult) -> dict[str, object]:
    """Return an image's figures under plain names, None where unknown."""
    lid, copy, truth = image.lid, image.copy, image.truth
    return {
        "image": image.index,
        "prompt": image.prompt,
        "seed": image.seed,
        "verdict": image.verdict,
        "reason": image.reason,
        "lid": None if lid is None else lid.conditional,
        "lid_standard_error": None if lid is None else lid.conditional_error,
        "lid_low": None if lid is None else lid.interval[0],
        "lid_high": None if lid is None else lid.interval[1],
        "lid_probes": None if lid is None else lid.probes,
        "lid_unconditional": None if lid is None else lid.unconditional,
        "lid_percentile": None if lid is None else lid.percentile,
        "guidance_norm_first_step": float(image.guidance_norm[0]),
        "guidance_norm_mean": float(image.guidance_norm.mean()),
        "copy": None if copy is None else copy.kind,
        "nearest": None if copy is None else copy.nearest,
        "nearest_file": None if copy is None else copy.file,
        "similarity": None if copy is None else copy.similarity,
        "similarity_threshold": None if copy is None else copy.threshold,
        "calibrated_l2": None if copy is None else copy.calibrated_l2,
        "distance_ratio": None if copy is None else copy.ratio,
        "multiplicity": None if copy is None else copy.multiplicity,
        "near_duplicates": None if copy is None else copy.near_duplicates,
        "cause": None if image.cause is None else image.cause.label,
        "true_kind": None if truth is None else truth.kind,
        "true_lid": None if truth is None else truth.lid,
    }


def image_batch(results: Sequence[ImageResult]) -> Tensor:
    """Return the images (B, 3, H, W) in [0, 1]."""
    return torch.stack([one.image for one in results]).float() / 255


def most_severe_image(images: Sequence[ImageResult]) -> ImageResult:
    """Return the image to be seen first: most severe verdict, then nearest copy.

    Errors: ValueError for none.
    """

    def severity(image: ImageResult) -> tuple[int, float]:
        similarity = math.nan if image.copy is None else image.copy.similarity
        return IMAGE_ROWS[image.verdict].severity, 0.0 if math.isnan(similarity) else similarity

    return max(images, key=severity)
