"""The app in a real Chromium: a fresh server at a deep link, training, selecting, cancelling."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import PATIENCE, AppServer, link, press, sees, wait_for_app

pytestmark = pytest.mark.browser

#: Where a row of the samples is on the screen: Plotly's own scales, from data to pixels.
PLACE = """(plot, id) => {
    for (const trace of plot.data) {
        const at = (trace.customdata || []).findIndex(data => Number(data) === id);
        if (at < 0) continue;
        const {xaxis, yaxis} = plot._fullLayout, box = plot.getBoundingClientRect();
        return [box.x + xaxis._offset + xaxis.l2p(trace.x[at]),
                box.y + yaxis._offset + yaxis.l2p(trace.y[at])];
    }
}"""


def open_page(page: Page, address: str) -> None:
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    expect(page.get_by_role("heading", name="Synthetic manifolds")).to_be_visible(timeout=PATIENCE)


def test_the_circle_from_a_deep_link_to_a_point_and_a_second_run_cancelled(
    app_server: AppServer, browser_page: Page
) -> None:
    # The first request of a fresh server, where Streamlit would serve the page without app.py.
    open_page(browser_page, f"{app_server.url}/manifolds?points=60&width=16&epochs=30&seed=5")
    expect(browser_page).to_have_title(
        "Synthetic manifolds · Manifold memorization", timeout=PATIENCE
    )
    expect(browser_page.get_by_role("spinbutton", name="Training points")).to_have_value(
        "60", timeout=PATIENCE
    )
    sees(browser_page, re.compile("Precomputed run: 47"))

    press(browser_page, "Train")
    sees(browser_page, re.compile("60 training points, width 16, 8 training steps, seed 5"))
    job = link(browser_page)["job"]
    assert re.fullmatch("[0-9a-f]{32}", job)

    chart = browser_page.locator(".st-key-mf_figure .js-plotly-plot")
    expect(chart.locator(".scatterlayer .trace").first).to_be_attached(timeout=PATIENCE)
    wait_for_app(browser_page)
    chart.scroll_into_view_if_needed()
    browser_page.mouse.click(*chart.evaluate(PLACE, 3))
    sees(browser_page, re.compile(r"^(Generated sample|Training point) \d+$"))
    # Points may lie on top of each other; the one that the click hit is in the link.
    expect(browser_page).to_have_url(re.compile(r"point=\d+"), timeout=PATIENCE)
    point = int(link(browser_page)["point"])
    name = f"Training point {point}" if point < 60 else f"Generated sample {point - 60}"
    expect(browser_page.get_by_role("heading", name=name, exact=True)).to_be_visible()

    epochs = browser_page.get_by_role("spinbutton", name="Epochs")
    epochs.fill("100000")
    epochs.press("Enter")
    sees(browser_page, re.compile("^23,438 training steps"))
    press(browser_page, "Train")
    sees(browser_page, re.compile("training, step"))
    press(browser_page, "Cancel")
    sees(browser_page, re.compile("Stopped at step .* of 23,438; everything up to there is kept"))
    assert link(browser_page)["job"] != job


def test_a_second_browser_sees_its_own_choices_only(
    app_server: AppServer, chromium: Browser, browser_page: Page
) -> None:
    open_page(browser_page, f"{app_server.url}/manifolds?point=3&color=verdict&tab=image")
    sees(browser_page, "Training point 3")
    with chromium.new_context() as context:
        other = context.new_page()
        open_page(other, f"{app_server.url}/manifolds")
        sees(other, re.compile("Precomputed run: 47"))
        sees(other, re.compile("^Generated sample "))
        wait_for_app(other)
        assert link(other) == {"manifold": "circle"}
        expect(other.get_by_text("Training point 3", exact=True)).to_have_count(0)
    assert link(browser_page) == {"manifold": "circle", "point": "3", "color": "verdict"}


def test_digits_are_shown_as_cards(app_server: AppServer, browser_page: Page) -> None:
    open_page(browser_page, f"{app_server.url}/manifolds?manifold=digits")
    cards = browser_page.locator(".mf-cards .mf-card")
    expect(cards).to_have_count(12, timeout=PATIENCE)
    images = cards.first.locator("img")
    expect(images).to_have_count(2)
    # An image that the page was not allowed to show would have no size.
    assert images.first.evaluate("image => image.naturalWidth") >= 8
    sees(browser_page, "From memorizing to generalizing")
