"""Join the comparison of mitigations to Streamlit: jobs, precomputed and past runs, tokens.

Like `image_session`, beside which it stands: whatever needs torch is imported inside the
functions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import streamlit as st

from mmh_core.installation import PROGRAM, assets
from mmh_core.records import MMHError, Progress
from views import models as model_session
from views import subjects
from views.session import data_folder, jobs
from views.start_options import start_options

if TYPE_CHECKING:
    from mmh_core.store.job_record import JobRecord
    from mmh_core.studies.mitigation.run import MitigationConfig, MitigationRun
    from mmh_core.studies.mitigation.token_attribution import TokenRun
    from mmh_core.studies.mitigation.training_run import TrainingMitigationRun

MITIGATION_JOB, TRIAL_JOB, TOKEN_JOB = "mitigation", "mitigation trial", "tokens"
EXAMPLES = assets() / "mitigation"
#: What is added to the name of a precomputed run for the scores of its tokens.
TOKENS = "-tokens"
#: Where the cure at training time is kept below the examples.
CURE = Path("training") / "pocket-sd.safetensors"
#: The environment variable that may hold the key of a service that rewords prompts.
KEY = "MMH_ENDPOINT_KEY"


@dataclass(frozen=True)
class MitigationJob:
    """A comparison of mitigations: its record, and its run as far as it is known."""

    record: JobRecord
    run: MitigationRun | None


@dataclass(frozen=True)
class TokenJob:
    """A token attribution: its record, and its scores so far."""

    record: JobRecord
    run: TokenRun | None


def submit_mitigation(config: MitigationConfig, *, trial: bool = False) -> str:
    """Check a config, queue its study and return the id of the job.

    A `trial` compares two wordings and is not listed among the past runs. Errors: ValueError and
    MMHError for a config that cannot be run, and for a full queue.
    """
    from mmh_core.studies.mitigation.study import checked

    config = checked(config)
    model_session.source_of(config.model)
    count = len(config.treatments)
    label = f"{count} treatment{'' if count == 1 else 's'}, {_short(config.prompts[0])}"
    return jobs().runner.submit(
        TRIAL_JOB if trial else MITIGATION_JOB,
        label,
        lambda: _study(config),
        device=model_session.device(),
        finish=_keep,
    )


def submit_tokens(run: MitigationRun) -> str:
    """Queue the scoring of the tokens of a run's first prompt and return the id of the job."""
    none = run.cell(0, run.config.treatments[0])
    latents = None if none is None else none.latents
    config = replace(run.config, prompts=run.config.prompts[:1])

    def study() -> Iterator[Progress[TokenRun]]:
        from mmh_core.studies.mitigation.token_attribution import token_study

        _use_cores(config.model)
        yield from token_study(config, subjects.subject(config.model), latents)

    return jobs().runner.submit(
        TOKEN_JOB,
        f"token attribution of {_short(config.prompts[0])}",
        study,
        device=model_session.device(),
        finish=_keep,
    )


def _keep(run: MitigationRun | TokenRun) -> str:
    from mmh_core.store.archive import save_record
    from mmh_core.studies.mitigation.run import MitigationRun

    if isinstance(run, MitigationRun) and run.state != "complete":
        run = replace(run, state="stopped")
    name = f"{uuid4().hex}.safetensors"
    save_record(data_folder() / "runs" / name, run)
    return name


