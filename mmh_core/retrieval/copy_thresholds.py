"""The thresholds of copy evidence, and their calibration on images that are no copies."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: Correlation of pixels from which two training images are one, but for crop, shift, symmetry,
#: color or noise: of 240 near-duplicates of the second world the least tenth have .9, of
#: neighbors of unique images half have less.
VERSION_CORRELATION = 0.95


@dataclass(frozen=True)
class CopyThresholds:
    """The thresholds of copy evidence; they belong to one embedder and one training set.

    `descriptor`: at least this similarity. `calibrated_l2`: at most this (Carlini et al. 2023 use
    1.4 on CIFAR-10). `ratio`: at most this d1 / d2 (1/3 in the same line of work).
    `near_duplicate`: training images this close to one another, as the root of the mean squared
    difference per value in [0, 1], are versions of one image. `pixel_tolerance`: a pixel agrees
    when no channel differs by more, above what coding does to an image. `template_share`: a
    layout is shared where at least this share of the pixels agrees. `template_family`: so many
    distinct training images of one layout make it a template. `version_correlation`: training
    images whose pixels correlate with those of the nearest one at least so much are versions of
    it, and no measure of how far others are; None in older calibrations, which take none out.

    Raises ValueError for values that no image could meet or that every image does.
    """

    descriptor: float
    calibrated_l2: float
    ratio: float
    near_duplicate: float
    pixel_tolerance: float
    template_share: float
    template_family: int
    version_correlation: float | None = None

    def __post_init__(self) -> None:
        """Check every value against the range in which it decides anything."""
        bounds = {
            "descriptor": (-1.0, 1.0),
            "calibrated_l2": (0.0, math.inf),
            "ratio": (0.0, 1.0),
            "near_duplicate": (0.0, 1.0),
            "pixel_tolerance": (0.0, 1.0),
            "template_share": (0.0, 1.0),
            "template_family": (2, math.inf),
            "version_correlation": (0.0, 1.0),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is None:
                continue
            if not low <= value <= high or not math.isfinite(value):
                raise ValueError(f"{name}={value}: it must be from {low} to {high}.")


#: Share of the images without a copy that the descriptor may propose; pixels have to confirm.
PROPOSED = 0.5


def calibrated(
    thresholds: CopyThresholds,
    similarity: Tensor,
    calibrated_l2: Tensor,
    agreeing: Tensor,
    share: float = 0.01,
) -> CopyThresholds:
    """Return the thresholds at which few images that are no copies are called copies.

    `similarity`, `calibrated_l2` and `agreeing` (B,) are the evidence of images that are no
    copies, such as held-out ones of the same kinds. A copy needs the descriptor and the pixels
    together, so both are set together: the descriptor so that it proposes at most half of
    the images, then calibrated L2, and likewise `template_share`, so that at most `share` of
    all of them are proposed and confirmed. Asking so little of each alone would let more pass;
    asking 1 % of each alone misses the blurred copies of a small model. By order statistics
    without interpolation; the other thresholds stay as they are. Raises ValueError unless there
    are at least 1 / share images with finite values, since fewer say nothing about such a share,
    and where more of them than that are copies.
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share}: it must lie between 0 and 1, both excluded.")
    similar, near, agree = (v.to(torch.float64) for v in (similarity, calibrated_l2, agreeing))
    if len(similar) * share < 1 or not (similar + near + agree).isfinite().all():
        raise ValueError(
            f"{len(similar)} held-out images cannot calibrate a share of {share}: at least "
            f"{math.ceil(1 / share)} with finite values are needed."
        )
    allowed = int(len(similar) * share)
    # The next number beyond the first value that may no longer pass.
    proposing = similar.sort(descending=True).values[int(len(similar) * PROPOSED)].item()
    descriptor = math.nextafter(proposing, 2.0)
    proposed = similar >= descriptor
    distance, agreed = math.inf, -math.inf
    if int(proposed.sum()) > allowed:
        distance = near[proposed].sort().values[allowed].item()
        agreed = agree[proposed].sort(descending=True).values[allowed].item()
    if descriptor > 1 or distance <= 0 or agreed >= 1:
        raise ValueError(f"More than {allowed} of the held-out images are exact copies.")
    return replace(
        thresholds,
        descriptor=descriptor,
        calibrated_l2=min(math.nextafter(distance, -1.0), near.max().item()),
        template_share=max(math.nextafter(agreed, 2.0), agree.min().item()),
    )
