"""The review page in a real Chromium: judging by keyboard, undo, blind, table, files, overview."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

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
from tests.chromium import REPOSITORY, AppServer, serve, strangers, wait_for_app
from tests.drawn_runs import HOSTILE, drawn_run

pytestmark = pytest.mark.browser

PATIENCE = 180_000
ITEMS = 12


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


def sees(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.get_by_text(text).first).to_be_visible(timeout=PATIENCE)


def at_item(page: Page, number: int) -> None:
    expect(page.get_by_role("heading", name=f"Item {number}", exact=True)).to_be_visible(
        timeout=PATIENCE
    )
    wait_for_app(page, timeout=PATIENCE / 1000)
    # Buttons, which listen to the keys, are drawn after the text.
    button = page.get_by_role("button", name=re.compile("^Exact copy|^content_copy"))
    expect(button.first).to_be_enabled(timeout=PATIENCE)


def link(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


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
    keys = "etnuseetnn"
    for number, key in enumerate(keys, start=1):
        at_item(page, number)
        page.keyboard.press(key)
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

    page.get_by_role("tab", name="Hand over").click()
    page.get_by_role("button", name="Prepare files").click()
    saved = {}
    for suffix in ("html", "csv", "parquet", "zip"):
        button = page.get_by_role("button", name=f"a-case.{suffix}")
        expect(button).to_be_visible(timeout=PATIENCE)
        with page.expect_download() as started:
            button.click()
        saved[suffix] = tmp_path / f"case.{suffix}"
        started.value.save_as(saved[suffix])
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