def _short(prompt: str) -> str:
    text = " ".join(prompt.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _use_cores(model: str) -> None:
    import torch

    torch.set_num_threads(model_session.threads_for(model))


def _study(config: MitigationConfig) -> Iterator[Progress[MitigationRun]]:
    from mmh_core.studies.mitigation.study import mitigation_study

    _use_cores(config.model)
    yield from mitigation_study(config, subjects.subject(config.model))


def mitigation_job(job: str) -> MitigationJob:
    """Return a job and its run: live while it runs, from the disk once it has ended.

    Errors: MMHError for an unknown id, another kind of job, and for a file that is missing.
    """
    record = _record(job, MITIGATION_JOB, TRIAL_JOB)
    if record.result is not None:
        return MitigationJob(record, read_run(_kept(record)))
    latest = jobs().runner.latest(job)
    return MitigationJob(record, None if latest is None else latest.partial)


def token_job(job: str) -> TokenJob:
    """Return a job that scores tokens, as `mitigation_job` does. Errors: MMHError."""
    record = _record(job, TOKEN_JOB)
    if record.result is not None:
        return TokenJob(record, read_tokens(_kept(record)))
    latest = jobs().runner.latest(job)
    return TokenJob(record, None if latest is None else latest.partial)


def _record(job: str, *kinds: str) -> JobRecord:
    record = jobs().runner.record(job)
    if record.kind not in kinds:
        raise MMHError("This link names a job of another page: open it there.")
    return record


def _kept(record: JobRecord) -> Path:
    return data_folder() / "runs" / Path(record.result or "").name


def past_mitigations(limit: int = 12) -> list[JobRecord]:
    """Return the latest jobs of this study that left a run, newest first."""
    kept = [r for r in jobs().store.recent(100) if r.kind == MITIGATION_JOB and r.result]
    return kept[:limit]


def example_names() -> list[str]:
    """Return the names of the precomputed comparisons that this copy of the app holds."""
    names = sorted(path.stem for path in EXAMPLES.glob("*.safetensors"))
    return [name for name in names if not name.endswith(TOKENS)]


def example_run(name: str) -> MitigationRun | None:
    """Return the precomputed comparison of that name, None where there is none."""
    return read_run(EXAMPLES / f"{name}.safetensors") if name in example_names() else None


def example_tokens(name: str) -> TokenRun | None:
    """Return the scores of the tokens of a precomputed comparison, None where there are none."""
    path = EXAMPLES / f"{name}{TOKENS}.safetensors"
    return read_tokens(path) if name in example_names() and path.exists() else None


def training_cure() -> TrainingMitigationRun | None:
    """Return the precomputed training of the embedded world, None where there is none."""
    path = EXAMPLES / CURE
    return _read_cure(str(path), _stamp(path)) if path.exists() else None


def read_run(path: Path) -> MitigationRun:
    """Return the run in a file, read once per version of the file. Errors: MMHError."""
    return _read_run(str(path), _stamp(path))


def read_tokens(path: Path) -> TokenRun:
    """Return the scores in a file, read once per version of the file. Errors: MMHError."""
    return _read_tokens(str(path), _stamp(path))


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        raise MMHError(
            f"The file {path.name!r} of this run is gone: choose another run or compare again."
        ) from None


@st.cache_resource(show_spinner=False, max_entries=24)
def _read_run(path: str, stamp: int) -> MitigationRun:
    from mmh_core.store.archive import load_record
    from mmh_core.studies.mitigation.run import MitigationRun

    return load_record(Path(path), MitigationRun)


@st.cache_resource(show_spinner=False, max_entries=2)
def _read_cure(path: str, stamp: int) -> TrainingMitigationRun:
    from mmh_core.store.archive import load_record
    from mmh_core.studies.mitigation.training_run import TrainingMitigationRun

    return load_record(Path(path), TrainingMitigationRun)


@st.cache_resource(show_spinner=False, max_entries=24)
def _read_tokens(path: str, stamp: int) -> TokenRun:
    from mmh_core.store.archive import load_record
    from mmh_core.studies.mitigation.token_attribution import TokenRun

    return load_record(Path(path), TokenRun)


def expected_seconds(config: MitigationConfig) -> tuple[float, bool] | None:
    """Estimate how long a config will take, and say whether this machine's own runs tell.

    From the newest run of the same model here, else the precomputed ones: its seconds per forward
    times the network evaluations expected now. None where nothing tells. Caveat: mitigations that
    stop early or try again make it good to a factor of two.
    """
    from mmh_core.studies.mitigation.study import expected_nfe

    own = []
    for record in past_mitigations(4):
        try:
            own.append(read_run(_kept(record)))
        except MMHError:
            continue
    shipped = [run for name in example_names() if (run := example_run(name)) is not None]
    for runs, here in ((own, True), (shipped, False)):
        for run in runs:
            done = sum(cell.nfe * len(cell.kinds) for cell in run.cells)
            if run.config.model == config.model and run.seconds > 0 and done > 0:
                share = _pixels(config) / _pixels(run.config)
                return run.seconds / done * expected_nfe(config) * share, here
    return None


def _pixels(config: MitigationConfig) -> int:
    return config.sampling.pixels


def service() -> str | None:
    """Return the address named after `-- --endpoint`, None without one.

    Who starts the app decides where prompts and the key may go, and nobody who opens a page.
    """
    return start_options().endpoint


def reword(name: str, prompt: str, words: tuple[str, ...], *, consent: bool) -> str:
    """Return a prompt as the model `name` of the service rewords it, asked once.

    The key comes from the environment. Errors: MMHError without consent, without a service, and
    for one that cannot be asked.
    """
    from mmh_core.mitigations.endpoint import Endpoint, ask

    url = service()
    if url is None:
        raise MMHError(
            "This app was started without a service that rewords prompts: start it with "
            f"`{PROGRAM} app -- --endpoint URL`."
        )
    place = data_folder() / "reworded"
    found = Endpoint(url, name, place, consent, key=os.environ.get(KEY, ""))
    return ask(found, prompt, words, 0)
