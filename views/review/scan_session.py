"""Join the scan of prompts to Streamlit: uploaded tables, jobs, kept scans, queues of them.

Like `image_session`, beside which it stands: whatever needs torch is imported inside the
functions. Uploads are kept under their digest, scans under that of table, model and settings, so
that the same scan asked for again goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mmh_core.files import write_bytes
from mmh_core.formats.columns import MAX_COLUMNS
from mmh_core.formats.tables import SUFFIXES, open_table
from mmh_core.installation import PROGRAM, assets
from mmh_core.records import MMHError, Progress
from mmh_core.store import kept_scans as kept
from mmh_core.store.kept_scans import ScanAbout
from mmh_core.store.review_records import QueueRecord
from mmh_core.store.table_summary import TableSummary, summarize
from views import models as model_session
from views import subjects
from views.kept_runs import JobView, record_of
from views.review import session as review_session
from views.session import data_folder, jobs

if TYPE_CHECKING:
    import pandas as pd

    from mmh_core.store.prompt_table import RepeatedRow
    from mmh_core.studies.review.scan import ScanState

SCAN_JOB = "scan"
#: Rows of a table in the browser; the command line takes a million.
MOST_ROWS = 10_000


@dataclass(frozen=True)
class UploadedTable:
    """An uploaded table of prompts: its name, the name of the kept file, and what it holds.

    `column` is the one that the person chose for the prompts, "" where nobody had to.
    """

    name: str
    file: str
    column: str
    summary: TableSummary


def keep_table(file_name: str, data: bytes, column: str = "") -> UploadedTable:
    """Keep an uploaded table and read it. Errors: MMHError for one that cannot be used."""
    path = _kept_upload(file_name, data)
    try:
        return _table(str(path), Path(file_name).name, column)
    except MMHError as error:
        # What the person knows is the name of the file, not the digest it is kept under.
        raise MMHError(str(error).replace(path.name, Path(file_name).name[:80])) from error


def column_names(file_name: str, data: bytes) -> tuple[str, ...]:
    """Return the columns of an uploaded table to choose from, none for what is no table."""
    try:
        names = open_table(_kept_upload(file_name, data), most=MOST_ROWS).names
    except MMHError:
        return ()
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))[:MAX_COLUMNS]


def _kept_upload(file_name: str, data: bytes) -> Path:
    suffix = Path(file_name).suffix.casefold()
    if suffix not in SUFFIXES:
        raise MMHError(
            f"The file must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}: save the table "
            "as one."
        )
    path = _uploads() / (hashlib.sha256(data).hexdigest() + suffix)
    if not path.exists():
        write_bytes(path, data)
    return path


def example_table() -> tuple[str, bytes]:
    """Return name and bytes of a small table of the shipped model's prompts."""
    from mmh_core.studies.review.demonstration import example_csv

    folder = assets() / model_session.POCKET
    return "example.csv", example_csv(folder)


@st.cache_resource(show_spinner="Reading the table", max_entries=4)
def _table(path: str, file_name: str, column: str) -> UploadedTable:
    summary = summarize(Path(path), most=MOST_ROWS, column=column)
    return UploadedTable(file_name, Path(path).name, column, replace(summary, name=file_name))


def detection_rate_sentence(model: str, fpr: float) -> str:
    """Return how many prompts the early scan of a model detects, "" without a calibration."""
    from mmh_core.subject.early_scan_rate import detection_rate_words

    calibration = subjects.calibration(model)
    return "" if calibration is None else detection_rate_words(calibration, fpr)


def submit_scan(table: UploadedTable, model: str, *, fpr: float, analyze_flagged: bool) -> str:
    """Submit the scan of a table, new or to go on, and return the id of the job.

    Errors: MMHError without a calibration of the model, for a model that may not be chosen, and
    where too many jobs are waiting.
    """
    file = subjects.calibration_file(model)
    model_session.check_allowed(model)
    if file is None:
        raise MMHError(
            f"{model} has no calibration: make one with `{PROGRAM} calibrate REFERENCE.txt "
            f"--model {model} --out {subjects.kept_calibration_file(model)}`, then scan."
        )
    calibration_sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    settings = [table.file, model, calibration_sha256, fpr, analyze_flagged]
    key = json.dumps([*settings, *filter(None, [table.column])])
    scan_id = hashlib.sha256(key.encode()).hexdigest()[:32]
    about = ScanAbout(
        scan_id,
        table.name,
        table.file,
        table.summary.prompts,
        model,
        fpr,
        analyze_flagged,
        time.time(),
        table.column,
    )
    kept.keep_about(_scans(), about)
    return go_on(about)


