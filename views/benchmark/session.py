"""Join the comparison of detectors to Streamlit: the precomputed result, jobs on other tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import streamlit as st

from mmh_core.formats.tables import SUFFIXES
from mmh_core.installation import assets
from mmh_core.records import MMHError, Progress
from mmh_core.store.table_summary import TableSummary, summarize
from views import models as model_session
from views import subjects
from views.calibration import calibration_place, kept_file
from views.session import data_folder, jobs

if TYPE_CHECKING:
    from mmh_core.records import LabelledPrompt
    from mmh_core.store.job_record import JobRecord
    from mmh_core.studies.detection.benchmark_run import BenchmarkRun
    from mmh_core.subject.detector_calibration import DetectorCalibration

BENCHMARK_JOB = "benchmark"
PRECOMPUTED = assets() / "benchmark" / "pocket-sd.safetensors"
#: Seeds of a table that a person brings.
SEEDS = (0, 1)
#: With fewer reference prompts than this nothing can be said of rare scores, so no scan uses them.
FEWEST_NORMAL = 20


@dataclass(frozen=True)
class BenchmarkJob:
    """A benchmark job: its record, and its result once it is complete."""

    record: JobRecord
    run: BenchmarkRun | None


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
        found = read_labelled(path)
    except MMHError as error:
        # What the person knows is the name of the file, not the one it is kept under.
        raise MMHError(str(error).replace(path.name, Path(name).name[:80])) from error
    finally:
        path.unlink(missing_ok=True)
    check_labelled(found)
    return found, summary


def submit(prompts: tuple[LabelledPrompt, ...], model: str) -> str:
    """Queue a comparison on a person's prompts and return the id of the job."""
    from mmh_core.store.archive import save_record

    model_session.source_of(model)
    folder, name = data_folder() / "runs", f"{uuid4().hex}.safetensors"

    def keep(run: BenchmarkRun) -> str:
        if run.state != "complete":
            raise MMHError("The comparison was stopped before it had a result: start it again.")
        save_record(folder / name, run)
        return name

    return jobs().runner.submit(
        BENCHMARK_JOB,
        f"{len(prompts):,} labeled prompts, {model[:40]}",
        lambda: _study(prompts, model),
        device=model_session.device(),
        finish=keep,
    )


def _study(prompts: tuple[LabelledPrompt, ...], model: str) -> Iterator[Progress[BenchmarkRun]]:
    """Calibrate on one half, keep that for other pages, and compare on the other half."""
    import torch

    from mmh_core.studies.detection.benchmark import compare, empty_run
    from mmh_core.studies.detection.calibrate import calibrate_detectors

    torch.set_num_threads(model_session.threads_for(model))
    subject, found = subjects.subject(model), None
    run = empty_run(prompts, subject.model, SEEDS)
    yield Progress(0.0, "Calibrating", run)
    for step in calibrate_detectors(prompts, subject, seeds=SEEDS):
        found = step.partial
        yield Progress(step.fraction / 2, step.message, run)
    if found is None:
        raise ValueError("The calibration gave no result.")
    keep_calibration(model, found)
    for last in compare(prompts, subject, found):
        yield Progress((1 + last.fraction) / 2, last.message, last.partial)


def keep_calibration(model: str, found: DetectorCalibration) -> None:
    """Keep a calibration where scans look for it; that of the shipped model stays as it is."""
    from mmh_core.subject.calibration import Calibration, write_calibration

    if model == model_session.POCKET:
        return
    early = found.early() if len(found.prompts) >= FEWEST_NORMAL else None
    if early is None and calibration_place(model) is not None:
        # Too few prompts to scan by do not take the place of enough.
        return
    parts = Calibration(
        early=early,
        detectors=found,
        model=found.model,
        sha256=found.sha256,
        sampling=found.sampling,
    )
    write_calibration(kept_file(model), parts)


def benchmark_job(job: str) -> BenchmarkJob:
    """Return a job and its result. Errors: MMHError for an unknown id or another kind of job."""
    record = jobs().runner.record(job)
    if record.kind != BENCHMARK_JOB:
        raise MMHError("This link names a job of another page: open it there.")
    if record.result is None:
        return BenchmarkJob(record, None)
    return BenchmarkJob(record, _read(data_folder() / "runs" / Path(record.result).name))


def _read(path: Path) -> BenchmarkRun:
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        raise MMHError(f"The result {path.name!r} is gone: run the comparison again.") from None
    return _cached(str(path), stamp)


@st.cache_resource(show_spinner=False, max_entries=8)
def _cached(path: str, stamp: int) -> BenchmarkRun:
    from mmh_core.store.archive import load_record
    from mmh_core.studies.detection.benchmark_run import BenchmarkRun

    return load_record(Path(path), BenchmarkRun)
