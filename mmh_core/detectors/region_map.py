"""Region map: where in the generated image the conditional and unconditional scores differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.detectors.measurement import Measurement, Need, OneColumn
from mmh_core.text_to_image.model import TextToImage


@dataclass(frozen=True)
class RegionMap(OneColumn):
    """The mean over the image of `sum_channels (s_c - s_u)^2` at the last step.

    Kim & Lee 2026 (arXiv 2605.26756), their score difference. The map itself is `Trace.region`.
    Its mean is the squared guidance norm there over `sigma^2 h w`. Free while generating.
    """

    name: ClassVar[str] = "region_map"
    label: ClassVar[str] = "Region map, mean"
    summary: ClassVar[str] = (
        "The mean squared difference of conditional and unconditional score at the last step."
    )
    citation: ClassVar[str] = "Kim & Lee 2026, arXiv 2605.26756"
    needs: ClassVar[Need] = "trace"

    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the means (B, 1)."""
        trace = inputs.generated()
        return Measurement(trace.region.mean((1, 2))[:, None], 0.0, trace.nfe)
