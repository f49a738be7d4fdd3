"""The second world on the command line: its stages, and the check of its demands."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import typer

from mmh_core.cli.output import run_steps, write_json
from mmh_core.cli.tables import check_table
from mmh_core.counting import plural
from mmh_core.records import MMHError
from mmh_core.subject.devices import device_of


def build_second(
    stage: str | None, work: Path, *, seed: int, minutes: float | None, device: str
) -> None:
    """Run one stage of the second world's build, or all in order, until the time is up."""
    from mmh_core.pocket.second.plan import STAGES, SecondConfig, planned_minutes
    from mmh_core.pocket.second.stages import run_stage

    if stage is not None and stage not in STAGES:
        raise MMHError(f"stage must be one of {', '.join(STAGES)}, got {stage!r}.")
    if minutes is not None and not 0 < minutes < math.inf:
        raise MMHError(f"minutes must be a number above 0, got {minutes!r}.")
    config = replace(SecondConfig(), seed=seed)
    planned = planned_minutes(config)
    for name in STAGES if stage is None else (stage,):
        typer.echo(f"{name}: about {planned[name]:.0f} minutes on one idle core", err=True)
        report = run_steps(
            run_stage(config, name, work, device=device_of(device), minutes=minutes)
        )
        if not report.finished:
            typer.echo(f"{name}: not finished; the same command resumes it.")
            return
        typer.echo(f"{name}: finished.")


def check_second_world(
    work: Path, *, device: str, json_file: Path | None, minutes: float | None
) -> None:
    """Print every demand on the second world beside its bar; exit 1 when one is short."""
    from mmh_core.pocket.second.check import check_second
    from mmh_core.pocket.second.plan import SecondConfig
    from mmh_core.studies.detection.network_causes import NetworkCauses

    if minutes is not None and not 0 <= minutes < math.inf:
        raise MMHError(f"minutes must be a number from 0, got {minutes!r}.")
    place = device_of(device)
    result = run_steps(
        check_second(SecondConfig(), work, device=place, minutes=minutes, cause=NetworkCauses)
    )
    typer.echo(check_table(result, ".4g"))
    if json_file is not None:
        write_json({"figures": result.rows}, json_file)
    if result.short:
        typer.echo(f"\n{len(result.short)} of {len(result.rows)} measurements miss their bars.")
        raise SystemExit(1)


def pack_second_check(work: Path, path: Path, *, device: str) -> None:
    """Write what the check has measured by now into one file, for another machine."""
    from mmh_core.pocket.second.inspection import Inspection
    from mmh_core.pocket.second.plan import SecondConfig
    from mmh_core.pocket.second.training import Workshop
    from mmh_core.studies.detection.network_causes import NetworkCauses

    inspection = Inspection(Workshop(SecondConfig(), work, device_of(device)))
    count = inspection.packed(path, NetworkCauses(inspection))
    typer.echo(f"Wrote {plural(count, 'measured item')} to {path}.")


def write_second_pairs(work: Path, folder: Path, *, device: str) -> None:
    """Write pairs of a generated image and its nearest training image, to be compared by eye."""
    from mmh_core.pocket.second.inspection import Inspection
    from mmh_core.pocket.second.pairs import write_pairs
    from mmh_core.pocket.second.plan import SecondConfig
    from mmh_core.pocket.second.training import Workshop

    inspection = Inspection(Workshop(SecondConfig(), work, device_of(device)))
    *sheets, answers = write_pairs(inspection, folder)
    typer.echo(
        f"Wrote {len(sheets)} sheets. Fill in {answers}: yes where the two images of a pair are "
        "the same but for details, no where they are not."
    )


def judge_second_pairs(work: Path, answers: Path) -> None:
    """Print how often the answers in a file disagree with the copy search."""
    from mmh_core.pocket.second.pairs import judged

    result = judged(work, answers)
    share = result.disagreement
    typer.echo(
        f"Search and eye disagree on {result.missed + result.wrong} of {result.answered} pairs: "
        f"{share.value:.1%}, 95 % interval {share.low:.1%} to {share.high:.1%}. "
        f"{result.missed} copies missed, {result.wrong} called copies wrongly, "
        f"{result.unanswered} unanswered and left out."
    )
