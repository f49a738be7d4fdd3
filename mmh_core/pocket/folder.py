"""Say where a stage of the build runs and what it draws from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Place:
    """Hold the device, the seed of everything random, and where the stage keeps its state.

    `stamp` is equal for two runs exactly when one may go on from the other's checkpoint.
    """

    device: torch.device
    seed: int
    checkpoint: Path | None = None
    stamp: str = ""

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Draw first weights of networks that use torch's global generator from this seed.

        The global generator is put back as it was.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            yield
