"""Load the app with ten browser windows at once, with and without a collection after every run.

Run `python benchmarks/ten_windows.py [--windows 10] [--rounds 2] [--json FILE]`, with Chromium on
the machine. Each window asks for one image with a seed of its own, within a second of the others.
Meanwhile another page is opened and the server's health is asked for twice a second. Printed, for
the app as it is and with Streamlit's `runner.postScriptGC` on: seconds until each window has its
image, whether they came in the order in which they were asked for and each in its own window, the
slowest answer of the other page and of the health check, and the memory after each round. A window
that has no image after four minutes is counted as one without.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page, sync_playwright

from tests.chromium import PLAIN, AppServer, find_chromium, serve, wait_for_app

PATIENCE = 240_000


@dataclass
class Load:
    """The answers of one server under load; seconds, and resident memory in MiB."""

    name: str
    images: list[float] = field(default_factory=list)
    in_order: bool = True
    own: bool = True
    without: int = 0
    health: list[float] = field(default_factory=list)
    other_page: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def ask_health(server: AppServer, load: Load, stop: threading.Event) -> None:
    """Ask for the server's health twice a second until told to stop."""
    while not stop.wait(0.5):
        started = time.perf_counter()
        try:
            with urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=120):
                pass
        except OSError:
            pass
        load.health.append(time.perf_counter() - started)


def memory(server: AppServer) -> float:
    """Return the resident memory of the server in MiB."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


def one_round(browser: Browser, server: AppServer, load: Load, seeds: list[int]) -> None:
    """Open a window for each seed, press the button in all, and wait for all images."""
    pages: list[Page] = []
    for seed in seeds:
        page = browser.new_context(viewport={"width": 1200, "height": 800}).new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{server.url}/images?seed={seed}&images=1")
        page.locator(".st-key-im_cards img").first.wait_for()
        wait_for_app(page, timeout=PATIENCE / 1000)
        pages.append(page)
    stop = threading.Event()
    asking = threading.Thread(target=ask_health, args=(server, load, stop))
    asking.start()
    started = time.perf_counter()
    for page in pages:
        page.locator(".st-key-im_draw button").first.click()
    other = browser.new_context().new_page()
    other.set_default_timeout(PATIENCE)
    before = time.perf_counter()
    other.goto(f"{server.url}/review")
    other.get_by_role("heading", level=1).first.wait_for()
    load.other_page.append(time.perf_counter() - before)
    waiting = dict(zip(seeds, pages, strict=True))
    ended: dict[int, float] = {}
    while waiting:
        for seed, page in list(waiting.items()):
            named = page.get_by_text(re.compile(rf"\bseed {seed}\b")).count()
            running = page.locator("[class*=st-key-im_cancel]").count()
            if named and not running and "job=" in page.url:
                ended[seed] = time.perf_counter() - started
                del waiting[seed]
            page.wait_for_timeout(50)
        if time.perf_counter() - started > PATIENCE / 1000:
            load.without += len(waiting)
            break
    stop.set()
    asking.join()
    load.images += list(ended.values())
    jobs = [re.search(r"job=(\w+)", page.url) for page in pages]
    names = {found[1] for found in jobs if found}
    load.own &= len(names) == len(ended)
    # A window looks once a second, so neighbors may be seen in either order.
    order = [ended[seed] for seed in seeds if seed in ended]
    load.in_order &= all(a < b + 3.0 for a, b in pairwise(order))
    for page in (*pages, other):
        page.context.close()
    load.memory.append(memory(server))


def measure(name: str, options: tuple[str, ...], windows: int, rounds: int) -> Load:
    """Return how a fresh server with these options bears the load."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("Chromium is missing: apt-get install chromium")
    load = Load(name)
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(ROOT / "app.py", Path(folder), options=options) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=list(PLAIN))
        for number in range(rounds):
            one_round(browser, server, load, [1000 * (number + 1) + k for k in range(windows)])
        browser.close()
    return load


def main() -> None:
    """Measure both servers, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    loads = [
        measure("as it is", (), given.windows, given.rounds),
        measure(
            "collection after every run",
            ("--runner.postScriptGC", "true"),
            given.windows,
            given.rounds,
        ),
    ]
    heads = ["server", "images, s", "without one", "in order", "own", "other page, s"]
    heads += ["health, s", "memory, MiB"]
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    for load in loads:
        print(
            f"| {load.name} | {min(load.images):.1f} to {max(load.images):.1f} | "
            f"{load.without} of {given.windows * given.rounds} | "
            f"{'yes' if load.in_order else 'NO'} | {'yes' if load.own else 'NO'} | "
            f"{max(load.other_page):.1f} | {max(load.health):.2f} | "
            f"{', '.join(f'{value:.0f}' for value in load.memory)} |"
        )
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(load) for load in loads], indent=1) + "\n")


if __name__ == "__main__":
    main()