def go_on(about: ScanAbout) -> str:
    """Submit a kept scan to go on where it was, and return the id of the job."""

    def keep(state: ScanState) -> str:
        kept.keep_state(_scans(), about.id, asdict(state))
        return about.id

    label = f"Scan of {about.name[:60]}, {about.prompts:,} prompts"
    return jobs().runner.submit(
        SCAN_JOB, label, lambda: _scan(about), device=model_session.device(), finish=keep
    )


def _scan(about: ScanAbout) -> Iterator[Progress[ScanState]]:
    """Scan with as many threads as the model takes."""
    from mmh_core.studies.review.scan import ScanConfig, scan

    subjects.use_threads(about.model)
    subject = subjects.subject(about.model)
    if subject.calibration.early is None:
        raise MMHError(f"The calibration of {about.model} is gone: make it again, then scan.")
    config = ScanConfig(about.model, about.share, about.study)
    yield from scan(
        _uploads() / about.file,
        scan_folder(about.id),
        subject,
        config,
        most=MOST_ROWS,
        column=about.column,
    )


def scan_job(job: str) -> JobView[ScanState]:
    """Return a job and how far it is: live while it runs, from the disk once it has ended.

    Errors: MMHError for an unknown id and another kind of job.
    """
    record = record_of(job, SCAN_JOB)
    if record.result is not None:
        return JobView(record, scan_state(record.result))
    latest = jobs().runner.latest(job)
    return JobView(record, None if latest is None else latest.partial)


def scan_state(scan_id: str) -> ScanState | None:
    """Return how far a kept scan was when it last ended, None where that is not known."""
    from mmh_core.studies.review.scan import ScanState

    fields = kept.read_state(_scans(), scan_id)
    if fields is None:
        return None
    try:
        return ScanState(
            **fields | {"problems": tuple((r, message) for r, message in fields["problems"])}
        )
    except (ValueError, KeyError, TypeError):
        return None


def kept_scans(limit: int = 12) -> list[tuple[ScanAbout, int]]:
    """Return the scans of this data folder with how many prompts have a result, newest first."""
    return kept.kept_scans(_scans(), limit)


def queue_of_scan(about: ScanAbout, *, flagged: bool) -> QueueRecord:
    """Make a queue of a scan's prompts in the order of its table, with all columns of it.

    Runs of flagged ones come along.

    Errors: MMHError for a scan without results, or without flagged prompts.
    """
    from mmh_core.studies.review.items import scan_items
    from mmh_core.studies.review.scan_rows import RUNS

    runs = review_session.runs_folder()
    items = []
    repeats = _repeats(about)
    for item in scan_items(scan_folder(about.id), flagged=flagged, repeats=repeats):
        if item.run:
            # The same prompt in two scans has two runs; a queue names one of them.
            name = f"scan-{about.id[:12]}-{item.run}"
            _link(scan_folder(about.id) / RUNS / item.run, runs / name)
            item = replace(item, run=name)
        items.append(item)
    what = "flagged" if flagged else "all prompts"
    return review_session.queue_of_items(
        f"{about.name[:120]}, {what}",
        items,
        asdict(about)
        | {"flagged": flagged, "reach": detection_rate_sentence(about.model, about.share)},
    )


def _repeats(about: ScanAbout) -> dict[int, list[RepeatedRow]]:
    """Return which rows of a scan's table repeat another, none where the table is gone."""
    from mmh_core.store.table_preview import repeats_by_first

    path = _uploads() / about.file
    if not path.is_file():
        return {}
    return repeats_by_first(path, most=MOST_ROWS, column=about.column)


def preview(table: UploadedTable) -> pd.DataFrame:
    """Return what becomes of each row of an uploaded table. Errors: MMHError."""
    return _preview(str(_uploads() / table.file), table.column)


@st.cache_resource(show_spinner="Reading the table", max_entries=4)
def _preview(path: str, column: str) -> pd.DataFrame:
    from mmh_core.store.table_preview import preview as rows_of

    return rows_of(Path(path), most=MOST_ROWS, column=column)


def _link(file: Path, name: Path) -> None:
    """Give a file a second name where it has none yet. Raises MMHError where the disk refuses."""
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        if not name.exists():
            os.link(file, name)
    except OSError as error:
        raise MMHError(
            f"The analysis {file.name} cannot be kept in {name.parent} ({error.strerror}): free "
            "some space there, then create the queue again."
        ) from error


def scan_folder(scan_id: str) -> Path:
    """Return the folder with the results of a scan."""
    return _scans() / scan_id


def _uploads() -> Path:
    return data_folder() / "uploads"


def _scans() -> Path:
    return data_folder() / "scans"
