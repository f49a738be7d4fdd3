"""Finished parts of long work: kept by what they depend on, and forgotten without a trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmh_core.store.kept import forget_kept, kept_path, load_kept, save_kept


@dataclass(frozen=True, eq=False)
class Part:
    values: Tensor


def test_forgetting_removes_kept_records_and_nothing_else(tmp_path: Path) -> None:
    path = kept_path(tmp_path, ("prompt", 1))
    save_kept(path, Part(torch.ones(2)))
    mine = [
        tmp_path / "unet.safetensors",
        tmp_path / "notes.txt",
        tmp_path / f"{'0' * 31}.safetensors",
    ]
    for file in mine:
        file.write_text("mine")
    kept = load_kept(path, Part)
    assert kept is not None and kept.values.tolist() == [1.0, 1.0]
    forget_kept(tmp_path)
    assert load_kept(path, Part) is None
    assert sorted(tmp_path.iterdir()) == sorted(mine)
    forget_kept(tmp_path / "none")  # A first run has no folder yet.
