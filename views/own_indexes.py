"""Join the indexes that the app keeps to Streamlit: made as jobs, listed, chosen, removed.

Whatever needs torch is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmh_core.records import MMHError, Progress
from views import importing, kept_runs, models, subjects
from views.access.server_files import checked_path
from views.kept_runs import JobView
from views.session import data_folder, jobs
from views.widgets.link_values import quoted

if TYPE_CHECKING:
    from mmh_core.retrieval.embedders import Embedder
    from mmh_core.retrieval.kept_indexes import IndexBuild, IndexRequest, KeptIndex
    from mmh_core.subject.subject import IndexedFolder

INDEX_JOB = "index"
#: Descriptors that come with the app, and those whose weights lie on the server's disk.
SHIPPED = {
    "pixels": "Pixels: exact copies and near ones",
    "pocket": "Copy descriptor of the shipped model",
}
OF_WEIGHTS = {
    "sscd": "SSCD, trained for copy detection",
    "dinov2": "DINOv2",
    "clip": "CLIP",
}


def folder() -> Path:
    """Return the folder in which the indexes of this server are kept."""
    return data_folder() / "indexes"


def kept() -> list[KeptIndex]:
    """Return the indexes that are kept, newest first."""
    from mmh_core.retrieval.kept_indexes import kept_indexes

    return kept_indexes(folder())


def indexed_folder(id: str | None) -> IndexedFolder | None:
    """Return a kept index as what is searched, None without one of that id."""
    from mmh_core.retrieval.kept_indexes import kept_index
    from mmh_core.subject.subject import IndexedFolder

    entry = None if id is None else kept_index(folder(), id)
    if entry is None:
        return None
    return IndexedFolder(entry.index, entry.images, entry.about.embedder)


def index_id(value: object, messages: list[str]) -> str | None:
    """Return the id of a kept index in a link, None and a sentence where none has that id."""
    if value is None or value == "":
        return None
    if indexed_folder(str(value)) is not None:
        return str(value)
    messages.append(
        f"index is {quoted(value)}; this training set is not kept here: choose another one."
    )
    return None


def has_searched(
    name: str, searched: IndexedFolder | None, training_images: int, embedder: str
) -> bool:
    """Return whether a run of a model searched this training set, the model's own with None.

    By the number of its training images and the name of its embedder. Errors: MMHError for a
    training set that cannot be read.
    """
    training = subjects.training_set(name, searched)
    if training is None:
        return not training_images
    return (len(training.index), training.embedder.name) == (training_images, embedder)


def arguments(name: str, searched: IndexedFolder | None) -> tuple[str, ...]:
    """Return a run's training set for the command line, () for the model's own (None)."""
    if searched is None and name != models.POCKET:
        searched = models.searched_folder()
    return () if searched is None else searched.arguments()


def embedder_name(family: str, weights: str) -> str:
    """Return the written choice of a descriptor. Errors: MMHError for weights not allowed."""
    if family in SHIPPED:
        return family
    return f"{family}:{checked_path(weights)}"


def submit(request: IndexRequest) -> str:
    """Queue the making of an index; return the job's id.

    Errors: MMHError for a name that is none, for a folder without images or that may not be named
    here, and for too many waiting jobs.
    """
    from mmh_core.retrieval.kept_indexes import checked_name, keep_index

    checked_name(request.name)
    if isinstance(request.images, Path):
        checked_path(str(request.images))

    def work() -> Iterator[Progress[IndexBuild]]:
        yield from keep_index(folder(), request, _embedder)

    return jobs().runner.submit(INDEX_JOB, f"Index of {request.name}", work)


def _embedder(choice: str) -> Embedder:
    from mmh_core.retrieval.embedder_choice import load_embedder

    with importing.LOCK:
        return load_embedder(choice)


def job(id: str) -> JobView[IndexBuild]:
    """Return the job of an index, with its build as long as this server remembers it.

    Errors: MMHError for an unknown id and for another kind of job.
    """
    record, latest = kept_runs.record_of(id, INDEX_JOB), jobs().runner.latest(id)
    return JobView(record, None if latest is None else latest.partial)


def remove(id: str) -> None:
    """Remove a kept index. Errors: MMHError, also while it is being searched by a job."""
    from mmh_core.retrieval.kept_indexes import remove_index

    active = [record.label for record in jobs().runner.active() if record.kind != INDEX_JOB]
    if active:
        raise MMHError(
            f"{active[0]} still runs or waits and may search it: remove it when that has ended."
        )
    remove_index(folder(), id)
