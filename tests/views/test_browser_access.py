"""A shared server in a real browser: signing in, a name on the pages, other hosts and paths."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from mmh_core.store.users import write_user
from tests.chromium import PATIENCE, REPOSITORY, sees, serve, wait_for_app

pytestmark = pytest.mark.browser

NAME, PASSWORD = "Ada <i>Lovelace</i>", "correct horse battery"


def opened(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE)
    return page


def fill(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def status(url: str, method: str = "GET") -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_a_shared_server_shows_nothing_before_a_person_signs_in(
    chromium: Browser, tmp_path: Path
) -> None:
    write_user(tmp_path / "users", NAME, PASSWORD)
    arguments = ("--users", str(tmp_path / "users"))
    with serve(REPOSITORY / "app.py", tmp_path, arguments=arguments) as server:
        assert status(f"{server.url}/_stcore/host-config") == 401
        assert status(f"{server.url}/_stcore/upload_file/a/b", "PUT") == 401
        page = opened(chromium)
        page.goto(f"{server.url}/review?tab=scan")
        fill(page, NAME, "wrong password")
        sees(page, "Name or password is wrong")
        fill(page, NAME, PASSWORD)
        # The page that was asked for, under the name as text.
        sees(page, f"Signed in as {NAME}")
        expect(page.get_by_role("heading", level=1)).to_have_text("Review")
        assert "tab=scan" in page.url
        page.reload()
        sees(page, f"Signed in as {NAME}")
        page.get_by_role("link", name="sign out").click()
        expect(page.get_by_label("Password")).to_be_visible()
        page.goto(f"{server.url}/images")
        expect(page.get_by_label("Password")).to_be_visible()
        page.context.close()


def test_a_list_of_users_without_the_gate_shows_nothing(chromium: Browser, tmp_path: Path) -> None:
    """As when the app is started by `streamlit run` and not by the launcher."""
    import subprocess
    import sys
    import time

    write_user(tmp_path / "users", NAME, PASSWORD)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-P", "-m", "streamlit", "run", "app.py", "--server.port"]
    command += [str(port), "--server.headless", "true", "--", "--data", str(tmp_path / "data")]
    process = subprocess.Popen([*command, "--users", str(tmp_path / "users")], cwd=REPOSITORY)
    try:
        page = opened(chromium)
        for _ in range(300):
            try:
                page.goto(f"http://127.0.0.1:{port}/review")
                break
            except Exception:
                time.sleep(0.2)
        sees(page, "without the gate that checks them")
        wait_for_app(page)
        assert page.get_by_role("heading", level=1).count() == 0
        page.context.close()
    finally:
        process.terminate()
        process.wait()


def own_address() -> str | None:
    """Return an address of this machine other than loopback, None where it has none."""
    from views.serve import reachable_names

    names = [n for n in reachable_names("0.0.0.0") if re.fullmatch(r"[\d.]+", n)]
    return next((n for n in names if not n.startswith("127.")), None)


def test_the_app_opens_from_another_machine_and_below_a_path(
    chromium: Browser, tmp_path: Path
) -> None:
    """Bound to the network, under this machine's own address, with a base path."""
    options = ("--server.address", "0.0.0.0", "--server.baseUrlPath", "tools/mmh")
    host = own_address() or "localhost"
    with serve(REPOSITORY / "app.py", tmp_path, options=options, path="tools/mmh") as server:
        page = opened(chromium)
        address = server.url.replace("127.0.0.1", host)
        page.goto(f"{address}/images")
        expect(page.get_by_role("heading", level=1)).to_have_text("Images")
        page.goto(address)
        page.get_by_role("link", name=re.compile("review", re.IGNORECASE)).first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Review")
        assert "/tools/mmh/review" in page.url
        page.context.close()
        written = server.log.read_text()
        assert "Anybody who reaches this machine over the network" in written
        assert "--users FILE" in written
