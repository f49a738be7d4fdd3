"""Records of the benchmark of detectors, and what a threshold detects in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmh_core.memorization.cause import CAUSES
from mmh_core.records import LabelledPrompt
from mmh_core.statistics.areas import Separation
from mmh_core.studies.detection.doses import COPY_RATE, GUIDANCE, LID, DoseCurve, dose_curves
from mmh_core.studies.detection.network_rows import Networks
from mmh_core.subject.reference_scores import Proportion, threshold_among, threshold_words
from mmh_core.text_to_image.requests import Sampling

if TYPE_CHECKING:
    import pandas as pd

#: The row of the early scan with the deployed threshold, by which tables are scanned; the row
#: `early_scan` is tuned like every other detector.
SCAN = "scan"


@dataclass(frozen=True)
class DetectorRow:
    """One detector's result on the test prompts.

    `scores` (P,) are means over the seeds, higher = more memorized; `reference_scores` (N,)
    those of the calibration half's reference prompts, sorted. `nfe` counts network evaluations per
    image, `generation_nfe` those of the generation it needs, 0 where it needs none. `kinds`
    separates each memorized kind from the reference prompts. `images` (P, S) are the scores of
    every image, None where unknown; `settings` says which free settings it has and how they were
    set, "" where unknown.
    """

    name: str
    label: str
    citation: str
    nfe: float
    generation_nfe: float
    scores: Tensor
    reference_scores: Tensor
    all: Separation
    kinds: tuple[tuple[str, Separation], ...]
    images: Tensor | None = None
    settings: str = ""

    @property
    def merit(self) -> tuple[float, float, float]:
        """Return what orders detectors: AUC, then TPR at 1 % FPR, then how cheap it is."""
        return self.all.auc, self.all.tpr, -self.nfe - self.generation_nfe


@dataclass(frozen=True)
class CombinedRow:
    """The logistic regression over detectors, fitted on the calibration half.

    `weights` (F,) on standardized scores of the detectors `names`, `bias` beside them; `cv_auc` is
    the area of scores that five-fold cross-validation within the calibration half gives.
    """

    names: tuple[str, ...]
    weights: Tensor
    bias: float
    mean: Tensor
    spread: Tensor
    cv_auc: float
    row: DetectorRow


@dataclass(frozen=True)
class CauseResults:
    """The predicted causes of Q memorized test captions whose images were copies.

    `prompts` are their positions in the run's prompts; `predicted` and `true` are labels of
    `memorization.cause`, the true one of `CAUSES`; `data_lid_estimate` and `model_lid`
    (Q,) are what decides, with `multiplicity` (Q,), how often the copied image occurs in the
    training set, near duplicates included (None in older files). `confidence` (Q,) is calibrated,
    NaN where it is not (None in older files). `accuracy` is balanced, with its 95 % interval.
    `threshold` is that of files of an earlier rule, else NaN.
    """

    prompts: tuple[int, ...]
    predicted: tuple[str, ...]
    true: tuple[str, ...]
    data_lid_estimate: Tensor
    model_lid: Tensor
    threshold: float
    accuracy: float
    low: float
    high: float
    confidence: Tensor | None = None
    multiplicity: Tensor | None = None

    @property
    def causes(self) -> tuple[str, ...]:
        """Return the causes that are true or predicted here, in the order of `CAUSES`."""
        return tuple(cause for cause in CAUSES if cause in self.true or cause in self.predicted)

    @property
    def right(self) -> Tensor:
        """Return which predictions are right, (Q,) bool."""
        return torch.tensor([a == b for a, b in zip(self.predicted, self.true, strict=True)])


@dataclass(frozen=True)
class BenchmarkRun:
    """One benchmark of one model: all detectors on the same test prompts and seeds.

    `copied` (P,) is the share of each prompt's images that are copies of a training image, NaN
    without training images to search; `lid` and `data_lid` (P,) are the mean conditional LID of
    the model and the true LID of the data (LID_* in the papers), NaN where unknown. Finished when
    `state` is "complete". `missing` says in sentences what could not be done, such as prompts of
    either half that exceed the text encoder; `notes` are the model's. `text_baselines` are rows of
    scores of the words alone, which see no model; `copies` (P, S) is of every image 1 for a copy
    of a training image, 0 for none and NaN where unknown, None where it was not kept.
    `guidance_norm` (P,) is the mean length of the guidance vector over the steps and seeds, None
    where it was not kept. `networks` are the figures over several networks, of which this run is
    the first; None where there is one.
    """

    model: str
    sha256: str
    sampling: Sampling
    seeds: tuple[int, ...]
    state: str
    prompts: tuple[LabelledPrompt, ...]
    copied: Tensor
    lid: Tensor
    data_lid: Tensor
    detectors: tuple[DetectorRow, ...]
    combined: CombinedRow | None
    cause: CauseResults | None
    seconds: float
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    text_baselines: tuple[DetectorRow, ...] = ()
    copies: Tensor | None = None
    guidance_norm: Tensor | None = None
    networks: Networks | None = None

    @property
    def doses(self) -> tuple[DoseCurve, ...]:
        """Return copy rate, LID and guidance norm against the dose; () without doses."""
        responses = {COPY_RATE: self.copied, LID: self.lid}
        if self.guidance_norm is not None:
            responses[GUIDANCE] = self.guidance_norm
        return dose_curves(self.prompts, responses)

    @property
    def rows(self) -> tuple[DetectorRow, ...]:
        """Return all rows, the combined score first, text baselines last."""
        combined = () if self.combined is None else (self.combined.row,)
        return (*combined, *self.detectors, *self.text_baselines)

    @property
    def scanning(self) -> str:
        """Return the name of the row of the early scan with the deployed threshold.

        Older files, and runs without such a calibration, have only the tuned row.
        """
        return SCAN if any(row.name == SCAN for row in self.detectors) else "early_scan"

    @property
    def of_model(self) -> tuple[DetectorRow, ...]:
        """Return the rows of scores that look at the model, the combined one first."""
        return self.rows[: len(self.rows) - len(self.text_baselines)]

    def frame(self) -> pd.DataFrame:
        """Return one row per detector: AUC and TPR at 1 % FPR with intervals, and the cost."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "detector": row.name,
                    "label": row.label,
                    "auc": row.all.auc,
                    "auc_low": row.all.auc_low,
                    "auc_high": row.all.auc_high,
                    "tpr_at_1_percent": row.all.tpr,
                    "tpr_low": row.all.tpr_low,
                    "tpr_high": row.all.tpr_high,
                    "nfe": row.nfe,
                    "generation": row.generation_nfe,
                    **{f"auc_{kind}": figures.auc for kind, figures in row.kinds},
                }
                for row in self.rows
            ]
        )


