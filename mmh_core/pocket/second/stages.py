"""The build of the second world, one stage at a time, each resumable."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from mmh_core.pocket.fit import Fitted
from mmh_core.pocket.second.plan import NEEDS, STAGES, SecondConfig
from mmh_core.pocket.second.training import Workshop
from mmh_core.records import MMHError, Progress


@dataclass(frozen=True)
class StageReport:
    """How far a stage is: its name, whether it is finished, and its last loss (0 without one)."""

    stage: str
    finished: bool
    loss: float


def run_stage(
    config: SecondConfig,
    stage: str,
    work: Path,
    *,
    device: torch.device,
    minutes: float | None = None,
) -> Iterator[Progress[StageReport]]:
    """Run one stage in the folder `work`, or resume it.

    After `minutes` it stops at its last checkpoint, a few minutes back at most, and the same call
    continues from there to the same result as without the stop. Errors: MMHError where a stage
    that this one needs is not finished.
    """
    if stage not in STAGES:
        raise ValueError(f"stage must be one of {', '.join(STAGES)}, got {stage!r}.")
    shop = Workshop(config, work, device)
    for needed in NEEDS[stage]:
        if not shop.finished(needed):
            raise MMHError(
                f"The stage {stage} needs the stage {needed}, which is not finished: run "
                f"pocket build --world 2 --stage {needed} first."
            )
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    loss = yield from _followed(shop, stage, deadline)
    if loss is None:
        message = f"{stage}: stopped after {minutes:g} minutes; run it again to resume"
        yield Progress(1.0, message, StageReport(stage, False, 0.0))
        return
    shop.finish(stage)
    yield Progress(1.0, f"{stage}: finished", StageReport(stage, True, loss))


def _followed(
    shop: Workshop, stage: str, deadline: float | None
) -> Generator[Progress[StageReport], None, float | None]:
    """Yield the progress of a stage; return its last loss, None where the time was up."""
    if shop.finished(stage):
        return 0.0
    loss = 0.0
    for each in shop.steps(stage):
        done, of = (each.step, each.steps) if isinstance(each, Fitted) else each
        loss = each.loss if isinstance(each, Fitted) else 0.0
        message = f"{stage}: {done:,} of {of:,}" + (f", loss {loss:.4f}" if loss else "")
        yield Progress(0.99 * done / of, message, StageReport(stage, False, loss))
        if deadline is not None and time.monotonic() > deadline and done < of:
            return None
    return loss
