"""Join the image study to Streamlit: jobs, examples and past runs of the images page.

Like `session`, of which it is a part: whatever needs torch is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mmh_core.formats.texts import short
from mmh_core.installation import assets
from mmh_core.records import MMHError, Progress
from views import kept_runs, own_indexes, subjects
from views import models as model_session
from views.kept_runs import LABEL, JobView
from views.session import jobs
from views.widgets.words import plural

if TYPE_CHECKING:
    from mmh_core.report.image_files import AuditBasis
    from mmh_core.store.job_record import JobRecord
    from mmh_core.studies.images.audit_batch import AuditBatch
    from mmh_core.studies.images.examples import PromptExample
    from mmh_core.studies.images.map import ImageMap
    from mmh_core.studies.images.run import ImageConfig, ImageResult, ImageRun
    from mmh_core.subject.subject import IndexedFolder, Subject
    from mmh_core.subject.training_set import TrainingSet

IMAGE_JOB = "images"
MAP_JOB = "map"
AUDIT_JOB = "audit"
AUDITS_JOB = "audits"
#: Where the page keeps the training set that was chosen; its own settings need torch.
_CHOSEN_INDEX = "im_index"
EXAMPLES = assets() / "images"
#: Images of a run that goes between the steps of a long job, and does not wait for its end.
SHORT = 8


def prompt_examples(name: str) -> tuple[PromptExample, ...]:
    """Return example prompts of a model whose world is known, none for others."""
    folder = model_session.folder_of(name)
    if folder is None or not (folder / "world.json").exists():
        return ()
    return _examples(str(folder), (folder / "prompts.parquet").stat().st_mtime_ns)


@st.cache_resource(show_spinner=False, max_entries=2)
def _examples(folder: str, stamp: int) -> tuple[PromptExample, ...]:
    from mmh_core.studies.images.examples import pocket_examples

    return pocket_examples(Path(folder))


def chosen_index() -> IndexedFolder | None:
    """Return the kept training set that this window searches, None for the model's own."""
    return own_indexes.indexed_folder(st.session_state.get(_CHOSEN_INDEX))


def index_of(run: ImageRun) -> IndexedFolder | None:
    """Return the training set that this window chose, where the run searched that one."""
    chosen = chosen_index()
    if chosen is None:
        return None
    searched = own_indexes.has_searched(run.config.model, chosen, run.searched, run.embedder)
    return chosen if searched else None


def training_set_of(run: ImageRun) -> TrainingSet | None:
    """Return the training set that a run is shown with. Errors: MMHError."""
    return subjects.training_set(run.config.model, index_of(run))


def index_arguments(run: ImageRun) -> tuple[str, ...]:
    """Return the training set that a run searched for the command line, () for the model's own."""
    return own_indexes.arguments(run.config.model, index_of(run))


def image_map(run: ImageRun, key: str) -> ImageMap:
    """Return a map of the training images and of a run's; `key` names the run's images.

    Errors: MMHError for a damaged file.
    """
    return _map(run.config.model, index_of(run), key, len(run.images), run.images)


@st.cache_resource(show_spinner="Placing the images", max_entries=8)
def _map(
    name: str,
    searched: IndexedFolder | None,
    key: str,
    count: int,
    _images: tuple[ImageResult, ...],
) -> ImageMap:
    from mmh_core.studies.images.map import component_map, precomputed_map

    folder = model_session.folder_of(name) if searched is None else None
    # Before the reference, which takes seconds to read.
    precomputed = None if folder is None else precomputed_map(folder, _images)
    if precomputed is not None:
        return precomputed
    training = subjects.training_set(name, searched)
    if training is None:
        return component_map(None, None, _images)
    return component_map(training.index, training.embedder, _images)


def submit_map(run: ImageRun) -> str:
    """Queue the map by UMAP of a run's images and the training images; return the job's id.

    Errors: ValueError for too few images, MMHError for too many waiting jobs.
    """
    from mmh_core.studies.images.map import FEWEST, umap_map

    training = training_set_of(run)
    index, embedder = (None, None) if training is None else (training.index, training.embedder)
    count = len(run.images) + (0 if index is None else len(index))
    if count < FEWEST:
        raise ValueError(f"{count} images are too few for UMAP: {FEWEST} are needed.")
    return jobs().runner.submit(
        MAP_JOB,
        f"Map of {count:,} images",
        lambda: umap_map(index, embedder, run.images),
        device=model_session.device(),
        finish=kept_runs.keep,
    )


def map_job(job: str) -> JobView[ImageMap]:
    """Return the job of a map, and the map once it is done. Errors: MMHError."""
    from mmh_core.studies.images.map import ImageMap

    view = kept_runs.job_view(job, ImageMap, MAP_JOB)
    return view if view.record.state == "done" else JobView(view.record, None)


def submit_images(
    config: ImageConfig, also: Callable[[ImageRun, Path], None] | None = None
) -> str:
    """Check a config, queue its study and return the id of the job.

    `also` is given the run and its file as soon as that is written; where it fails, so does the
    job, and the run is not shown. Errors: ValueError and MMHError for a config that cannot be
    run, and for too many waiting jobs.
    """
    from mmh_core.studies.images.study import checked

    config = checked(config)
    model_session.check_allowed(config.model)
    searched = chosen_index()
    count = len(config.prompts) * len(config.seeds)
    label = f"{plural(count, 'image')}, {short(config.prompts[0], LABEL)}"
    folder = kept_runs.runs_folder()

    def keep(run: ImageRun) -> str:
        name = _keep(run)
        if also is not None:
            also(run, folder / name)
        return name

    return jobs().runner.submit(
        IMAGE_JOB,
        label,
        lambda: _study(config, searched),
        device=model_session.device(),
        finish=keep,
        short=count <= SHORT,
    )


