"""What the benchmark of detectors prints, and the files that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mmh_core.cli.output import warn, write_json
from mmh_core.cli.tables import plain

if TYPE_CHECKING:
    from mmh_core.studies.detection.benchmark_run import BenchmarkRun
    from mmh_core.studies.detection.throughput import Throughput


def report(
    run: BenchmarkRun,
    out: Path | None,
    json_file: Path | None,
    *,
    pace: Throughput | None = None,
) -> None:
    """Print everything about a run, and write it where files are named.

    Published figures, which are of real checkpoints, are printed beside runs on real checkpoints
    only.
    """
    from mmh_core.report.detection_tables import (
        detector_table,
        fact_table,
        group_table,
        published_table,
        rate_table,
        roc_table,
    )
    from mmh_core.report.response_tables import (
        cause_table,
        dose_table,
        network_table,
        reliability_table,
    )
    from mmh_core.store.archive import save_record
    from mmh_core.studies.detection.figures import row_figures
    from mmh_core.studies.detection.findings import findings, is_synthetic

    figures = row_figures(run)
    sentences = findings(run, figures)
    tables = [detector_table(run), rate_table(run, figures), roc_table(run)]
    tables += [group_table(run, figures), fact_table(run, figures), dose_table(run)]
    if not is_synthetic(run):
        tables.append(published_table(run))
    tables += [cause_table(run), reliability_table(run.cause)]
    if run.networks is not None:
        tables.append(network_table(run.networks))
    parts = [*sentences, *(table.markdown() for table in tables)]
    if pace is not None:
        parts.append(pace.words())
    typer.echo("\n\n".join(parts))
    warn(run.missing)
    if out is not None:
        save_record(out, run)
    if json_file is not None:
        made = {"sentences": sentences, "figures": figures, "doses": run.doses}
        write_json({**plain(run), **made, "throughput": pace}, json_file)
