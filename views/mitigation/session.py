"""Join the comparison of mitigations to Streamlit: jobs, precomputed and past runs, tokens.

Like `image_session`, beside which it stands: whatever needs torch is imported inside the
functions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mmh_core.formats.texts import short
from mmh_core.installation import PROGRAM, assets
from mmh_core.records import MMHError, Progress
from views import kept_runs, own_indexes, subjects
from views import models as model_session
from views.kept_runs import LABEL, JobView
from views.session import data_folder, jobs
from views.start_options import start_options
from views.widgets.words import plural

if TYPE_CHECKING:
    from mmh_core.store.job_record import JobRecord
    from mmh_core.studies.mitigation.run import MitigationConfig, MitigationRun
    from mmh_core.studies.mitigation.token_attribution import TokenRun
    from mmh_core.studies.mitigation.training_run import TrainingMitigationRun
    from mmh_core.subject.subject import IndexedFolder

#: Where the page keeps the training set that was chosen; its own settings need torch.
_CHOSEN_INDEX = "mi_index"
MITIGATION_JOB, TRIAL_JOB, TOKEN_JOB = "mitigation", "mitigation trial", "tokens"
EXAMPLES = assets() / "mitigation"
#: What is added to the name of a precomputed run for the scores of its tokens.
TOKENS = "-tokens"
#: Where the mitigation at training time is kept below the examples.
TRAINING = Path("training") / "pocket-sd.safetensors"
#: The environment variable that may hold the key of a service that rewords prompts.
KEY = "MMH_ENDPOINT_KEY"


def chosen_index() -> IndexedFolder | None:
    """Return the kept training set that this window searches, None for the model's own."""
    return own_indexes.indexed_folder(st.session_state.get(_CHOSEN_INDEX))


def index_of(run: MitigationRun) -> IndexedFolder | None:
    """Return the training set that a comparison searched, None for the model's own.

    Errors: MMHError where it is neither that nor the one that this window chose.
    """
    count, model = run.training_images, run.config.model
    if count is None:  # Of an earlier version, which searched no other.
        return None
    for searched in dict.fromkeys((chosen_index(), None)):
        if own_indexes.has_searched(model, searched, count, run.embedder):
            return searched
    among = f"{plural(count, 'training image')} by {run.embedder}" if count else "no training set"
    raise MMHError(
        f"This comparison searched {among}: choose that training set in the sidebar, or compare "
        "again."
    )


def index_arguments(run: MitigationRun) -> tuple[str, ...]:
    """Return the training set that a comparison searched for the command line.

    () for the model's own. Errors: as of `index_of`.
    """
    return own_indexes.arguments(run.config.model, index_of(run))


def submit_mitigation(config: MitigationConfig) -> str:
    """Check a config, queue its study with the training set chosen, and return the job's id.

    Errors: ValueError and MMHError for a config that cannot be run, and for too many waiting jobs.
    """
    return _submit(config, chosen_index(), MITIGATION_JOB)


def submit_trial(run: MitigationRun, prompt: str) -> str:
    """Queue the first prompt of a comparison beside another wording; return the job's id.

    It is not listed among the past runs. Errors: as of `submit_mitigation` and `index_of`.
    """
    config = replace(run.config, prompts=(run.config.prompts[0], prompt), treatments=())
    return _submit(config, index_of(run), TRIAL_JOB)


def _submit(config: MitigationConfig, searched: IndexedFolder | None, kind: str) -> str:
    from mmh_core.studies.mitigation.study import checked

    config = checked(config)
    model_session.check_allowed(config.model)
    count = len(config.treatments)
    label = f"{plural(count, 'mitigation')}, {short(config.prompts[0], LABEL)}"
    return jobs().runner.submit(
        kind,
        label,
        lambda: _study(config, searched),
        device=model_session.device(),
        finish=_keep,
    )


def submit_robustness(run: MitigationRun) -> str:
    """Queue the robustness of a comparison and return the id of the job, which keeps both.

    Errors: MMHError for a model that is not here, as of `index_of`, and for too many waiting jobs.
    """
    model_session.check_allowed(run.config.model)
    searched = index_of(run)

    def study() -> Iterator[Progress[MitigationRun]]:
        from mmh_core.studies.mitigation.captions import paraphrases_listed
        from mmh_core.studies.mitigation.robustness import robust_study

        name = run.config.model
        subjects.use_threads(name)
        listed = paraphrases_listed(model_session.folder_of(name), run.config.prompts[0])
        yield from robust_study(run, subjects.subject(name, searched), listed)

    return jobs().runner.submit(
        MITIGATION_JOB,
        f"Robustness, {short(run.config.prompts[0], LABEL)}",
        study,
        device=model_session.device(),
        finish=_keep,
    )


