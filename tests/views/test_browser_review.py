"""The review in a real Chromium: from a table of prompts to a case that another server opens."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from mmh_core.installation import assets
from mmh_core.store.archive import load_record, save_record
from mmh_core.store.item_search import get_item
from mmh_core.store.log_chain import verify
from mmh_core.store.queues import create_queue
from mmh_core.store.remarks import generations
from mmh_core.store.review_log import ReviewTarget, annotate, log_rows
from mmh_core.store.review_records import QueueRecord, ReviewItem
from mmh_core.store.review_schema import open_queues
from mmh_core.store.run_files import file_sha256
from mmh_core.studies.images.run import ImageRun
from mmh_core.studies.review.items import run_item
from tests.chromium import (
    PATIENCE,
    REPOSITORY,
    AppServer,
    link,
    opened_by_another,
    sees,
    serve,
    strangers,
    wait_for_app,
)
from tests.drawn_runs import HOSTILE, drawn_run

pytestmark = pytest.mark.browser

ITEMS = 12
#: What Markdown would make links of.
NAME = "A case of www.example.org, http://example.org and me@example.org"
STEM = "a-case-of-www-example-org-http-example-org-and-me-example-or"
#: A prompt that the shipped model gives back, and ten that it does not.
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
        replace(
            ReviewItem(f"plain prompt {i}", (0,), "pocket-sd", run.sha256, score=float(i)),
            thumbnail=items[0].thumbnail,
        )
        for i in range(ITEMS - 2)
    ]
    queue = create_queue(
        open_queues(folder / "data" / "review.sqlite"),
        NAME,
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
    button = page.get_by_role("button", name=re.compile("^Unsure|^help Unsure|^helpUnsure"))
    expect(button.first).to_be_enabled(timeout=PATIENCE)


def named(page: Page, name: str) -> None:
    """Say who judges, as the first thing in a window without a name."""
    field = page.get_by_role("textbox", name="Reviewer", exact=True)
    field.fill(name)
    field.press("Enter")
    sees(page, f"as {name}")
    field.blur()


def enters(page: Page, name: str) -> None:
    """Say who judges once a review page that has just been opened is complete."""
    page.get_by_role("textbox", name="Reviewer", exact=True).wait_for()
    wait_for_app(page, timeout=PATIENCE / 1000)
    named(page, name)


def judge_by_keys(page: Page, keys: str) -> None:
    """Press one key at each item from the first on."""
    for number, letter in enumerate(keys, start=1):
        at_item(page, number)
        page.keyboard.press(letter)


def prepared_files(page: Page, stem: str, folder: Path) -> dict[str, Path]:
    """Prepare the files of a case, and return where each was downloaded to."""
    page.get_by_role("tab", name="Export & audit log").click()
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
    # Nobody judges without a name.
    sees(page, re.compile("^Enter your name in the sidebar"))
    page.keyboard.press("e")
    named(page, "Reviewer 1")
    at_item(page, 1)
    # Nothing that a queue is called leads anywhere.
    sees(page, re.compile("www.*example.org"))
    assert not page.locator('a[href*="example"]').count()
    # An image that the page was not allowed to show would have no size.
    image = page.locator(".im-pair img").first
    expect(image).to_be_visible(timeout=PATIENCE)
    assert image.evaluate("image => image.naturalWidth") == 16
    judge_by_keys(page, "etnuseetnn")
    at_item(page, 11)
    sees(page, re.compile("^9 of 12 judged by Reviewer 1 .*1 skipped, not counted"))
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
    rows = [row for row in log_rows(file, queue.id) if row.action == "verdict"]
    assert [row.after for row in rows] == expected
    assert [row.item for row in rows] == list(range(1, 11))
    now = get_item(file, queue.id, 10, "Reviewer 1").judgement
    assert (now.verdict, now.notes) == (None, "seen on a postere")
    assert verify(file, queue.id).whole

    saved = prepared_files(page, STEM, tmp_path)
    assert zipfile.ZipFile(saved["zip"]).testzip() is None
    # The report opens from the disk, shows its images and asks nobody for anything.
    asked: list[str] = []
    with chromium.new_context(offline=True) as context:
        report = context.new_page()
        report.on("request", lambda request: asked.append(request.url))
        report.goto(saved["html"].as_uri())
        expect(report.get_by_role("heading", name="Evidence, one sheet")).to_be_visible()
        sees(report, HOSTILE)
        assert report.locator("img").first.evaluate("image => image.naturalWidth") == 16
    assert not strangers([url for url in asked if not url.startswith("file:")])


def second_opinion(browser: Browser, address: str) -> None:
    """Judge as another person, who starts at their first open item and sees nobody's judgement."""
    with opened_by_another(browser, address) as page:
        enters(page, "Second")
        at_item(page, 1)
        expect(page.locator('.st-key-rv_buttons [data-testid*="primary"]')).to_have_count(0)
        judge_by_keys(page, "tu")
        at_item(page, 3)


