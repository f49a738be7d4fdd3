"""What the first page shows: model and device in use, last jobs and queues.

Nothing here loads torch or a model, so that the first page never waits.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import streamlit as st

from mmh_core.counting import plural
from mmh_core.installation import assets
from mmh_core.store.item_search import FoundItem, items_of_all_queues
from mmh_core.store.job_record import JobRecord
from mmh_core.store.jobs import JobStore
from mmh_core.store.queues import judged_items, list_queues
from mmh_core.store.review_records import QueueRecord
from mmh_core.text_to_image.catalogue import CATALOGUE
from views.models import POCKET
from views.review import session as review_session
from views.session import data_folder
from views.tour import examples


@dataclass(frozen=True)
class SystemInfo:
    """Model, number of training images, device and data folder of this server."""

    model: str
    training: int | None
    device: str
    data: str


def system_info() -> SystemInfo:
    """Return what this server works with unless told otherwise."""
    return SystemInfo(CATALOGUE[POCKET].label, _training(), device_words(), str(data_folder()))


def device_words() -> str:
    """Return where this server computes: a GPU where torch was built for one and one is there.

    Judged by the driver's list and the version of torch, which need no import of torch.
    """
    cards = Path("/proc/driver/nvidia/gpus")
    count = len(list(cards.iterdir())) if cards.is_dir() else 0
    if count and not version("torch").endswith("+cpu"):
        return plural(count, "NVIDIA GPU")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU, {plural(cores or 1, 'core')}"


def last_jobs(limit: int = 6) -> list[JobRecord]:
    """Return the jobs of this data folder that were started last, newest first."""
    return _store(str(data_folder())).recent(limit)


def active_jobs() -> list[JobRecord]:
    """Return the jobs of this data folder that run or wait, oldest first."""
    return _store(str(data_folder())).active()


@st.cache_resource(show_spinner=False)
def _store(folder: str) -> JobStore:
    store = JobStore(Path(folder) / "jobs.sqlite")
    store.interrupt_running()  # Those of a server that died are not running.
    return store


def jobs_with(text: str, limit: int) -> list[JobRecord]:
    """Return the newest jobs of this data folder whose label contains a text."""
    return _store(str(data_folder())).with_text(text, limit)


def items_with(text: str, limit: int) -> tuple[list[FoundItem], int]:
    """Return the first review items of all queues that contain a text, and how many do."""
    return items_of_all_queues(review_session.queues(), text, limit)


def last_queues(limit: int = 4) -> list[QueueRecord]:
    """Return the newest queues; the demonstration is made by the review page, not here."""
    return list_queues(review_session.queues())[:limit]


def judged(queue: QueueRecord) -> int:
    """Return how many items of a queue anybody has judged."""
    return judged_items(review_session.queues(), queue.id)


@dataclass(frozen=True)
class TourImages:
    """The images of the guided tour as PNG files, b"" for what is not there.

    `mitigated` was generated from the starting noise of `copied`, under `label`; `free` is an
    image of a prompt that is not copied. Of the `images` images of the prompt of `generated`
    `copies` are copies, of the `mitigated_images` under `label` none is; `same_prompt`: both are
    of one prompt.
    """

    generated: bytes
    training: bytes
    free: bytes
    copied: bytes
    mitigated: bytes
    label: str
    copies: int = 0
    images: int = 0
    mitigated_images: int = 0
    same_prompt: bool = False

    @property
    def finding(self) -> str:
        """Return what the examples show and of how many prompts, "" where they are not there."""
        if not self.images:
            return ""
        copies = f"{self.copies} of {self.images} generated images are copies of training images"
        if not self.label or self.same_prompt:
            mitigated = f"; with {self.label} none is" if self.label else ""
            return f"One memorized prompt, chosen as an example: {copies}{mitigated}."
        return (
            f"Two memorized prompts, chosen as examples: of the first, {copies}; of the second, "
            f"with {self.label}, none of {self.mitigated_images}."
        )


def tour_images() -> TourImages:
    """Return the images of the guided tour, read without torch."""
    before, without, after = examples.copied(), examples.uncopied(), examples.mitigated()
    return TourImages(
        _read(before, "/images/0/image"),
        _read(before, "/images/0/neighbors/0/image"),
        _read(without, "/images/0/image"),
        _read(after, "/cells/0/images"),
        _read(after, f"/cells/{0 if after is None else after.number}/images"),
        "" if after is None else after.label,
        0 if before is None else before.copies,
        0 if before is None else before.images,
        0 if after is None else after.images,
        before is not None and after is not None and before.prompt == after.prompt,
    )


def _read(example: examples.ImageExample | examples.MitigationExample | None, name: str) -> bytes:
    if example is None:
        return b""
    return _pixels(str(example.path), name, example.path.stat().st_mtime_ns)


@st.cache_resource(show_spinner=False, max_entries=16)
def _pixels(path: str, name: str, stamp: int) -> bytes:
    """Return one image of a run, the first where it holds several, b"" where it is not there."""
    import io

    from PIL import Image
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            pixels = file.get_tensor(name)
    except (OSError, SafetensorError):
        return b""
    image = pixels[0] if pixels.ndim == 4 else pixels
    out = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(out, "PNG")
    return out.getvalue()


def _training() -> int | None:
    try:
        about = json.loads((assets() / POCKET / "world.json").read_text())
        return int(about["pictures"]["training"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
