"""The images page in a real Chromium: example, run, detail, neighbor, cancel, two browsers."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from mmh_core.installation import assets
from mmh_core.memorization.verdict import COPY_VERDICTS
from mmh_core.store.archive import load_record
from mmh_core.studies.images.run import ImageRun
from tests.chromium import PATIENCE, AppServer, link, press, sees, wait_for_app

pytestmark = pytest.mark.browser

#: Kinds of the finished examples, whatever world they are of.
KINDS = tuple(sorted(path.stem for path in (assets() / "images").glob("*.safetensors")))
LAST = KINDS[-1]


def first_image_is_copied(kind: str) -> bool:
    run = load_record(assets() / "images" / f"{kind}.safetensors", ImageRun)
    return run.images[0].verdict in COPY_VERDICTS


#: A kind that is not the one the page opens on, and whose first image is a copy.
OTHER = next(kind for kind in KINDS[1:] if first_image_is_copied(kind))
HOSTILE = "![x](http://example.org/p.png) <img src=http://example.org/q.png> **a**"


def open_page(page: Page, address: str) -> None:
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    expect(page.get_by_role("heading", name="Images", exact=True)).to_be_visible(timeout=PATIENCE)


def enter(page: Page, name: str, value: int) -> None:
    field = page.get_by_role("spinbutton", name=name, exact=True)
    field.fill(str(value))
    field.press("Enter")


def test_from_a_deep_link_to_a_run_a_image_and_its_neighbors_and_a_run_cancelled(
    app_server: AppServer, browser_page: Page
) -> None:
    # The first request of a fresh server, where Streamlit would serve the page without app.py.
    open_page(browser_page, f"{app_server.url}/images?example={OTHER}&image=1")
    expect(browser_page).to_have_title("Images · Manifold memorization", timeout=PATIENCE)
    sees(browser_page, re.compile("^Finished example: 4 images by pocket-sd"))
    sees(browser_page, "Image 1, seed 1")
    expect(browser_page.locator(".st-key-im_cards .im-pair")).to_have_count(4)
    # An image that the page was not allowed to show would have no size.
    image = browser_page.locator(".st-key-im_cards img").first
    assert image.evaluate("image => image.naturalWidth") == 64

    enter(browser_page, "Images", 2)
    enter(browser_page, "Steps", 3)
    wait_for_app(browser_page)
    press(browser_page, "Generate")
    sees(browser_page, re.compile("^Your run: 2 images by pocket-sd, seeds 0 to 1, 3 steps"))
    job = link(browser_page)["job"]
    assert re.fullmatch("[0-9a-f]{32}", job)
    wait_for_app(browser_page)
    browser_page.get_by_role("button", name="Details", disabled=False).first.click()
    expect(browser_page).to_have_url(re.compile("image="), timeout=PATIENCE)
    sees(browser_page, "The 12 nearest training images")
    neighbors = browser_page.locator(".im-grid figure")
    expect(neighbors).to_have_count(12, timeout=PATIENCE)
    assert neighbors.last.locator("img").evaluate("image => image.naturalWidth") == 64

    # Sixteen images: their curves take long enough to stop in between.
    enter(browser_page, "Images", 16)
    wait_for_app(browser_page)
    press(browser_page, "Generate")
    sees(browser_page, "Finished images")
    press(browser_page, "Cancel")
    sees(browser_page, re.compile(r"^Stopped before the end; (8|16) images kept"))
    assert link(browser_page)["job"] != job


def test_a_hostile_prompt_is_text_and_another_browser_sees_its_own_choices_only(
    app_server: AppServer, chromium: Browser, browser_page: Page
) -> None:
    # The fixture refuses any request to another machine, which the prompt would cause.
    open_page(
        browser_page,
        f"{app_server.url}/images?images=1&steps=2&prompt={quote(HOSTILE)}",
    )
    box = browser_page.get_by_role("textbox", name="Prompt", exact=True)
    expect(box).to_have_value(HOSTILE, timeout=PATIENCE)
    wait_for_app(browser_page)
    press(browser_page, "Generate")
    sees(browser_page, re.compile("^Your run: 1 image by pocket-sd"))
    expect(browser_page.locator(".im-prompt")).to_have_text(HOSTILE, timeout=PATIENCE)
    with chromium.new_context() as context:
        other = context.new_page()
        open_page(other, f"{app_server.url}/images?example={LAST}")
        sees(other, re.compile("^Finished example"))
        wait_for_app(other)
        assert link(other) == {"model": "pocket-sd", "example": LAST}
        expect(other.get_by_text("example.org")).to_have_count(0)
    assert "job" in link(browser_page)
    expect(browser_page.locator(".im-prompt")).to_have_text(HOSTILE)


def test_each_kind_opens_and_a_image_and_the_report_leave_the_app_and_come_back(
    app_server: AppServer, chromium: Browser, browser_page: Page, tmp_path: Path
) -> None:
    open_page(browser_page, f"{app_server.url}/images")
    wait_for_app(browser_page)
    for kind in KINDS:
        browser_page.get_by_role("combobox", name="Example", exact=True).click()
        browser_page.get_by_role("option", name=re.compile(f"^{kind}", re.IGNORECASE)).click()
        metric = browser_page.get_by_test_id("stMetric").filter(has_text="Ground truth")
        expect(metric).to_contain_text(kind, timeout=PATIENCE)
        wait_for_app(browser_page)
        expect(browser_page.locator(".st-key-im_cards .im-pair")).to_have_count(4)
    browser_page.get_by_role("combobox", name="Example", exact=True).click()
    browser_page.get_by_role("option", name=re.compile(f"^{OTHER}", re.IGNORECASE)).click()
    wait_for_app(browser_page)
    box = browser_page.get_by_role("textbox", name="Prompt", exact=True)
    shown = browser_page.locator(".im-prompt").first
    expect(metric).to_contain_text(OTHER, timeout=PATIENCE)
    wait_for_app(browser_page)
    trained = shown.inner_text()
    expect(box).to_have_value(trained, timeout=PATIENCE)

    with browser_page.expect_download(timeout=PATIENCE) as drawn:
        press(browser_page, "PNG")
    image = tmp_path / "image.png"
    drawn.value.save_as(image)
    browser_page.get_by_role("tab", name="Data & reproduce").click()
    with browser_page.expect_download(timeout=PATIENCE) as written:
        press(browser_page, "Report (HTML)")
    report = tmp_path / "report.html"
    written.value.save_as(report)

    # Other values, then the image brings its own back.
    box.fill("a lake")
    enter(browser_page, "Steps", 7)
    wait_for_app(browser_page)
    browser_page.get_by_role("tab", name="Audit an image").click()
    browser_page.locator(".st-key-im_file input[type=file]").set_input_files(image)
    sees(browser_page, "This image was generated here and carries its settings")
    sees(browser_page, re.compile("^A copy of training image"))
    wait_for_app(browser_page)
    press(browser_page, "Restore settings")
    expect(box).to_have_value(trained, timeout=PATIENCE)
    expect(browser_page.get_by_role("spinbutton", name="Steps", exact=True)).to_have_value("30")

    asked: list[str] = []
    with chromium.new_context(offline=True) as context:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        expect(page.get_by_text(trained).first).to_be_visible()
        first = page.get_by_alt_text(re.compile("^Training image")).first
        assert first.evaluate("image => image.naturalWidth") > 0
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
