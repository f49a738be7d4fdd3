"""LID corrected for complexity: how far it is below that of images as simple."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from mmh_core.detectors.grids import LOG_DELTAS, Grid
from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.detectors.lid import CITATIONS, LOG_DELTA, SHORT, Lid, LidEstimator
from mmh_core.detectors.measurement import (
    Measurement,
    ModelSettings,
    Need,
    mean_and_deviation,
    not_fitted,
)
from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.pixels import to_pil


@dataclass(frozen=True)
class LidCorrected:
    """Minus the residual of LID regressed on complexity: `intercept + slope log bytes - LID`.

    Ross et al. 2025 (arXiv 2411.00113, Sec. 5): simple images have a low LID without being
    memorized; complexity is the size of the image as PNG. Conditional LID. The straight line
    over reference prompts comes from `fitted`.
    """

    estimator: LidEstimator = "soft_spectral_count"
    log_delta: float = LOG_DELTA
    intercept: float | None = None
    slope: float = 0.0
    needs: ClassVar[Need] = "image"
    grid: ClassVar[Grid] = {"log_delta": LOG_DELTAS}
    summary: ClassVar[str] = "Minus the residual of LID after a regression on the size as PNG."

    @property
    def name(self) -> str:
        """Return lid_corrected_ESTIMATOR."""
        return f"lid_corrected_{SHORT[self.estimator]}"

    @property
    def label(self) -> str:
        """Return the name, with its estimator."""
        return f"LID, corrected for complexity ({ESTIMATORS[self.estimator].label})"

    @property
    def citation(self) -> str:
        """Return the citations of hypothesis and estimator."""
        return CITATIONS[self.estimator]

    @property
    def estimates(self) -> tuple[Lid, Complexity]:
        """Return the LID and the complexity: two columns."""
        return Lid(self.estimator, "conditional", self.log_delta), Complexity()

    def adapted(self, settings: ModelSettings) -> LidCorrected:
        """Return the detector at the model's noise scale."""
        return replace(self, log_delta=settings.log_delta)

    def fitted(self, values: Tensor) -> LidCorrected:
        """Return the detector with the least-squares line through reference prompts."""
        lid, complexity = values.double().unbind(1)
        _, (spread,) = mean_and_deviation(values[:, 1:])
        slope = ((complexity - complexity.mean()) * lid).sum() / (len(lid) - 1) / spread**2
        return replace(
            self, intercept=(lid.mean() - slope * complexity.mean()).item(), slope=slope.item()
        )

    def score(self, values: Tensor) -> Tensor:
        """Return minus the residual. Raises MMHError before the fit."""
        if self.intercept is None:
            raise not_fitted(self.label)
        return self.intercept + self.slope * values[:, 1] - values[:, 0]


@dataclass(frozen=True)
class Complexity:
    """The natural logarithm of an image's size in bytes as PNG."""

    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the logarithms (B, 1)."""
        trace = inputs.generated()
        sizes = []
        for image in to_pil(trace.images):
            file = io.BytesIO()
            image.save(file, format="PNG")
            sizes.append([float(file.tell())])
        return Measurement(torch.tensor(sizes).log(), 0.0, trace.nfe)
