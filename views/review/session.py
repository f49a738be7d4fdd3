"""Join queues and judgements to Streamlit: the review's file, its demonstration, its evidence.

Like `image_session`, beside which it stands: whatever needs torch is imported inside the
functions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import streamlit as st

from mmh_core.files import remove_leftovers, write_bytes
from mmh_core.formats.untrusted import quoted
from mmh_core.installation import assets
from mmh_core.records import MMHError
from mmh_core.store.queues import (
    DamagedQueue,
    create_queue,
    damaged_queues,
    list_queues,
    queue_settings,
)
from mmh_core.store.review_plans import ReviewPlan, plans_folder, read_plan, write_plan
from mmh_core.store.review_records import QueueRecord, ReviewItem
from mmh_core.store.review_schema import open_queues
from mmh_core.store.run_files import file_sha256
from mmh_core.store.sqlite_file import SqliteFile
from views import drawing
from views import models as model_session
from views.images import session as image_session
from views.kept_runs import runs_folder as runs_folder
from views.session import data_folder

if TYPE_CHECKING:
    import pandas as pd

    from mmh_core.studies.images.run import ImageRun

#: Runs that are looked through for images of a prompt that had none.
_NEWEST = 12
_log = logging.getLogger(__name__)
#: The case that the command `review demonstration` writes.
DEMONSTRATION = assets() / "review" / "demonstration.zip"


@dataclass(frozen=True)
class NearestImage:
    """A training image as the bytes of a PNG file, with its caption and kind."""

    id: int
    png: bytes
    caption: str
    kind: str


def queues() -> SqliteFile:
    """Return the file of all queues and judgements of this data folder."""
    return _queues(str(data_folder()))


@st.cache_resource(show_spinner=False)
def _queues(folder: str) -> SqliteFile:
    file = open_queues(Path(folder) / "review.sqlite")
    for cleaned in (Path(folder), Path(folder) / "runs"):
        remove_leftovers(cleaned)
    return file


def all_queues() -> list[QueueRecord]:
    """Return all queues that can be read, newest first; the first call adds the demonstration.

    Errors: MMHError where the file itself cannot be used.
    """
    _demonstrated(str(data_folder()))
    return list_queues(queues())


def unreadable_queues() -> list[DamagedQueue]:
    """Return the queues whose record is damaged; the others are there all the same."""
    return damaged_queues(queues())


def is_demonstration(queue: QueueRecord) -> bool:
    """Return whether a queue is the one that ships with the app."""
    return queue_settings(queue).get("demonstration") is True


# Cached, so that of several first visitors one makes it and the others wait.
@st.cache_resource(show_spinner=False)
def _demonstrated(folder: str) -> None:
    """Import the shipped case, or make a queue of the precomputed runs; nothing is computed."""
    if any(is_demonstration(queue) for queue in list_queues(queues())):
        return
    if DEMONSTRATION.is_file():
        from mmh_core.store.case_import import import_case

        # Without the demonstration everything else still works: it must not keep the page shut.
        try:
            import_case(queues(), DEMONSTRATION, runs_folder())
        except MMHError as error:
            _log.warning("The demonstration was not imported: %s", error)
        return
    from mmh_core.studies.review.demonstration import NAME

    items = list(_example_items())
    if items:
        create_queue(
            queues(),
            NAME,
            model=items[0].model,
            model_sha256=items[0].model_sha256,
            settings={"demonstration": True, "source": "precomputed runs"},
            items=items,
        )


def _example_items() -> Iterator[ReviewItem]:
    """Yield an item for each image of the precomputed runs."""
    from dataclasses import replace

    from mmh_core.studies.review.items import run_item

    for name in image_session.example_names():
        try:
            run = image_session.example_run(name)
        except MMHError:
            continue  # Of another version: the images page says so.
        if run is None:
            continue
        for image in run.images:
            alone = replace(run, images=(image,))
            file = f"{name}.safetensors"
            yield run_item(alone, file=file, sha256=file_sha256(image_session.EXAMPLES / file))


def run_of(item: ReviewItem) -> ImageRun | None:
    """Return the study of an item, None where there is none here. Errors: MMHError if damaged.

    A run of another prompt or model is none: names of files in a foreign case prove nothing. One
    that was changed or replaced since the item was made is an error too.
    """
    if not item.run:
        return _run_here(item)
    changed = False
    for folder in (runs_folder(), image_session.EXAMPLES):
        path = folder / Path(item.run).name
        if path.is_file():
            if item.run_sha256 not in ("", _file_sha256(str(path), path.stat().st_mtime_ns)):
                changed = True
                continue
            run = image_session.read_run(path)
            if item.prompt in run.config.prompts and run.sha256 == item.model_sha256:
                return run
    if changed:
        raise MMHError(
            f"The file {quoted(item.run)} of this item's run is not the one with which the item "
            "was made: it was changed or replaced. Restore it from a backup."
        )
    # The file of a case that came without its runs: whoever generated them here sees them.
    return _run_here(item)


@st.cache_data(show_spinner=False, max_entries=512)
def _file_sha256(path: str, stamp: int) -> str:
    """Return the digest of a file, read once per version of the file."""
    return file_sha256(Path(path))


def _run_here(item: ReviewItem) -> ImageRun | None:
    """Return the newest run of an item's prompt that was made here, None without any.

    By the weights of the item; where it names none, by the model of its name.
    """
    for run in image_session.past_runs(_NEWEST):
        generated = {image.prompt for image in run.images}
        same = run.sha256 == item.model_sha256
        if item.prompt in generated and (
            same or (not item.model_sha256 and run.config.model == item.model)
        ):
            return run
    return None


def nearest_image(item: ReviewItem) -> NearestImage | None:
    """Return the training image nearest to an item, None where it is not at hand."""
    if item.nearest < 0 or item.model != model_session.POCKET:
        return None
    folder = assets() / model_session.POCKET
    try:
        stamp = (folder / "manifest.json").stat().st_mtime_ns
        drawing.wait_until_drawn(folder, stamp)
        return _image(str(folder), item.nearest, stamp)
    except OSError:
        return None


@st.cache_resource(show_spinner=False, max_entries=512)
def _image(folder: str, number: int, stamp: int) -> NearestImage | None:
    """Read one image alone; all of them would take seconds."""
    import io

    from PIL import Image

    from mmh_core.pocket.assets import read_training_image

    table = _labels(folder, stamp)
    if not 0 <= number < len(table):
        return None
    file = io.BytesIO()
    Image.fromarray(read_training_image(Path(folder), number)).save(file, "PNG")
    label = table.iloc[number]
    return NearestImage(number, file.getvalue(), str(label.captions[0]), str(label.kind))


@st.cache_resource(show_spinner=False, max_entries=1)
def _labels(folder: str, stamp: int) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(Path(folder) / "training.parquet", columns=["captions", "kind"])


def plan_of(queue: str) -> ReviewPlan:
    """Return the labels and the assignment of a queue."""
    return read_plan(plans_folder(data_folder()), queue)


def keep_plan(queue: str, plan: ReviewPlan) -> None:
    """Keep the labels and the assignment of a queue. Errors: MMHError where the disk refuses."""
    write_plan(plans_folder(data_folder()), queue, plan)


def case_bytes(queue: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the case of a queue as a zip file, and the names of runs that are missing from it."""
    from mmh_core.store.case_export import export_case

    with TemporaryDirectory() as folder:
        path = Path(folder) / "case.zip"
        plans = plans_folder(data_folder())
        made = export_case(queues(), queue, runs_folder(), path, plans=plans)
        return path.read_bytes(), made.missing_runs


