"""Join the comparison of detectors to Streamlit: the precomputed result, jobs on other tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import streamlit as st

from mmh_core.counting import plural
from mmh_core.formats.tables import SUFFIXES
from mmh_core.installation import assets
from mmh_core.records import MMHError, Progress
from mmh_core.store.table_summary import TableSummary, summarize
from views import kept_runs, subjects
from views import models as model_session
from views.session import data_folder, jobs

if TYPE_CHECKING:
    from mmh_core.records import LabelledPrompt
    from mmh_core.studies.detection.benchmark_run import BenchmarkRun
    from mmh_core.studies.detection.figures import RowFigures
    from mmh_core.subject.detector_calibration import DetectorCalibration

BENCHMARK_JOB = "benchmark"
PRECOMPUTED = assets() / "benchmark" / "pocket-sd.safetensors"
#: Seeds of a table that a person brings.
SEEDS = (0, 1)
#: With fewer reference prompts than this nothing can be said of rare scores, so no scan uses them.
FEWEST_REFERENCES = 20


def precomputed() -> BenchmarkRun | None:
    """Return the shipped result, None where this copy has none."""
    return _read(PRECOMPUTED) if PRECOMPUTED.exists() else None


def labelled(data: bytes, name: str) -> tuple[tuple[LabelledPrompt, ...], TableSummary]:
    """Return the labelled prompts of an uploaded table, and what became of its rows.

    Errors: MMHError naming the row that cannot be used, or saying how many prompts are missing.
    """
    from mmh_core.studies.detection.benchmark import check_labelled
    from mmh_core.studies.detection.labelled_prompts import read_labelled

    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise MMHError(f"The table must end in one of {', '.join(SUFFIXES)}: save it as one.")
    folder = data_folder() / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    # Never under the name that the browser gave.
    path = folder / f"{uuid4().hex}{suffix}"
    try:
        path.write_bytes(data)
        summary = replace(summarize(path), name=Path(name).name[:80])
        prompts = read_labelled(path)
    except MMHError as error:
        # What the person knows is the name of the file, not the one it is kept under.
        raise MMHError(str(error).replace(path.name, Path(name).name[:80])) from error
    finally:
        path.unlink(missing_ok=True)
    check_labelled(prompts)
    return prompts, summary


def figures(run: BenchmarkRun) -> tuple[RowFigures, ...]:
    """Return the figures of every row, counted once for each result."""
    areas = tuple(row.all.auc for row in run.rows)
    return _figures((run.sha256, len(run.prompts), run.copies is None, run.seconds, areas), run)


# A resource and not data: figures are frozen.
@st.cache_resource(show_spinner="Counting groups and copies", max_entries=4)
def _figures(key: tuple[object, ...], _run: BenchmarkRun) -> tuple[RowFigures, ...]:
    from mmh_core.studies.detection.figures import row_figures

    return row_figures(_run)


def submit(prompts: tuple[LabelledPrompt, ...], model: str) -> str:
    """Queue a comparison on a person's prompts and return the id of the job."""
    model_session.check_allowed(model)
    return jobs().runner.submit(
        BENCHMARK_JOB,
        f"{plural(len(prompts), 'labeled prompt')}, {model[:40]}",
        lambda: _study(prompts, model),
        device=model_session.device(),
        finish=_keep,
    )


def _keep(run: BenchmarkRun) -> str:
    if run.state != "complete":
        raise MMHError("The comparison was stopped before it had a result: start it again.")
    return kept_runs.keep(run)


def _study(prompts: tuple[LabelledPrompt, ...], model: str) -> Iterator[Progress[BenchmarkRun]]:
    """Calibrate on one half, keep that for other pages, and compare on the other half."""
    from mmh_core.studies.detection.benchmark import compare, empty_run
    from mmh_core.studies.detection.calibrate import calibrate_detectors

    subjects.use_threads(model)
    subject, calibration = subjects.subject(model), None
    run = empty_run(prompts, subject.model, SEEDS)
    yield Progress(0.0, "Calibrating", run)
    for step in calibrate_detectors(prompts, subject, seeds=SEEDS, tune=True):
        calibration = step.partial
        yield Progress(step.fraction / 2, step.message, run)
    if calibration is None:
        raise ValueError("The calibration gave no result.")
    keep_calibration(model, calibration)
    for last in compare(prompts, subject, calibration):
        yield Progress((1 + last.fraction) / 2, last.message, last.partial)


def keep_calibration(model: str, calibration: DetectorCalibration) -> None:
    """Keep a calibration where scans look for it; that of the shipped model stays as it is."""
    from mmh_core.subject.calibration import Calibration, write_calibration

    if model == model_session.POCKET:
        return
    early = calibration.early() if len(calibration.prompts) >= FEWEST_REFERENCES else None
    if early is None and subjects.calibration_file(model) is not None:
        # Too few prompts to scan by do not take the place of enough.
        return
    parts = Calibration(
        early=early,
        detectors=calibration,
        model=calibration.model,
        sha256=calibration.sha256,
        sampling=calibration.sampling,
    )
    write_calibration(subjects.kept_calibration_file(model), parts)


def benchmark_job(job: str) -> kept_runs.JobView[BenchmarkRun]:
    """Return a job and its result once it is complete.

    Errors: MMHError for an unknown id or another kind of job.
    """
    record = kept_runs.record_of(job, BENCHMARK_JOB)
    if record.result is None:
        return kept_runs.JobView(record, None)
    return kept_runs.JobView(record, _read(kept_runs.runs_folder() / Path(record.result).name))


def _read(path: Path) -> BenchmarkRun:
    from mmh_core.studies.detection.benchmark_run import BenchmarkRun

    return kept_runs.read(path, BenchmarkRun, again="run the comparison again")
