"""LID difference: by how many dimensions the prompt lowers LID."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from mmh_core.detectors.grids import LOG_DELTAS, Grid
from mmh_core.detectors.lid import CITATIONS, LOG_DELTA, SHORT, Lid, LidEstimator
from mmh_core.detectors.measurement import ModelSettings, Need
from mmh_core.dimension.estimators import ESTIMATORS


@dataclass(frozen=True)
class LidDifference:
    """The unconditional LID minus the conditional one, at the same latents and probes.

    Ross et al. 2025 (arXiv 2411.00113): a caption can only lower LID, and specific captions
    memorize. For an image that the model also generates without its caption both are small,
    and so is their difference.
    """

    estimator: LidEstimator = "soft_spectral_count"
    log_delta: float = LOG_DELTA
    needs: ClassVar[Need] = "image"
    grid: ClassVar[Grid] = {"log_delta": LOG_DELTAS}
    summary: ClassVar[str] = "The unconditional minus the conditional LID at the generated image."

    @property
    def name(self) -> str:
        """Return lid_difference_ESTIMATOR."""
        return f"lid_difference_{SHORT[self.estimator]}"

    @property
    def label(self) -> str:
        """Return the name, with its estimator."""
        return f"LID, unconditional - conditional ({ESTIMATORS[self.estimator].label})"

    @property
    def citation(self) -> str:
        """Return the citations of hypothesis and estimator."""
        return CITATIONS[self.estimator]

    @property
    def estimates(self) -> tuple[Lid, Lid]:
        """Return the conditional and the unconditional LID: two columns."""
        conditional = Lid(self.estimator, "conditional", self.log_delta)
        unconditional = Lid(self.estimator, "unconditional", self.log_delta)
        return conditional, unconditional

    def adapted(self, settings: ModelSettings) -> LidDifference:
        """Return the detector at the model's noise scale."""
        return replace(self, log_delta=settings.log_delta)

    def score(self, values: Tensor) -> Tensor:
        """Return the difference."""
        return values[:, 1] - values[:, 0]
