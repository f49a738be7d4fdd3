"""What the first page shows: model and device in use, last jobs and queues.

Nothing here loads torch or a model, so that the first page never waits.
"""

from __future__ import annotations

import json
import math
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
from views.images.session import EXAMPLES as IMAGES
from views.mitigation.session import EXAMPLES as MITIGATION
from views.models import POCKET
from views.review import session as review_session
from views.session import data_folder


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

    `mitigated` was generated from the starting noise of `copied`, under `label`; `cell` names the
    mitigation in links. Of the example's `images` images `copies` are copies.
    """

    generated: bytes
    training: bytes
    copied: bytes
    mitigated: bytes
    label: str
    cell: str
    copies: int = 0
    images: int = 0

    @property
    def finding(self) -> str:
        """Return what the example shows, "" where it is not there."""
        if not self.images:
            return ""
        rest = f". For a second prompt, {self.label} leaves no copy" if self.cell else ""
        return (
            f"In the finished example {self.copies} of {self.images} generated images are copies "
            f"of training images{rest}."
        )


def tour_images() -> TourImages:
    """Return the images of the guided tour, read without torch."""
    images, mitigation = (folder / "duplicate.safetensors" for folder in (IMAGES, MITIGATION))
    return _tour(str(images), str(mitigation), (_stamp(images), _stamp(mitigation)))


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


@st.cache_resource(show_spinner=False, max_entries=1)
def _tour(images: str, mitigation: str, stamps: tuple[int, ...]) -> TourImages:
    generated = _pixels(images, "/images/0/image")
    training = _pixels(images, "/images/0/neighbors/0/image")
    number, label, cell = _mitigated(mitigation)
    copied = _pixels(mitigation, "/cells/0/images")
    mitigated = _pixels(mitigation, f"/cells/{number}/images") if cell else b""
    copies, many = _copies(images)
    return TourImages(generated, training, copied, mitigated, label, cell, copies, many)


def _copies(path: str) -> tuple[int, int]:
    """Return how many images of a run are copies, of how many; 0 of 0 where it is not there."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {})["mmh-record-1"]
            images = json.loads(header.partition(" ")[2])["fields"]["images"]
            verdicts = [str(image["fields"]["verdict"]) for image in images]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return 0, 0
    return sum(verdict in ("exact copy", "template copy") for verdict in verdicts), len(verdicts)


def _mitigated(path: str) -> tuple[int, str, str]:
    """Return number, label and link of the mitigation to show: no copies, best aligned."""
    from safetensors import SafetensorError, safe_open

    best, chosen_cell = -math.inf, (0, "", "")
    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {})["mmh-record-1"]
            for number, cell in enumerate(json.loads(header.partition(" ")[2])["fields"]["cells"]):
                fields, chosen = cell["fields"], cell["fields"]["treatment"]["fields"]
                control = chosen["mitigation"] in ("none", "random_tokens")
                if control or fields["prompt"] != 0 or set(fields["kinds"]) != {"none"}:
                    continue
                aligned = float(file.get_tensor(f"/cells/{number}/alignment").mean())
                if aligned > best:
                    link = f"{chosen['mitigation']}:{chosen['strength']:g}"
                    best, chosen_cell = aligned, (number, str(fields["label"]), link)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return 0, "", ""
    return chosen_cell


def _pixels(path: str, name: str) -> bytes:
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
