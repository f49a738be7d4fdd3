"""Jobs of all pages and the runs that they leave: found, listed, read, written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from uuid import uuid4

import streamlit as st

from mmh_core.records import MMHError
from views.session import data_folder, jobs

if TYPE_CHECKING:
    from mmh_core.store.job_record import JobRecord

#: Letters of a prompt in the label of a job.
LABEL = 60
RunT = TypeVar("RunT")
RunT_co = TypeVar("RunT_co", covariant=True)


@dataclass(frozen=True)
class JobView(Generic[RunT_co]):
    """A job: its record, and its run as far as it is known."""

    record: JobRecord
    run: RunT_co | None


def runs_folder() -> Path:
    """Return the folder in which the runs of this server's jobs are kept."""
    return data_folder() / "runs"


def keep(run: object) -> str:
    """Write a record among the kept runs and return the name of its file."""
    from mmh_core.store.archive import save_record

    name = f"{uuid4().hex}.safetensors"
    save_record(runs_folder() / name, run)
    return name


def read(path: Path, of: type[RunT], *, again: str = "generate it again") -> RunT:
    """Return the record in a file, read once per version of the file.

    Errors: MMHError for a file that is gone (`again` is the next step) or damaged.
    """
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        raise MMHError(
            f"The file {path.name!r} of this run is gone: choose another run or {again}."
        ) from None
    return cast(RunT, _read(str(path), stamp, of.__qualname__, of))


# A resource and not data: runs are frozen, and copying them for every rerun would cost more than
# reading them.
@st.cache_resource(show_spinner=False, max_entries=96)
def _read(path: str, stamp: int, name: str, _of: type) -> object:
    from mmh_core.store.archive import load_record

    return load_record(Path(path), _of)


def run_bytes(run: object) -> bytes:
    """Return a record as the bytes of the file that `store.archive` reads."""
    from tempfile import TemporaryDirectory

    from mmh_core.store.archive import save_record

    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.safetensors"
        save_record(path, run)
        return path.read_bytes()


def record_of(job: str, *kinds: str) -> JobRecord:
    """Return the record of a job of these kinds. Errors: MMHError for an unknown id or another."""
    record = jobs().runner.record(job)
    if record.kind not in kinds:
        raise MMHError("This link names a job of another page: open it there.")
    return record


def job_view(job: str, of: type[RunT], *kinds: str) -> JobView[RunT]:
    """Return a job and its run: live while it runs, from the disk once it has ended.

    Errors: MMHError for an unknown id, another kind of job, and for a file that is missing.
    """
    record = record_of(job, *kinds)
    if record.result is not None:
        return JobView(record, read(runs_folder() / Path(record.result).name, of))
    latest = jobs().runner.latest(job)
    return JobView(record, None if latest is None else latest.partial)


def past_jobs(kind: str, limit: int = 12) -> list[JobRecord]:
    """Return the latest jobs of a kind that left a run, newest first."""
    return [job for job in jobs().store.recent(100) if job.kind == kind and job.result][:limit]


def past_runs(kind: str, of: type[RunT], limit: int) -> Iterator[RunT]:
    """Yield the runs of the latest jobs of a kind, newest first, without those that are gone."""
    for record in past_jobs(kind, limit):
        try:
            run = read(runs_folder() / Path(record.result or "").name, of)
        except MMHError:
            continue
        yield run


def example_names(folder: Path) -> list[str]:
    """Return the names of the precomputed runs in a folder of this copy of the app."""
    return sorted(path.stem for path in folder.glob("*.safetensors"))
