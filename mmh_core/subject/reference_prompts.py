"""The reference distribution of a model at one sampling: LID and guidance norms."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmh_core.statistics.intervals import Interval, median_interval
from mmh_core.subject.image_lid import ImageLid
from mmh_core.text_to_image.requests import Sampling

#: Share of reference images that may be called suspicious by their LID alone.
SUSPICIOUS_BELOW = 0.01


@dataclass(frozen=True)
class ReferencePrompts:
    """The LIDs and guidance norms of reference prompts, for one model and one sampling.

    Over N images of prompts that are not memorized: conditional and unconditional LID (N,) of
    the default estimator at `log_delta`, the guidance norm (N, T) at every step, and the LID curve
    (N, K) over `log_deltas`. `sha256` is that of the model; it serves only runs with equal
    sampling.
    """

    model: str
    sha256: str
    sampling: Sampling
    log_delta: float
    log_deltas: Tensor
    prompts: tuple[str, ...]
    conditional: Tensor
    unconditional: Tensor
    guidance_norm: Tensor
    curve: Tensor

    def fits(self, sha256: str, sampling: Sampling) -> bool:
        """Return whether images of this model and sampling may be compared with it."""
        return (sha256, sampling) == (self.sha256, self.sampling)

    def percentile(self, lid: float) -> float:
        """Return the share (0 to 1) of reference images with a conditional LID below `lid`.

        Only those whose LID is finite count; NaN without any.
        """
        lids = self.finite_lids()
        if math.isnan(lid) or not len(lids):
            return math.nan
        return float((lids < lid).double().mean())

    def finite_lids(self) -> Tensor:
        """Return the conditional LIDs that are finite, float64."""
        lids = self.conditional.double()
        return lids[lids.isfinite()]

    def lid_threshold(self) -> float:
        """Return the LID below which an image is suspicious, NaN where none is finite."""
        lids = self.finite_lids()
        if not len(lids):
            return math.nan
        return float(lids.quantile(SUSPICIOUS_BELOW, interpolation="lower"))

    def highest_lid(self) -> float:
        """Return the highest LID of a reference image, NaN where none is finite."""
        lids = self.finite_lids()
        return float(lids.max()) if len(lids) else math.nan

    def with_percentile(self, lid: ImageLid) -> ImageLid:
        """Return the LID with its percentile among the reference images."""
        lids = self.finite_lids()
        read = [
            prompt
            for prompt, finite in zip(self.prompts, self.conditional.isfinite(), strict=False)
            if finite
        ]
        return replace(
            lid,
            percentile=self.percentile(lid.conditional),
            reference_images=len(lids),
            reference_prompts=len(set(read)),
            threshold=self.lid_threshold(),
            highest_reference=self.highest_lid(),
        )


def usual_lid(reference: ReferencePrompts | None) -> Interval:
    """Return the median conditional LID of reference prompts, NaN without any."""
    if reference is None:
        return median_lid(())
    return median_lid(zip(reference.prompts, reference.conditional.tolist(), strict=False))


def median_lid(images: Iterable[tuple[Hashable, float]]) -> Interval:
    """Return the median LID of prompts with its interval, NaN without any.

    `images` are the prompt and the LID of each; those that are not finite are left out, and a
    prompt counts by the mean of its images.
    """
    lids: dict[Hashable, list[float]] = {}
    for prompt, lid in images:
        if math.isfinite(lid):
            lids.setdefault(prompt, []).append(lid)
    means = [sum(values) / len(values) for values in lids.values()]
    return median_interval(torch.tensor(means, dtype=torch.float64))
