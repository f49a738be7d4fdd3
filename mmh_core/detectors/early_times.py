"""The two times of the early scan by which a model's tables are scanned, from labelled prompts.

Published times are for latents of 64 x 64. A smaller latent loses its signal at less noise: at
t = .98 the prediction for a latent of 8 x 8 hardly depends on the prompt any more. The benchmark
tunes an early scan of its own, by the rule of all detectors (`detectors.tuning`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.detectors.inputs import DetectorInputs, per_prompt
from mmh_core.detectors.measurement import fit, measure
from mmh_core.records import MMHError
from mmh_core.statistics.areas import area_under_curve
from mmh_core.text_to_image.model import TextToImage

GRID = (0.04, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98)


def choose_times(
    model: TextToImage,
    inputs: DetectorInputs,
    memorized: Tensor,
    grid: tuple[float, ...] = GRID,
) -> tuple[float, float]:
    """Return the times (high, low) with the largest area under the ROC curve.

    `memorized` (P,) bool are the labels of the prompts of `inputs`, which must not be used for
    evaluation afterwards: results on them are optimistic. Of equal pairs the one with more
    noise wins. Raises MMHError where prompts of one of the two labels are missing.
    """
    if not bool(memorized.any()) or bool(memorized.all()):
        raise MMHError(
            "Times are chosen by separating memorized from reference prompts: label some of both."
        )
    scans = {(high, low): EarlyScan(high, low) for high in grid for low in grid}
    by_time = {t: measure(model, inputs, [EarlyScan(t, t)])["early_scan"].values for t in grid}
    reference = ~memorized[inputs.prompt_index]
    areas = {}
    for (high, low), scan in scans.items():
        values = torch.stack([by_time[high][:, 0], by_time[low][:, 1]], dim=1)
        score = per_prompt(fit(scan, values[reference]).score(values), inputs)
        areas[high, low] = float(area_under_curve(score[memorized], score[~memorized]))
    return max(sorted(areas, reverse=True), key=areas.__getitem__)