@dataclass(frozen=True)
class ThresholdCounts:
    """How many prompts of the test half exceed a threshold.

    `memorized` are memorized captions, `paraphrases` paraphrases of them, `reference` reference
    prompts. At most the share `fpr` of the `set_on` reference prompts that the threshold was set
    on exceed it. Excluded prompts count in `excluded` alone, since neither label holds of them.
    """

    threshold: float
    fpr: float
    set_on: int
    memorized: Proportion
    paraphrases: Proportion
    reference: Proportion
    excluded: Proportion

    @property
    def flagged(self) -> Proportion:
        """Return how many of the prompts with a label exceed the threshold."""
        parts = (self.memorized, self.paraphrases, self.reference)
        return Proportion(sum(part.count for part in parts), sum(part.total for part in parts))

    @property
    def precision(self) -> Proportion:
        """Return how many of the flagged prompts are memorized captions or paraphrases of such."""
        memorized = self.memorized.count + self.paraphrases.count
        return Proportion(memorized, memorized + self.reference.count)

    def words(self) -> str:
        """Return in sentences how many are detected at which threshold."""
        sentence = (
            f"at a threshold of {self.threshold:.2f} (at most {self.fpr:.1%} of reference prompts "
            f"flagged: {threshold_words(self.fpr, self.set_on)}) it detects "
            f"{self.memorized.count} of {self.memorized.total} memorized "
        )
        if self.paraphrases.total:
            sentence += (
                f"captions as trained with ({self.memorized.words()}), and "
                f"{self.paraphrases.count} of {self.paraphrases.total} paraphrases of such "
                f"captions ({self.paraphrases.words()})"
            )
        else:
            sentence += f"prompts ({self.memorized.words()})"
        return (
            f"{sentence}; of {self.reference.total} reference prompts of the test half it flags "
            f"{self.reference.count}."
        )


def counts(run: BenchmarkRun, row: DetectorRow, fpr: float) -> ThresholdCounts:
    """Return how many prompts a detector flags at a false-positive rate."""
    value = threshold_among(row.reference_scores, fpr)
    above = (row.scores > value).tolist()

    def flagged(memorized: bool | None, *, paraphrase: bool = False) -> Proportion:
        """Return the count of prompts with a label; None: of excluded ones."""
        flags = [
            flag
            for flag, prompt in zip(above, run.prompts, strict=True)
            if (None if prompt.exclusion else prompt.memorized) == memorized
            and (prompt.paraphrased == paraphrase or memorized is None)
        ]
        return Proportion(sum(flags), len(flags))

    return ThresholdCounts(
        value,
        fpr,
        len(row.reference_scores),
        flagged(True),
        flagged(True, paraphrase=True),
        flagged(False),
        flagged(None),
    )
