"""The launcher, with a stand-in for Python that records its calls: no network, no installation.

The stand-in runs the launcher itself by the Python of the tests, and nothing else.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import joblib
import pytest

from launcher import cpu_build
from tests.conftest import processes, pytest_xdist_auto_num_workers

REPOSITORY = Path(__file__).parents[1]
TOOLS = ("cp", "dirname", "mkdir", "readlink", "sleep")

# PIP_SECONDS and PIP_STATUS say how long an installation takes and how it ends, INDEX_STATUS how
# the address of torch's CPU builds answers.
PYTHON = """#!/bin/sh
case "$*" in
*launcher.py*) exec {real} "$@" ;;
*version_info*) exit {old} ;;
*ensurepip*) exit {bare} ;;
--version) echo Python 3.9.2; exit 0 ;;
esac
echo "$*" >>{log}
printf '%s\n%s\n' "$PWD" "${{PYTHONPATH-}}" >{place}
case "$*" in
"-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
*download.pytorch.org*) exit "${{INDEX_STATUS:-0}}" ;;
*"pip install"*) echo Installed; sleep "${{PIP_SECONDS:-0}}"; exit "${{PIP_STATUS:-0}}" ;;
esac
"""


@dataclass(frozen=True)
class Launcher:
    """Hold a copy of the launcher in `root`, and `tools`, all that it finds on its PATH."""

    root: Path
    tools: Path
    log: Path

    def script(self, name: str, text: str) -> None:
        """Write an executable onto the PATH."""
        path = self.tools / name
        path.write_text(text)
        path.chmod(0o755)

    def add_python(self, *, old: bool = False, bare: bool = False) -> None:
        """Put a stand-in for python3 onto the PATH; `bare` is one without ensurepip."""
        log, place = shlex.quote(str(self.log)), shlex.quote(str(self.log.with_suffix(".place")))
        text = PYTHON.format(
            real=shlex.quote(sys.executable), old=int(old), bare=int(bare), log=log, place=place
        )
        self.script("python3", text)

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Start a call from a folder that is not the launcher's, in a process group of its own."""
        return subprocess.Popen(
            [str(self.root / "mmh"), *arguments],
            cwd=self.tools,
            env={"PATH": str(self.tools), **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def call(self, *arguments: str, **settings: str) -> tuple[int, str, str]:
        """Return a call's exit status, output and messages."""
        process = self.start(*arguments, **settings)
        output, messages = process.communicate(timeout=30)
        return process.returncode, output, messages

    def calls(self) -> list[str]:
        """Return what Python was asked to do since the last time, installer options left out."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        noise = " --disable-pip-version-check --no-input --quiet"
        return [line.replace(noise, "").replace(str(self.root), "ROOT") for line in lines]

    def place(self) -> list[str]:
        """Return the folder that Python was last started in, and its PYTHONPATH."""
        return self.log.with_suffix(".place").read_text().splitlines()


VENV = "-m venv ROOT/.venv"
PIP = "-m pip install -r ROOT/requirements.txt"
PIP_TEST = "-m pip install -r ROOT/requirements-test.txt"
PIP_DOCS = "-m pip install -r ROOT/requirements-docs.txt"
TORCH = "-m pip install -r ROOT/requirements-torch.txt"
CPU_TORCH = (
    "-m pip install --no-deps --retries 1 --timeout 15"
    " --index-url https://download.pytorch.org/whl/cpu -r ROOT/requirements-torch.txt"
)
FILES = (
    *("requirements.txt", "requirements-test.txt", "requirements-docs.txt"),
    "requirements-torch.txt",
)
LIST = "-P -m mmh_core list"
TESTS = "-m pytest -n auto --dist worksteal"


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    """Copy the launcher into a folder with spaces in its name."""
    root, tools = tmp_path / "a place with spaces", tmp_path / "tools"
    root.mkdir()
    tools.mkdir()
    for name in ("mmh", "launcher.py"):
        shutil.copy(REPOSITORY / name, root)
    for name in FILES:
        (root / name).write_text("sympy==1.14.0\n")
    made = Launcher(root, tools, tmp_path / "calls")
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tools / tool).symlink_to(found)
    return made


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_usage_needs_and_installs_nothing(launcher: Launcher, arguments: tuple[str, ...]) -> None:
    launcher.add_python()
    status, output, messages = launcher.call(*arguments)
    assert (status, messages, launcher.calls()) == (0, "", [])
    for call in ("./mmh app", "./mmh test", "./mmh docs", "./mmh commands", "./mmh COMMAND"):
        assert call in output
    assert not (launcher.root / ".venv").exists()


def test_missing_python_is_named(launcher: Launcher) -> None:
    assert launcher.call("list") == (
        3,
        "",
        "mmh: python3 is missing: install Python 3.11 or newer"
        " (apt-get install python3 python3-venv).\n",
    )


def test_old_python_is_named_with_its_version(launcher: Launcher) -> None:
    launcher.add_python(old=True)
    assert launcher.call("list") == (
        3,
        "",
        "mmh: Python 3.11 or newer is needed and Python 3.9.2 is here:"
        " install a newer one (apt-get install python3.11 python3.11-venv).\n",
    )


def test_newer_python_beside_an_old_one_is_taken(launcher: Launcher) -> None:
    launcher.add_python()
    (launcher.tools / "python3").rename(launcher.tools / "python3.12")
    launcher.add_python(old=True)
    assert launcher.call("list")[0] == 0
    assert LIST in launcher.calls()


def test_missing_venv_is_named(launcher: Launcher) -> None:
    launcher.add_python(bare=True)
    assert launcher.call("list") == (
        3,
        "",
        "mmh: python3 cannot make virtual environments: run apt-get install python3-venv.\n",
    )
    assert not (launcher.root / ".venv").exists()  # Nothing half-made is left behind.
    assert not (launcher.root / ".venv.unfinished").exists()


def test_first_call_installs_and_later_calls_only_start(launcher: Launcher) -> None:
    launcher.add_python()
    status, output, messages = launcher.call("list")
    assert (status, output) == (0, "")  # A command's output is its own, pip's goes elsewhere.
    assert messages == "mmh: installing into .venv, once; this takes some minutes.\nInstalled\n"
    assert launcher.calls() == [VENV, PIP, CPU_TORCH, LIST]
    assert launcher.call("list") == (0, "", "")
    assert launcher.calls() == [LIST]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-torch.txt"])
def test_changed_pins_are_installed_into_the_same_venv(launcher: Launcher, name: str) -> None:
    launcher.add_python()
    launcher.call("list")
    launcher.calls()
    with (launcher.root / name).open("a") as pins:
        pins.write("mpmath==1.3.0\n")
    launcher.call("list")
    assert launcher.calls() == [PIP, CPU_TORCH, LIST]
    launcher.call("list")
    assert launcher.calls() == [LIST]


def test_failed_installation_is_tried_again(launcher: Launcher) -> None:
    launcher.add_python()
    status, _, messages = launcher.call("list", PIP_STATUS="1")
    assert status == 3
    assert messages.endswith(
        "mmh: the installation failed, pip's message is above:"
        " check the network and the disk, then run the same command again.\n"
    )
    assert launcher.calls() == [VENV, PIP]
    assert launcher.call("list")[0] == 0
    assert launcher.calls() == [PIP, CPU_TORCH, LIST]


def test_killed_installation_starts_afresh(launcher: Launcher) -> None:
    launcher.add_python()
    process = launcher.start("list", PIP_SECONDS="20")
    deadline = time.monotonic() + 10
    while not (launcher.log.exists() and "requirements.txt" in launcher.log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    debris = launcher.root / ".venv" / "half a package"
    debris.touch()
    launcher.calls()
    assert launcher.call("list")[0] == 0
    assert launcher.calls() == [VENV, PIP, CPU_TORCH, LIST]
    assert not debris.exists()
    assert not (launcher.root / ".venv.unfinished").exists()


@pytest.mark.parametrize(
    "broken", ["*) exit 1 ;;", "*version_info*) exit 1 ;;", '*"import pip"*) exit 1 ;;']
)
def test_venv_broken_by_a_system_upgrade_is_replaced(launcher: Launcher, broken: str) -> None:
    # Its Python no longer starts, is another version now, or no longer finds its packages.
    launcher.add_python()
    launcher.call("list")
    launcher.calls()
    python = launcher.root / ".venv" / "bin" / "python"
    python.write_text(python.read_text().replace("in\n", f"in\n{broken}\n", 1))
    assert launcher.call("list")[0] == 0
    assert launcher.calls() == [VENV, PIP, CPU_TORCH, LIST]


def test_two_first_calls_install_once(launcher: Launcher) -> None:
    launcher.add_python()
    both = [launcher.start("list", PIP_SECONDS="0.5") for _ in range(2)]
    messages = [process.communicate(timeout=30)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(launcher.calls()) == sorted([VENV, PIP, CPU_TORCH, LIST, LIST])
    assert sum("installing into .venv" in message for message in messages) == 1


def test_usual_torch_with_a_gpu(launcher: Launcher) -> None:
    launcher.add_python()
    launcher.script("nvidia-smi", "#!/bin/sh\necho GPU 0\n")
    launcher.call("list")
    assert launcher.calls() == [VENV, PIP, TORCH, LIST]


@pytest.mark.parametrize("system", ["darwin", "freebsd14", "cygwin"])
def test_usual_torch_outside_linux(system: str) -> None:
    assert not cpu_build(system)


def test_tests_add_what_they_need_and_the_app_does_not(launcher: Launcher) -> None:
    launcher.add_python()
    launcher.call("app")
    assert launcher.calls() == [VENV, PIP, CPU_TORCH, "-P -m mmh_core app"]
    launcher.call("test")
    assert launcher.calls() == [PIP_TEST, CPU_TORCH, f"-P {TESTS}"]
    launcher.call("test")
    launcher.call("app")  # What the tests need includes what runs.
    assert launcher.calls() == [f"-P {TESTS}", "-P -m mmh_core app"]


def test_the_documentation_adds_what_builds_it_once(launcher: Launcher) -> None:
    launcher.add_python()
    launcher.call("app")
    launcher.calls()
    launcher.call("docs", "--build")
    assert launcher.calls() == [PIP_DOCS, CPU_TORCH, "-P -m mmh_core docs --build"]
    launcher.call("docs")
    launcher.call("app")
    assert launcher.calls() == ["-P -m mmh_core docs", "-P -m mmh_core app"]


def test_tests_first_install_once(launcher: Launcher) -> None:
    launcher.add_python()
    launcher.call("test", "-x")
    launcher.call("app")
    assert launcher.calls() == [
        *(VENV, PIP_TEST, CPU_TORCH, f"-P {TESTS} -x"),
        "-P -m mmh_core app",
    ]


@pytest.mark.parametrize(("cores", "count"), [(1, 0), (2, 2), (4, 4), (64, 4)])
def test_tests_run_in_a_process_per_core(cores: int, count: int) -> None:
    assert processes(cores) == count


@pytest.mark.parametrize(
    ("choice", "spread"),
    [
        *(("not slow and not gpu and not browser", True), ("browser", False), ("slow", False)),
        *(("slow or browser", False), ("not gpu", False), ("", False)),
    ],
)
def test_only_the_default_choice_of_tests_is_spread(
    pytestconfig: pytest.Config, choice: str, spread: bool
) -> None:
    config = copy(pytestconfig)
    config.option = Namespace(markexpr=choice)
    assert bool(pytest_xdist_auto_num_workers(config)) == (spread and joblib.cpu_count() > 1)


def test_a_folder_that_cannot_be_written_is_named(launcher: Launcher) -> None:
    launcher.add_python()
    (launcher.root / ".venv.installing").mkdir()  # No file can be opened here.
    status, _, messages = launcher.call("list")
    assert status == 3
    assert f"{launcher.root} cannot be written" in messages and messages.count("\n") == 1


def test_what_was_cut_off_is_not_taken_for_ready(launcher: Launcher) -> None:
    # As when .venv was being replaced: what is left of it still looks whole.
    launcher.add_python()
    launcher.call("list")
    launcher.calls()
    (launcher.root / ".venv.unfinished").touch()
    assert launcher.call("list")[0] == 0
    assert launcher.calls() == [VENV, PIP, CPU_TORCH, LIST]


def test_who_waits_says_for_whom(launcher: Launcher) -> None:
    launcher.add_python()
    with (launcher.root / ".venv.installing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711\n")
        lock.flush()
        waiting = launcher.start("list")
        assert waiting.stderr is not None
        said = waiting.stderr.readline()
        assert said == "mmh: process 4711 is installing, waiting for it.\n"
        assert launcher.calls() == []
    assert waiting.communicate(timeout=30)[0] == ""
    assert launcher.calls() == [VENV, PIP, CPU_TORCH, LIST]


def test_a_ready_venv_needs_no_other_python(launcher: Launcher) -> None:
    launcher.add_python()
    launcher.call("list")
    (launcher.tools / "python3").unlink()
    assert launcher.call("list") == (0, "", "")
    (launcher.root / "requirements.txt").write_text("changed\n")
    status, _, messages = launcher.call("list")
    assert status == 3
    assert messages.startswith("mmh: python3 is missing: install Python 3.11 or newer")
    assert (launcher.root / ".venv").exists()


def test_unreachable_cpu_index_is_no_failure(launcher: Launcher) -> None:
    launcher.add_python()
    status, _, messages = launcher.call("list", INDEX_STATUS="1")
    assert status == 0
    assert messages.count("download.pytorch.org is out of reach") == 1
    assert launcher.calls() == [VENV, PIP, CPU_TORCH, TORCH, LIST]


@pytest.mark.parametrize(
    ("arguments", "started", "at_root"),
    [
        (("app", "--server.port", "8600"), "-m mmh_core app --server.port 8600", False),
        (("app", "--", "--models", "m"), "-m mmh_core app -- --models m", False),
        (("test", "-k", "lid"), f"{TESTS} -k lid", True),
        (("commands",), "-m mmh_core commands", False),
        (("scan", "--note", "two  spaces"), "-m mmh_core scan --note two  spaces", False),
    ],
)
def test_what_is_started_and_where(
    launcher: Launcher, arguments: tuple[str, ...], started: str, at_root: bool
) -> None:
    # The tests run at the root; whatever else stays where its relative paths point.
    launcher.add_python()
    launcher.call(*arguments)
    assert launcher.calls()[-1] == f"-P {started}"
    folder = launcher.root if at_root else launcher.tools
    assert launcher.place() == [str(folder), str(launcher.root)]


def test_link_to_the_launcher_finds_its_folder(launcher: Launcher) -> None:
    launcher.add_python()
    link = launcher.tools / "mmh"
    link.symlink_to(launcher.root / "mmh")
    result = subprocess.run([link, "list"], env={"PATH": str(launcher.tools)}, capture_output=True)
    assert result.returncode == 0
    assert VENV in launcher.calls()


def test_exit_status_of_the_command_is_passed_on(launcher: Launcher) -> None:
    launcher.add_python()
    launcher.call("list")
    python = launcher.root / ".venv" / "bin" / "python"
    python.write_text(python.read_text() + '[ "$3" != mmh_core ] || exit 7\n')
    assert launcher.call("list")[0] == 7
