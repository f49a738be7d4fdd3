"""Join the compute core to Streamlit: the guard, the data folder, caches and the job bridge.

The only module of the core that imports streamlit. Whatever needs torch is imported inside the
function that uses it: the first page shows its title before torch has loaded.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from mmh_core.installation import assets
from mmh_core.records import MMHError, Progress
from views.start_options import start_options

if TYPE_CHECKING:
    from mmh_core.store.job_record import JobRecord
    from mmh_core.store.job_runner import JobRunner
    from mmh_core.store.jobs import JobStore
    from mmh_core.studies.manifolds.run import ManifoldConfig, ManifoldRun

MANIFOLD_JOB = "manifold"
_MANIFOLDS = assets() / "manifolds"
#: Jobs that may wait for a device: more than a room full of people with a window each.
WAITING = 64
#: The networks of the manifold study are so small that a GPU would only add waiting.
MANIFOLD_DEVICE = "cpu"

# Streamlit leaves six lines of air above every page for a toolbar that is hidden here, and keeps
# two charts side by side in windows that are too narrow for them.
_STYLE = """<style>
[data-testid="stMainBlockContainer"] {padding: 2.5rem 3rem 4rem; max-width: 84rem;}
/* What a poll is about to replace must not fade at every poll. */
[class*="st-key-pair_live"] [data-stale="true"] {opacity: 1 !important; transition: none;}
/* The accent marks by line and fill; small text on dark would have a contrast of 4.1 in it. */
[data-testid="stApp"] :is([data-testid="stSliderThumbValue"],
  [data-testid="stTab"][aria-selected="true"], button[aria-checked="true"]) {color: inherit;}
