"""Rows of the benchmark's table from scores: those of detectors, and those of words alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmh_core.memorization.text_baseline import FEATURES, Features, text_scores
from mmh_core.records import LabelledPrompt
from mmh_core.statistics.areas import separation
from mmh_core.studies.detection.benchmark_run import DetectorRow

#: Features of words, the name of their row, and its label.
TEXT: tuple[tuple[Features, str, str], ...] = (
    ("words", "text_words", "Text alone, words and pairs"),
    ("characters", "text_characters", "Text alone, characters 3 to 5"),
)


def text_rows(
    labelled: Sequence[LabelledPrompt],
) -> tuple[tuple[DetectorRow, ...], tuple[str, ...]]:
    """Return the rows of words alone, and in sentences why one is missing.

    A logistic regression of scikit-learn is fitted on the prompts of the calibration half and
    scores those of the test half: no model and no image. What a detector adds is what it does
    better than these. Thresholds come from reference prompts of the calibration half, each scored
    by classifiers of the other folds.
    """
    fitted, tested = (
        [row for row in labelled if row.split == half] for half in ("calibration", "test")
    )
    fitted = [row for row in fitted if row.counted]
    rows, missing = [], []
    for features, name, label in TEXT:
        labels = [row.memorized for row in fitted]
        texts = [row.prompt for row in fitted]
        try:
            scores = text_scores(texts, labels, [row.prompt for row in tested], features)
        except ValueError:
            missing.append(
                f"{label} has no row: the prompts of the calibration half are too few or share "
                "no words. Label more prompts."
            )
            continue
        reference = scores.out_of_fold[~torch.tensor(labels)].sort().values
        source = f"this project: {FEATURES[features]} (scikit-learn)"
        row = detector_row(
            (name, label, source), (0.0, 0.0), scores.others, reference, tuple(tested)
        )
        rows.append(replace(row, settings="nothing to tune"))
    return tuple(rows), tuple(missing)


def detector_row(
    named: tuple[str, str, str],
    cost: tuple[float, float],
    scores: Tensor,
    reference_scores: Tensor,
    prompts: tuple[LabelledPrompt, ...],
) -> DetectorRow:
    """Return the row of a detector: how well its scores separate memorized from reference prompts.

    Paraphrases are counted apart, and excluded prompts nowhere.
    """
    kinds = [row.kind for row in prompts]
    memorized = torch.tensor([row.memorized for row in prompts])
    included = torch.tensor([not row.exclusion for row in prompts])
    has_score = scores.isfinite()
    parts = []
    for kind in dict.fromkeys(k for k, row in zip(kinds, prompts, strict=True) if row.memorized):
        of_kind = torch.tensor([k == kind for k in kinds]) & memorized & included
        if not bool((of_kind & has_score).any()):
            continue
        kept = (of_kind | (~memorized & included)) & has_score
        parts.append((kind, separation(scores[kept], of_kind[kept])))
    plain = torch.tensor([row.counted for row in prompts]) & has_score
    return DetectorRow(
        *named,
        *cost,
        scores=scores,
        reference_scores=reference_scores,
        all=separation(scores[plain], memorized[plain]),
        kinds=tuple(parts),
    )
