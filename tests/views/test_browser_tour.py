"""The guided tour in a real Chromium: it plays by mouse and by keys, and the browser goes back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.chromium import PATIENCE, AppServer, frames_sent, link, sees, wait_for_app
from views.tour import steps

pytestmark = pytest.mark.browser

#: Where the slider's beginning is, in pixels of the window.
BEGINNING = """plot => {
    const rail = plot.querySelector('.slider-rail-touch-rect').getBoundingClientRect();
    return [rail.x + 0.02 * rail.width, rail.y + rail.height / 2];
}"""
FIRST_SAMPLE = "plot => [plot.data[1].x[0], plot.data[1].y[0]]"


def test_the_tour_plays_without_the_server_and_the_browser_goes_back(
    app_server: AppServer, browser_page: Page
) -> None:
    sent = frames_sent(browser_page)
    browser_page.set_default_timeout(PATIENCE)
    browser_page.goto(app_server.url)
    browser_page.get_by_role("link", name="Start the tour").click()
    sees(browser_page, re.compile("^Tour, step 1 of"))
    first = browser_page.url
    chart = browser_page.locator(".st-key-mf_playback .js-plotly-plot")
    label = chart.locator(".slider-group > .slider-label")
    expect(label).to_have_text(re.compile("memorized$"), timeout=PATIENCE)
    sees(browser_page, "What to do next.")
    wait_for_app(browser_page)
    last, asked = str(label.text_content()), len(sent)

    chart.get_by_text("Play", exact=True).click()
    expect(label).not_to_have_text(last, timeout=PATIENCE)  # Played from its beginning,
    expect(label).to_have_text(last, timeout=PATIENCE)  # up to its end.
    settled = chart.evaluate(FIRST_SAMPLE)
    browser_page.mouse.click(*chart.evaluate(BEGINNING))
    expect(label).not_to_have_text(last, timeout=PATIENCE)
    moved = f"([plot, settled]) => String(({FIRST_SAMPLE})(plot)) !== String(settled)"
    browser_page.wait_for_function(moved, arg=[chart.element_handle(), settled])
    assert len(sent) == asked, "playing asked the server"

    browser_page.get_by_role("link", name="Next", exact=True).click()
    sees(browser_page, re.compile("^Tour, step 2 of"))
    sees(browser_page, "What to do next.")
    wait_for_app(browser_page)
    browser_page.go_back()
    sees(browser_page, re.compile("^Tour, step 1 of"))
    assert browser_page.url == first
    sees(browser_page, "What to do next.")
    wait_for_app(browser_page)
    browser_page.go_back()
    sees(browser_page, re.compile("^Start the tour"))


def focused_by_tab(page: Page, start: Locator, wanted: Locator) -> None:
    """Go on from an element by the Tab key until another one has the focus."""
    start.focus()
    for _ in range(12):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError("the Tab key does not reach it")


def settled(page: Page, number: int) -> None:
    """Wait until the page of a step stands to its end."""
    sees(page, re.compile(f"^Tour, step {number} of"))
    sees(page, "What to do next.")
    wait_for_app(page, timeout=PATIENCE / 1000)


def test_keys_alone_play_pause_and_step(app_server: AppServer, browser_page: Page) -> None:
    browser_page.set_default_timeout(PATIENCE)
    browser_page.goto(f"{app_server.url}/{steps.address(1)}")
    settled(browser_page, 1)
    label = browser_page.locator(".st-key-mf_playback .slider-group > .slider-label")
    expect(label).to_have_text(re.compile("memorized$"), timeout=PATIENCE)
    last = str(label.text_content())
    bar = browser_page.get_by_role("group", name="Playback")
    play = bar.get_by_role("button", name="Play")
    leave = browser_page.get_by_role("link", name="Leave the tour")
    focused_by_tab(browser_page, leave, play)
    expect(play).to_be_visible()
    browser_page.keyboard.press("Enter")
    expect(label).not_to_have_text(last, timeout=PATIENCE)
    browser_page.keyboard.press("Tab")
    browser_page.keyboard.press("Space")  # Pause
    paused = str(label.text_content())
    assert paused != last
    status = bar.get_by_role("status")
    expect(status).to_have_text(paused)
    browser_page.keyboard.press("Tab")
    browser_page.keyboard.press("Tab")
    for _ in range(30):  # Step on, up to the end and no further.
        browser_page.keyboard.press("Enter")
    expect(label).to_have_text(last, timeout=PATIENCE)
    expect(status).to_have_text(last)
    browser_page.keyboard.press("Shift+Tab")
    browser_page.keyboard.press("Enter")
    expect(label).not_to_have_text(last, timeout=PATIENCE)
    expect(status).to_have_text(str(label.text_content()))


def test_a_demonstration_from_start_to_end_keeps_what_was_chosen_at_a_step(
    app_server: AppServer, browser_page: Page
) -> None:
    browser_page.set_default_timeout(PATIENCE)
    browser_page.goto(app_server.url)
    browser_page.get_by_role("link", name="Start the tour").click()
    settled(browser_page, 1)
    chosen = browser_page.locator(".st-key-mf_color").get_by_role("radio", name="Verdict")
    chosen.click()
    expect(browser_page).to_have_url(re.compile("color=verdict"), timeout=PATIENCE)
    settled(browser_page, 1)
    # A choice within a step is no step of the browser's history, and stays with its step.
    browser_page.go_back()
    sees(browser_page, re.compile("^Start the tour"))
    browser_page.go_forward()
    settled(browser_page, 1)
    assert link(browser_page)["color"] == "verdict"
    expect(chosen).to_have_attribute("aria-checked", "true", timeout=PATIENCE)

    every = steps.steps()
    for number, step in enumerate(every[1:], start=2):
        browser_page.get_by_role("link", name="Next", exact=True).click()
        settled(browser_page, number)
        sees(browser_page, step.title)
    browser_page.go_back()
    settled(browser_page, len(every) - 1)
    browser_page.get_by_role("link", name="Next", exact=True).click()
    settled(browser_page, len(every))
    browser_page.get_by_role("link", name="Finish", exact=True).click()
    sees(browser_page, re.compile("^Start the tour"))


#: The alternative texts of the frames that can be seen.
SEEN = """frames => [...frames.querySelectorAll('img')]
    .filter(image => image.offsetParent !== null).map(image => image.alt)"""


def test_a_trajectory_is_scrubbed_without_the_server(
    app_server: AppServer, browser_page: Page
) -> None:
    sent = frames_sent(browser_page)
    browser_page.set_default_timeout(PATIENCE)
    browser_page.goto(f"{app_server.url}/images")
    sees(browser_page, "What to do next.")
    wait_for_app(browser_page, timeout=PATIENCE / 1000)
    frames = browser_page.locator(".im-steps .im-frames")
    choices = browser_page.locator(".im-steps").get_by_role("radio")
    many = choices.count()
    assert many > 3
    expect(choices.first).to_be_checked()
    first, asked = frames.evaluate(SEEN), len(sent)
    assert len(first) == 1
    choices.first.focus()
    browser_page.keyboard.press("ArrowRight")
    expect(choices.nth(1)).to_be_checked()
    second = frames.evaluate(SEEN)
    assert len(second) == 1 and second != first
    choices.nth(many - 1).hover()
    assert frames.evaluate(SEEN) not in (first, second)
    browser_page.mouse.move(0, 0)
    assert frames.evaluate(SEEN) == second
    assert len(sent) == asked, "scrubbing asked the server"
