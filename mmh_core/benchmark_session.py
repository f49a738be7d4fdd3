"""Join the comparison of detectors to Streamlit: the precomputed result, jobs on other tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import streamlit as st

from mmh_core import image_session
from mmh_core.records import MMHError, Progress
from mmh_core.session import REPOSITORY, data_folder, jobs

if TYPE_CHECKING:
    from mmh_core.store.job_record import JobRecord
    from mmh_core.studies.benchmark_run import BenchmarkRun, LabelledPrompt

BENCHMARK_JOB = "benchmark"
PRECOMPUTED = REPOSITORY / "assets" / "benchmark" / "pocket-sd.safetensors"
#: Seeds of a table that a person brings.
SEEDS = (0, 1)


@dataclass(frozen=True)
class BenchmarkJob:
    """Hold a job as the page shows it: its record, and its result once it is complete."""

    record: JobRecord
    run: BenchmarkRun | None


def precomputed() -> BenchmarkRun | None:
    """Return the shipped result, None where this copy has none."""
    return _read(PRECOMPUTED) if PRECOMPUTED.exists() else None


def labelled(data: bytes, name: str) -> tuple[LabelledPrompt, ...]:
    """Return the labelled prompts of an uploaded table. Errors: MMHError naming the row."""
    from mmh_core.studies.labelled_prompts import read_labelled

    suffix = Path(name).suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise MMHError("The table must be a CSV or Parquet file: choose one of these.")
    folder = data_folder() / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    # Never under the name that the browser gave.
    path = folder / f"{uuid4().hex}{suffix}"
    try:
        path.write_bytes(data)
        return read_labelled(path)
    finally:
        path.unlink(missing_ok=True)


def submit(prompts: tuple[LabelledPrompt, ...], model: str) -> str:
    """Queue a comparison on a person's prompts and return the id of the job."""
    from mmh_core.store.archive import save_record

    image_session.source_of(model)
    folder, name = data_folder() / "runs", f"{uuid4().hex}.safetensors"

    def keep(run: BenchmarkRun) -> str:
        if run.state != "complete":
            raise MMHError("The comparison was stopped before it had a result: start it again.")
        save_record(folder / name, run)
        return name

    return jobs().runner.submit(
        BENCHMARK_JOB,
        f"{len(prompts):,} labelled prompts",
        lambda: _study(prompts, model),
        device=image_session.device(),
        finish=keep,
    )


def _study(prompts: tuple[LabelledPrompt, ...], model: str) -> Iterator[Progress[BenchmarkRun]]:
    import torch

    from mmh_core.studies.benchmark import benchmark_study

    torch.set_num_threads(image_session.threads_for(model))
    yield from benchmark_study(
        prompts, image_session.model(model), image_session.reference(model), seeds=SEEDS
    )


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
    from mmh_core.studies.benchmark_run import BenchmarkRun

    return load_record(Path(path), BenchmarkRun)
