"""What is known about one long job."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

JobState = Literal["queued", "running", "done", "cancelled", "failed", "interrupted"]


@dataclass(frozen=True)
class JobRecord:
    """Hold what is known about one job; all times are seconds since 1970 UTC, as floats.

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
        """Tell whether the job still waits or runs."""
        return self.state in ("queued", "running")

    def eta_seconds(self, now: float | None = None) -> float | None:
        """Estimate the seconds left at the time `now` (default: the present).

        (now - started) (1 - fraction) / fraction for a running job, None for any other and below
        a fraction of 0.03, where the estimate would be noise. Caveat: it takes the speed as
        constant, so loading a model first makes it too long, and it grows while a step lasts.
        """
        if self.state != "running" or self.started is None or self.fraction < 0.03:
            return None
        elapsed = max(0.0, (time.time() if now is None else now) - self.started)
        return elapsed * (1.0 - self.fraction) / self.fraction
