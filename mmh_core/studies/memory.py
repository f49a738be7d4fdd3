"""Measure how much memory a piece of work takes at its peak."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], float]]:
    """Yield a function that returns the peak since the block began, above the start, in MB.

    On a GPU what torch has allocated; on Linux the peak of this process's resident memory, other
    threads included; NaN where the system does not tell.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        start = torch.cuda.memory_allocated(device)
        yield lambda: (torch.cuda.max_memory_allocated(device) - start) / 1e6
        return
    try:
        # Writing 5 resets the high-water mark of this process (proc(5)).
        _RESET.write_text("5")
        before = _kilobytes("VmRSS:")
    except (OSError, ValueError):
        yield lambda: math.nan
        return
    yield lambda: max(0.0, (_kilobytes("VmHWM:") - before) / 1e3)


def _kilobytes(name: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(name):
            return float(line.split()[1])
    raise ValueError(f"{_STATUS} has no {name}")
