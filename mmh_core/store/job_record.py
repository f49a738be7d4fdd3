"""The record of one long job, its time left, and the sentence on its failure."""

from __future__ import annotations

import gc
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from mmh_core.records import MMHError

JobState = Literal["queued", "running", "done", "cancelled", "failed", "interrupted"]


@dataclass(frozen=True)
class JobRecord:
    """The record of one job; all times are seconds since 1970 UTC, as floats.

    `position` counts within the owner's queue for the device: 0 is running, 1 is next, None has
    ended. `fraction` runs from 0 to 1. `error` is a sentence for a person, None unless the job
    failed or was interrupted. `result` names what was kept, a path or an identifier, or None.
    """

    id: str
    kind: str
    label: str
    device: str
    state: JobState
    position: int | None = None
    fraction: float = 0.0
    message: str = ""
    error: str | None = None
    created: float = field(default_factory=time.time)
    started: float | None = None
    finished: float | None = None
    result: str | None = None

    @property
    def is_active(self) -> bool:
        """Return whether the job still waits or runs."""
        return self.state in ("queued", "running")


@dataclass(frozen=True)
class TimeLeft:
    """The seconds that a job had left at its last progress, which was at the time `at`.

    `slower` is whether that is clearly more than the progress before had promised.
    """

    seconds: float
    at: float
    slower: bool = False

    def now(self, now: float) -> float:
        """Return the seconds left at a later time: they fall, and never below 0."""
        return max(0.0, self.seconds - max(0.0, now - self.at))


def time_left(record: JobRecord, now: float, before: TimeLeft | None = None) -> TimeLeft | None:
    """Return how long a job that has just made progress will still take.

    (now - started) (1 - fraction) / fraction; None for a job that does not run and below a
    fraction of 0.03, where the estimate would be noise. One that is not a quarter above what
    `before` promised keeps to the promise, so that the time shown does not go up and down.
    Caveat: it takes the speed as constant, so loading a model first makes it too long.
    """
    if record.state != "running" or record.started is None or record.fraction < 0.03:
        return None
    seconds = max(0.0, now - record.started) * (1.0 - record.fraction) / record.fraction
    if before is None:
        return TimeLeft(seconds, now)
    promised = before.now(now)
    slower = seconds > 1.25 * promised + 1.0
    return TimeLeft(seconds if slower else min(seconds, promised), now, slower)


def is_out_of_memory(failure: BaseException) -> bool:
    """Return whether work ended because the memory of a device did."""
    import torch  # Here: the first page of the app lists jobs without it.

    if isinstance(failure, (MemoryError, torch.OutOfMemoryError)):
        return True
    # Torch raises a bare RuntimeError for the memory of the CPU and of some accelerators.
    words = ("can't allocate memory", "out of memory")
    return isinstance(failure, RuntimeError) and any(word in str(failure) for word in words)


def sentence(record: JobRecord, failure: BaseException) -> str:
    """Return the sentence that a person sees about a failure."""
    text = " ".join(str(failure).split())[:500]
    if is_out_of_memory(failure):
        return (
            f"{record.label} ran out of memory on {record.device}: choose fewer samples, a "
            "smaller batch or a smaller model, then start it again."
        )
    if isinstance(failure, (MMHError, ValueError)) and text:
        return text
    return f"{record.label} failed unexpectedly: {type(failure).__name__}: {text or 'no details'}"


def empty_caches() -> None:
    """Empty the caches of the devices, so that the next job has all memory."""
    import torch

    gc.collect()
    # A device in a bad state refuses even this, and then there is nothing more to do about it.
    with suppress(RuntimeError):
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
