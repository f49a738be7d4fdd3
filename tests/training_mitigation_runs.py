"""A training of both arms made by hand, with figures that can be counted by eye."""

from __future__ import annotations

import torch

from mmh_core.studies.mitigation.training_run import (
    TrainingMitigationConfig,
    TrainingMitigationRun,
    TrainingMitigationSnapshot,
)

#: By arm: (step, copies and LID of duplicated, overfit and reference captions, alignment of
# normal).
FIGURES = {
    "as it is": (
        (100, (0.0, 0.0, 0.0), (30.0, 31.0, 32.0), 0.2),
        (200, (0.5, 0.0, 0.0), (12.0, 20.0, 26.0), 0.55),
        (400, (1.0, 1.0, 0.0), (2.0, 4.0, 24.0), 0.6),
    ),
    "deduplicated": (
        (100, (0.0, 0.0, 0.0), (30.0, 31.0, 32.0), 0.3),
        (200, (0.0, 0.0, 0.0), (25.0, 26.0, 27.0), 0.6),
        (400, (0.0, 0.0, 0.0), (20.0, 22.0, 24.0), 0.62),
    ),
}


def training_mitigation_run() -> TrainingMitigationRun:
    """Return two arms with three snapshots each at two images a group."""
    generator = torch.Generator().manual_seed(0)
    snapshots = []
    for arm, rows_of_arm in FIGURES.items():
        for step, copied, lid, fit in rows_of_arm:
            share = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
            rows = [share[{1.0: 0, 0.5: 1, 0.0: 2}[value]] for value in copied]
            images = torch.randint(
                0, 256, (3, 2, 3, 16, 16), generator=generator, dtype=torch.uint8
            )
            snapshots.append(
                TrainingMitigationSnapshot(
                    arm,
                    step,
                    0.5,
                    torch.stack(rows),
                    torch.full((3, 2), 0.9),
                    torch.full((3, 2), fit),
                    torch.tensor(lid)[:, None].repeat(1, 2),
                    images,
                )
            )
    captions = (("a <b>red</b> fox", "duplicate"), ("a cat", "overfit"), ("a dog", "normal"))
    config = TrainingMitigationConfig(
        steps=400, snapshot_steps=(100, 200, 400), captions=1, seeds=2, kept=2
    )
    return TrainingMitigationRun(config, "0f" * 32, "complete", captions, tuple(snapshots), 600.0)
