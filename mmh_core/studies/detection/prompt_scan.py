"""The early scan of the prompts of an image run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from mmh_core.counting import agreeing
from mmh_core.memorization.hypothesis import whole_percent
from mmh_core.records import Progress
from mmh_core.studies.images.run import ImageRun, PromptScan
from mmh_core.subject.early_calibration import EarlyCalibration, score_prompts
from mmh_core.text_to_image.model import TextToImage

#: The false-positive rate on reference prompts: that of a scan by default.
FPR = 0.01


def prompt_scans(
    model: TextToImage, calibration: EarlyCalibration, prompts: tuple[str, ...]
) -> tuple[PromptScan, ...]:
    """Return the early scan of each prompt. Errors: MMHError for another model's calibration."""
    scores, threshold = score_prompts(model, calibration, prompts), calibration.threshold(FPR)
    memorized = calibration.flagged_memorized(FPR)
    paraphrases = calibration.flagged_paraphrases(FPR)
    return tuple(
        PromptScan(
            score=float(scores.score[i]),
            percentile=float(scores.percentile[i]),
            threshold=threshold,
            fpr=FPR,
            flagged_memorized=-1 if memorized is None else memorized.count,
            memorized=0 if memorized is None else memorized.total,
            flagged_paraphrases=None if paraphrases is None else paraphrases.count,
            paraphrases=None if paraphrases is None else paraphrases.total,
        )
        for i in range(len(prompts))
    )


def scan_words(scan: PromptScan, *, copies: tuple[int, int]) -> str:
    """Return in a sentence what a scan says of a prompt; `copies` of its images, of how many."""
    if math.isnan(scan.score):
        return "Early scan: cannot be read, since the model takes this prompt for the empty one."
    side = "above" if scan.flagged else "not above"
    sentence = (
        f"Early scan, before any image: {'flagged' if scan.flagged else 'not flagged'}. The score "
        f"{scan.score:.2f} is {side} the threshold {scan.threshold:.2f}; "
        f"{whole_percent(scan.percentile)} of the reference prompts score lower."
    )
    if scan.flagged or not copies[0]:
        return sentence
    missed = "How many memorized prompts it misses is not known."
    if scan.memorized:
        missed = (
            f"This threshold flags {scan.flagged_memorized} of {scan.memorized} memorized "
            f"{'training captions' if scan.paraphrases else 'prompts'}"
        )
        if scan.paraphrases:
            missed += f" and {scan.flagged_paraphrases} of {scan.paraphrases} paraphrases of them"
        missed += "."
    count, many = copies
    of = "its one image" if many == 1 else f"{count} of its {many} images"
    are = agreeing(count, "is a copy", "are copies")
    return f"{sentence} It missed this prompt, although {of} {are}. {missed}"


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
