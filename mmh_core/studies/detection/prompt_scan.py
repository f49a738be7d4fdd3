"""The early scan of the prompts of an image run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from mmh_core.memorization.hypothesis import whole_percent
from mmh_core.records import Progress
from mmh_core.studies.images.run import ImageRun, PromptScan
from mmh_core.subject.early_calibration import EarlyCalibration, score_prompts
from mmh_core.text_to_image.model import TextToImage

#: Share of reference prompts that may be flagged: that of a scan by default.
SHARE = 0.01


def prompt_scans(
    model: TextToImage, calibration: EarlyCalibration, prompts: tuple[str, ...]
) -> tuple[PromptScan, ...]:
    """Return the early scan of each prompt. Errors: MMHError for another model's calibration."""
    scores, threshold = score_prompts(model, calibration, prompts), calibration.threshold(SHARE)
    memorized = calibration.flagged_memorized(SHARE)
    paraphrases = calibration.flagged_paraphrases(SHARE)
    return tuple(
        PromptScan(
            score=float(scores.score[i]),
            percentile=float(scores.percentile[i]),
            threshold=threshold,
            share=SHARE,
            flagged_memorized=-1 if memorized is None else memorized.flagged,
            memorized=0 if memorized is None else memorized.total,
            flagged_paraphrases=None if paraphrases is None else paraphrases.flagged,
            paraphrases=None if paraphrases is None else paraphrases.total,
        )
        for i in range(len(prompts))
    )


def scan_words(scan: PromptScan, *, copied: bool) -> str:
    """Return in a sentence what a scan says of the prompt, whose images may be `copied`."""
    if math.isnan(scan.score):
        return "Early scan: cannot be read, since the model takes this prompt for the empty one."
    sentence = (
        f"Early scan: {'flagged' if scan.flagged else 'not flagged'}, score {scan.score:.2f} "
        f"(threshold {scan.threshold:.2f}, above {whole_percent(scan.percentile)} of the "
        "reference prompts)"
    )
    if scan.flagged or not copied:
        return f"{sentence}."
    missed = "how many memorized prompts it misses is not known"
    if scan.memorized:
        missed = f"it finds {scan.flagged_memorized} of {scan.memorized} memorized prompts"
    if scan.memorized and scan.paraphrases:
        missed = (
            f"it finds {scan.flagged_memorized} of {scan.memorized} memorized captions as trained "
            f"with, and {scan.flagged_paraphrases} of {scan.paraphrases} paraphrases of such "
            "captions"
        )
    return f"{sentence}, although images of it are copies: at this threshold {missed}."


def scanned(
    steps: Iterator[Progress[ImageRun]],
    model: TextToImage,
    calibration: EarlyCalibration | None,
) -> Iterator[Progress[ImageRun]]:
    """Yield the progress of an image study; the last has the early scan of its prompts as well.

    Without a calibration of this model the run stays as it is, and so does one whose prompts are
    read in several windows, of which the scan reads the first only.
    """
    last: Progress[ImageRun] | None = None
    for last in steps:
        yield last
    if last is None or calibration is None or calibration.sha256 != model.sha256:
        return
    if last.partial.config.sampling.windows not in (None, 1):
        return
    scans = prompt_scans(model, calibration, last.partial.config.prompts)
    yield replace(last, partial=replace(last.partial, scans=scans))
