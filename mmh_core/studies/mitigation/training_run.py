"""Records of the training-time mitigation on the shipped world: config, snapshots, run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mmh_core.pocket.batches import Precision
from mmh_core.studies.mitigation.robustness_rows import CopyCount, RobustnessRow, copy_count

#: Groups of captions of the first world, in the order of the first axis of a snapshot's figures.
GROUPS = ("duplicate", "overfit", "normal")
#: The group of the reference captions, the last one of every world.
REFERENCE = "normal"
#: A caption with its images, and how many of those are copies.
CaptionCopies = tuple[str, int, int]


@dataclass(frozen=True)
class Arm:
    """A training set: as it is, or with every image once (`single`)."""

    name: str
    label: str
    single: bool


ARMS = (
    Arm("as it is", "with duplicates", False),
    Arm("deduplicated", "without duplicates", True),
)


@dataclass(frozen=True)
class TrainingMitigationConfig:
    """The training set, the network, and the snapshots of a run.

    The training set is that of the `captions` captions of each memorized group that are copied
    most, and the share `wide` of the reference images: a short training then meets every duplicate
    often enough. The network has `channels`
    per level, `steps` optimizer steps of `batch` images. At the steps `snapshot_steps` it samples
    `captions` captions of each group with `seeds` seeds each in `sampling_steps`; `kept` images of
    each group are kept.
    """

    steps: int = 1_000
    batch: int = 96
    channels: tuple[int, ...] = (64, 96)
    groups: int = 32
    snapshot_steps: tuple[int, ...] = (200, 350, 500, 750, 1_000)
    captions: int = 8
    seeds: int = 2
    sampling_steps: int = 30
    kept: int = 4
    seed: int = 0
    precision: Precision = "bfloat16"
    wide: float = 0.4


@dataclass(frozen=True)
class TrainingMitigationSnapshot:
    """A network and its images after `step` steps of an arm.

    (G, N) over the groups and their images: `copied` is 1 for a copy and 0 else, `similarity`
    that to the nearest training image, `alignment` with the caption, `lid` conditional, at the
    model's calibrated scale. `images` uint8 (G, P, 3, H, W) are the first ones. `loss` is the
    running average of the training loss. Of the last snapshot of each arm, and of its best by
    early stopping, `retriggered` are the copies after the attack of `mitigations.retrigger` on the
    embedding of each memorized caption, aimed at its own training image, and `control` those of
    each reference caption, aimed at its own likewise; `rephrased` are the copies of each memorized
    caption's paraphrases, `reseeded` those from other seeds. Empty where they were not tried, so
    that nothing is known of the robustness. `group_names` are those of the first axis, `GROUPS` in
    an earlier file that does not have them.
    """

    arm: str
    step: int
    loss: float
    copied: Tensor
    similarity: Tensor
    alignment: Tensor
    lid: Tensor
    images: Tensor
    retriggered: tuple[CaptionCopies, ...] = ()
    rephrased: tuple[CaptionCopies, ...] = ()
    reseeded: tuple[CaptionCopies, ...] = ()
    control: tuple[CaptionCopies, ...] = ()
    group_names: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the groups of the first axis."""
        return self.group_names or GROUPS

    @property
    def robustness(self) -> RobustnessRow | None:
        """Return what comes back of the copies, None where nothing was tried."""
        if not self.retriggered:
            return None
        return RobustnessRow(
            None,
            _counted(self.rephrased),
            _counted(self.reseeded),
            _counted(self.retriggered),
            _counted(self.control),
        )

    def mean(self, name: Literal["copied", "similarity", "alignment"], group: str) -> float:
        """Return the mean of a figure over a group."""
        figure: Tensor = getattr(self, name)
        return float(figure[self.groups.index(group)].mean())

    def median_lid(self, group: str) -> float:
        """Return the median LID of a group's images."""
        return float(self.lid[self.groups.index(group)].median())

    @property
    def memorized(self) -> float:
        """Return the share of copies among the images of memorized captions."""
        return float(self.copied[:-1].mean())


def _counted(rows: tuple[CaptionCopies, ...]) -> CopyCount:
    """Return the copies over captions, whose images can all be judged."""
    return copy_count([(torch.arange(images) < copies).float() for _, images, copies in rows])


@dataclass(frozen=True)
class TrainingMitigationRun:
    """Both arms so far; `captions` are (text, group).

    `sha256` is that of the model whose autoencoder and encoders were used. `group_names` are the
    groups of the captions, memorized ones first and `REFERENCE` last, as in a snapshot.
    """

    config: TrainingMitigationConfig
    sha256: str
    state: Literal["training", "complete"]
    captions: tuple[tuple[str, str], ...]
    snapshots: tuple[TrainingMitigationSnapshot, ...]
    seconds: float
    group_names: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the groups of the captions."""
        return self.group_names or GROUPS

    def arm(self, name: str) -> tuple[TrainingMitigationSnapshot, ...]:
        """Return the snapshots of an arm, earliest first."""
        return tuple(snapshot for snapshot in self.snapshots if snapshot.arm == name)


#: A snapshot shows what is asked if its reference images keep this share of the last one's fit.
_FITTING = 0.9


def early_stop(
    snapshots: tuple[TrainingMitigationSnapshot, ...],
) -> TrainingMitigationSnapshot | None:
    """Return where training had better ended, None where the last snapshot is best.

    Of those whose reference images fit their captions nearly as well as the last one's, the one
    with the fewest copies, the latest among equals. Caveat: it is chosen with the very images it
    is then judged by.
    """
    if not snapshots:
        return None
    last = snapshots[-1]
    least = _FITTING * last.mean("alignment", "normal")
    fitting = [snapshot for snapshot in snapshots if snapshot.mean("alignment", "normal") >= least]
    best = min(fitting, key=lambda snapshot: (snapshot.memorized, -snapshot.step))
    return None if best is last else best
