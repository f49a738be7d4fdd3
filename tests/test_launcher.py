"""The launcher, with a stand-in for Python that records its calls: no network, no installation."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
TOOLS = ("cat", "cksum", "cp", "dirname", "mkdir", "readlink", "rm", "rmdir", "sed", "sleep")

# PIP_SECONDS and PIP_STATUS say how long an installation takes and how it ends, INDEX_STATUS how
# the address of torch's CPU builds answers.
PYTHON = """#!/bin/sh
case "$*" in
*version_info*) exit {old} ;;
*ensurepip*) exit {bare} ;;
"-c import pip") exit 0 ;;
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
        text = PYTHON.format(old=int(old), bare=int(bare), log=log, place=place)
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
CPU_TORCH = (
    "-m pip install --quiet --no-deps --retries 1 --timeout 15"
    " --index-url https://download.pytorch.org/whl/cpu torch==2.13.0"
)
LIST = "-P -m mmh_core list"


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    """Copy the launcher into a folder with spaces in its name."""
    root, tools = tmp_path / "a place with spaces", tmp_path / "tools"
    root.mkdir()
    tools.mkdir()
    shutil.copy(REPOSITORY / "mmh", root)
    (root / "requirements.txt").write_text("-c constraints.txt\ntorch==2.13.0\n")
    (root / "constraints.txt").write_text("sympy==1.14.0\n")
    made = Launcher(root, tools, tmp_path / "calls")
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tools / tool).symlink_to(found)
    made.script("uname", "#!/bin/sh\necho Linux\n")
    return made


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_usage_needs_and_installs_nothing(launcher: Launcher, arguments: tuple[str, ...]) -> None:
    status, output, messages = launcher.call(*arguments)
    assert (status, messages) == (0, "")
    for call in ("./mmh app", "./mmh test", "./mmh commands", "./mmh COMMAND"):
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
    # Nothing half-made is left behind, not even the lock.
    assert sorted(p.name for p in launcher.root.iterdir()) == [
        "constraints.txt",
        "mmh",
        "requirements.txt",
    ]


def test_first_call_installs_and_later_calls_only_start(launcher: Launcher) -> None:
    launcher.add_python()
    status, output, messages = launcher.call("list")
    assert (status, output) == (0, "")  # A command's output is its own, pip's goes elsewhere.
    assert messages == "mmh: installing into .venv, once; this takes some minutes.\nInstalled\n"
    assert launcher.calls() == [VENV, CPU_TORCH, PIP, LIST]
    assert launcher.call("list") == (0, "", "")
    assert launcher.calls() == [LIST]


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt"])
def test_changed_pins_are_installed_into_the_same_venv(launcher: Launcher, name: str) -> None:
    launcher.add_python()
    launcher.call("list")
    launcher.calls()
    with (launcher.root / name).open("a") as pins:
        pins.write("mpmath==1.3.0\n")
    launcher.call("list")
    assert launcher.calls() == [CPU_TORCH, PIP, LIST]
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
    assert launcher.calls() == [VENV, CPU_TORCH, PIP]
    assert launcher.call("list")[0] == 0
    assert launcher.calls() == [CPU_TORCH, PIP, LIST]


def test_killed_installation_starts_afresh(launcher: Launcher) -> None:
    launcher.add_python()
    process = launcher.start("list", PIP_SECONDS="20")
    deadline = time.monotonic() + 10
    while not (launcher.log.exists() and "requirements.txt" in launcher.log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    assert (launcher.root / ".venv.lock").exists()  # Nobody was left to remove it.
    debris = launcher.root / ".venv" / "half a package"
    debris.touch()
    launcher.calls()
    assert launcher.call("list")[0] == 0
    assert launcher.calls() == [VENV, CPU_TORCH, PIP, LIST]
    assert not debris.exists()
    assert sorted(p.name for p in launcher.root.glob(".venv*")) == [".venv"]


@pytest.mark.parametrize(
    "broken", ["*) exit 1 ;;", "*version_info*) exit 1 ;;", "*pip) exit 1 ;;"]
)
def test_venv_broken_by_a_system_upgrade_is_replaced(launcher: Launcher, broken: str) -> None:
    # Its Python no longer starts, is another version now, or no longer finds its packages.
    launcher.add_python()
    launcher.call("list")
    launcher.calls()
    python = launcher.root / ".venv" / "bin" / "python"
    python.write_text(python.read_text().replace("in\n", f"in\n{broken}\n", 1))
    assert launcher.call("list")[0] == 0
    assert launcher.calls() == [VENV, CPU_TORCH, PIP, LIST]


def test_two_first_calls_install_once(launcher: Launcher) -> None:
    launcher.add_python()
    both = [launcher.start("list", PIP_SECONDS="0.5") for _ in range(2)]
    messages = [process.communicate(timeout=30)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(launcher.calls()) == sorted([VENV, CPU_TORCH, PIP, LIST, LIST])
    assert sum("installing into .venv" in message for message in messages) == 1


@pytest.mark.parametrize(("tool", "says"), [("nvidia-smi", "GPU 0"), ("uname", "Darwin")])
def test_usual_torch_with_a_gpu_and_outside_linux(
    launcher: Launcher, tool: str, says: str
) -> None:
    launcher.add_python()
    launcher.script(tool, f"#!/bin/sh\necho {says}\n")
    launcher.call("list")
    assert launcher.calls() == [VENV, PIP, LIST]


def test_unreachable_cpu_index_is_no_failure(launcher: Launcher) -> None:
    launcher.add_python()
    status, _, messages = launcher.call("list", INDEX_STATUS="1")
    assert status == 0
    assert messages.count("download.pytorch.org is out of reach") == 1
    assert launcher.calls() == [VENV, CPU_TORCH, PIP, LIST]


@pytest.mark.parametrize(
    ("arguments", "started", "at_root"),
    [
        (("app", "--server.port", "8600"), "serve.py run app.py --server.port 8600", True),
        (
            ("app", "--", "--models", "m"),
            "serve.py run app.py -- --models m --called-from {}",
            True,
        ),
        (("test", "-k", "lid"), "-m pytest -k lid", True),
        (("commands",), "-m mmh_core --help", False),
        (("scan", "--note", "two  spaces"), "-m mmh_core scan --note two  spaces", False),
    ],
)
def test_what_is_started_and_where(
    launcher: Launcher, arguments: tuple[str, ...], started: str, at_root: bool
) -> None:
    # The app and the tests run at the root; a command stays where its relative paths point.
    launcher.add_python()
    launcher.call(*arguments)
    assert launcher.calls()[-1] == f"-P {started.format(launcher.tools)}"
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
