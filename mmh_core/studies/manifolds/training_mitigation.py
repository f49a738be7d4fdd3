"""Training-time mitigations on manifolds: deduplication and early stopping.

They are the only ones for the two causes: what the data lacks in freedom no later mitigation can
give back (DD-Mem), and what a model has overfitted it had not yet at some earlier step (OD-Mem).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mmh_core.records import MMHError
from mmh_core.studies.manifolds.run import ManifoldConfig, ManifoldRun, Snapshot


@dataclass(frozen=True)
class Effect:
    """LID and copies of a model after `step` steps.

    `lid_generated` and `lid_trained` are median model LIDs at samples and at training points,
    `memorized_generated` and `memorized_trained` the shares memorized by LID,
    `low_ratio_share` the share of samples whose distance ratio is below 1 / 3.
    """

    step: int
    lid_generated: float
    lid_trained: float
    memorized_generated: float
    memorized_trained: float
    low_ratio_share: float


def effect(snapshot: Snapshot) -> Effect:
    """Return the figures of a snapshot; points without an estimate are left out of the medians."""
    return Effect(
        snapshot.step,
        float(snapshot.generated.lid.nanmedian()),
        float(snapshot.trained.lid.nanmedian()),
        float(snapshot.generated.memorized.float().mean()),
        float(snapshot.trained.memorized.float().mean()),
        snapshot.low_ratio_share,
    )


def early_stop(run: ManifoldRun) -> Snapshot | None:
    """Return the snapshot at which training had better ended, None where the last one is best.

    Of those that fit their data the one with the fewest samples memorized by LID, the latest among
    equals. Caveat: it is chosen with the very estimates it is then judged by.
    """
    fitting = [snapshot for snapshot in run.snapshots if snapshot.fits]
    if not fitting:
        return None
    best = min(fitting, key=lambda s: (float(s.generated.memorized.float().mean()), -s.step))
    return None if best.step == run.snapshots[-1].step else best


def deduplicated(config: ManifoldConfig) -> ManifoldConfig:
    """Return the config with every training point once. Errors: MMHError where that is so."""
    if not config.duplicates:
        raise MMHError("This training set has no duplicates: there are none to remove.")
    return replace(config, duplicates=0)