def _keep(run: ImageRun) -> str:
    return kept_runs.keep(run if run.state == "complete" else replace(run, state="stopped"))


def _study(config: ImageConfig, searched: IndexedFolder | None) -> Iterator[Progress[ImageRun]]:
    """Run the study on as many threads as its network is worth."""
    from mmh_core.studies.detection.prompt_scan import scanned
    from mmh_core.studies.images.study import image_study

    subjects.use_threads(config.model)
    subject = subjects.subject(config.model, searched)
    steps = image_study(config, subject)
    yield from scanned(steps, subject.model, subject.calibration.early)


def image_job(job: str) -> JobView[ImageRun]:
    """Return a job of the image study and its run as far as it is known. Errors: MMHError."""
    from mmh_core.studies.images.run import ImageRun

    return kept_runs.job_view(job, ImageRun, IMAGE_JOB)


def past_images(limit: int = 12) -> list[JobRecord]:
    """Return the latest jobs of the image study that left a run, newest first."""
    return kept_runs.past_jobs(IMAGE_JOB, limit)


def past_runs(limit: int) -> Iterator[ImageRun]:
    """Yield the runs of those jobs, newest first."""
    from mmh_core.studies.images.run import ImageRun

    return kept_runs.past_runs(IMAGE_JOB, ImageRun, limit)


def example_kinds() -> tuple[str, ...]:
    """Return the kinds of captions of the shipped model, by its own table of prompts."""
    from views.images.settings import in_page_order

    return in_page_order(prompt.kind for prompt in prompt_examples(model_session.POCKET))


def example_names() -> list[str]:
    """Return the names of the precomputed runs that this copy of the app holds."""
    return kept_runs.example_names(EXAMPLES)


def example_run(name: str) -> ImageRun | None:
    """Return the precomputed run of that name, None where there is none."""
    return read_run(EXAMPLES / f"{name}.safetensors") if name in example_names() else None


def kept_run(name: str) -> ImageRun:
    """Return the run of a job that has ended, or the finished example of that name.

    Errors: MMHError for a job that is not there, still runs, or left no run.
    """
    run = example_run(name)
    if run is not None:
        return run
    view = image_job(name)
    if view.record.is_active:
        raise MMHError(
            f"The run {view.record.label!r} has not ended yet: reload this page when it has."
        )
    if view.run is None:
        raise MMHError(f"The job {view.record.label!r} left no run: choose another one.")
    return view.run


def read_run(path: Path) -> ImageRun:
    """Return the run in a file. Errors: MMHError."""
    from mmh_core.studies.images.run import ImageRun

    return kept_runs.read(path, ImageRun)


def submit_audit(data: bytes, caption: str, name: str) -> str:
    """Queue what the model and its training set say of an image; return the job's id.

    An image of this app is judged by the prompt and sampling in its file, where the caption is
    empty. Nothing of it is written to the disk. Errors: MMHError for what is no image, for control
    characters in the caption, and for too many waiting jobs.
    """
    from mmh_core.formats.texts import check_text
    from mmh_core.retrieval.images import read_image
    from mmh_core.studies.images.audit import audit_study

    # Refused before anything is loaded for it.
    read_image(data)
    check_text(caption, "caption")
    model_session.check_allowed(name)
    searched = chosen_index()

    def work() -> Iterator[Progress[ImageResult]]:
        subjects.use_threads(name)
        subject = subjects.subject(name, searched)
        basis = _basis_of(data, caption, subject)
        yield from audit_study(data, basis.caption, subject, basis.sampling)

    return jobs().runner.submit(
        AUDIT_JOB, "Audit of an image", work, device=model_session.device(), short=True
    )


def submit_audits(files: Sequence[tuple[str, bytes]], name: str) -> str:
    """Queue the audit of several images; return the job's id. Nothing is written to the disk.

    Errors: MMHError for too many waiting jobs.
    """
    from mmh_core.studies.images.audit_batch import AuditInput, audit_batch

    model_session.check_allowed(name)
    searched = chosen_index()

    def work() -> Iterator[Progress[AuditBatch]]:
        subjects.use_threads(name)
        subject = subjects.subject(name, searched)

        def reader(data: bytes) -> Callable[[], AuditInput]:
            def read() -> AuditInput:
                basis = _basis_of(data, "", subject)
                return AuditInput(data, basis.caption, basis.sampling)

            return read

        yield from audit_batch([(name, reader(data)) for name, data in files], subject)

    label = f"Audit of {plural(len(files), 'image')}"
    return jobs().runner.submit(AUDITS_JOB, label, work, device=model_session.device())


def audits_job(job: str) -> JobView[AuditBatch]:
    """Return audits with their results, as long as this server remembers them.

    Errors: MMHError for an unknown id and for another kind of job.
    """
    record, latest = kept_runs.record_of(job, AUDITS_JOB), jobs().runner.latest(job)
    return JobView(record, None if latest is None else latest.partial)


def _basis_of(data: bytes, caption: str, subject: Subject) -> AuditBasis:
    """Return by what an image is judged; settings that are damaged count as none."""
    from mmh_core.report.image_files import audit_basis, read_image_metadata

    about = None
    with suppress(MMHError):
        about = read_image_metadata(data)
    return audit_basis(about, caption or None, subject.model)


def audit_job(job: str) -> JobView[ImageResult]:
    """Return an audit with its result, as long as this server remembers it.

    Errors: MMHError for an unknown id and for another kind of job.
    """
    record, latest = kept_runs.record_of(job, AUDIT_JOB), jobs().runner.latest(job)
    return JobView(record, None if latest is None else latest.partial)
