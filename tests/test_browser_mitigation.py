"""The mitigation page in a real Chromium: a deep link, ways to compare, a run and its cancel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import AppServer, wait_for_app

pytestmark = pytest.mark.browser

#: Long enough for a page on a busy machine with two cores, in milliseconds.
PATIENCE = 300_000


@pytest.fixture
def page(browser_page: Page) -> Iterator[Page]:
    browser_page.set_default_timeout(PATIENCE)
    yield browser_page


def sees(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.get_by_text(text).first).to_be_visible(timeout=PATIENCE)


def link(page: Page) -> dict[str, str]:
    """Return the parameters of the address that the page shows."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()


def test_a_comparison_from_a_deep_link_to_its_pictures_and_another_one_cancelled(
    app_server: AppServer, page: Page, tmp_path: Path
) -> None:
    # The first request of a fresh server; the prompt is hostile and must stay text.
    prompt = "a <b>red</b> coat ![p](http://example.org/p.png)"
    page.goto(
        f"{app_server.url}/mitigation?steps=2&pictures=1&with_normal=False"
        "&treatments=static_guidance:0.5&prompt=" + prompt.replace(" ", "%20")
    )
    expect(page.get_by_role("heading", name="Mitigation", exact=True)).to_be_visible(
        timeout=PATIENCE
    )
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(prompt, timeout=PATIENCE)
    wait_for_app(page, timeout=300)

    press(page, "Compare")
    sees(page, re.compile("Your run: 3 treatments"))
    wait_for_app(page, timeout=300)
    job = link(page)["job"]
    assert re.fullmatch("[0-9a-f]{32}", job)
    sees(page, prompt)
    assert page.locator("main b, section b").filter(has_text="red").count() == 0
    sees(page, re.compile("Same seed and same starting noise on both sides"))

    # Flicker and difference show other pictures than side by side.
    pair = page.locator(".im-pair img")
    expect(pair).to_have_count(2, timeout=PATIENCE)
    page.get_by_text("Flicker", exact=True).first.click()
    expect(page.locator(".im-flicker img")).to_have_count(2, timeout=PATIENCE)
    page.get_by_text("Difference", exact=True).first.click()
    expect(page.get_by_alt_text("Absolute difference of the two pictures")).to_be_visible(
        timeout=PATIENCE
    )

    # The grid opens a cell, which the link then names.
    page.get_by_role("tab", name="All pictures").click()
    page.get_by_role("button", name="Look closer").first.click()
    sees(page, "Nothing was changed.")
    # The first card is that without mitigation, which is never chosen by the page itself.
    expect(page).to_have_url(re.compile("cell=none%3A0"), timeout=PATIENCE)
    assert link(page)["tab"] == "grid"

    # Everything as one file.
    page.get_by_role("tab", name="Data & reproduce").click()
    sees(page, re.compile("python -m mmh_core mitigate --model pocket-sd"))
    with page.expect_download(timeout=PATIENCE) as download:
        press(page, "Report (HTML)")
    report = tmp_path / "report.html"
    download.value.save_as(report)
    text = report.read_text()
    assert "&lt;b&gt;red&lt;/b&gt;" in text and "<b>red</b>" not in text

    # A longer one is cancelled after its first cell, which is kept.
    page.get_by_role("spinbutton", name="Seeds").fill("2")
    page.get_by_role("spinbutton", name="Seeds").press("Enter")
    page.get_by_text("Automatic", exact=True).first.click()
    wait_for_app(page, timeout=300)
    press(page, "Compare")
    sees(page, "Finished so far")
    press(page, "Cancel")
    sees(page, re.compile(r"Stopped before the end; [1-4] of 4 cells are kept|Your run: 4"))


def test_a_link_to_a_run_of_another_server_says_what_to_do(
    app_server: AppServer, chromium: Browser, page: Page
) -> None:
    page.goto(f"{app_server.url}/mitigation?job={'0' * 32}&tab=magic")
    sees(page, re.compile("There is no job"))
    sees(page, re.compile("tab is 'magic'"))