def adjudication(browser: Browser, address: str) -> None:
    """Decide, as somebody who has not judged it, on the one item on which two differ."""
    with opened_by_another(browser, address) as page:
        enters(page, "Third")
        page.get_by_role("tab", name="Agreement").click()
        sees(page, "1 item with different judgements")
        sees(page, re.compile("Reviewer 1: exact copy; Second: template copy"))
        page.get_by_text("Adjudicate", exact=True).click()
        page.locator(".st-key-rv_decide_1").get_by_role("radio", name="exact copy").click()
        page.get_by_role("textbox", name="Reason").fill("the same hill")
        page.get_by_role("button", name=re.compile("Record the adjudication")).click()
        sees(page, re.compile("^Adjudicated by Third.*: exact copy. Reason: the same hill"))


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
    sees(page, "11 prompts to read, 0 repeat an earlier row, 1 left out.")
    sees(page, re.compile("Row 2 was left out because it has no prompt"))
    page.get_by_test_id("stMain").get_by_role("button", name=re.compile("Scan$")).click()
    # It runs as a job: the page says how far it is, then what it found.
    sees(page, re.compile("^Scanned 11 prompts: "))
    page.get_by_role("button", name="Create a queue of all prompts").click()
    expect(page.get_by_role("heading", name="Item 1", exact=True)).to_be_visible(timeout=PATIENCE)
    wait_for_app(page, timeout=PATIENCE / 1000)
    named(page, "Reviewer 1")
    at_item(page, 1)
    opened = link(page)["queue"]
    file = open_queues(server.data / "review.sqlite")
    first = get_item(file, opened, 1, "Reviewer 1").item
    # The one that the model gives back comes first, drawn, with its nearest training image.
    assert (first.prompt, first.name, first.kind) == (COPIED, "known", "exact copy")
    assert page.locator("img").count() >= 2
    # Only the first was drawn: of the others nobody can say more without a reason.
    judge_by_keys(page, "euuuuuuuuu")
    at_item(page, 11)
    page.keyboard.press("z")
    at_item(page, 10)
    sees(page, re.compile("^There is no image to judge"))
    page.keyboard.press("e")
    assert [row.item for row in log_rows(file, opened)] == [*range(1, 11), 10]

    # A second window judges what this one still shows; this one is told, and nothing is lost.
    other = page.context.new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(f"{server.url}/review?queue={opened}&item=10")
    at_item(other, 10)
    other.keyboard.press("u")
    at_item(other, 11)
    page.keyboard.press("s")
    sees(page, re.compile("was changed under the name"))
    assert get_item(file, opened, 10, "Reviewer 1").judgement.verdict == "unsure"
    # The link of the filtered queue opens as it was, in whatever window.
    other.goto(f"{server.url}/review?queue={opened}&tab=table&verdict=unsure&from=-1000")
    sees(other, "9 items")
    assert (float(link(other)["from"]), link(other)["verdict"]) == (-1000, "unsure")
    other.close()

    second_opinion(chromium, f"{server.url}/review?queue={opened}")
    adjudication(chromium, f"{server.url}/review?queue={opened}")
    rows = [(row.reviewer, row.item, row.after) for row in log_rows(file, opened)][-3:]
    assert rows[:2] == [("Second", 1, "template copy"), ("Second", 2, "unsure")]
    assert rows[2] == ("Third", 1, "exact copy")
    saved = prepared_files(page, "flagged-csv-all-prompts", tmp_path)
    with chromium.new_context(offline=True) as context:
        report = context.new_page()
        report.goto(saved["html"].as_uri())
        expect(report.get_by_role("heading", name="Evidence, one sheet")).to_be_visible()
        sees(report, COPIED)
        # Who judged, where they differ, who decided and why.
        sees(report, re.compile("At 1 the reviewers contradict one another"))
        sees(report, re.compile("1 of the contradictions was adjudicated, and counts as decided"))
        sees(report, re.compile("^Adjudicated by Third.*: exact copy. Reason: the same hill"))
        for name in ("Reviewer 1", "Second", "Third"):
            sees(report, name)
    with serve(REPOSITORY / "app.py", tmp_path) as elsewhere:
        page.goto(f"{elsewhere.url}/review?tab=export")
        page.get_by_role("tab", name="Export & audit log").wait_for()
        wait_for_app(page, timeout=PATIENCE / 1000)
        upload(page, "case.zip", saved["zip"].read_bytes())
        page.get_by_role("button", name=re.compile("Import$")).click()
        at_item(page, 11)
        assert link(page)["queue"] == opened
        sees(page, re.compile("^10 of 11 judged by Reviewer 1"))
        there = open_queues(elsewhere.data / "review.sqlite")
        assert log_rows(there, opened) == log_rows(file, opened)
        assert verify(there, opened).whole