def report_page(queue: str) -> str:
    """Return the report about a queue as one HTML page."""
    from mmh_core.report import queue_report, read_case

    def nearest(item: ReviewItem) -> tuple[str, bytes] | None:
        near = nearest_image(item)
        return None if near is None else (f"{near.id:,}, {near.caption}", near.png)

    return queue_report(read_case(queues(), queue), nearest)


def import_bytes(data: bytes) -> QueueRecord:
    """Import an uploaded case. Errors: MMHError for what is no case, or is here already."""
    from mmh_core.store.case_import import import_case

    with TemporaryDirectory() as folder:
        path = Path(folder) / "case.zip"
        write_bytes(path, data)
        return import_case(queues(), path, runs_folder(), plans=plans_folder(data_folder()))


def parquet_bytes(queue: str) -> bytes:
    """Return a queue with its judgements as the bytes of a Parquet file."""
    from mmh_core.store.case_tables import write_queue_parquet

    with TemporaryDirectory() as folder:
        path = Path(folder) / "queue.parquet"
        write_queue_parquet(queues(), queue, path)
        return path.read_bytes()


def queue_of_items(name: str, items: list[ReviewItem], settings: dict[str, object]) -> QueueRecord:
    """Make a queue. Errors: MMHError for no items, and for what the store refuses."""
    if not items:
        raise MMHError("No prompt is flagged: create a queue of all prompts.")
    return create_queue(
        queues(),
        name,
        model=items[0].model,
        model_sha256=items[0].model_sha256,
        settings=settings,
        items=items,
    )
