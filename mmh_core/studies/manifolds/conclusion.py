"""What a run on a manifold shows, in words."""

from __future__ import annotations

import math

import torch

from mmh_core.counting import agreeing, plural
from mmh_core.memorization.cause import DATA, OVERFITTING
from mmh_core.memorization.hypothesis import EXACT_BELOW, VERDICTS, margin, shown_lid
from mmh_core.records import Conclusion
from mmh_core.statistics.intervals import share_interval
from mmh_core.studies.manifolds.run import ManifoldRun, Snapshot

_BY_DATA = tuple(VERDICTS.index(label) for label in VERDICTS if label.startswith(DATA))
_BY_MODEL = tuple(VERDICTS.index(label) for label in VERDICTS if label.startswith(OVERFITTING))
#: A chance level below which nearness to a training point is a sign of a copy.
_RARE = 0.05
_CERTAINTY = "One run with one seed: train with another seed before you rely on the figure."


def conclusion(run: ManifoldRun, snapshot: Snapshot) -> Conclusion:
    """Return what the model of a snapshot memorizes, by the LID of its samples."""
    if not snapshot.fits:
        return Conclusion(
            f"The model does not fit its data at step {snapshot.step:,}, so its LID says nothing "
            "yet.",
            "Look at a later step, or train longer or with a wider network.",
            "No verdict counts before the fit is good.",
        )
    samples = snapshot.generated
    count, many = int(samples.memorized.sum()), len(samples.verdict)
    if not count:
        return Conclusion(
            f"None of {many:,} samples is memorized: {_medians(run, snapshot)}.",
            "Nothing has to be mended. To see memorization begin, train with fewer points, with "
            "duplicates, or for longer.",
            f"0 of {many:,} samples: 95 % interval of the share memorized 0 to "
            f"{_percent(share_interval(0, many).high)}. {_CERTAINTY}",
        )
    return Conclusion(_memorized(run, snapshot), _remedy(snapshot), _CERTAINTY)


def reproduced_points(run: ManifoldRun, snapshot: Snapshot) -> int:
    """Return how many training points memorized samples are copies of.

    In few dimensions new draws of the data are often this near to a training point too: there a
    sample counts only where its LID is about 0.
    """
    samples = snapshot.generated
    copies = samples.memorized & (snapshot.distance_ratio < 1 / 3)
    if run.chance_memorized > _RARE:
        copies &= samples.lid < EXACT_BELOW
    return len(set(snapshot.nearest[copies].tolist()))


def _medians(run: ManifoldRun, snapshot: Snapshot) -> str:
    """Return the median LID of samples beside that of the data, and why it may be larger."""
    lid, data = float(snapshot.generated.lid.nanmedian()), run.typical_lid
    text = f"their median LID is {_lid(lid)}, that of the data {_lid(data)}"
    if lid > data + float(margin(torch.tensor(data))):
        return f"{text}; the network adds directions of its own, which is no memorization"
    return text


def _memorized(run: ManifoldRun, snapshot: Snapshot) -> str:
    """Return how many points are reproduced, with the LID of the samples that do so."""
    samples = snapshot.generated
    chosen = samples.memorized
    points = reproduced_points(run, snapshot)
    verb = f"reproduces {plural(points, 'training point')}"
    count = f"{int(chosen.sum()):,} of {len(chosen):,} samples"
    data = float(samples.data_lid[chosen].nanmedian())
    beside = run.typical_lid if math.isnan(data) else data
    lid = _lid(float(samples.lid[chosen].nanmedian()))
    lids = f"their median LID is {lid}, that of the data there {_lid(beside)}"
    if beside < run.typical_lid - float(margin(torch.tensor(run.typical_lid))):
        lids += f", of all data {_lid(run.typical_lid)}"
    are = agreeing(int(chosen.sum()), "is", "are")
    what = f"The model {verb}" if points else "The model memorizes"
    return f"{what}. {count} {are} memorized by LID: {lids}."


def _remedy(snapshot: Snapshot) -> str:
    codes = snapshot.generated.verdict.tolist()
    by_data, by_model = (sum(c in of for c in codes) for of in (_BY_DATA, _BY_MODEL))
    if not by_data + by_model:
        return (
            "The LID of the data is unknown here, so the cause is not identifiable: train with "
            "more points and compare."
        )
    if by_data > by_model:
        return (
            "The data causes it: train deduplicated, under Training-time mitigation in the "
            "training tab. Early stopping helps little."
        )
    return (
        "Overfitting causes it: take more training points, or stop early, under Training-time "
        "mitigation in the training tab."
    )


def _lid(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{shown_lid(value):.1f}".removesuffix(".0")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