def test_the_overview_leads_to_a_finished_state_and_to_the_queue(
    case: tuple[AppServer, QueueRecord], browser_page: Page
) -> None:
    server, queue = case
    page = browser_page
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    expect(page.get_by_role("heading", name="Copied training images")).to_be_visible(
        timeout=PATIENCE
    )
    page.get_by_role("link", name="A case", exact=False).first.click()
    expect(page.get_by_role("heading", name="Review", exact=True)).to_be_visible(timeout=PATIENCE)
    assert link(page)["queue"] == queue.id
    page.goto(server.url)
    page.get_by_role("link", name="What memorization is").click()
    expect(page.get_by_role("heading", name="Synthetic manifolds")).to_be_visible(timeout=PATIENCE)
    sees(page, re.compile("^Precomputed run"))


#: Notes what stood on the screen at each key.
WATCH = """() => {
  window.pressed = [];
  document.addEventListener('keydown', event => {
    const item = [...document.querySelectorAll('h2')].map(h => h.innerText)
      .find(text => /^Item [0-9]+$/.test(text));
    window.pressed.push([event.key, item ? Number(item.slice(5)) : 0]);
  }, true);
}"""


def test_a_box_drawn_over_an_image_becomes_a_region_of_the_log(
    case: tuple[AppServer, QueueRecord], browser_page: Page
) -> None:
    server, queue = case
    page = browser_page
    page.goto(f"{server.url}/review?queue={queue.id}")
    named(page, "Marker")
    page.get_by_text("Zoom and mark regions").click()
    chart = page.locator(".st-key-rv_zoom_figure .js-plotly-plot")
    expect(chart).to_be_visible(timeout=PATIENCE)
    wait_for_app(page)
    chart.scroll_into_view_if_needed()
    box = chart.locator(".draglayer .x2y2 .nsewdrag").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.75, steps=5)
    page.mouse.up()
    sees(page, re.compile("Drawn on the training image"))
    page.get_by_role("textbox", name="Text of the region").fill("a logo")
    page.get_by_role("button", name="Record the region").click()
    sees(page, re.compile("1 · Marker, .*training image.*: a logo"))
    file = open_queues(server.data / "review.sqlite")
    [row] = [row for row in log_rows(file, queue.id) if row.role == "mark"]
    assert row.region == pytest.approx((0.25, 0.5, 0.5, 0.75), abs=0.03)
    assert row.image.startswith("training image ") and verify(file, queue.id).whole


