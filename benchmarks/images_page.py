"""Time the images page as a person meets it: from the click until images and verdicts stand.

Run `python benchmarks/images_page.py [--runs 3] [--json FILE]`, with Chromium on the machine. Each
run starts two fresh servers as `./mmh app` does and draws four images with the default settings.
On the first one the click comes at once, while the model is still being loaded beside the page,
and a second click finds it loaded; on the other one a person looks at the page for some seconds
first. "First images" is the time until the first are on the screen, "finished" until curves and
decoded steps are there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page, sync_playwright

from tests.chromium import PLAIN, find_chromium, serve, wait_for_app

PATIENCE = 120_000
#: Seconds for which a person looks at the page before the first click.
LOOK = 5.0
BAR = 6.0


def click(page: Page, seed: int) -> tuple[float, float]:
    """Press Generate and return the seconds until the first images, and until the finished run."""
    field = page.get_by_role("spinbutton", name="First seed", exact=True)
    field.fill(str(seed))
    field.press("Enter")
    wait_for_app(page)
    before = page.url
    started = time.perf_counter()
    page.get_by_role("button", name="Generate", exact=True).click()
    either = page.get_by_text("Finished images").or_(page.get_by_text(f"seeds {seed} to"))
    either.first.wait_for(timeout=PATIENCE)
    first = time.perf_counter() - started
    page.get_by_text(f"seeds {seed} to").first.wait_for(timeout=PATIENCE)
    finished = time.perf_counter() - started
    assert page.url != before
    wait_for_app(page)
    return first, finished


def visit(
    chromium: str, rows: dict[str, list[float]], look: float, clicks: tuple[str, ...]
) -> None:
    """Open the page of a fresh server, wait, click as often as there are names, note the times."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(ROOT / "app.py", Path(folder)) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=list(PLAIN))
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE)
        started = time.perf_counter()
        page.goto(f"{server.url}/images")
        page.locator(".st-key-im_cards img").first.wait_for(timeout=PATIENCE)
        rows.setdefault("example on the screen", []).append(time.perf_counter() - started)
        wait_for_app(page)
        page.wait_for_timeout(1000 * look)
        for number, name in enumerate(clicks, start=1):
            first, finished = click(page, 100 * number)
            rows.setdefault(f"{name}: first images (bar {BAR:g})", []).append(first)
            rows.setdefault(f"{name}: finished", []).append(finished)
        browser.close()


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("Chromium is missing: apt-get install chromium")
    rows: dict[str, list[float]] = {}
    for _ in range(options.runs):
        visit(chromium, rows, 0.0, ("clicked at once", "clicked again"))
        visit(chromium, rows, LOOK, (f"clicked after {LOOK:g} s",))
    print("| figure | seconds, median | least | most |")
    print("|---|---|---|---|")
    for name, values in rows.items():
        middle = statistics.median(values)
        print(f"| {name} | {middle:.1f} | {min(values):.1f} | {max(values):.1f} |")
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
