"""The accuracy of the cause of memorization, on captions of known cause."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmh_core.memorization.cause import cause_of, data_freedom, known_cause
from mmh_core.memorization.cause_calibration import Corpus, calibrate_cause
from mmh_core.records import LabelledPrompt
from mmh_core.statistics import ROC_RESAMPLINGS, balanced_accuracy, percentile_interval
from mmh_core.studies.detection.benchmark_run import CauseRow


def causes(
    labelled: Sequence[LabelledPrompt],
    lid: Tensor,
    corpus: Corpus | None,
    generator: torch.Generator,
) -> CauseRow | None:
    """Return the cause of every memorized test caption of known cause, and the accuracy.

    The threshold is fitted on such captions of the calibration half; `lid` (P,) is the model's at
    the test prompts. None without images of the captions, and without known causes.
    """
    halves = [[one for one in labelled if one.split == half] for half in ("calibration", "test")]
    fitting, counted = ([one for one in half if one.overfitted is not None] for half in halves)
    if corpus is None or not fitting or not counted:
        return None
    threshold = calibrate_cause(fitting, corpus).threshold
    places = [i for i, one in enumerate(halves[1]) if one.overfitted is not None]
    found = [data_freedom(*corpus(one.prompt)) for one in counted]
    said = [
        cause_of(True, float(lid[place]), each, threshold).label
        for place, each in zip(places, found, strict=True)
    ]
    data = torch.tensor([each.lid for each in found])
    truth = torch.tensor([bool(one.overfitted) for one in counted])
    true = [known_cause(each) for each in truth.tolist()]
    right = torch.tensor([mine == theirs for mine, theirs in zip(said, true, strict=True)])
    # Whatever else was said, such as that the cause is not identifiable, is not right.
    called = torch.where(right, truth, ~truth)
    draws = torch.randint(len(places), (ROC_RESAMPLINGS, len(places)), generator=generator)
    again = [balanced_accuracy(called[d], truth[d]) for d in draws if 0 < truth[d].sum() < len(d)]
    low, high = percentile_interval(torch.stack(again))
    return CauseRow(
        prompts=tuple(places),
        said=tuple(said),
        true=tuple(true),
        data_lid=data,
        model_lid=lid[places],
        threshold=threshold,
        accuracy=float(balanced_accuracy(called, truth)),
        low=low,
        high=high,
    )
