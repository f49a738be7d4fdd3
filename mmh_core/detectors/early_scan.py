"""The early scan: guidance norm and anisotropy on pure noise, nothing generated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from mmh_core.detectors.anisotropy import Anisotropy
from mmh_core.detectors.grids import TIMES, Grid
from mmh_core.detectors.guidance_norm import GuidanceNorm
from mmh_core.detectors.measurement import ModelSettings, Need, mean_and_deviation, not_fitted


@dataclass(frozen=True)
class EarlyScan:
    """The guidance norm plus `weight` times the anisotropy, standardized on reference prompts.

    Asthana & Belagiannis 2026 (arXiv 2601.20642): norm at high noise, angle at low, both on
    the same pure noise. 4 NFE per seed, fewer where prompts share their noise. `mean` and
    `spread` of the two over reference prompts come from `fitted`. The times are the published ones
    for latents of 64 x 64; for smaller latents, whose signal is lost at less noise, they come from
    `choose_times`.
    """

    high: float = 0.98
    low: float = 0.04
    weight: float = 1.0
    mean: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    name: ClassVar[str] = "early_scan"
    label: ClassVar[str] = "Early scan"
    summary: ClassVar[str] = (
        "Guidance norm at high noise plus anisotropy at low noise, on pure noise."
    )
    citation: ClassVar[str] = "Asthana & Belagiannis 2026, arXiv 2601.20642"
    needs: ClassVar[Need] = "noise"
    grid: ClassVar[Grid] = {"high": TIMES, "low": TIMES}

    @property
    def estimates(self) -> tuple[GuidanceNorm, Anisotropy]:
        """Return the norm and the cosine: two columns."""
        return GuidanceNorm(self.high), Anisotropy(self.low)

    def adapted(self, settings: ModelSettings) -> EarlyScan:
        """Return the scan at the model's times."""
        if settings.early is None:
            return self
        return replace(self, high=settings.early[0], low=settings.early[1])

    def fitted(self, values: Tensor) -> EarlyScan:
        """Return the scan with the mean and spread of reference prompts."""
        mean, spread = mean_and_deviation(values)
        return replace(self, mean=mean, spread=spread)

    def score(self, values: Tensor) -> Tensor:
        """Return the weighted sum. Raises MMHError before the fit."""
        if not self.mean:
            raise not_fitted(self.label)
        standard = (values - values.new_tensor(self.mean)) / values.new_tensor(self.spread)
        return standard[:, 0] + self.weight * standard[:, 1]
