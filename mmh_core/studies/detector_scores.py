"""Score prompts by every calibrated detector, beside what is normal for the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmh_core.records import Progress
from mmh_core.studies import combined_score
from mmh_core.studies.detector_calibration import DetectorCalibration
from mmh_core.studies.early_scan import EarlyCalibration, reach_words, score_prompts
from mmh_core.studies.measured import measured
from mmh_core.text_to_image.heard import Heard, heard
from mmh_core.text_to_image.model import TextToImage

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DetectorScores:
    """Hold the scores of P prompts by K detectors, the combined score first where there is one.

    `score` and `percentile` (P, K), means over the seeds and shares (0 to 1) of the `normal`
    normal prompts that score lower; at most the share `share` of these exceeds `threshold` (K,).
    The early scan's are those of its own calibration, on `scan_normal` normal prompts, by which
    tables are scanned; `reach` says what it misses. `heard` is what the text encoder did not read
    of each prompt.
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
    heard: tuple[Heard, ...] = ()
    scan_normal: int = 0
    reach: str = ""

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
    early: EarlyCalibration | None = None,
) -> Iterator[Progress[DetectorScores | None]]:
    """Draw prompts with the calibration's seeds and score them; the last progress has the result.

    `early` is the calibration by which this model's tables are scanned, so that one prompt has one
    early scan; by default that of the other detectors. Errors: MMHError for the calibration of
    another model or of other settings.
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
        tuple(heard(model, prompt) for prompt in prompts),
    )
    early = calibration.early() if early is None and "early_scan" in names else early
    yield Progress(1.0, "Finished", found if early is None else _as_scanned(model, found, early))


def _as_scanned(
    model: TextToImage, found: DetectorScores, early: EarlyCalibration
) -> DetectorScores:
    """Put the early scan of a calibration of its own in the place of the detectors' one."""
    if "early_scan" not in found.names:
        return found
    scan, k = score_prompts(model, early, found.prompts), found.names.index("early_scan")
    score, percentile, threshold = (
        each.clone() for each in (found.score, found.percentile, found.threshold)
    )
    score[:, k], percentile[:, k] = scan.score.to(score), scan.percentile.to(percentile)
    threshold[k] = early.threshold(found.share)
    return replace(
        found,
        score=score,
        percentile=percentile,
        threshold=threshold,
        scan_normal=len(early.prompts),
        reach=reach_words(early, found.share),
    )
