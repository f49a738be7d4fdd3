"""Join the image study to Streamlit: jobs, examples and past runs of the images page.

Like `session`, of which it is a part: whatever needs torch is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import streamlit as st

from mmh_core.installation import assets
from mmh_core.records import MMHError, Progress
from views import models as model_session
from views import subjects
from views.session import data_folder, jobs

if TYPE_CHECKING:
    from mmh_core.store.job_record import JobRecord
    from mmh_core.studies.images.examples import PromptExample
    from mmh_core.studies.images.map import ImageMap
    from mmh_core.studies.images.run import ImageConfig, ImageResult, ImageRun

IMAGE_JOB = "images"
MAP_JOB = "map"
AUDIT_JOB = "audit"
EXAMPLES = assets() / "images"
#: Images of a run that goes between the steps of a long job, and does not wait for its end.
SHORT = 8


@dataclass(frozen=True)
class ImageJob:
    """A job of the image study: its record, and its run as far as it is known."""

    record: JobRecord
    run: ImageRun | None


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


def image_map(name: str, key: str, images: tuple[ImageResult, ...]) -> ImageMap:
    """Return a map of a model's training images and of these; `key` names the images.

    Errors: MMHError for a damaged file.
    """
    return _map(name, key, len(images), images)


@st.cache_resource(show_spinner="Placing the images", max_entries=8)
def _map(name: str, key: str, count: int, _images: tuple[ImageResult, ...]) -> ImageMap:
    from mmh_core.studies.images.map import component_map, precomputed_map

    folder = model_session.folder_of(name)
    # Before the reference, which takes seconds to read.
    found = None if folder is None else precomputed_map(folder, _images)
    if found is not None:
        return found
    known = model_session.training_set(name)
    if known is None:
        return component_map(None, None, _images)
    return component_map(known.index, known.embedder, _images)


def submit_map(run: ImageRun) -> str:
    """Queue the map by UMAP of a run's images and the training images; return the job's id.

    Errors: ValueError for too few images, MMHError for a full queue.
    """
    from mmh_core.store.archive import save_record
    from mmh_core.studies.images.map import FEWEST, umap_map

    known = model_session.training_set(run.config.model)
    index, embedder = (None, None) if known is None else (known.index, known.embedder)
    count = len(run.images) + (0 if index is None else len(index))
    if count < FEWEST:
        raise ValueError(f"{count} images are too few for UMAP: {FEWEST} are needed.")
    folder, name = data_folder() / "runs", f"{uuid4().hex}.safetensors"

    def keep(found: ImageMap) -> str:
        save_record(folder / name, found)
        return name

    return jobs().runner.submit(
        MAP_JOB,
        f"Map of {count:,} images",
        lambda: umap_map(index, embedder, run.images),
        device=model_session.device(),
        finish=keep,
    )


def map_job(job: str) -> tuple[JobRecord, ImageMap | None]:
    """Return the record of a map's job, and the map once it is done.

    Errors: MMHError for an unknown id and for a file that is missing or damaged.
    """
    from mmh_core.store.archive import load_record
    from mmh_core.studies.images.map import ImageMap

    record = _of_kind(jobs().runner.record(job), MAP_JOB)
    if record.state != "done" or record.result is None:
        return record, None
    return record, load_record(data_folder() / "runs" / Path(record.result).name, ImageMap)


def submit_images(config: ImageConfig) -> str:
    """Check a config, queue its study and return the id of the job.

    Errors: ValueError and MMHError for a config that cannot be run, and for a full queue.
    """
    from mmh_core.store.archive import save_record
    from mmh_core.studies.images.run import checked

    config = checked(config)
    model_session.source_of(config.model)
    folder, name = data_folder() / "runs", f"{uuid4().hex}.safetensors"

    def keep(run: ImageRun) -> str:
        ended = run if run.state == "complete" else replace(run, state="stopped")
        save_record(folder / name, ended)
        return name

    count = len(config.prompts) * len(config.seeds)
    label = f"{count} image{'' if count == 1 else 's'}, {_short(config.prompts[0])}"
    return jobs().runner.submit(
        IMAGE_JOB,
        label,
        lambda: _study(config),
        device=model_session.device(),
        finish=keep,
        short=count <= SHORT,
    )


def _short(prompt: str) -> str:
    text = " ".join(prompt.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _study(config: ImageConfig) -> Iterator[Progress[ImageRun]]:
    """Run the study on as many threads as its network is worth."""
    import torch

    from mmh_core.studies.detection.prompt_scan import scanned
    from mmh_core.studies.images.study import image_study

    torch.set_num_threads(model_session.threads_for(config.model))
    subject = subjects.subject(config.model)
    steps = image_study(config, subject)
    yield from scanned(steps, subject.model, subject.calibration.early)


def image_job(job: str) -> ImageJob:
    """Return a job and its run: live while it runs, from the disk once it has ended.

    Errors: MMHError for an unknown id, another kind of job, and for a file that is missing.
    """
    runner = jobs().runner
    record = _of_kind(runner.record(job), IMAGE_JOB)
    if record.result is not None:
        return ImageJob(record, read_run(data_folder() / "runs" / Path(record.result).name))
    latest = runner.latest(job)
    return ImageJob(record, None if latest is None else latest.partial)


def past_images(limit: int = 12) -> list[JobRecord]:
    """Return the latest jobs of the image study that left a run, newest first."""
    kept = [r for r in jobs().store.recent(100) if r.kind == IMAGE_JOB and r.result]
    return kept[:limit]


def example_names() -> list[str]:
    """Return the names of the precomputed runs that this copy of the app holds."""
    return sorted(path.stem for path in EXAMPLES.glob("*.safetensors"))


def example_run(name: str) -> ImageRun | None:
    """Return the precomputed run of that name, None where there is none."""
    path = EXAMPLES / f"{name}.safetensors"
    return read_run(path) if name in example_names() else None


def read_run(path: Path) -> ImageRun:
    """Return the run in a file, read once per version of the file. Errors: MMHError."""
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        raise MMHError(
            f"The file {path.name!r} of this run is gone: choose another run or generate it again."
        ) from None
    return _read_run(str(path), stamp)


@st.cache_resource(show_spinner=False, max_entries=24)
def _read_run(path: str, stamp: int) -> ImageRun:
    from mmh_core.store.archive import load_record
    from mmh_core.studies.images.run import ImageRun

    return load_record(Path(path), ImageRun)


def submit_audit(data: bytes, caption: str, name: str) -> str:
    """Queue what the model and its training set say of an image; return the job's id.

    Nothing of it is written to the disk. Errors: MMHError for what is no image, for control
    characters in the caption, and for a full queue.
    """
    from mmh_core.formats.texts import check_text
    from mmh_core.retrieval.images import read_image
    from mmh_core.studies.images.audit import audit_study

    # Refused before anything is loaded for it.
    read_image(data)
    check_text(caption, "caption")
    model_session.source_of(name)

    def work() -> Iterator[Progress[ImageResult]]:
        import torch

        torch.set_num_threads(model_session.threads_for(name))
        yield from audit_study(data, caption, subjects.subject(name))

    return jobs().runner.submit(
        AUDIT_JOB, "Audit of an image", work, device=model_session.device(), short=True
    )


def audit_job(job: str) -> tuple[JobRecord, ImageResult | None]:
    """Return the record of an audit, and what it found as long as this server remembers it.

    Errors: MMHError for an unknown id and for another kind of job.
    """
    runner = jobs().runner
    record = _of_kind(runner.record(job), AUDIT_JOB)
    latest = runner.latest(job)
    return record, None if latest is None else latest.partial


def _of_kind(record: JobRecord, kind: str) -> JobRecord:
    if record.kind != kind:
        raise MMHError("This link names a job of another page: open it there.")
    return record
