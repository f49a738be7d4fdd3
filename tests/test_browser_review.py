"""The review in a real Chromium: from a table of prompts to a case that another server opens."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from mmh_core.store.archive import save_record
from mmh_core.store.item_search import get_item
from mmh_core.store.queues import create_queue
from mmh_core.store.review_records import QueueRecord, ReviewItem
from mmh_core.store.review_schema import open_queues
from mmh_core.store.verdict_chain import verify
from mmh_core.store.verdicts import verdict_rows
from mmh_core.studies.review_items import run_item
from tests.chromium import (
    PATIENCE,
    REPOSITORY,
    AppServer,
    link,
    sees,
    serve,
    strangers,
    wait_for_app,
)
from tests.drawn_runs import HOSTILE, drawn_run

pytestmark = pytest.mark.browser

ITEMS = 12
#: A prompt that the embedded model gives back, and ten that it does not.
COPIED = "view of Mount Arven behind pine trees at sunset"
NORMAL = tuple(f"a bridge in the fog number {one}" for one in range(10))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AppServer, QueueRecord]]:
    """Yield a server whose data folder has a queue of twelve items, and the queue."""
    folder = tmp_path_factory.mktemp("review")
    run = drawn_run()
    save_record(folder / "data" / "runs" / "drawn.safetensors", run)
    items = [replace(run_item(run, i, file="drawn.safetensors"), score=9.0) for i in range(2)]
    items += [
        ReviewItem(f"plain prompt {i}", (0,), "pocket-sd", run.sha256, score=float(i))
        for i in range(ITEMS - 2)
    ]
    queue = create_queue(
        open_queues(folder / "data" / "review.sqlite"),
        "A case",
        model="pocket-sd",
        model_sha256=run.sha256,
        settings={"demonstration": True},
        items=items,
    )
    with serve(REPOSITORY / "app.py", folder) as server:
        yield server, queue


def at_item(page: Page, number: int) -> None:
    expect(page.get_by_role("heading", name=f"Item {number}", exact=True)).to_be_visible(
        timeout=PATIENCE
    )
    wait_for_app(page, timeout=PATIENCE / 1000)
    # Buttons, which listen to the keys, are drawn after the text.
    button = page.get_by_role("button", name=re.compile("^Exact copy|^content_copy"))
    expect(button.first).to_be_enabled(timeout=PATIENCE)


def judge_by_keys(page: Page, keys: str) -> None:
    """Press one key at each item from the first on."""
    for number, letter in enumerate(keys, start=1):
        at_item(page, number)
        page.keyboard.press(letter)


def prepared_files(page: Page, stem: str, folder: Path) -> dict[str, Path]:
    """Prepare the files of a case, and return where each was downloaded to."""
    page.get_by_role("tab", name="Hand over").click()
    page.get_by_role("button", name="Prepare files").click()
    saved = {}
    for suffix in ("html", "csv", "parquet", "zip"):
        button = page.get_by_role("button", name=f"{stem}.{suffix}")
        expect(button).to_be_visible(timeout=PATIENCE)
        with page.expect_download() as started:
            button.click()
        saved[suffix] = folder / f"case.{suffix}"
        started.value.save_as(saved[suffix])
    return saved


def upload(page: Page, name: str, data: bytes) -> None:
    field = page.get_by_test_id("stFileUploaderDropzoneInput")
    field.set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": data})


def test_ten_items_by_keyboard_undo_notes_and_the_files_of_the_case(
    case: tuple[AppServer, QueueRecord], chromium: Browser, browser_page: Page, tmp_path: Path
) -> None:
    server, queue = case
    page = browser_page
    page.set_default_timeout(PATIENCE)
    # The first request of a fresh server, where Streamlit would serve the page without app.py.
    page.goto(f"{server.url}/review?queue={queue.id}")
    at_item(page, 1)
    # A picture that the page was not allowed to show would have no size.
    picture = page.locator(".im-pair img").first
    expect(picture).to_be_visible(timeout=PATIENCE)
    assert picture.evaluate("image => image.naturalWidth") == 16
    judge_by_keys(page, "etnuseetnn")
    at_item(page, 11)
    sees(page, re.compile("^10 of 12 judged by Reviewer 1"))
    page.keyboard.press("z")
    at_item(page, 10)
    # Keys are letters while somebody writes.
    notes = page.get_by_role("textbox", name="Notes", exact=True)
    notes.fill("seen on a poster")
    notes.press("e")
    page.get_by_role("textbox", name="Tags", exact=True).click()
    file = open_queues(server.data / "review.sqlite")
    for _ in range(PATIENCE // 200):  # Leaving the field takes its way to the server.
        if get_item(file, queue.id, 10, "Reviewer 1").judgement.notes:
            break
        page.wait_for_timeout(200)
    at_item(page, 10)
    expected = ["exact copy", "template copy", "not memorized", "unsure", "skip", "exact copy"]
    expected += ["exact copy", "template copy", "not memorized", "not memorized"]
    rows = [row for row in verdict_rows(file, queue.id) if row.action == "verdict"]
    assert [row.after for row in rows] == expected
    assert [row.item for row in rows] == list(range(1, 11))
    now = get_item(file, queue.id, 10, "Reviewer 1").judgement
    assert (now.verdict, now.notes) == (None, "seen on a postere")
    assert verify(file, queue.id).whole

    saved = prepared_files(page, "a-case", tmp_path)
    assert zipfile.ZipFile(saved["zip"]).testzip() is None
    # The report opens from the disk, shows its pictures and asks nobody for anything.
    asked: list[str] = []
    with chromium.new_context(offline=True) as context:
        report = context.new_page()
        report.on("request", lambda request: asked.append(request.url))
        report.goto(saved["html"].as_uri())
        expect(report.get_by_role("heading", name="Evidence, one sheet")).to_be_visible()
        sees(report, HOSTILE)
        assert report.locator("img").first.evaluate("image => image.naturalWidth") == 16
    assert not strangers([url for url in asked if not url.startswith("file:")])


def test_from_a_table_of_prompts_to_a_case_that_another_server_opens(
    case: tuple[AppServer, QueueRecord], chromium: Browser, browser_page: Page, tmp_path: Path
) -> None:
    server, _ = case
    page = browser_page
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server.url}/review?tab=scan")
    page.get_by_role("tab", name="Scan prompts").wait_for()
    wait_for_app(page, timeout=PATIENCE / 1000)
    rows = ["prompt,id", f"{COPIED},known", ",empty", *(f"{one},n" for one in NORMAL)]
    upload(page, "flagged.csv", "\n".join(rows).encode())
    sees(page, "11 prompts can be scanned; 1 row left out, listed below.")
    sees(page, re.compile("Row 2 was left out because it has no prompt"))
    page.get_by_test_id("stMain").get_by_role("button", name=re.compile("Scan$")).click()
    # It runs as a job: the page says how far it is, then what it found.
    sees(page, re.compile("^Scanned 11 prompts: "))
    page.get_by_role("button", name="Make a queue of all").click()
    at_item(page, 1)
    opened = link(page)["queue"]
    file = open_queues(server.data / "review.sqlite")
    first = get_item(file, opened, 1, "Reviewer 1").item
    # The one that the model gives back comes first, drawn, with its nearest training picture.
    assert (first.prompt, first.name, first.kind) == (COPIED, "known", "exact copy")
    assert page.locator("img").count() >= 2
    judge_by_keys(page, "etnuseetnn")
    at_item(page, 11)
    page.keyboard.press("z")
    at_item(page, 10)
    assert [row.item for row in verdict_rows(file, opened)] == [*range(1, 11), 10]

    # A second window judges what this one still shows; this one is told, and nothing is lost.
    other = page.context.new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(f"{server.url}/review?queue={opened}&item=10")
    at_item(other, 10)
    other.keyboard.press("u")
    at_item(other, 11)
    page.keyboard.press("e")
    sees(page, re.compile("was changed under the name"))
    assert get_item(file, opened, 10, "Reviewer 1").judgement.verdict == "unsure"
    # The link of the filtered queue opens as it was, in whatever window.
    other.goto(f"{server.url}/review?queue={opened}&tab=table&verdict=unsure&from=-1000")
    sees(other, "2 found")
    assert (float(link(other)["from"]), link(other)["verdict"]) == (-1000, "unsure")
    other.close()

    saved = prepared_files(page, "flagged-csv-all-prompts", tmp_path)
    with chromium.new_context(offline=True) as context:
        report = context.new_page()
        report.goto(saved["html"].as_uri())
        expect(report.get_by_role("heading", name="Evidence, one sheet")).to_be_visible()
        sees(report, COPIED)
    with serve(REPOSITORY / "app.py", tmp_path) as elsewhere:
        page.goto(f"{elsewhere.url}/review?tab=hand")
        page.get_by_role("tab", name="Hand over").wait_for()
        wait_for_app(page, timeout=PATIENCE / 1000)
        upload(page, "case.zip", saved["zip"].read_bytes())
        page.get_by_role("button", name=re.compile("Import$")).click()
        at_item(page, 11)
        assert link(page)["queue"] == opened
        sees(page, re.compile("^10 of 11 judged by Reviewer 1"))
        there = open_queues(elsewhere.data / "review.sqlite")
        assert verdict_rows(there, opened) == verdict_rows(file, opened)
        assert verify(there, opened).whole


def test_the_overview_leads_to_a_finished_state_and_to_the_queue(
    case: tuple[AppServer, QueueRecord], browser_page: Page
) -> None:
    server, queue = case
    page = browser_page
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    expect(page.get_by_role("heading", name="Memorization, seen")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="A case").click()
    expect(page.get_by_role("heading", name="Review", exact=True)).to_be_visible(timeout=PATIENCE)
    assert link(page)["queue"] == queue.id
    page.goto(server.url)
    page.get_by_role("link", name="A circle, memorizing").click()
    expect(page.get_by_role("heading", name="Synthetic manifolds")).to_be_visible(timeout=PATIENCE)
    sees(page, re.compile("^Precomputed run"))
