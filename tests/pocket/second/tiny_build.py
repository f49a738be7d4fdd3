"""A tiny build of the second world whose LID* are the numbers of free parameters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from mmh_core.pocket.second.generated import ImageCounts
from mmh_core.pocket.second.inspection import Inspection
from mmh_core.pocket.second.plan import SecondConfig
from mmh_core.pocket.second.stages import run_stage
from mmh_core.pocket.second.training import Workshop


def write_truth(shop: Workshop) -> None:
    """Write a truth for every caption, LID* the number of free parameters."""
    captions = shop.tables.captions
    lines = [
        json.dumps({"caption": i, "lid": float(free), "chance": 0.0, "stamp": shop.stamp("")})
        for i, free in zip(captions.id.tolist(), captions.free.tolist(), strict=True)
    ]
    (shop.work / "truth.jsonl").write_text("\n".join(lines) + "\n")


def tiny_inspection(
    config: SecondConfig, counts: ImageCounts, stages: Sequence[str], work: Path
) -> Inspection:
    """Run stages in a folder, write the truth of all captions, and return the inspection."""
    device = torch.device("cpu")
    shop = Workshop(config, work, device)
    for stage in stages:
        for _ in run_stage(config, stage, work, device=device):
            pass
    write_truth(shop)
    return Inspection(shop, counts)
