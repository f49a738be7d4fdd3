"""The mitigation page in a real Chromium: a deep link, ways to compare, a run and its cancel."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import PATIENCE, AppServer, link, press, sees, wait_for_app

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser_page: Page) -> Iterator[Page]:
    browser_page.set_default_timeout(PATIENCE)
    yield browser_page


def test_a_comparison_from_a_deep_link_to_its_images_and_another_one_cancelled(
    app_server: AppServer, page: Page, tmp_path: Path
) -> None:
    # The first request of a fresh server; the prompt is hostile and must stay text.
    prompt = "a <b>red</b> coat ![p](http://example.org/p.png)"
    page.goto(
        f"{app_server.url}/mitigation?steps=2&images=1&with_normal=False"
        "&treatments=static_guidance:0.5&prompt=" + prompt.replace(" ", "%20")
    )
    expect(page.get_by_role("heading", name="Mitigation", exact=True)).to_be_visible(
        timeout=PATIENCE
    )
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(prompt, timeout=PATIENCE)
    wait_for_app(page, timeout=300)

    # The form is longer than the window, and its button is in sight wherever it is scrolled to.
    expect(page.get_by_text("Act on the starting noise")).to_be_attached()
    expect(page.get_by_role("button", name="Compare", exact=True)).to_be_in_viewport()

    press(page, "Compare")
    sees(page, re.compile("Your run: 2 mitigations beside none"))
    wait_for_app(page, timeout=300)
    job = link(page)["job"]
    assert re.fullmatch("[0-9a-f]{32}", job)
    sees(page, prompt)
    assert page.locator("main b, section b").filter(has_text="red").count() == 0
    sees(page, re.compile("Same seed and same starting noise on both sides"))

    # Flicker and difference show other images than side by side.
    pair = page.locator(".im-pair img")
    expect(pair).to_have_count(2, timeout=PATIENCE)
    page.get_by_text("Flicker", exact=True).first.click()
    expect(page.locator(".im-flicker img")).to_have_count(2, timeout=PATIENCE)
    page.get_by_text("Difference", exact=True).first.click()
    expect(page.get_by_alt_text("Absolute difference of the two images")).to_be_visible(
        timeout=PATIENCE
    )

    # The grid opens a cell, which the link then names.
    page.get_by_role("tab", name="All images").click()
    page.get_by_role("button", name="Details", disabled=False).first.click()
    sees(page, "Nothing was changed.")
    # The first card is that without mitigation, which is never chosen by the page itself.
    expect(page).to_have_url(re.compile("cell=none%3A0"), timeout=PATIENCE)
    assert link(page)["tab"] == "grid"

    # Everything as one file.
    page.get_by_role("tab", name="Data & reproduce").click()
    sees(page, re.compile("./mmh mitigate --model pocket-sd"))
    with page.expect_download(timeout=PATIENCE) as download:
        press(page, "Report (HTML)")
    report = tmp_path / "report.html"
    download.value.save_as(report)
    text = report.read_text()
    assert "&lt;b&gt;red&lt;/b&gt;" in text and "<b>red</b>" not in text

    # A longer one is cancelled after its first cell, which is kept.
    page.get_by_role("spinbutton", name="Seeds").fill("2")
    page.get_by_role("spinbutton", name="Seeds").press("Enter")
    page.get_by_text("Automatic chain", exact=True).first.click()
    wait_for_app(page, timeout=300)
    press(page, "Compare")
    sees(page, "Finished images")
    press(page, "Cancel")
    sees(page, re.compile(r"Stopped before the end: [1-4] of 4 comb|Your run: 4"))


def test_a_link_to_a_run_of_another_server_says_what_to_do(
    app_server: AppServer, chromium: Browser, page: Page
) -> None:
    page.goto(f"{app_server.url}/mitigation?job={'0' * 32}&tab=magic")
    sees(page, re.compile("There is no job"))
    sees(page, re.compile("tab is 'magic'"))


def click_mark(page: Page, chart: str, trace: str, mark: int) -> None:
    """Click the middle of a mark or bar of a chart, as a person does."""
    found = page.locator(f".st-key-{chart} .js-plotly-plot {trace} .point").nth(mark)
    expect(found).to_be_attached(timeout=PATIENCE)
    found.scroll_into_view_if_needed()
    box = found.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_the_finished_comparison_is_explored_to_another_wording(
    app_server: AppServer, page: Page, tmp_path: Path
) -> None:
    page.goto(f"{app_server.url}/mitigation")
    sees(page, re.compile("Finished example"))
    wait_for_app(page, timeout=300)
    # The table of differences, the unmitigated row first.
    rows = page.locator(".mi-table tbody tr")
    expect(rows.nth(5)).to_be_visible(timeout=PATIENCE)
    expect(rows.first).to_contain_text("No mitigation")
    expect(rows.nth(3)).to_contain_text(re.compile(r"[+-]\d+ \[[+-]\d+, [+-]\d+\] points"))
    # Both baselines stand in the frontier; a click on a mark opens its pair above.
    chart = page.locator(".st-key-mi_frontier")
    for name in ("No mitigation", "Random token insertion (2)"):
        expect(chart.get_by_text(name, exact=True).first).to_be_visible(timeout=PATIENCE)
    before = page.url
    # The third mark: the two before it lie under another one.
    click_mark(page, "mi_frontier", ".scatterlayer", 2)
    expect(page).not_to_have_url(before, timeout=PATIENCE)
    assert link(page)["cell"].startswith("rewrite")
    expect(page.locator(".mi-table tr.chosen")).to_contain_text("Token-attribution rewriting")

    # Reference prompts: what the chain leaves alone is the very same image.
    page.get_by_role("tab", name="Reference prompts").click()
    sees(page, "Side effects on reference prompts")
    expect(page.locator(".st-key-mi_must_not_move .js-plotly-plot")).to_be_visible(
        timeout=PATIENCE
    )
    page.get_by_role("tab", name="Training-time mitigation").click()
    sees(page, re.compile("narrower network was trained twice on a part of the shipped data set"))
    page.get_by_text("Deduplication", exact=True).click()
    sees(page, "deduplicated")

    # A bar is clicked, its word dropped, and both wordings drawn from the same noise.
    page.get_by_role("tab", name="Token attribution").click()
    click_mark(page, "mi_bars", ".barlayer", 0)
    press(page, "Drop the word and generate")
    sees(page, "Reworded prompt")
    wait_for_app(page, timeout=300)
    expect(page.locator(".mi-diff del").first).to_be_visible(timeout=PATIENCE)
    assert re.fullmatch("[0-9a-f]{32}", link(page)["trial"])
    pair = page.locator(".im-pair figcaption")
    expect(pair.filter(has_text="reworded")).to_be_visible(timeout=PATIENCE)

    # Everything as one file, with a page that opens by itself.
    page.get_by_role("tab", name="Data & reproduce").click()
    with page.expect_download(timeout=PATIENCE) as download:
        press(page, "Whole comparison (zip)")
    kept = tmp_path / "all.zip"
    download.value.save_as(kept)
    with zipfile.ZipFile(kept) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        assert "http" not in re.sub(r"http://www\.w3\.org\S*", "", report_of(archive))
    assert {"report.html", "run.json", "images.csv"} <= {Path(name).name for name in names}
    assert sum(name.endswith(".png") for name in names) >= 24


def report_of(archive: zipfile.ZipFile) -> str:
    """Return the links of the report: what a browser would fetch."""
    (name,) = [name for name in archive.namelist() if name.endswith("report.html")]
    text = archive.read(name).decode()
    return " ".join(re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", text))


def test_toggles_choose_what_is_compared(app_server: AppServer, page: Page) -> None:
    page.goto(
        f"{app_server.url}/mitigation?steps=2&images=1&with_normal=False"
        "&treatments=static_guidance:0.5&prompt=a%20red%20coat"
    )
    wait_for_app(page, timeout=300)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a red coat", timeout=PATIENCE)
    # One off, another on with a second strength: the link says so before anything is drawn.
    page.get_by_text("Static transition point", exact=True).first.click()
    page.get_by_text("Padding zeroing", exact=True).first.click()
    pills = page.locator('[data-testid="stSidebar"]').get_by_role("button", name="1", exact=True)
    pills.last.click()
    expect(page).to_have_url(re.compile("padding_fix%3A0.7%2Cpadding_fix%3A1"), timeout=PATIENCE)
    assert "static_guidance" not in page.url
