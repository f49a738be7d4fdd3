"""The scores of prompts by every calibrated detector, with percentiles among reference prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmh_core.detectors import combined_score
from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.detectors.inputs import encode, is_empty_prompt
from mmh_core.records import Progress
from mmh_core.studies.detection.measured import measured
from mmh_core.subject.detector_calibration import DetectorCalibration
from mmh_core.subject.early_calibration import EarlyCalibration, score_prompts
from mmh_core.subject.early_scan_rate import detection_rate_words
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.unread_text import UnreadText, unread_text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DetectorScores:
    """The scores of P prompts by K detectors, the combined score first where there is one.

    `score` and `percentile` (P, K), means over the seeds and shares (0 to 1) of the
    `reference_prompts` reference prompts that score lower; at most the share `fpr` of these
    exceeds `threshold` (K,). The early scan's are those of its own calibration, on
    `scan_reference_prompts` reference prompts, by which tables are scanned; `detection_rate` is
    what it misses. `readings` is what exceeds the text encoder of each prompt; `left_out` are
    sentences on which scores are missing, and why.
    """

    model: str
    prompts: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    score: Tensor
    percentile: Tensor
    threshold: Tensor
    fpr: float
    reference_prompts: int
    readings: tuple[UnreadText, ...] = ()
    scan_reference_prompts: int = 0
    detection_rate: str = ""
    left_out: tuple[str, ...] = ()

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
    fpr: float = 0.01,
) -> Iterator[Progress[DetectorScores | None]]:
    """Score prompts generated with the calibration's seeds; the last progress has the result.

    Prompts that the model takes for the empty one have no score, NaN. Errors: MMHError for the
    calibration of another model or of other settings.
    """
    calibration.check(model)
    threshold = torch.tensor([calibration.threshold(n, fpr) for n in calibration.names])
    half = None
    for half in measured(model, prompts, calibration.detectors, calibration.seeds):
        done = len(half.prompts)
        message = f"Scoring prompts, {done} of {len(prompts)}"
        yield Progress(0.99 * done / len(prompts), message, None)
    if half is None:
        raise ValueError("No prompt was measured.")
    scores = calibration.scores(
        {name: measurement.values for name, measurement in half.found.items()}
    )
    names = calibration.names
    labels = {combined_score.NAME: combined_score.LABEL}
    labels |= {name: detector.label for name, detector in calibration.detectors.items()}
    silent = is_empty_prompt(model, encode(model, prompts))
    every = torch.stack([scores[name] for name in names], dim=1)
    every[silent] = torch.nan
    result = DetectorScores(
        model.name,
        tuple(prompts),
        names,
        tuple(labels[name] for name in names),
        every,
        torch.stack(
            [calibration.percentile(name, every[:, k]) for k, name in enumerate(names)], dim=1
        ),
        threshold,
        fpr,
        len(calibration.prompts),
        tuple(unread_text(model, prompt) for prompt in prompts),
        left_out=calibration.left_out,
    )
    if EarlyScan.name in names and (early := calibration.early()) is not None:
        result = _as_scanned(model, result, early)
    yield Progress(1.0, "Finished", result)


def _as_scanned(
    model: TextToImage, scores: DetectorScores, early: EarlyCalibration
) -> DetectorScores:
    """Return the early scan exactly as the scan of a table has it."""
    scan, k = score_prompts(model, early, scores.prompts), scores.names.index(EarlyScan.name)
    score, percentile = scores.score.clone(), scores.percentile.clone()
    score[:, k], percentile[:, k] = scan.score.to(score), scan.percentile.to(percentile)
    return replace(
        scores,
        score=score,
        percentile=percentile,
        scan_reference_prompts=len(early.prompts),
        detection_rate=detection_rate_words(early, scores.fpr),
    )
