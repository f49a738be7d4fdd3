"""Take the screenshots of the documentation from the finished examples, with Chromium.

`python docs/scripts/screenshots.py [NAME ...]` starts the app with an empty data folder, opens
each page in the light theme, 1440 pixels wide, and writes `docs/images/NAME.png`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, from anywhere

from playwright.sync_api import Page, sync_playwright

from tests.chromium import ARGUMENTS, find_chromium, serve, wait_for_app

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1440, 1000
#: For a page on a busy machine, in milliseconds.
PATIENCE = 300_000
#: What a chart needs to come to rest, in milliseconds.
REST = 3_000


def images(page: Page, url: str) -> None:
    """Open the finished example of an overfitted image."""
    page.goto(f"{url}/images?example=template")
    page.locator(".st-key-im_cards img").first.wait_for(timeout=PATIENCE)


def mitigation(page: Page, url: str) -> None:
    """Open the finished comparison."""
    page.goto(f"{url}/mitigation")
    page.locator(".st-key-mi_figures").wait_for(timeout=PATIENCE)


def review(page: Page, url: str) -> None:
    """Open the demonstration queue, with a reviewer's name."""
    page.goto(f"{url}/review")
    name = page.get_by_role("textbox", name="Reviewer")
    name.wait_for(timeout=PATIENCE)
    name.fill("Reviewer 1")
    name.press("Enter")
    page.get_by_role("button", name="Exact copy").first.wait_for(timeout=PATIENCE)


def manifolds(page: Page, url: str) -> None:
    """Open the circle, and show all of the page."""
    page.goto(f"{url}/manifolds")
    page.locator(".st-key-mf_figure .js-plotly-plot .scatterlayer .trace").first.wait_for(
        timeout=PATIENCE
    )


#: Name of the file -> what opens the page, and how much of it is shown.
SHOTS: dict[str, tuple[Callable[[Page, str], None], int]] = {
    "images": (images, HEIGHT),
    "mitigation": (mitigation, HEIGHT),
    "review": (review, HEIGHT),
    "manifolds": (manifolds, 1760),
}


def main(names: list[str]) -> None:
    """Take the screenshots named, or all."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("Chromium is missing: apt-get install chromium")
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(ROOT / "app.py", Path(folder)) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        for name in names or SHOTS:
            opened, height = SHOTS[name]
            page = browser.new_page(
                viewport={"width": WIDTH, "height": height}, color_scheme="light"
            )
            opened(page, server.url)
            wait_for_app(page, timeout=PATIENCE / 1000)
            page.wait_for_timeout(REST)
            page.screenshot(path=IMAGES / f"{name}.png")
            page.close()
            print(name, flush=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