[data-testid="stSidebarUserContent"] {padding-bottom: 2rem;}
/* Holds no more than the promise of a chart, see views.widgets.layout. */
.st-key-chart_library {position: absolute; visibility: hidden; height: 0; overflow: hidden;}
@media (max-width: 1100px) {
  [data-testid="stMainBlockContainer"] {padding: 2.5rem 1.25rem 3rem;}
  [class*="st-key-pair"] [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"])
    {flex-wrap: wrap;}
  [class*="st-key-pair"] [data-testid="stColumn"] {min-width: 100%;}
}
</style>"""
#: What Markdown takes for the start of a bare address: a scheme, "www", a mail's sign.
_ADDRESS = re.compile(r"((?:https?|ftp|mailto|xmpp):|www(?=\.)|@)", re.IGNORECASE)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Jobs:
    """The runner and the store of all jobs of this server."""

    runner: JobRunner
    store: JobStore


@dataclass(frozen=True)
class ManifoldJob:
    """A training job on a manifold: its record, and its run as far as it is known."""

    record: JobRecord
    run: ManifoldRun | None


def guard() -> None:
    """Make sure that a page runs under app.py; the first line of every page.

    Until app.py has run once, Streamlit serves a deep link from the folder `pages/` by itself and
    skips app.py with its navigation. Naming our own pages ends that, and the page starts again.
    """
    if PagesManager.uses_pages_directory:
        PagesManager.uses_pages_directory = False
        st.rerun()
    st.html(_STYLE)


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Write an error of the body to the page as one sentence; its traceback to the log only."""
    try:
        yield
    except (ValueError, MMHError) as error:
        _log.info("Shown to the person: %s", error)
        st.error(plain(str(error)), icon=":material/error:")
    except Exception:
        _log.exception("A part of the page failed.")
        st.error(
            "Something unexpected went wrong here; the log of the app has the details. "
            "Reload the page to start afresh.",
            icon=":material/error:",
        )


def plain(text: str) -> str:
    """Return text that Markdown shows letter by letter: nothing in it is set, linked or loaded.

    For sentences that quote what a person or a link said: an image in them would make the browser
    ask another machine for it. Bare addresses become links after escapes are taken away, so that
    an invisible word joiner parts what makes them one.
    """
    parted = _ADDRESS.sub("\\1\u2060", " ".join(text.split()))
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", parted)


def data_folder() -> Path:
    """Return the folder named after `-- --data`, or `.mmh` (see `mmh_core.installation`)."""
    return start_options().data


def jobs() -> Jobs:
    """Return the one job runner of this server; jobs of a dead server become interrupted."""
    return _jobs(str(data_folder()))


@st.cache_resource(show_spinner=False)
def _jobs(folder: str) -> Jobs:
    from mmh_core.store.job_runner import JobRunner
    from mmh_core.store.jobs import JobStore

    store = JobStore(Path(folder) / "jobs.sqlite")
    return Jobs(JobRunner(store, capacity=WAITING), store)


def submit_manifold(config: ManifoldConfig) -> str:
    """Check a config, queue its study and return the id of the job.

    Errors: ValueError for a config out of range, MMHError for a full queue.
    """
    from mmh_core.manifolds.catalogue import MANIFOLDS
    from mmh_core.store.archive import save_record
    from mmh_core.studies.manifolds.config import checked

    config = checked(config)
    folder, name = data_folder() / "runs", f"{uuid4().hex}.safetensors"

    def keep(run: ManifoldRun) -> str:
        ended = run if run.state == "complete" else replace(run, state="stopped")
        save_record(folder / name, ended)
        return name

    label = (
        f"{MANIFOLDS[config.manifold].label}, {config.points:,} points, "
        f"{config.epochs:,} epochs, seed {config.seed}"
    )
    return jobs().runner.submit(
        MANIFOLD_JOB, label, lambda: _study(config), device=MANIFOLD_DEVICE, finish=keep
    )


def _study(config: ManifoldConfig) -> Iterator[Progress[ManifoldRun]]:
    """Run the study on one thread: for networks this small, handing work around costs more."""
    import torch

    from mmh_core.studies.manifolds.study import manifold_study

    torch.set_num_threads(1)
    yield from manifold_study(config)


def job_view(job: str) -> ManifoldJob:
    """Return a job and its run: live while it runs, from the disk once it has ended.

    Errors: MMHError for an unknown id, and for a file that is missing or damaged.
    """
    runner = jobs().runner
    record = runner.record(job)
    if record.result is not None:
        return ManifoldJob(record, read_run(data_folder() / "runs" / Path(record.result).name))
    latest = runner.latest(job)
    return ManifoldJob(record, None if latest is None else latest.partial)


def past_runs(limit: int = 12) -> list[JobRecord]:
    """Return the latest jobs of the manifold study that left a run, newest first."""
    kept = [r for r in jobs().store.recent(100) if r.kind == MANIFOLD_JOB and r.result]
    return kept[:limit]


def preset_names() -> list[str]:
    """Return the names of the precomputed runs that this copy of the app holds."""
    return sorted(path.stem for path in _MANIFOLDS.glob("*.safetensors"))


def preset_run(name: str) -> ManifoldRun | None:
    """Return the precomputed run of that name, None where there is none."""
    path = _MANIFOLDS / f"{name}.safetensors"
    return read_run(path) if name in preset_names() else None


def read_run(path: Path) -> ManifoldRun:
    """Return the run in a file, read once per version of the file. Errors: MMHError."""
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        raise MMHError(
            f"The file {path.name!r} of this run is gone: choose another run or train again."
        ) from None
    return _read_run(str(path), stamp)


# A resource and not data: runs are frozen, and copying them for every rerun would cost more than
# reading them.
@st.cache_resource(show_spinner=False, max_entries=48)
def _read_run(path: str, stamp: int) -> ManifoldRun:
    from mmh_core.store.archive import load_record
    from mmh_core.studies.manifolds.run import ManifoldRun

    return load_record(Path(path), ManifoldRun)


def run_bytes(run: ManifoldRun) -> bytes:
    """Return a run as the bytes of the file that `store.archive` reads."""
    from tempfile import TemporaryDirectory

    from mmh_core.store.archive import save_record

    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.safetensors"
        save_record(path, run)
        return path.read_bytes()


def expected_seconds(config: ManifoldConfig) -> tuple[float, bool] | None:
    """Estimate how long a config will take, and say whether this machine's own runs tell.

    From the newest finished run of the same manifold here, else the newest of any, else the
    precomputed ones: its seconds times the ratio of the work. None where nothing tells.
    Caveat: the work is counted in rough units, so the estimate is good to a factor of two.
    """
    own: list[ManifoldRun] = []
    for record in past_runs(4):
        try:
            own.append(read_run(data_folder() / "runs" / Path(record.result or "").name))
        except MMHError:
            continue
    own = [run for run in own if run.state == "complete"]
    same = [run for run in own if run.config.manifold == config.manifold]
    for run in same + own:
        if run.seconds > 0:
            return run.seconds * _work(config) / _work(run.config), True
    # Runs of digits are named with their size.
    names = [name for name in preset_names() if name.startswith(f"{config.manifold}-")]
    for name in (config.manifold, *names, "circle"):
        shipped = preset_run(name)
        if shipped is not None and shipped.seconds > 0:
            return shipped.seconds * _work(config) / _work(shipped.config), False
    return None


def _work(config: ManifoldConfig) -> float:
    """Return the work of a config in optimizer steps at width 96: reading LID, then training."""
    return 1_500 + config.steps * (0.5 + config.width / 192)
