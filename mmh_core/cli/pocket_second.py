"""The second embedded world on the command line: its stages, and the check of its demands."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mmh_core.cli.output import followed, write_json
from mmh_core.records import MMHError
from mmh_core.subject.devices import device_of

if TYPE_CHECKING:
    from mmh_core.pocket.figures import Row


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
        typer.echo(f"{name}: about {planned[name]:.0f} minutes on two idle cores", err=True)
        report = followed(run_stage(config, name, work, device=device_of(device), minutes=minutes))
        if not report.finished:
            typer.echo(f"{name}: not finished; the same command resumes it.")
            return
        typer.echo(f"{name}: finished.")


def check_second_world(first: Path, work: Path, *, device: str, json_file: Path | None) -> None:
    """Print every demand on the second world beside its bar; exit 1 when one is short."""
    from mmh_core.pocket.second.check import check_second
    from mmh_core.pocket.second.plan import SecondConfig

    place = device_of(device)
    found = followed(check_second(SecondConfig(), work, first, device=place))
    typer.echo(second_table(found.rows))
    if json_file is not None:
        write_json({"figures": found.rows}, json_file)
    if found.short:
        typer.echo(f"\n{len(found.short)} of {len(found.rows)} figures are short.")
        raise SystemExit(1)


def second_table(rows: tuple[Row, ...]) -> str:
    """Return the figures as a Markdown table; a figure that is not measured is "not built"."""
    lines = [
        "| figure | bar | measured | 95 % interval | counted on | |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(row))} |" for row in rows)])


def _cells(row: Row) -> list[str]:
    bar = {"least": "at least ", "most": "at most ", "none": ""}[row.bound]
    interval = "-" if math.isnan(row.low) else f"{row.low:.3f} to {row.high:.3f}"
    return [
        row.figure,
        "-" if row.bound == "none" else f"{bar}{row.bar:.3g}",
        "not built" if math.isnan(row.value) else f"{row.value:.4g}",
        interval,
        f"{row.count:,}",
        "" if row.bound == "none" else "SHORT" if row.short else "holds",
    ]
