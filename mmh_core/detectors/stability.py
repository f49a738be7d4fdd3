"""Stability: how far the steps of a generation deviate from those of reference prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.detectors.measurement import Measurement, Need, mean_and_deviation, not_fitted
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class Stability:
    """The maximum over steps k of a generation, `max_k | |x_k - x_(k+1)| - mean_k | / spread_k`.

    Huang et al. 2026 (arXiv 2605.22050). In standard deviations: `mean` and `spread` (T,), those
    of a step's length over reference prompts, are set by `fitted` and hold for one model, sampler,
    number of steps and guidance. No NFE beyond the generation.
    """

    mean: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    name: ClassVar[str] = "stability"
    label: ClassVar[str] = "Stability"
    summary: ClassVar[str] = (
        "The largest deviation of a step's length from those of reference prompts."
    )
    citation: ClassVar[str] = "Huang et al. 2026, arXiv 2605.22050"
    needs: ClassVar[Need] = "trace"

    @property
    def estimates(self) -> tuple[Movement]:
        """Return the movement: one column per step."""
        return (Movement(),)

    def fitted(self, values: Tensor) -> Stability:
        """Return the detector with the mean and spread of reference prompts at every step."""
        mean, spread = mean_and_deviation(values)
        return replace(self, mean=mean, spread=spread)

    def score(self, values: Tensor) -> Tensor:
        """Return the largest deviation. Raises MMHError before the fit."""
        if not self.mean:
            raise not_fitted(self.label)
        if values.shape[1] != len(self.mean):
            raise ValueError(
                f"Stability was fitted for {len(self.mean)} steps, got {values.shape[1]}."
            )
        deviation = (values - values.new_tensor(self.mean)).abs()
        return (deviation / values.new_tensor(self.spread)).amax(1)


@dataclass(frozen=True)
class Movement:
    """The length of each step of a generation."""

    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the lengths (B, T)."""
        trace = inputs.generated()
        return Measurement(trace.movement, 0.0, trace.nfe)
