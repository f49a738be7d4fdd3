"""The commands that scan a table of prompts, and calibrate a model for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmh_core.cli.inputs import (
    index_of,
    kept_calibration,
    load_subject,
    no_calibration,
    warn_truncated,
)
from mmh_core.cli.options import (
    CalibrationFile,
    CalibrationOut,
    Column,
    DeviceName,
    EmbedderName,
    FalsePositiveRate,
    IndexFolder,
    IndexImages,
    ModelName,
    OutFolder,
    Windows,
)
from mmh_core.cli.output import run_steps
from mmh_core.counting import agreeing, plural
from mmh_core.records import MMHError

if TYPE_CHECKING:
    from mmh_core.studies.review.scan import ScanState

#: What the commands that read a table say of it at the end of their help.
TABLE_HELP = (
    "A table is CSV (separated by commas, semicolons, tabs or bars), JSON (a list, an object of "
    "columns, or one object a line) or Parquet, in UTF-8 or UTF-16; a file ending in .txt has one "
    "prompt a line and no header. The prompts are in a column prompt, caption or text, in any "
    "case, or in --column; columns label, id and tags (separated by semicolons) may stand beside "
    "it, and further ones are kept. Rows that cannot be read are left out, counted and named."
)
_SHOWN = 20


def scan(
    table: Annotated[
        Path, typer.Argument(help="Table of prompts: CSV, TSV, JSON (lines), Parquet or text.")
    ],
    out: OutFolder,
    model: ModelName = "pocket-sd",
    calibration: CalibrationFile = None,
    fpr: FalsePositiveRate = 0.01,
    study: Annotated[
        bool, typer.Option(help="Generate and analyze images of flagged prompts.")
    ] = True,
    column: Column = "",
    windows: Windows = 1,
    index: IndexFolder = None,
    index_images: IndexImages = None,
    embedder: EmbedderName = "pixels",
    device: DeviceName = "auto",
) -> None:
    """Score every prompt by the early scan, and study those above the threshold.

    Results are Parquet files in the folder; a killed scan resumes where it was.
    """
    from mmh_core.store.table_summary import summarize
    from mmh_core.studies.review.scan import ScanConfig
    from mmh_core.studies.review.scan import scan as scanned
    from mmh_core.subject.subject import open_calibration
    from mmh_core.text_to_image.stable_diffusion import check_model

    if not 0 <= fpr < 1:
        raise MMHError(f"fpr is {fpr}: it must be from 0 to below 1.")
    if out.exists() and not out.is_dir():
        raise MMHError(f"{out} is a file: name a folder for the results.")
    if calibration is None:
        check_model(model)
    indexed = index_of(index, index_images, embedder)
    calibration_kept = open_calibration(model, calibration)
    if calibration_kept.early is None:
        raise no_calibration(model, calibration, "calibrate TABLE")
    # Before the model is loaded, which takes its time.
    summary = summarize(table, column=column)
    typer.echo(summary.text(), err=True)
    summary.check()
    subject = load_subject(
        model, device, index=indexed, calibration=calibration_kept, windows=windows
    )
    state = run_steps(scanned(table, out, subject, ScanConfig(model, fpr, study), column=column))
    typer.echo(f"{scan_summary(state)}\n{summary.sentence()}")


def calibrate(
    table: Annotated[
        Path,
        typer.Argument(help="20 or more reference prompts; others may be labeled as memorized."),
    ],
    out: CalibrationOut,
    model: ModelName = "pocket-sd",
    calibration: CalibrationFile = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Calibrate all detectors, for which images are generated."),
    ] = False,
    column: Column = "",
    windows: Windows = 1,
    index: IndexFolder = None,
    index_images: IndexImages = None,
    embedder: EmbedderName = "pixels",
    device: DeviceName = "auto",
) -> None:
    """Measure the reference distribution of a model on prompts that it has not memorized.

    Prompts labelled memorized choose the times of the early scan, and with --all fit the combined
    score. Parts of --calibration that this command does not make are taken over.
    """
    from mmh_core.store.table_summary import summarize
    from mmh_core.studies.detection.labelled_prompts import read_calibrating
    from mmh_core.subject.calibration import empty_calibration, update_calibration
    from mmh_core.subject.early_calibration import calibrate_early
    from mmh_core.subject.early_scan_rate import detection_rate_words

    kept = kept_calibration(out)
    summary = summarize(table, column=column)
    typer.echo(summary.text(), err=True)
    summary.check()
    prompts = read_calibrating(table, column=column)
    indexed = index_of(index, index_images, embedder)
    subject = load_subject(model, device, index=indexed, calibration=calibration, windows=windows)
    made = empty_calibration(subject.model)
    # Before the work: parts of another model or sampling are not mixed.
    if kept is not None:
        kept.with_parts(made)
    if calibration is not None:
        made = subject.calibration.with_parts(made)
    warn_truncated(subject.model, [row.prompt for row in prompts])
    # One calibration of the early scan, by which tables are scanned and prompts are scored.
    early = run_steps(calibrate_early(subject.model, prompts))
    parts = replace(empty_calibration(subject.model), early=early)
    if every:
        from mmh_core.studies.detection.calibrate import calibrate_detectors

        full = run_steps(calibrate_detectors(prompts, subject, early=early))
        parts = replace(parts, detectors=full)
    update_calibration(out, made.with_parts(parts))
    what = "every detector" if every else "the early scan"
    typer.echo(
        f"Calibrated {what} of {early.model} on {len(early.prompts):,} reference prompts into "
        f"{out}. {detection_rate_words(early, 0.01)}"
    )


def scan_summary(state: ScanState) -> str:
    """Return in words how a scan ended, with the first rows that were left out."""
    pace = f", {state.scored / state.seconds:.0f} prompts/s" if state.seconds > 0 else ""
    lines = [
        f"{plural(state.done, 'prompt')} in {state.folder}: {state.flagged:,} flagged above "
        f"{state.threshold:.3g}; {state.known:,} {agreeing(state.known, 'was', 'were')} "
        f"cached{pace}."
    ]
    lines += state.truncations()
    lines.append(state.detection_rate)
    if state.problem_count:
        lines.append(f"{state.problem_count:,} rows were left out:")
        lines += [f"  {message}" for _, message in state.problems[:_SHOWN]]
        if state.problem_count > _SHOWN:
            lines.append(f"  and {state.problem_count - _SHOWN:,} more")
    return "\n".join(lines)
