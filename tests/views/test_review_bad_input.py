"""The review page where the disk is full, and with files made to exhaust the machine."""

from __future__ import annotations

import io
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from mmh_core.formats import parquet_rows
from mmh_core.store.log_chain import verify
from mmh_core.store.queues import add_items, get_queue, list_queues
from mmh_core.store.review_records import QueueRecord, ReviewItem
from tests.views.test_app_review import FIRST, filled, give, kept_files, log, opened, said, sound
from tests.views.test_app_review import queue as queue
from views import session
from views.review import session as review_session

#: Bytes that a file may have: enough for what SQLite needs to read, 32 KiB.
ROOM = 33_000


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def bomb() -> bytes:
    """Return a Parquet file of some kilobytes that unpacks to three megabytes."""
    file = io.BytesIO()
    table = pa.table({"prompt": [f"{i} {'x' * 3000}" for i in range(1000)]})
    parquet.write_table(table, file, compression="zstd", use_dictionary=False)
    assert len(file.getvalue()) < 60_000
    return file.getvalue()


def wide(count: int) -> bytes:
    return b"prompt," + b",".join(b"c%d" % i for i in range(count)) + b"\nx\n"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("bomb.parquet", bomb, "unpacks to more than"),
        ("wide.csv", lambda: wide(1_000), "100 columns"),
        ("million.csv", lambda: wide(1_000_000), "million.csv"),
    ],
)
def test_a_file_made_to_exhaust_the_machine_is_refused_by_its_name(
    queue: QueueRecord,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    data: Callable[[], bytes],
    words: str,
) -> None:
    monkeypatch.setattr(parquet_rows, "MAX_GROUP_BYTES", 2_000_000)
    app = opened(tab="scan")
    sound(app.file_uploader(key="rv_prompts").upload(name, data()).run())
    [error] = app.error
    assert words in error.value.replace("\\", "") and name in error.value.replace("\\", "")
    assert len(error.value) < 400
    assert not [button for button in app.button if button.key == "rv_scan"]


def test_an_upload_that_does_not_fit_on_the_disk_is_told_and_can_be_repeated(
    queue: QueueRecord,
) -> None:
    data = b"prompt\n" + b"".join(b"a fox number %d\n" % i for i in range(4_000))
    app = opened(tab="scan")
    with full_disk(ROOM):
        sound(app.file_uploader(key="rv_prompts").upload("foxes.csv", data).run())
    assert "could not be written" in said(app) and "free some space" in said(app)
    kept = session.data_folder() / "uploads"
    assert not list(kept.iterdir())
    sound(app.run())
    assert "4,000 prompts to read" in " ".join(text.value for text in app.text)
    assert len(list(kept.iterdir())) == 1


def test_a_verdict_that_cannot_be_kept_is_told_and_its_item_stays(queue: QueueRecord) -> None:
    app = opened(item="3")
    give(app, "e")
    notes = next(area for area in app.text_area if area.label == "Notes")
    sound(notes.set_value("n" * 10_000).run())
    with full_disk(ROOM):
        give(app, "n")  # The row with its notes needs more than there is.
    assert "that the disk is not full" in said(app)
    # It stands where it was, and nothing of it was recorded.
    assert app.query_params["item"] == "4"
    assert log(queue) == [(3, None, "exact copy", FIRST)]
    give(app, "n")
    assert log(queue)[1:] == [(4, None, "not memorized", FIRST)]
    assert verify(review_session.queues(), queue.id).whole


@pytest.fixture
def heavy(queue: QueueRecord) -> QueueRecord:
    """Return the queue with an item whose image fills more than `ROOM`."""
    image = random.Random(0).randbytes(100_000)
    add_items(
        review_session.queues(),
        queue.id,
        [ReviewItem("heavy", (0,), "pocket-sd", "", thumbnail=image)],
    )
    return queue


def test_files_that_do_not_fit_are_told_and_nothing_half_is_offered(heavy: QueueRecord) -> None:
    app = opened(tab="export")
    with full_disk(ROOM):
        sound(app.button(key="rv_prepare").click().run())
    assert "could not be written" in said(app)
    assert "rv_files" not in app.session_state
    sound(app.button(key="rv_prepare").click().run())
    assert len(kept_files(app)) == 4


def test_a_case_that_does_not_fit_is_told_and_imported_in_full_or_not_at_all(
    heavy: QueueRecord, tmp_path: Path, started_with: Callable[..., None]
) -> None:
    app = opened(tab="export")
    sound(app.button(key="rv_prepare").click().run())
    [case] = [data for name, data in kept_files(app).items() if name.endswith(".zip")]
    started_with("--data", tmp_path / "elsewhere")
    filled()
    before = list_queues(review_session.queues())
    app = opened(tab="export")
    sound(app.file_uploader(key="rv_case").upload("case.zip", case).run())
    # First too little for the file itself, then enough for it and not for what is in it.
    for size, words in ((ROOM, "could not be written"), (len(case) + 1, "disk is not full")):
        with full_disk(size):
            sound(app.button(key="rv_import").click().run())
        assert words in said(app)
        assert list_queues(review_session.queues()) == before
    sound(app.button(key="rv_import").click().run())
    assert app.query_params["queue"] == heavy.id
    assert get_queue(review_session.queues(), heavy.id).items == 7
