"""Calibration of the shipped model on its own images: copy thresholds and the noise scale of LID.

Everything is measured on images and captions of the calibration half; `check` uses others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmh_core.pocket.batches import as_tensor
from mmh_core.pocket.trials import (
    MEMORIZED,
    generate_trials,
    lid_at,
    open_captions,
    trial_lids,
)
from mmh_core.pocket.world import World, prompts
from mmh_core.records import Progress
from mmh_core.retrieval.copy_evidence import copy_evidence
from mmh_core.retrieval.copy_thresholds import CopyThresholds, calibrated
from mmh_core.retrieval.embedders import Embedder
from mmh_core.retrieval.training_images import TrainingImages
from mmh_core.statistics.agreement import rank_correlation
from mmh_core.statistics.areas import area_under_curve
from mmh_core.text_to_image.model import TextToImage

#: Noise scales, in units of the latents' spread, among which the scale of LID is chosen.
DELTAS = (0.23, 0.34, 0.5, 0.75, 1.1)
#: Before calibration, which sets similarity, calibrated L2 and the share of a layout. A pixel
#: agrees within .12, about twice the autoencoder's error; training images within .02 are
#: versions of one another.
UNCALIBRATED = CopyThresholds(
    descriptor=1.0,
    calibrated_l2=0.0,
    ratio=1 / 3,
    near_duplicate=0.02,
    pixel_tolerance=0.12,
    template_share=0.7,
    template_family=10,
)
_OPEN_CAPTIONS, _HELD_OUT, _SEED = 13, 70, 50_000


@dataclass(frozen=True)
class LidNoiseScale:
    """The noise scale at which a model's LID is estimated, and the figures it was chosen by.

    `log_delta` is the scale; `auc` and `rank` (K,) over `deltas` are the area under the ROC curve
    of conditional LID, memorized against varied and open captions, and the rank correlation of LID
    with the true LID on held-out images: the scale has the largest sum of the two, or, where
    `bias` is known, the least bias among those whose sum is not clearly less. `bias` (K,) is the
    mean of LID less the true LID on held-out images, empty in older files. `reference_lid` are the
    conditional LIDs of images of varied and open captions there.
    """

    log_delta: float
    deltas: tuple[float, ...]
    auc: tuple[float, ...]
    rank: tuple[float, ...]
    reference_lid: tuple[float, ...]
    bias: tuple[float, ...] = ()


@dataclass(frozen=True)
class ImageCalibration:
    """The calibration on images of the shipped world: copy thresholds, noise scale of LID."""

    copy_thresholds: CopyThresholds
    lid_noise_scale: LidNoiseScale


def calibrate(
    model: TextToImage,
    world: World,
    embedder: Embedder,
    training: TrainingImages,
    *,
    guidance: float,
    steps: int,
) -> Iterator[Progress[ImageCalibration | None]]:
    """Calibrate; the last progress carries the result."""
    yield Progress(0.0, "Calibrating copy thresholds on held-out images", None)
    thresholds = _thresholds(model, world, embedder, training)
    yield Progress(0.2, "Generating images of the calibration captions", None)
    trials = generate_trials(
        model, calibration_captions(world.seed), (_SEED,), guidance=guidance, steps=steps
    )
    memorized = torch.from_numpy(trials.table.kind.isin(MEMORIZED).to_numpy())
    held, true = held_out_sample(world, parity=0, count=_HELD_OUT)
    pixels, texts = held_out_images(world, held)
    latents = encode_images(model, pixels)
    auc, rank, reference = [], [], []
    for number, delta in enumerate(DELTAS):
        yield Progress(0.4 + 0.12 * number, f"Estimating LID at noise scale {delta:g}", None)
        lid = trial_lids(model, trials, math.log(delta))
        held_lid = lid_at(model, latents, math.log(delta), prompts=texts, images=pixels)
        auc.append(float(area_under_curve(-lid[memorized], -lid[~memorized])))
        rank.append(rank_correlation(held_lid, true))
        reference.append(tuple(lid[~memorized].tolist()))
    best = int(np.argmax(np.add(auc, rank)))
    scale = LidNoiseScale(math.log(DELTAS[best]), DELTAS, tuple(auc), tuple(rank), reference[best])
    yield Progress(
        1.0,
        f"LID is estimated at noise scale {DELTAS[best]:g}",
        ImageCalibration(thresholds, scale),
    )


def calibration_captions(seed: int) -> pd.DataFrame:
    """Return the trained captions of the calibration half, one per subject, and open ones."""
    return pd.concat([captions_of(seed, "calibration"), open_captions(_OPEN_CAPTIONS, seed)])


def captions_of(seed: int, split: str | None) -> pd.DataFrame:
    """Return one trained caption of each named subject, of one half or of both."""
    table = prompts(seed)
    table = table[table.trained]
    if split is not None:
        table = table[table.split == split]
    return table.groupby("subject", sort=False).head(1)[["caption", "kind", "subject"]]


def held_out_sample(world: World, *, parity: int, count: int) -> tuple[np.ndarray, Tensor]:
    """Return rows of held-out images and their LID_*: open, varied and template, evenly spread.

    Even rows (parity 0) serve calibration, odd ones the check.
    """
    labels = world.held_out_labels
    rows = labels[labels.kind.isin(("open", "varied", "template"))].id.to_numpy()
    rows = rows[rows % 2 == parity]
    chosen = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    return chosen, torch.tensor(labels.lid.to_numpy()[chosen].astype(np.float64))


def held_out_images(world: World, rows: np.ndarray) -> tuple[Tensor, list[str]]:
    """Return held-out images (B, 3, H, W) in [0, 1] and the caption of each."""
    texts = [str(world.held_out_labels.captions[row][0]) for row in rows]
    return as_tensor(world.held_out[rows]).float() / 255, texts


def encode_images(model: TextToImage, images: Tensor) -> Tensor:
    """Return the latents (B, C, h, w) of images in [0, 1]."""
    return torch.cat([model.encode(part) for part in torch.split(images, 32)])


def reconstruct(model: TextToImage, images: Tensor) -> Tensor:
    """Return images (B, 3, H, W) as the autoencoder gives them back."""
    return torch.cat([model.decode(model.encode(part)) for part in torch.split(images, 32)])


def _thresholds(
    model: TextToImage, world: World, embedder: Embedder, training: TrainingImages
) -> CopyThresholds:
    """Return thresholds that 1 % of held-out images of wide families would pass.

    They are compared as the model would draw them, through its autoencoder.
    """
    labels = world.held_out_labels
    wide = labels[labels.kind.isin(("open", "varied"))].id.to_numpy()
    wide = wide[wide % 2 == 0]
    images = reconstruct(model, as_tensor(world.held_out[wide]).float() / 255)
    evidence = copy_evidence(images, embedder, training, UNCALIBRATED)
    return calibrated(UNCALIBRATED, evidence.similarity, evidence.calibrated_l2, evidence.agreeing)
