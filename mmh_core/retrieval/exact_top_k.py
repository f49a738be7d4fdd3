"""Pick candidates by a fast inexact score so that the exact order can be had from few of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

#: Half the distance from 1 to the next number.
UNIT_32, UNIT_64 = 2.0**-24, 2.0**-53


def sum_error(terms: int, unit: float) -> float:
    """Bound the rounding error of an inner product over `|a| |b|`, whatever the order of its sum.

    `gamma_n = n u / (1 - n u)` (Higham 2002, section 3.1), with n the number of terms and three
    more for the rounding of the operands themselves.
    """
    total = (terms + 3) * unit
    return total / (1 - total)


def candidates(scores: NDArray[np.floating], k: int, slack: float) -> NDArray[np.int64]:
    """Return, in order, the positions whose score may belong to the k largest.

    `scores` (N,) are off by at most `slack` each, so everything within twice that of the k-th
    largest is kept: k positions, and the near ties.
    """
    kept = min(k, len(scores))
    lowest = torch.from_numpy(scores).topk(kept, sorted=True).values[-1].item()
    return np.flatnonzero(scores >= lowest - 2 * slack)


def ordered(
    values: NDArray[np.float64], rows: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the k rows of the smallest values, smallest first and equal ones by row."""
    order = np.lexsort((rows, values))[:k]
    return rows[order], values[order]
