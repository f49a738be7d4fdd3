"""The LID of one image by one estimator, with its errors and its percentile."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmh_core.statistics.intervals import half_width


@dataclass(frozen=True)
class ImageLid:
    """The LID of one image by one estimator at the scale `log_delta`.

    `conditional` is that of the model given the prompt, `unconditional` without it, each with the
    standard error of the estimator's own randomness (NaN where it has none to tell). `percentile`
    (0 to 1) is the share of the model's reference prompts with a lower conditional LID, NaN
    without a reference for these settings. `nfe` is the cost per image, both estimates together.
    `probes` and `unconditional_probes` are the independent values behind
    them, None where unknown, as in older files, or where there is no randomness; without the
    prompt the default estimator has few, of the difference (`ProbeValues.estimate_beside`).
    The percentile is among `reference_images` images of `reference_prompts` prompts (None:
    unknown). Below `threshold` an image is suspicious; `highest_reference` is the highest LID of
    a reference image (NaN: unknown).
    """

    estimator: str
    label: str
    log_delta: float
    conditional: float
    conditional_error: float
    unconditional: float
    unconditional_error: float
    percentile: float
    nfe: float
    probes: int | None = None
    unconditional_probes: int | None = None
    reference_images: int | None = None
    reference_prompts: int | None = None
    threshold: float = math.nan
    highest_reference: float = math.nan

    @property
    def probe_words(self) -> str:
        """Return how many probes both estimates have, "" where that is unknown or none are."""
        if self.probes is None:
            return ""
        if self.unconditional_probes is None:
            return f"{self.probes} conditional"
        return f"{self.probes} conditional, {self.unconditional_probes} unconditional"

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the conditional LID by Student's t, NaN where unknown.

        It is that of the estimator's own randomness and of nothing else.
        """
        half = half_width(self.conditional_error, self.probes)
        return self.conditional - half, self.conditional + half
