"""Join the manifold study to Streamlit: jobs, precomputed and past runs, how long a run takes.

Whatever needs torch is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mmh_core.installation import assets
from mmh_core.records import Progress
from views import kept_runs
from views.session import jobs

if TYPE_CHECKING:
    from mmh_core.store.job_record import JobRecord
    from mmh_core.studies.manifolds.run import ManifoldConfig, ManifoldRun

MANIFOLD_JOB = "manifold"
PRESETS = assets() / "manifolds"
#: The networks of the manifold study are so small that a GPU would only add waiting.
MANIFOLD_DEVICE = "cpu"


def submit_manifold(config: ManifoldConfig) -> str:
    """Check a config, queue its study and return the id of the job.

    Errors: ValueError for a config out of range, MMHError for a full queue.
    """
    from mmh_core.manifolds.catalogue import MANIFOLDS
    from mmh_core.studies.manifolds.config import checked

    config = checked(config)
    label = (
        f"{MANIFOLDS[config.manifold].label}, {config.points:,} points, "
        f"{config.steps:,} training steps, seed {config.seed}"
    )
    return jobs().runner.submit(
        MANIFOLD_JOB, label, lambda: _study(config), device=MANIFOLD_DEVICE, finish=_keep
    )


def _keep(run: ManifoldRun) -> str:
    return kept_runs.keep(run if run.state == "complete" else replace(run, state="stopped"))


def _study(config: ManifoldConfig) -> Iterator[Progress[ManifoldRun]]:
    """Run the study on one thread: for networks this small, handing work around costs more."""
    import torch

    from mmh_core.studies.manifolds.study import manifold_study

    torch.set_num_threads(1)
    yield from manifold_study(config)


def manifold_job(job: str) -> kept_runs.JobView[ManifoldRun]:
    """Return a training job and its run as far as it is known. Errors: MMHError."""
    from mmh_core.studies.manifolds.run import ManifoldRun

    return kept_runs.job_view(job, ManifoldRun, MANIFOLD_JOB)


def past_manifolds(limit: int = 12) -> list[JobRecord]:
    """Return the latest jobs of the manifold study that left a run, newest first."""
    return kept_runs.past_jobs(MANIFOLD_JOB, limit)


def past_runs(limit: int) -> Iterator[ManifoldRun]:
    """Yield the runs of those jobs, newest first."""
    from mmh_core.studies.manifolds.run import ManifoldRun

    return kept_runs.past_runs(MANIFOLD_JOB, ManifoldRun, limit)


def preset_names() -> list[str]:
    """Return the names of the precomputed runs that this copy of the app holds."""
    return kept_runs.example_names(PRESETS)


def preset_run(name: str) -> ManifoldRun | None:
    """Return the precomputed run of that name, None where there is none."""
    from mmh_core.studies.manifolds.run import ManifoldRun

    if name not in preset_names():
        return None
    return kept_runs.read(PRESETS / f"{name}.safetensors", ManifoldRun)


def expected_seconds(
    config: ManifoldConfig, past: Iterable[ManifoldRun] | None = None
) -> tuple[float, bool] | None:
    """Estimate how long a config will take, and whether this machine's own runs tell.

    From the fastest finished run of the same manifold in `past` (those kept here), else the
    fastest of any, else the precomputed ones: its seconds times the ratio of the work. One run on
    a busy machine says nothing of the next. None where nothing tells. Caveat: the work is counted
    in rough units, so the estimate is good to a factor of two.
    """
    own = [run for run in (past_runs(4) if past is None else past) if run.state == "complete"]
    same = [run for run in own if run.config.manifold == config.manifold]
    for runs in (same, own):
        rates = [run.seconds / _work(run.config) for run in runs if run.seconds > 0]
        if rates:
            return min(rates) * _work(config), True
    # Runs of digits are named with their size.
    names = [name for name in preset_names() if name.startswith(f"{config.manifold}-")]
    for name in (config.manifold, *names, "circle"):
        shipped = preset_run(name)
        if shipped is not None and shipped.seconds > 0:
            return shipped.seconds * _work(config) / _work(shipped.config), False
    return None


def _work(config: ManifoldConfig) -> float:
    """Return the work of a config, in optimizer steps at width 96: LID, then training."""
    return 1_500 + config.steps * (0.5 + config.width / 192)