def test_a_region_is_marked_with_no_other_device_than_the_keyboard(
    case: tuple[AppServer, QueueRecord], browser_page: Page
) -> None:
    server, queue = case
    page = browser_page
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server.url}/review?queue={queue.id}")
    named(page, "Typist")
    at_item(page, 1)
    page.get_by_role("switch", name="Zoom and mark regions").focus()
    page.keyboard.press("Space")
    summary = page.locator("summary", has_text="Mark a region by its edges")
    expect(summary).to_be_visible(timeout=PATIENCE)
    wait_for_app(page, timeout=PATIENCE / 1000)
    summary.focus()
    page.keyboard.press("Enter")
    # From here on by the Tab key alone: the image, its four edges, the text, the button.
    radio = page.get_by_role("radio", name=re.compile("^training image"))
    expect(radio).to_be_attached(timeout=PATIENCE)
    page.get_by_role("radio", name=re.compile("^generated image")).focus()
    page.keyboard.press("ArrowRight")
    expect(radio).to_be_checked(timeout=PATIENCE)
    outline = page.get_by_role("img", name=re.compile("^The training image .* with an outline"))
    expect(outline).to_be_visible(timeout=PATIENCE)
    left = page.get_by_role("spinbutton", name="Left edge, %")
    _tabbed_to(page, left)
    page.keyboard.press("ArrowUp")
    expect(left).to_have_value("26", timeout=PATIENCE)
    page.keyboard.press("Enter")
    expect(outline).to_have_attribute(
        "alt", re.compile("from 26% to 75% of its width"), timeout=PATIENCE
    )
    right = page.get_by_role("spinbutton", name="Right edge, %")
    _tabbed_to(page, right)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("60")
    page.keyboard.press("Enter")
    expect(outline).to_have_attribute(
        "alt", re.compile("from 26% to 60% of its width"), timeout=PATIENCE
    )
    text = page.get_by_role("textbox", name="Text of the region")
    _tabbed_to(page, text)
    page.keyboard.type("an emblem")
    page.keyboard.press("Enter")
    wait_for_app(page, timeout=PATIENCE / 1000)
    _tabbed_to(page, page.get_by_role("button", name="Record the region"))
    page.keyboard.press("Enter")
    sees(page, re.compile(r"\d · Typist, .*training image.*: an emblem"))
    file = open_queues(server.data / "review.sqlite")
    [row] = [row for row in log_rows(file, queue.id) if row.reviewer == "Typist"]
    assert (row.role, row.region) == ("mark", (0.26, 0.25, 0.6, 0.75))
    assert verify(file, queue.id).whole


def _tabbed_to(page: Page, element: Locator) -> None:
    """Press the Tab key until an element has the focus."""
    for _ in range(12):
        page.keyboard.press("Tab")
        if element.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError("the Tab key does not reach it")


def test_generate_now_brings_images_to_an_item_without_any_and_the_log_names_them(
    case: tuple[AppServer, QueueRecord], browser_page: Page
) -> None:
    server, _ = case
    file = open_queues(server.data / "review.sqlite")
    shipped = load_record(assets() / "images" / "duplicate.safetensors", ImageRun).sha256
    bare = ReviewItem(COPIED, (3,), "pocket-sd", shipped)
    queue = create_queue(file, "Alone", model="pocket-sd", model_sha256=shipped, items=[bare])
    page = browser_page
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server.url}/review?queue={queue.id}")
    exact = page.get_by_role("button", name=re.compile("Exact copy")).first
    enters(page, "Generator")
    wait_for_app(page, timeout=PATIENCE / 1000)
    expect(exact).to_be_disabled(timeout=PATIENCE)
    images = page.locator(".stMain .im img")
    expect(images).to_have_count(0)
    page.get_by_role("button", name="Generate now").click()
    # The page fills by itself: an image of the seed, beside its nearest training image.
    expect(page.get_by_text(re.compile("^1 image, view of Mount Arven")).first).to_be_visible(
        timeout=PATIENCE
    )
    sees(page, re.compile("^Generated here by Generator, .* after the item was sealed: 1 image"))
    expect(images.first).to_be_visible(timeout=PATIENCE)
    expect(
        page.get_by_role("radio", name=re.compile("^seed 3: "))
        .or_(page.get_by_role("button", name=re.compile("^seed 3: ")))
        .first
    ).to_be_visible(timeout=PATIENCE)
    [row] = generations(log_rows(file, queue.id, 1))
    [kept] = [
        path
        for path in (server.data / "runs").glob("*.safetensors")
        if file_sha256(path) == row.image
    ]
    run = load_record(kept, ImageRun)
    assert run.config.prompts == (COPIED,) and [image.seed for image in run.images] == [3]
    assert (row.reviewer, row.identified) == ("Generator", "typed name")
    sees(page, re.compile(f"names the run, {row.image[:12]}"))
    # With an image before one's eyes no reason is asked for.
    wait_for_app(page, timeout=PATIENCE / 1000)
    expect(exact).to_be_enabled(timeout=PATIENCE)
    page.keyboard.press("e")
    sees(page, re.compile("Item 1: exact copy, recorded"))
    assert [row.role for row in log_rows(file, queue.id)] == ["generation", ""]
    assert verify(file, queue.id).whole


