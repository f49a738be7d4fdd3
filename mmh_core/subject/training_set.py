"""The training set that images are compared with: the model's own, or an index of a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmh_core.memorization.cause_calibration import CauseCalibration
from mmh_core.pocket.assets import read_prompts
from mmh_core.pocket.clip import embed_captions, embed_images, load_clip
from mmh_core.pocket.furnish import open_shipped_data
from mmh_core.pocket.tokenizer import load_tokenizer, token_ids
from mmh_core.records import MMHError
from mmh_core.retrieval.copy_thresholds import CopyThresholds
from mmh_core.retrieval.embedders import (
    Embedder,
    PixelEmbedder,
    embed_all,
    similarity_to_others,
)
from mmh_core.retrieval.image_names import path_below
from mmh_core.retrieval.images import read_image
from mmh_core.retrieval.index import Index
from mmh_core.retrieval.index_files import load_index
from mmh_core.retrieval.training_images import TrainingImages
from mmh_core.subject.calibration import Calibration

_NAN = float("nan")


@dataclass(frozen=True)
class PromptTruth:
    """The truth about a caption of the shipped world.

    `trained` is whether a training image has exactly this caption; `lid` is LID_*, the median
    over the caption's training images; `images` counts the distinct ones,
    `multiplicity` adds up how often each stands in the training set.
    """

    kind: str
    subject: str
    trained: bool
    lid: float
    images: int
    multiplicity: int


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """A searchable training set.

    `image(row)` returns the training image of a row of the index as uint8 (3, H, W).
    `training` and `thresholds` are None where its images are missing or uncalibrated; `truth`
    returns the truth about a caption, None where it is unknown. `log_delta` is the
    calibrated scale of LID, None where it has to be chosen. `alignment` returns the cosines (B, T)
    of images (B, 3, H, W) in [0, 1] with T texts, by a CLIP of the same world.
    `cause` is the calibration of the confidence of a cause.
    """

    name: str
    index: Index
    embedder: Embedder
    image: Callable[[int], Tensor]
    training: TrainingImages | None = None
    thresholds: CopyThresholds | None = None
    truth: Callable[[str], PromptTruth | None] | None = None
    log_delta: float | None = None
    alignment: Callable[[Tensor, Sequence[str]], Tensor] | None = None
    cause: CauseCalibration | None = None

    def row(self, number: int) -> int | None:
        """Return the row of the index with an id, None where there is none."""
        place = int(np.searchsorted(self.index.ids, number))
        there = place < len(self.index) and int(self.index.ids[place]) == number
        return place if there else None


def pocket_training_set(folder: Path, calibration: Calibration) -> TrainingSet:
    """Return what the shipped model in a folder was trained on, compared by a calibration.

    Errors: MMHError for missing or damaged files.
    """
    shipped = open_shipped_data(folder)
    images = torch.from_numpy(shipped.world.images).permute(0, 3, 1, 2)
    index = load_index(folder / "index", memory_map=False, verify=False)
    truth = truth_table(shipped.world.labels, read_prompts(folder))
    return TrainingSet(
        "the model's own training images",
        index,
        shipped.embedder,
        lambda row: images[int(index.ids[row])].contiguous(),
        shipped.training,
        calibration.copy_thresholds,
        truth.get,
        calibration.log_delta,
        pocket_alignment(folder),
        calibration.cause,
    )


def pocket_alignment(folder: Path) -> Callable[[Tensor, Sequence[str]], Tensor]:
    """Return the cosines of images with texts by the shipped CLIP, loaded at the first use.

    Copies and verdicts do without it, and transformers takes two seconds to import.
    """
    parts = cache(lambda: (load_clip(folder), load_tokenizer(folder / "tokenizer")))

    def alignment(images: Tensor, texts: Sequence[str]) -> Tensor:
        clip, tokenizer = parts()
        image_vectors = embed_images(clip, (images * 255).round().to(torch.uint8))
        text_vectors: Tensor = embed_captions(clip, token_ids(tokenizer, list(texts)))
        return image_vectors @ text_vectors.T

    return alignment


def folder_training_set(index_folder: Path, embedder: Embedder, images: Path) -> TrainingSet:
    """Return an index that `./mmh index` built, with the folder of its images.

    An image that the index names is read inside that folder only. Errors: MMHError for an index
    that is missing, damaged or made by another embedder.
    """
    index = load_index(index_folder)
    if index.digest != embedder.digest:
        raise MMHError(
            f"The index {index_folder} was made by {index.embedder}: choose that embedder, or "
            "build the index again."
        )

    def image(row: int) -> Tensor:
        pixels = read_image(path_below(images, str(index.labels["file"].iloc[row])))
        return (pixels * 255).round().to(torch.uint8)

    return TrainingSet(f"the index {index_folder.name}", index, embedder, image)


def truth_table(labels: pd.DataFrame, prompts: pd.DataFrame) -> dict[str, PromptTruth]:
    """Return what is known of every caption of the shipped world, paraphrases included."""
    by_subject = _truths(labels, "subject")
    truths = {}
    for caption, subject, trained in zip(
        prompts.caption, prompts.subject, prompts.trained, strict=True
    ):
        truth = by_subject.get(str(subject))
        if truth is not None:
            truths[str(caption)] = replace(truth, trained=bool(trained))
    unnamed = labels[labels.kind == "open"].explode("captions", ignore_index=True)
    return truths | _truths(unnamed, "captions")


def seed_similarity(training_set: TrainingSet | None, images: Tensor) -> float:
    """Return the mean pairwise cosine of the images' descriptors, NaN for one image.

    By the training set's embedder, or by pixels where there is none.
    """
    if len(images) < 2:
        return _NAN
    embedder = PixelEmbedder() if training_set is None else training_set.embedder
    return float(similarity_to_others(embed_all(embedder, images)).mean())


def _truths(labels: pd.DataFrame, column: str) -> dict[str, PromptTruth]:
    """Return what is known of the training images that share a value of a column."""
    groups = labels.groupby(column, sort=False)
    first = groups[["kind", "subject"]].first()
    middle, multiplicity, counts = groups["lid"].median(), groups["copies"].sum(), groups.size()
    return {
        str(name): PromptTruth(str(kind), str(subject), True, float(lid), int(count), int(copied))
        for name, kind, subject, lid, count, copied in zip(
            first.index, first.kind, first.subject, middle, counts, multiplicity, strict=True
        )
    }
