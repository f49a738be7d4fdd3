"""Drive the app in a real Chromium: a fresh server, a page that may contact nobody else."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ColorScheme = Literal["light", "dark"]

REPOSITORY = Path(__file__).parents[1]
INSTALL = "install it with: apt-get install chromium"
#: WebGL on the processor: 3-D charts need it and test machines have no graphics card. The emulated
#: card then composes everything on the page, which keeps a core busy.
WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PLAIN = (
    # As root, in a container, Chromium's sandbox cannot start.
    "--no-sandbox",
    # Nothing on Chromium's own account, so that every request is the app's.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
ARGUMENTS = (*PLAIN, *WEBGL)
#: Long enough for a page on a busy machine with two cores, in milliseconds.
PATIENCE = 300_000
LOCAL_HOSTS = ("127.0.0.1", "localhost")
LOCAL_SCHEMES = ("data", "blob", "about")


@dataclass(frozen=True)
class AppServer:
    """The address of a running app, its data folder, its log and its process."""

    url: str
    data: Path
    log: Path
    pid: int


def find_chromium() -> str | None:
    """Return the path of an installed Chromium or Chrome, None where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name) or shutil.which(name, path="/usr/bin"):
            return found
    return None


def strangers(urls: list[str]) -> list[str]:
    """Return those addresses that do not belong to this machine."""
    parts = [(url, urlsplit(url)) for url in urls]
    return [
        url
        for url, split in parts
        if split.scheme not in LOCAL_SCHEMES and split.hostname not in LOCAL_HOSTS
    ]


def wait_for_app(page: Page, *, timeout: float = 60.0) -> None:
    """Wait until the script behind the page has ended its run, at most `timeout` seconds.

    A rerun starts only when the browser's message has reached the server, so after a click also
    wait for what the click should show.
    """
    ended = page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]')
    expect(ended).to_be_attached(timeout=1000 * timeout)


def sees(page: Page, text: str | re.Pattern[str]) -> None:
    """Wait until a text can be seen anywhere on the page.

    A table on a canvas keeps its cells as hidden text as well, which does not count.
    """
    expect(page.get_by_text(text).filter(visible=True).first).to_be_visible(timeout=PATIENCE)


def press(page: Page, name: str) -> None:
    """Click the first button of this name."""
    page.get_by_role("button", name=name, exact=True).first.click()


def link(page: Page) -> dict[str, str]:
    """Return the parameters of the address that the page shows."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


@contextmanager
def opened_by_another(browser: Browser, address: str) -> Iterator[Page]:
    """Open an address in the browser of another person, who shares no cookie with anybody."""
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        yield page


def frames_sent(page: Page) -> list[object]:
    """Return a list that grows with everything that the page sends to its server from now on."""
    sent: list[object] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    return sent


@contextmanager
def serve(
    app: Path,
    folder: Path,
    *,
    options: tuple[str, ...] = (),
    arguments: tuple[str, ...] = (),
    path: str = "",
    timeout: float = PATIENCE / 1000,
) -> Iterator[AppServer]:
    """Run a Streamlit script with an empty data folder, and end it afterwards.

    It is started as `./mmh app` starts it, in the script's folder, on a free loopback port, with
    further options of Streamlit and, after `--`, arguments of the app; `path` is its base path.
    `folder` receives the data and the log. Raises RuntimeError with the log's end when the server
    is not up after `timeout` seconds.
    """
    with socket.socket() as probe:  # Free now; a race for it would end in the error below.
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, written = folder / "data", folder / "streamlit.log"
    command = [sys.executable, "-P", "-m", "views.serve", "run", app.name]
    command += ["--server.headless", "true"]
    command += ["--server.port", str(port), *options, "--", "--data", str(data), *arguments]
    # Settings meant for the tests' own process are not the app's: it runs as people run it.
    settings = {k: v for k, v in os.environ.items() if not k.startswith("STREAMLIT_")}
    settings["PYTHONPATH"] = str(REPOSITORY)  # As the launcher sets it.
    with written.open("w") as log:
        process = subprocess.Popen(
            command, cwd=app.parent, env=settings, stdout=log, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}/{path}".rstrip("/")
    server = AppServer(url, data, written, process.pid)
    try:
        _wait_until_healthy(server, process, timeout)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(
    server: AppServer, process: subprocess.Popen[bytes], timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"the app is not up:\n{server.log.read_text()[-4000:]}")


@pytest.fixture(scope="module")
def app_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """Start the app once per test module, with a data folder of its own."""
    with serve(REPOSITORY / "app.py", tmp_path_factory.mktemp("app")) as server:
        yield server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start Chromium once per test module.

    Not once per session: while it runs, Playwright keeps an asyncio loop on this thread, and other
    modules' tests may want one of their own.
    """
    path = find_chromium()
    if path is None:
        raise RuntimeError(f"Chromium is missing: {INSTALL}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def color_scheme() -> ColorScheme:
    """Say which theme the browser asks for; a test that parametrizes this name gets both."""
    return "light"


@pytest.fixture
def browser_page(chromium: Browser, color_scheme: ColorScheme) -> Iterator[Page]:
    """Open an empty page of 1440 x 900 whose every request must stay on this machine."""
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900}, color_scheme=color_scheme
    )
    urls: list[str] = []
    context.on("request", lambda request: urls.append(request.url))
    page = context.new_page()
    page.on("websocket", lambda websocket: urls.append(websocket.url))
    yield page
    context.close()
    assert not strangers(urls), f"the page contacted others: {strangers(urls)}"
