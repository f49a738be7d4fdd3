"""Time the manifold page as a person meets it: first image, and circle from click to finished.

Run `python benchmarks/manifold_page.py [--runs 3] [--webgl] [--json FILE]`, with Chromium on the
machine. Each run starts a fresh server as `./mmh app` does; "first page" runs from the moment the
server answers until the finished example is drawn and can be clicked, "click to finished" from the
press of Train, with the circle's own settings, until the result stands. "Training alone" is the
same study without page and server, measured in the same run, so that a slow machine shows in both.
The browser starts as it is; with `--webgl` it emulates a graphics card on the processor, which 3-D
charts need where there is none and which competes with the training for the cores.
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

from tests.chromium import PLAIN, WEBGL, find_chromium, serve

PATIENCE = 90_000


def first_page(page: Page, url: str) -> float:
    """Return the seconds until the precomputed image is on the screen."""
    started = time.perf_counter()
    page.goto(f"{url}/manifolds")
    drawn = ".st-key-mf_figure .js-plotly-plot .scatterlayer .trace"
    page.locator(drawn).first.wait_for(timeout=PATIENCE)
    return time.perf_counter() - started


def click_to_finished(page: Page) -> float:
    """Return the seconds from the press of Train to the finished run's own title."""
    button = page.locator(".st-key-mf_train button")
    button.wait_for(timeout=PATIENCE)
    started = time.perf_counter()
    button.click()
    page.get_by_text("Your run: ").first.wait_for(timeout=PATIENCE)
    page.locator(".st-key-mf_figure .js-plotly-plot .scatterlayer .trace").first.wait_for(
        timeout=PATIENCE
    )
    return time.perf_counter() - started


def training_alone() -> float:
    """Return the seconds of the study itself."""
    import torch

    from mmh_core.studies.manifolds.config import default_config
    from mmh_core.studies.manifolds.study import manifold_study

    torch.set_num_threads(1)
    started = time.perf_counter()
    for _ in manifold_study(default_config("circle")):
        continue
    return time.perf_counter() - started


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--webgl", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("Chromium is missing: apt-get install chromium")
    arguments = [*PLAIN, *(WEBGL if options.webgl else ())]
    names = ("first page", "click to finished", "training alone")
    rows: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.runs):
        with (
            tempfile.TemporaryDirectory() as folder,
            serve(ROOT / "app.py", Path(folder)) as server,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(PATIENCE)
            rows["first page"].append(first_page(page, server.url))
            rows["click to finished"].append(click_to_finished(page))
            browser.close()
        rows["training alone"].append(training_alone())
    bars = {"first page": "4", "click to finished": "15", "training alone": "-"}
    print("| figure | seconds, median | least | most | bar |")
    print("|---|---|---|---|---|")
    for name, values in rows.items():
        middle = statistics.median(values)
        print(f"| {name} | {middle:.1f} | {min(values):.1f} | {max(values):.1f} | {bars[name]} |")
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
