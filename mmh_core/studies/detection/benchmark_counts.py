"""Counts of what a detector detects at its threshold, captions and paraphrases apart."""

from __future__ import annotations

from dataclasses import dataclass

from mmh_core.studies.detection.benchmark_run import BenchmarkRun, DetectorRow
from mmh_core.subject.reference_scores import Reach, threshold_among, threshold_words

_PARAPHRASE = "paraphrase"


@dataclass(frozen=True)
class ThresholdCounts:
    """What a threshold detects in the test half: `found` captions, `rephrased` paraphrases.

    `threshold` is exceeded by at most the share `share` of the `normal` reference prompts that it
    was set on; `alarms` counts those of the test half that exceed it.
    """

    threshold: float
    share: float
    normal: int
    found: Reach
    rephrased: Reach
    alarms: Reach

    def words(self) -> str:
        """Return in sentences what is found at which threshold."""
        sentence = (
            f"at a threshold of {self.threshold:.2f} ({self.share:.1%} may be flagged: "
            f"{threshold_words(self.share, self.normal)}) it finds {self.found.found} of "
            f"{self.found.among} memorized "
        )
        if self.rephrased.among:
            sentence += (
                f"captions as trained with ({self.found.words()}), and {self.rephrased.found} of "
                f"{self.rephrased.among} paraphrases of such captions ({self.rephrased.words()})"
            )
        else:
            sentence += f"prompts ({self.found.words()})"
        return (
            f"{sentence}; of {self.alarms.among} reference prompts of the test half it flags "
            f"{self.alarms.found}."
        )


def counts(run: BenchmarkRun, row: DetectorRow, share: float) -> ThresholdCounts:
    """Return what a detector finds at the threshold of a share of its reference prompts."""
    value = threshold_among(row.normal, share)
    above = (row.scores > value).tolist()

    def reach(*, memorized: bool, paraphrase: bool) -> Reach:
        mine = [
            flag
            for flag, one in zip(above, run.prompts, strict=True)
            if one.memorized == memorized and (one.kind == _PARAPHRASE) == paraphrase
        ]
        return Reach(sum(mine), len(mine))

    return ThresholdCounts(
        value,
        share,
        len(row.normal),
        reach(memorized=True, paraphrase=False),
        reach(memorized=True, paraphrase=True),
        reach(memorized=False, paraphrase=False),
    )
