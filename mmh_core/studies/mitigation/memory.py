"""The peak memory of a piece of work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class _Marks:
    """The highest marks of the blocks that are open on one device, in bytes.

    A class because the system keeps one mark for the process: whoever opens a block resets it, so
    it is first read into all blocks that are open already. A block is a list of its highest mark.
    Errors: OSError and ValueError of `reset`, `now` and `peak`.
    """

    def __init__(
        self, reset: Callable[[], None], now: Callable[[], float], peak: Callable[[], float]
    ) -> None:
        self._reset, self._now, self._peak = reset, now, peak
        self._lock, self._open = Lock(), list[list[float]]()

    def enter(self) -> list[float]:
        """Open a block, whose mark is what is taken now."""
        with self._lock:
            self._note()
            self._reset()
            self._open.append([self._now()])
            return self._open[-1]

    def highest(self, block: list[float]) -> float:
        """Return the highest mark of a block, of a closed one until it was closed."""
        with self._lock:
            self._note()
            return block[0]

    def leave(self, block: list[float]) -> None:
        """Close a block."""
        with self._lock:
            self._note()
            self._open = [entry for entry in self._open if entry is not block]

    def _note(self) -> None:
        if self._open:
            mark = self._peak()
            for block in self._open:
                block[0] = max(block[0], mark)


_MARKS: dict[str, _Marks] = {}
_MAKING = Lock()


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], float]]:
    """Yield a function that returns the peak since the block began, above the start, in MB.

    On a GPU what torch has allocated; on Linux the peak of this process's resident memory, other
    threads included; NaN where the system does not tell. Blocks may overlap, in threads too.
    """
    marks = _marks_of(device)
    try:
        block = marks.enter()
    except (OSError, ValueError):
        yield lambda: math.nan
        return
    start = block[0]
    try:
        yield lambda: max(0.0, (marks.highest(block) - start) / 1e6)
    finally:
        marks.leave(block)


def _marks_of(device: torch.device) -> _Marks:
    with _MAKING:
        name = str(device)
        if name not in _MARKS:
            _MARKS[name] = _on_gpu(device) if device.type == "cuda" else _on_processor()
        return _MARKS[name]


def _on_gpu(device: torch.device) -> _Marks:
    return _Marks(
        lambda: torch.cuda.reset_peak_memory_stats(device),
        lambda: float(torch.cuda.memory_allocated(device)),
        lambda: float(torch.cuda.max_memory_allocated(device)),
    )


def _on_processor() -> _Marks:
    def reset() -> None:
        # Writing 5 resets the high-water mark of this process (proc(5)).
        _RESET.write_text("5")

    return _Marks(reset, lambda: _bytes("VmRSS:"), lambda: _bytes("VmHWM:"))


def _bytes(name: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(name):
            return float(line.split()[1]) * 1024
    raise ValueError(f"{_STATUS} has no {name}")
