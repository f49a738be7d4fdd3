"""`pip install .` into a fresh environment, and the program from a folder of its own.

What the package needs is not downloaded again: the environment sees the packages of the tests. All
that is fetched is the tool that builds the wheel.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from mmh_core.installation import code_version
from tests.chromium import PATIENCE, wait_for_app

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    """The environment with the package, a folder to work in, and what its processes see."""

    bin: Path
    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        """Return an environment without this checkout, and with nobody to ask outside."""
        names = ("PYTHON", "STREAMLIT", "VIRTUAL_ENV", "HF_")
        kept = {name: v for name, v in os.environ.items() if not name.startswith(names)}
        nobody = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
        return {**kept, **nobody, "no_proxy": "127.0.0.1,localhost"}

    def call(self, *words: str, program: str = "mmh") -> subprocess.CompletedProcess[str]:
        """Run the program in the folder to its end."""
        return subprocess.run(
            [self.bin / program, *words],
            cwd=self.folder,
            env=self.settings,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def python(self, code: str) -> str:
        """Return what the environment's Python prints."""
        ended = self.call("-P", "-c", code, program="python")
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "env", with_pip=False, symlinks=True)
    packages = next((place / "env" / "lib").glob("python*/site-packages"))
    here = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(here))
    (place / "elsewhere").mkdir()
    made = Installed(place / "env" / "bin", place / "elsewhere")
    # Every requirement is checked against what is there; the network is pip's alone.
    outside = {name: v for name, v in os.environ.items() if not name.startswith("PYTHON")}
    command = [made.bin / "python", "-m", "pip", "install", "--quiet", "--no-input", ROOT]
    ended = subprocess.run(command, cwd=place, env=outside, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return made


@contextmanager
def opened(installed: Installed, *words: str) -> Iterator[str]:
    """Run `mmh app` and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [installed.bin / "mmh", "app", "--server.headless", "true"]
    command += ["--server.port", str(port), *words]
    url = f"http://127.0.0.1:{port}"
    log = installed.folder / "log"
    with log.open("w") as written:
        process = subprocess.Popen(
            command,
            cwd=installed.folder,
            env=installed.settings,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_the_package_lies_in_the_environment_alone(installed: Installed) -> None:
    where = installed.python("import mmh_core; print(mmh_core.__file__)")
    assert Path(where).is_relative_to(installed.bin.parent)
    # `views` and `pages` would be bad names beside other people's packages.
    packages = Path(where).parents[1]
    assert not (packages / "views").exists() and not (packages / "pages").exists()
    assert (packages / "mmh_core" / "py.typed").is_file()
    assert not list(packages.glob("mmh_core/_app/assets/screenshot*"))
    # The page "Glossary" reads it.
    assert (packages / "mmh_core/_app/docs/reference/glossary.md").is_file()


def test_commands_are_listed_by_the_name_of_the_program(installed: Installed) -> None:
    for words in ((), ("--help",), ("commands",)):
        ended = installed.call(*words)
        assert "Usage: mmh [OPTIONS] COMMAND" in ended.stdout + ended.stderr
        assert "mitigation-benchmark" in ended.stdout + ended.stderr


def test_images_are_generated_into_the_folder_that_was_named(installed: Installed) -> None:
    prompt = ("--prompt", "portrait of Jonas Okonjo")
    ended = installed.call("images", *prompt, "--seeds", "0", "--steps", "5", "--out", "made")
    assert ended.returncode == 0, ended.stderr
    run = json.loads((installed.folder / "made" / "run.json").read_text())
    report = (installed.folder / "made" / "report.html").read_text()
    assert "mmh images" in report and "./mmh" not in report
    assert (installed.folder / "made" / "000-seed-0.png").is_file()
    assert "Jonas Okonjo" in json.dumps(run)


def test_its_code_is_the_checkouts(installed: Installed) -> None:
    code = "from mmh_core.installation import code_version; print(code_version())"
    assert installed.python(code) == code_version()


def test_a_next_step_names_the_program_that_is_there(installed: Installed) -> None:
    asked = ("--prompt", "a", "--index", "none", "--index-images", ".", "--out", "x")
    ended = installed.call("images", *asked)
    assert ended.returncode == 2
    assert "`mmh index IMAGES --out INDEX`" in ended.stderr


@pytest.mark.parametrize("words", [("pocket", "furnish"), ("review", "demonstration")])
def test_what_was_installed_stays_as_it_is(installed: Installed, words: tuple[str, ...]) -> None:
    ended = installed.call(*words)
    assert ended.returncode == 2
    assert "belongs to the installed program" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_options_of_the_app_that_cannot_work_are_refused(installed: Installed) -> None:
    ended = installed.call("app", "--", "--models", "nowhere")
    assert ended.returncode == 2
    assert str(installed.folder / "nowhere") in ended.stderr
    assert "--data FOLDER" in installed.call("app", "--help").stdout


def test_users_of_this_folder_meet_the_gate(installed: Installed) -> None:
    code = (
        "from pathlib import Path; from mmh_core.store.users import write_user;"
        "write_user(Path('users.txt'), 'ada', 'correct horse battery')"
    )
    installed.python(code)
    with opened(installed, "--", "--users", "users.txt", "--data", "kept") as url:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url, timeout=30)
        page = refused.value.read().decode()
    assert refused.value.code == 401 and "Password" in page
    assert (installed.folder / "kept" / "session.key").is_file()


@pytest.mark.browser
def test_the_app_opens_and_keeps_its_data_here(installed: Installed, browser_page: Page) -> None:
    with opened(installed) as url:
        for path, title in (
            ("", "Copied training images in diffusion models"),
            ("/images", "Images"),
            ("/review", "Review"),
        ):
            browser_page.goto(url + path)
            heading = browser_page.get_by_role("heading", name=title, level=1)
            expect(heading).to_be_visible(timeout=PATIENCE)
            wait_for_app(browser_page)
            assert browser_page.get_by_test_id("stException").count() == 0
    assert (installed.folder / ".mmh" / "jobs.sqlite").is_file()
