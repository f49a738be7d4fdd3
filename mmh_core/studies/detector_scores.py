"""Score prompts by every calibrated detector, beside what is normal for the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmh_core.records import Progress
from mmh_core.studies import combined_score
from mmh_core.studies.detector_calibration import DetectorCalibration
from mmh_core.studies.measured import measured
from mmh_core.text_to_image.model import TextToImage

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DetectorScores:
    """Hold the scores of P prompts by K detectors, the combined score first where there is one.

    `score` and `percentile` (P, K), means over the seeds and shares (0 to 1) of the `normal`
    normal prompts that score lower; `threshold` (K,) lets at most the share `share` of these pass.
    """

    model: str
    prompts: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    score: Tensor
    percentile: Tensor
    threshold: Tensor
    share: float
    normal: int

    @property
    def flagged(self) -> Tensor:
        """Return which scores exceed their threshold, (P, K) bool."""
        return self.score > self.threshold

    def frame(self) -> pd.DataFrame:
        """Return one row per prompt and detector."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "prompt": prompt,
                    "detector": name,
                    "score": float(self.score[i, k]),
                    "percentile": float(self.percentile[i, k]),
                    "threshold": float(self.threshold[k]),
                    "flagged": bool(self.flagged[i, k]),
                }
                for i, prompt in enumerate(self.prompts)
                for k, name in enumerate(self.names)
            ]
        )


def score_by_all(
    model: TextToImage,
    calibration: DetectorCalibration,
    prompts: Sequence[str],
    *,
    share: float = 0.01,
) -> Iterator[Progress[DetectorScores | None]]:
    """Draw prompts with the calibration's seeds and score them; the last progress has the result.

    Errors: MMHError for the calibration of another model or of other settings.
    """
    calibration.check(model)
    threshold = torch.tensor([calibration.threshold(n, share) for n in calibration.names])
    half = None
    for half in measured(model, prompts, calibration.detectors, calibration.seeds):
        done = len(half.prompts)
        message = f"Reading prompts, {done} of {len(prompts)}"
        yield Progress(0.99 * done / len(prompts), message, None)
    if half is None:
        raise ValueError("No prompt was measured.")
    scores = calibration.scores({name: found.values for name, found in half.found.items()})
    names = calibration.names
    known = {combined_score.NAME: combined_score.LABEL}
    known |= {name: each.label for name, each in calibration.detectors.items()}
    found = DetectorScores(
        model.name,
        tuple(prompts),
        names,
        tuple(known[name] for name in names),
        torch.stack([scores[name] for name in names], dim=1),
        torch.stack([calibration.percentile(name, scores[name]) for name in names], dim=1),
        threshold,
        share,
        len(calibration.prompts),
    )
    yield Progress(1.0, "Finished", found)
