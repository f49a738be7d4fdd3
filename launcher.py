"""Set up .venv where that is still to be done, then start the app, the tests or a command.

`./mmh WORDS` runs this as `python3 -I launcher.py python3 WORDS`, with whatever Python it found.
So this file needs the standard library of Python 3.11 only.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TextIO

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
#: There while an installation runs, and after one that was cut off.
UNFINISHED = ROOT / ".venv.unfinished"
#: Holds the number of the process that installs; the system frees the lock when that process ends.
LOCK = ROOT / ".venv.installing"
TORCH = "requirements-torch.txt"
RUN = "requirements.txt"
#: All of RUN, and what tests and checks need.
TEST = "requirements-test.txt"
#: All of RUN, and what builds the documentation.
DOCS = "requirements-docs.txt"
#: What a command needs beside what runs.
MORE = {"test": TEST, "docs": DOCS}
#: How pytest spreads the tests over processes; `auto` is decided in tests/conftest.py.
PARALLEL = ("-n", "auto", "--dist", "worksteal")
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
USAGE = """\
Usage: ./mmh app [OPTIONS]      open the app in the browser; app --help lists the options
       ./mmh test [OPTIONS]     run the tests that are fast; OPTIONS go to pytest
       ./mmh docs [OPTIONS]     build the documentation and show it; docs --help lists the options
       ./mmh commands           list the commands
       ./mmh COMMAND [OPTIONS]  run one of them; COMMAND --help explains it

The first call installs what is needed into .venv beside this file, which takes some minutes;
later calls only start. The first call of `test` adds what tests and checks need, that of `docs`
what builds the documentation.
"""


def say(text: str) -> None:
    """Write a sentence to standard error: the output of a command is its own."""
    print(f"mmh: {text}", file=sys.stderr, flush=True)


def stop(text: str) -> NoReturn:
    """Say what is wrong and what to do about it, and end with status 3."""
    say(text)
    sys.exit(3)


def ready(files: Sequence[str]) -> bool:
    """Return whether .venv works and holds what these files of requirements list."""
    if UNFINISHED.exists() or not all((VENV / name).exists() for name in files):
        return False
    # Where an installation ended well, .venv keeps a copy of what was asked of it.
    return all((VENV / name).read_bytes() == (ROOT / name).read_bytes() for name in files) and (
        works()
    )


def works() -> bool:
    """Return whether .venv has a recent Python and its own pip; not so after a system upgrade."""
    code = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    return PYTHON.exists() and ends_well(PYTHON, "-c", code, stderr=subprocess.DEVNULL)


def ends_well(
    *command: str | Path,
    stdout: TextIO | None = None,
    stderr: int | None = None,
    pass_fds: tuple[int, ...] = (),
) -> bool:
    """Run a command to its end and return whether it did what was asked."""
    try:
        ended = subprocess.run(command, stdout=stdout, stderr=stderr, pass_fds=pass_fds)
    except OSError:
        return False
    return ended.returncode == 0


@contextmanager
def locked() -> Iterator[int]:
    """Hold the lock of the installation, after waiting for whoever holds it now."""
    try:
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        stop(f"{ROOT} cannot be written ({error.strerror}): make it writable for the first call.")
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"process {LOCK.read_text().strip()} is installing, waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        stop(f"{LOCK} cannot be locked ({error.strerror}): move the project to a local disk.")
    try:
        yield lock
    finally:
        os.close(lock)


def pip(lock: int, *arguments: str, quiet: bool = False) -> bool:
    """Run pip in .venv and return whether it did what was asked."""
    options = ["--disable-pip-version-check", "--no-input"]
    if quiet or not sys.stderr.isatty():
        options.append("--quiet")
    command = ["-m", "pip", "install", *options, *arguments]
    # The lock is pip's too: what outlives a killed launcher is still waited for.
    return ends_well(
        PYTHON,
        *command,
        stdout=sys.stderr,
        stderr=subprocess.DEVNULL if quiet else None,
        pass_fds=(lock,),
    )


def cpu_build(system: str) -> bool:
    """Return whether torch comes from where its CPU builds are.

    The usual index has only torch with CUDA for Linux: several GB that need an NVIDIA GPU.
    """
    return system == "linux" and shutil.which("nvidia-smi") is None


def install_torch(lock: int) -> bool:
    """Install torch, which has a build for each kind of machine; return whether it is there."""
    if cpu_build(sys.platform):
        options = ["--no-deps", "--retries", "1", "--timeout", "15", "--index-url", CPU_TORCH]
        if pip(lock, *options, "-r", str(ROOT / TORCH), quiet=True):
            return True
        say("download.pytorch.org is out of reach; taking the build of torch of the usual index.")
    return pip(lock, "-r", str(ROOT / TORCH))


def install(base: str, files: Sequence[str], lock: int) -> None:
    """Put what the last of these files lists into .venv, and torch."""
    if Path(base) == PYTHON:
        stop(
            "python3 is missing: install Python 3.11 or newer "
            "(apt-get install python3 python3-venv)."
        )
    if not ends_well(base, "-c", "import ensurepip, venv", stderr=subprocess.DEVNULL):
        stop(f"{base} cannot make virtual environments: run apt-get install {base}-venv.")
    say("installing into .venv, once; this takes some minutes.")
    if UNFINISHED.exists() or not works():
        remove(VENV)
    UNFINISHED.touch()
    if not (VENV.exists() or ends_well(base, "-m", "venv", VENV, stdout=sys.stderr)):
        advice = f"run apt-get install {base}-venv."
        stop(f"{base} could not make .venv, its message is above: {advice}")
    for name in files:
        (VENV / name).unlink(missing_ok=True)
    if not (pip(lock, "-r", str(ROOT / files[-1])) and install_torch(lock)):
        # pip has put things back as they were; only what is cut off has to start afresh.
        UNFINISHED.unlink()
        stop(
            "the installation failed, pip's message is above: check the network and the disk, "
            "then run the same command again."
        )
    for name in files:
        shutil.copyfile(ROOT / name, VENV / name)
    UNFINISHED.unlink()


def remove(folder: Path) -> None:
    """Remove a folder or a link to one, if it is there."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def start(words: Sequence[str]) -> NoReturn:
    """Become the process that was asked for."""
    # -P and this path: the modules are this folder's, whatever the current folder holds.
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    if words[0] == "test":
        os.chdir(ROOT)
        # The numerical libraries, and what the tests start, compute on one thread each.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        command = ["-m", "pytest", *PARALLEL, *words[1:]]
    else:
        command = ["-m", "mmh_core", *words]
    os.execv(PYTHON, [str(PYTHON), "-P", *command])


def main(base: str, words: Sequence[str]) -> None:
    """Do what was asked, with what it needs installed before."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return
    files = [TORCH, RUN, *([MORE[words[0]]] if words[0] in MORE else [])]
    if not ready(files):
        with locked() as lock:
            # Another call may have finished the work while this one waited.
            if not ready(files):
                install(base, files, lock)
    start(words)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except KeyboardInterrupt:
        sys.exit(130)