@pytest.mark.parametrize("delay", [5, 40, 120])
def test_fast_keys_judge_only_what_was_on_the_screen(
    case: tuple[AppServer, QueueRecord], browser_page: Page, delay: int
) -> None:
    server, queue = case
    page, who = browser_page, f"Fast {delay}"
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server.url}/review?queue={queue.id}")
    enters(page, who)
    at_item(page, 1)
    page.evaluate(WATCH)
    page.keyboard.type("ennetnuenz", delay=delay)
    page.wait_for_timeout(1000)
    wait_for_app(page, timeout=PATIENCE / 1000)
    assert not page.get_by_text("another window").count()
    assert not page.get_by_text("was changed under").count()
    pressed = page.evaluate("window.pressed")
    keys = {"exact copy": "e", "template copy": "t", "not memorized": "n", "unsure": "u"}
    file = open_queues(server.data / "review.sqlite")
    rows = [row for row in log_rows(file, queue.id) if row.reviewer == who]
    assert len(pressed) == 10 and rows and rows[0].item == 1
    # Each row is that of a key, in order, pressed while the row's item was shown.
    left = iter(pressed)
    for row in (row for row in rows if row.action == "verdict"):
        assert [keys[str(row.after)], row.item] in left, (row, pressed, rows)
    assert verify(file, queue.id).whole


@pytest.mark.parametrize("delay", [60, 200])
def test_fast_keys_leave_notes_and_tags_as_they_are(
    case: tuple[AppServer, QueueRecord], browser_page: Page, delay: int
) -> None:
    server, queue = case
    page, who = browser_page, f"Noted {delay}"
    file = open_queues(server.data / "review.sqlite")
    for item in range(1, ITEMS + 1):
        annotate(file, ReviewTarget(queue.id, item, who, 0), f"note {item}", [f"tag {item}"])
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server.url}/review?queue={queue.id}")
    enters(page, who)
    at_item(page, 1)
    page.keyboard.type("etn" * 12, delay=delay)
    page.wait_for_timeout(1000)
    wait_for_app(page, timeout=PATIENCE / 1000)
    rows = [row for row in log_rows(file, queue.id) if row.reviewer == who][ITEMS:]
    # Nobody wrote into a field: no row is about notes, and every verdict keeps them.
    assert len(rows) > 1 and {row.action for row in rows} == {"verdict"}
    for row in rows:
        assert (row.notes, row.tags) == (f"note {row.item}", (f"tag {row.item}",))


def test_a_name_survives_a_reload_and_is_never_another_one(
    case: tuple[AppServer, QueueRecord], browser_page: Page
) -> None:
    server, queue = case
    page = browser_page
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server.url}/review?queue={queue.id}&item=7")
    page.get_by_role("textbox", name="Reviewer", exact=True).wait_for()
    wait_for_app(page, timeout=PATIENCE / 1000)
    page.keyboard.press("e")
    named(page, "Zoë; o'Neil")
    page.reload()
    sees(page, "as Zoë; o'Neil")
    at_item(page, 1)
    page.keyboard.press("u")
    at_item(page, 2)
    # Another window of the browser has the name; one that changes it does not change it here.
    other = page.context.new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(f"{server.url}/review?queue={queue.id}")
    sees(other, "as Zoë; o'Neil")
    field = other.get_by_role("textbox", name="Reviewer", exact=True)
    field.fill("Bob")
    field.press("Enter")
    sees(other, re.compile("^Judge as 'Bob' from now on, and no longer as"))
    field.blur()
    other.keyboard.press("e")
    other.get_by_role("button", name="Yes, that is me").click()
    sees(other, "as Bob")
    at_item(other, 1)
    other.close()
    page.reload()
    sees(page, re.compile("^Judge as 'Bob' from now on"))
    page.keyboard.press("e")
    field = page.get_by_role("textbox", name="Reviewer", exact=True)
    field.fill("Zoë; o'Neil")
    field.press("Enter")
    sees(page, "as Zoë; o'Neil")
    at_item(page, 2)
    file = open_queues(server.data / "review.sqlite")
    rows = [(row.item, row.reviewer) for row in log_rows(file, queue.id)]
    assert (1, "Zoë; o'Neil") in rows
    assert not [one for one in rows if one[1] == "Bob"]
    assert len([one for one in rows if one[1] == "Zoë; o'Neil"]) == 1
