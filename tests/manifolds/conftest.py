"""What the tests of manifolds share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor


@pytest.fixture
def generator() -> torch.Generator:
    """Return a fresh generator with a constant seed: every figure below is reproducible."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def local_rank() -> Callable[..., int]:
    """Return a function that counts the directions in which the neighbors of a point spread.

    The nearest `neighbors` rows are centered; a direction counts if its variance is above 1 % of
    the largest. Curvature bends a patch of radius r by about r^2 / 2, a relative variance of
    about r^2 / 20, so a patch of radius up to .3 stays well below that 1 %.
    """

    def count(points: Tensor, at: Tensor, neighbors: int) -> int:
        near = points[(points - at).norm(dim=1).topk(neighbors, largest=False).indices].double()
        spread = torch.linalg.svdvals(near - near.mean(dim=0)) ** 2
        return int((spread > 0.01 * spread[0]).sum())

    return count
