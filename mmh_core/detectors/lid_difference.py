"""LID difference: how many dimensions the prompt takes away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mmh_core.detectors.lid import LOG_DELTA, REFERENCES, SHORT, Lid, LidEstimator
from mmh_core.detectors.measurement import Need
from mmh_core.dimension.estimators import ESTIMATORS


@dataclass(frozen=True)
class LidDifference:
    """Score by the unconditional LID minus the conditional one, at the same latents and probes.

    Ross et al. 2025 (arXiv 2411.00113): a caption can only lower LID, and specific captions
    memorize. A copy so strong that the model gives it without its caption has both small, and so
    no difference.
    """

    estimator: LidEstimator = "soft_spectral_count"
    log_delta: float = LOG_DELTA
    seed: int = 0
    needs: ClassVar[Need] = "image"

    @property
    def name(self) -> str:
        """Return lid_difference_ESTIMATOR."""
        return f"lid_difference_{SHORT[self.estimator]}"

    @property
    def label(self) -> str:
        """Return the name for people."""
        return f"LID, difference ({ESTIMATORS[self.estimator].label})"

    @property
    def reference(self) -> str:
        """Return where hypothesis and estimator come from."""
        return REFERENCES[self.estimator]

    @property
    def estimates(self) -> tuple[Lid, Lid]:
        """Return the conditional and the unconditional LID: two columns."""
        conditional = Lid(self.estimator, "conditional", self.log_delta, self.seed)
        unconditional = Lid(self.estimator, "unconditional", self.log_delta, self.seed)
        return conditional, unconditional

    def score(self, values: Tensor) -> Tensor:
        """Return the difference."""
        return values[:, 1] - values[:, 0]
