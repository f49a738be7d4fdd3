"""Device, seed and checkpoint folder of a stage of the build."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Place:
    """The device, the seed of all randomness, and the folder of the stage's checkpoints.

    `stamp` is equal for two runs exactly when one may resume from the other's checkpoint.
    """

    device: torch.device
    seed: int
    checkpoint: Path | None = None
    stamp: str = ""

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Seed torch's global generator for the first weights of networks that use it.

        The global generator is put back as it was.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            yield