def submit_tokens(run: MitigationRun) -> str:
    """Queue the scoring of the tokens of a run's first prompt and return the id of the job.

    Errors: as of `index_of`, and MMHError for too many waiting jobs.
    """
    searched = index_of(run)
    none = run.cell(0, run.config.treatments[0])
    latents = None if none is None else none.latents
    config = replace(run.config, prompts=run.config.prompts[:1])

    def study() -> Iterator[Progress[TokenRun]]:
        from mmh_core.studies.mitigation.token_attribution import token_study

        subjects.use_threads(config.model)
        yield from token_study(config, subjects.subject(config.model, searched), latents)

    return jobs().runner.submit(
        TOKEN_JOB,
        f"token attribution of {short(config.prompts[0], LABEL)}",
        study,
        device=model_session.device(),
        finish=_keep,
    )


def _keep(run: MitigationRun | TokenRun) -> str:
    from mmh_core.studies.mitigation.run import MitigationRun

    if isinstance(run, MitigationRun) and run.state != "complete":
        run = replace(run, state="stopped")
    return kept_runs.keep(run)


def _study(
    config: MitigationConfig, searched: IndexedFolder | None
) -> Iterator[Progress[MitigationRun]]:
    from mmh_core.studies.mitigation.study import mitigation_study

    subjects.use_threads(config.model)
    yield from mitigation_study(config, subjects.subject(config.model, searched))


def mitigation_job(job: str) -> JobView[MitigationRun]:
    """Return a job that compares and its run as far as it is known. Errors: MMHError."""
    from mmh_core.studies.mitigation.run import MitigationRun

    return kept_runs.job_view(job, MitigationRun, MITIGATION_JOB, TRIAL_JOB)


def token_job(job: str) -> JobView[TokenRun]:
    """Return a job that scores tokens and its scores so far. Errors: MMHError."""
    from mmh_core.studies.mitigation.token_attribution import TokenRun

    return kept_runs.job_view(job, TokenRun, TOKEN_JOB)


def past_mitigations(limit: int = 12) -> list[JobRecord]:
    """Return the latest jobs of this study that left a run, newest first."""
    return kept_runs.past_jobs(MITIGATION_JOB, limit)


def example_names() -> list[str]:
    """Return the names of the precomputed comparisons that this copy of the app holds."""
    return [name for name in kept_runs.example_names(EXAMPLES) if not name.endswith(TOKENS)]


def example_run(name: str) -> MitigationRun | None:
    """Return the precomputed comparison of that name, None where there is none."""
    from mmh_core.studies.mitigation.run import MitigationRun

    if name not in example_names():
        return None
    return kept_runs.read(EXAMPLES / f"{name}.safetensors", MitigationRun)


def example_tokens(name: str) -> TokenRun | None:
    """Return the scores of the tokens of a precomputed comparison, None where there are none."""
    from mmh_core.studies.mitigation.token_attribution import TokenRun

    path = EXAMPLES / f"{name}{TOKENS}.safetensors"
    if name not in example_names() or not path.exists():
        return None
    return kept_runs.read(path, TokenRun)


def training_run() -> TrainingMitigationRun | None:
    """Return the precomputed training of the shipped world, None where there is none."""
    from mmh_core.studies.mitigation.training_run import TrainingMitigationRun

    path = EXAMPLES / TRAINING
    return kept_runs.read(path, TrainingMitigationRun) if path.exists() else None


def expected_seconds(config: MitigationConfig) -> tuple[float, bool] | None:
    """Estimate how long a config will take, and say whether this machine's own runs tell.

    From the newest run of the same model here, else the precomputed ones: its seconds per forward
    times the network evaluations expected now. None where nothing tells. Caveat: mitigations that
    stop early or try again make it good to a factor of two.
    """
    from mmh_core.studies.mitigation.run import MitigationRun
    from mmh_core.studies.mitigation.study import expected_nfe

    own = kept_runs.past_runs(MITIGATION_JOB, MitigationRun, 4)
    shipped = [run for name in example_names() if (run := example_run(name)) is not None]
    for runs, here in ((own, True), (shipped, False)):
        for run in runs:
            done = sum(cell.nfe * len(cell.kinds) for cell in run.cells)
            if run.config.model == config.model and run.seconds > 0 and done > 0:
                share = config.sampling.pixels / run.config.sampling.pixels
                return run.seconds / done * expected_nfe(config) * share, here
    return None


def robustness_seconds(run: MitigationRun) -> float | None:
    """Estimate how long the robustness of a comparison takes, by the comparison's own seconds."""
    from mmh_core.studies.mitigation.robustness import PARAPHRASES, expected_nfe

    done = sum(cell.nfe * len(cell.kinds) for cell in run.cells)
    if run.seconds <= 0 or done <= 0:
        return None
    return run.seconds / done * expected_nfe(run.config, PARAPHRASES)


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
    from mmh_core.mitigations.rewording_service import Endpoint, request_rewording

    url = service()
    if url is None:
        raise MMHError(
            "This app was started without a service that rewords prompts: start it with "
            f"`{PROGRAM} app -- --endpoint URL`."
        )
    folder = data_folder() / "reworded"
    endpoint = Endpoint(url, name, folder, consent, key=os.environ.get(KEY, ""))
    return request_rewording(endpoint, prompt, words, 0)
