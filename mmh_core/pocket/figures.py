"""Figures of what the shipped model memorizes and how its LID detects it, beside their bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mmh_core.pocket.calibration import (
    ImageCalibration,
    captions_of,
    encode_images,
    held_out_images,
    held_out_sample,
)
from mmh_core.pocket.furnish import ShippedData
from mmh_core.pocket.trials import MEMORIZED, Trials, generate_trials, lid_at, trial_lids
from mmh_core.pocket.world import prompts
from mmh_core.retrieval.copy_evidence import COPIES, CopyEvidence, copy_evidence
from mmh_core.statistics.agreement import correlation_interval, rank_correlation
from mmh_core.statistics.areas import clustered_area_interval
from mmh_core.statistics.intervals import median_interval, share_interval
from mmh_core.text_to_image.model import TextToImage

#: Seed of the check; calibration uses others, and no image was looked at before.
SEED = 700_000
_HELD_OUT = 150


@dataclass(frozen=True)
class Row:
    """One figure: its value with a 95 % interval, the bar and the number of images counted.

    `bound` is "least", "most" or "none" (reported without a bar); NaN stands for no interval.
    """

    figure: str
    value: float
    low: float
    high: float
    bar: float
    bound: Literal["least", "most", "none"]
    count: int

    @property
    def short(self) -> bool:
        """Return whether the bar is missed."""
        if self.bound == "least":
            return not self.value >= self.bar
        return self.bound == "most" and not self.value <= self.bar


@dataclass(frozen=True)
class Check:
    """All figures of a check so far; one that is not measured yet is NaN and counts as short."""

    rows: tuple[Row, ...]

    @property
    def short(self) -> tuple[Row, ...]:
        """Return the rows whose bar is missed."""
        return tuple(row for row in self.rows if row.short)


def share(
    figure: str, hits: np.ndarray, bar: float, bound: Literal["least", "most", "none"]
) -> Row:
    """Return a share of hits with Clopper and Pearson's 95 % interval.

    Caveat: images of one caption are not independent, so the true interval is wider.
    """
    interval = share_interval(int(hits.sum()), len(hits))
    return Row(figure, interval.value, interval.low, interval.high, bar, bound, len(hits))


def _evidence(trials: Trials, shipped: ShippedData, chosen: ImageCalibration) -> CopyEvidence:
    thresholds = chosen.copy_thresholds
    return copy_evidence(trials.images, shipped.embedder, shipped.training, thresholds)


def _subjects(evidence: CopyEvidence, shipped: ShippedData) -> np.ndarray:
    """Return the subject of the training image that each image was found nearest to."""
    exact = np.asarray(evidence.kind) == "exact"
    ids = np.where(exact, evidence.pixel_nearest.numpy(), evidence.nearest.numpy())
    subjects: np.ndarray = shipped.world.labels.subject.to_numpy()[ids]
    return subjects


def copy_rows(trials: Trials, shipped: ShippedData, chosen: ImageCalibration) -> list[Row]:
    """Count copies and layouts among images of trained captions and of open ones."""
    evidence = _evidence(trials, shipped, chosen)
    kinds, own = (
        np.asarray(evidence.kind),
        _subjects(evidence, shipped) == trials.table.subject.to_numpy(),
    )
    of = trials.table.kind.to_numpy()
    exact = own & (kinds == "exact")
    rows = [
        share(
            "duplicate and overfit captions: copies of their own training image",
            exact[np.isin(of, ("duplicate", "overfit"))],
            0.90,
            "least",
        )
    ]
    rows += [
        share(f"of these, {kind}", exact[of == kind], 0.90, "none")
        for kind in ("duplicate", "overfit")
    ]
    rows.append(
        share(
            "template captions: the template's layout",
            (own & np.isin(kinds, COPIES))[of == "template"],
            0.90,
            "least",
        )
    )
    rows.append(
        share(
            "open and varied captions: copies of anything",
            (kinds == "exact")[np.isin(of, ("open", "varied"))],
            0.03,
            "most",
        )
    )
    rows.append(
        share(
            "of these, layouts shared with a training image",
            (kinds == "template")[np.isin(of, ("open", "varied"))],
            0.03,
            "none",
        )
    )
    return rows


def paraphrase_rows(
    model: TextToImage, shipped: ShippedData, chosen: ImageCalibration
) -> list[Row]:
    """Return the share of copies among images of paraphrases of memorized captions."""
    table = prompts(shipped.world.seed)
    table = table[~table.trained][["caption", "kind", "subject"]]
    trials = generate_trials(model, table, [SEED], guidance=model.guidance, steps=model.steps)
    evidence = _evidence(trials, shipped, chosen)
    own = _subjects(evidence, shipped) == trials.table.subject.to_numpy()
    hits = own & np.isin(evidence.kind, COPIES)
    of = trials.table.kind.to_numpy()
    return [
        share(f"paraphrases of {kind} captions: copies", hits[of == kind], 0.0, "none")
        for kind in MEMORIZED
    ]


def generated_lid_rows(
    model: TextToImage, trials: Trials, shipped: ShippedData, chosen: ImageCalibration
) -> list[Row]:
    """Return rows of conditional LID on the half of the captions not used for calibration."""
    test = set(captions_of(shipped.world.seed, "test").subject)
    kept = trials.rows(
        (trials.table.subject.isin(test) | (trials.table.kind == "open")).to_numpy()
    )
    lid = trial_lids(model, kept, chosen.lid_noise_scale.log_delta)
    of = kept.table.kind.to_numpy()
    memorized = torch.from_numpy(np.isin(of, MEMORIZED))

    captions = torch.from_numpy(np.unique(kept.table.caption, return_inverse=True)[1])
    # Whole captions are the cases, since images of one caption are alike.
    area = clustered_area_interval(-lid, memorized, captions)
    figures = [
        Row(
            "conditional LID, memorized against varied and open captions, AUC",
            *(area.value, area.low, area.high),
            0.95,
            "least",
            len(lid),
        )
    ]
    medians = {kind: _median(lid[torch.from_numpy(of == kind)]) for kind in np.unique(of)}
    bars: dict[str, tuple[float, Literal["least", "most", "none"]]] = {
        "duplicate": (3.0, "most"),
        "template": (medians["duplicate"][0], "least"),
        "overfit": (medians["duplicate"][0], "none"),
        "varied": (medians["template"][0], "none"),
        "open": (medians["template"][0], "least"),
    }
    for kind, (bar, bound) in bars.items():
        value, low, high, count = medians[kind]
        figures.append(Row(f"median conditional LID, {kind}", value, low, high, bar, bound, count))
    return figures


def _median(lid: Tensor) -> tuple[float, float, float, int]:
    middle = median_interval(lid)
    return middle.value, middle.low, middle.high, len(lid)


def held_out_lid_row(model: TextToImage, shipped: ShippedData, chosen: ImageCalibration) -> Row:
    """Rank held-out images by LID and by their true LID; the interval is over images."""
    rows, true = held_out_sample(shipped.world, parity=1, count=_HELD_OUT)
    pixels, prompts = held_out_images(shipped.world, rows)
    latents, log_delta = encode_images(model, pixels), chosen.lid_noise_scale.log_delta
    lid = lid_at(model, latents, log_delta, prompts=prompts, images=pixels)
    every = torch.arange(len(lid))
    without = [rank_correlation(lid[every != one], true[every != one]) for one in every]
    ends = correlation_interval(rank_correlation(lid, true), torch.tensor(without))
    return Row(
        "held-out images: rank correlation of LID with LID_*",
        *(ends.value, ends.low, ends.high),
        0.7,
        "least",
        len(lid),
    )
