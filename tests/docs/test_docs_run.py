"""The commands and Python blocks in README and the documentation run, as a person would run them.

Every line of every shell block is run by a test here, or stands in `NOT_RUN` with what runs in its
place; the page on architecture lists those too.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from mmh_core.pocket.assets import read_world
from mmh_core.text_to_image.folder import CARD
from tests.text_to_image.pipelines import write_pipeline

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TEXT = {
    str(page.relative_to(ROOT)): page.read_text()
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
}

#: Pages whose commands run in their order, with words in capitals replaced.
RUN: dict[str, dict[str, str]] = {
    "README.md": {},
    "docs/tutorials/circle.md": {},
    "docs/tutorials/image.md": {},
    "docs/tutorials/review.md": {},
    "docs/how-to/own-checkpoint.md": {
        "--unet FOLDER": "--unet CHECKPOINT/tiny/unet",
        **{"FOLDER": "CHECKPOINT/tiny", "MODEL": "CHECKPOINT/tiny", "DIR": "long"},
    },
    "docs/how-to/own-training-set.md": {
        "FOLDER": "IMAGES",
        "MODEL": "pocket-sd",
        "DIR": "made",
        "GENERATED": "made",
    },
    "docs/how-to/own-prompts.md": {"FOLDER": "scanned"},
    "docs/how-to/several-processes.md": {},
    "docs/how-to/review-a-case.md": {},
    "docs/how-to/share-a-server.md": {},
}
#: How a line begins that this test does not run -> what runs in its place, or why nothing can.
NOT_RUN = {
    "./mmh test": "it would run itself",
    "./mmh docs": "waits for a browser; `./mmh docs --build` is a step of `.ci/run`",
    "python -m venv .venv": "`tests/test_installed.py` installs the package",
    ".venv/bin/pip install .": "`tests/test_installed.py` installs the package",
    ".venv/bin/mmh app": "`tests/test_installed.py` starts the installed app",
    "pip install torch": "needs a GPU and a network",
    "ssh -L": "needs a second machine",
    "./mmh pocket check": "takes minutes; `tests/pocket` checks the shipped model's figures",
    "./mmh pocket build": "takes hours; `tests/pocket` builds a small one",
    "./mmh benchmark --model sd-1.4": "needs weights and lists that are not here; "
    "`tests/studies/detection` reads such lists",
    "./mmh benchmark --merge": "needs three networks; `tests/studies/detection` merges files",
    "./mmh pocket furnish": "takes an hour; `tests/cli/test_furnish.py` runs its stages",
}


def shell_blocks(page: str) -> list[str]:
    """Return the shell blocks of a page."""
    return re.findall(r"^```sh\n(.*?)^```", TEXT[page], re.DOTALL | re.MULTILINE)


def app_lines() -> list[str]:
    """Return each way in which the documentation starts the app."""
    lines = "".join("".join(shell_blocks(page)) for page in TEXT).splitlines()
    return sorted({line.partition("#")[0].strip() for line in lines if line[:9] == "./mmh app"})


def is_not_run(line: str) -> bool:
    return any(line.startswith(start) for start in NOT_RUN)


def test_every_line_of_every_shell_block_is_run_or_said_not_to_be() -> None:
    left = [
        (page, line)
        for page in TEXT
        if page not in RUN
        for line in "".join(shell_blocks(page)).splitlines()
        if not line.startswith("./mmh app") and not is_not_run(line)
    ]
    assert left == []


def test_what_is_not_run_is_listed_with_its_reason() -> None:
    text = TEXT["docs/architecture.md"]
    lines = [line for page in TEXT for line in "".join(shell_blocks(page)).splitlines()]
    for start, reason in NOT_RUN.items():
        assert f"| `{start}` | {reason} |" in text
        assert any(line.startswith(start) for line in lines), start


def given(place: Path) -> None:
    """Write what the pages take for granted: the program, prompts, images, and a case."""
    program = place / "mmh"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mmh_core "$@"\n')
    program.chmod(0o755)
    world = read_world(ROOT / "assets" / "pocket-sd")
    (place / "IMAGES").mkdir()
    (place / "INDEX").mkdir()
    lines = ["file_name,text"]
    for number, image in enumerate(world.images[:12]):
        Image.fromarray(image).save(place / "IMAGES" / f"{number}.png")
        lines.append(f"{number}.png,a caption")
    (place / "captions.csv").write_text("\n".join(lines) + "\n")
    shutil.copy(place / "IMAGES" / "0.png", place / "image.png")
    reference = [f"a red boat at sea, {number}" for number in range(20)]
    prompts = ["Mira Verhage in a green coat, head and shoulders, warm light", *reference[:7]]
    # A benchmark needs ten of both.
    labelled = [f'"{prompts[0]}, {number}",memorized' for number in range(10)]
    labelled += [f'"{one}",normal' for one in reference[:10]]
    (place / "prompts.txt").write_text("\n".join(prompts) + "\n")
    (place / "reference.txt").write_text("\n".join(reference) + "\n")
    (place / "prompts.csv").write_text("\n".join(["prompt", *(f'"{one}"' for one in prompts)]))
    (place / "labelled.csv").write_text("\n".join(["prompt,label", *labelled]))
    shutil.copy(ROOT / "assets" / "review" / "demonstration.zip", place / "case.zip")


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(block: str, place: Path) -> str:
    """Run a block by the shell, to its end, and return what it prints."""
    ended = subprocess.run(
        ["sh", "-e", "-c", block],
        cwd=place,
        env=environment(),
        input=b"a password of some length\n",
        capture_output=True,
        timeout=900,
    )
    assert ended.returncode == 0, f"{block}: {ended.stderr.decode()}"
    return ended.stdout.decode()


def names_of_the_queue(place: Path) -> dict[str, str]:
    """Return a queue that the case makes, and its seal."""
    run("./mmh review import case.zip", place)
    queue = run("./mmh review list", place).split()[0]
    seal = re.search(r"seal ([0-9a-f]{64})", run("./mmh review verify", place))
    assert seal is not None
    return {"QUEUE": queue, "SEAL": seal[1]}


def checkpoint_of_noise(place: Path) -> None:
    """Write a model of random weights, which is calibrated and measured in a minute."""
    folder = write_pipeline(place / "CHECKPOINT", "tiny")
    (folder / CARD).write_text(json.dumps({"steps": 6, "guidance": 2.0}))


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_every_command_of_a_page_runs_in_its_order(page: str, tmp_path: Path) -> None:
    given(tmp_path)
    words = dict(RUN[page])
    if "CHECKPOINT/tiny" in words.values():
        checkpoint_of_noise(tmp_path)
    if "/review" in page:
        words |= names_of_the_queue(tmp_path)
    if page.endswith("review-a-case.md"):
        run(f"./mmh review remove {words['QUEUE']} --yes", tmp_path)
    for block in shell_blocks(page):
        for word, value in words.items():
            block = re.sub(rf"(?<!\w){word}\b", value, block)
        lines = block.splitlines(keepends=True)
        kept = [one for one in lines if not one.startswith("./mmh app") and not is_not_run(one)]
        run("".join(kept), tmp_path)
    if page.endswith("several-processes.md"):
        rows = pd.concat(map(pd.read_parquet, tmp_path.glob("scanned/*/rows-*.parquet")))
        assert len(rows) == 8


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(port: int, seconds: float) -> Iterator[bool]:
    """Yield, now and then until the time is up, whether the app is healthy."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health") as answer:
                yield answer.status == 200
        except (urllib.error.URLError, ConnectionError):
            yield False
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.parametrize("line", app_lines())
def test_every_way_to_start_the_app_starts_it(line: str, tmp_path: Path) -> None:
    given(tmp_path)
    # What the line names is made before, and nothing else: each command takes seconds to start.
    if "INDEX" in line:
        run("./mmh index IMAGES --captions captions.csv --out MADE", tmp_path)
    if "--users" in line:
        run("./mmh user Ada --users users.txt", tmp_path)
    (tmp_path / "MODELS").mkdir()
    port = free_port()
    is_there = "--models" in line or "--server-files" in line
    words = {"FOLDER": "MODELS" if is_there else "DATA"}
    words |= {"INDEX": "MADE"}
    if "--index-images" in line:
        line = line.replace("--index-images FOLDER", "--index-images IMAGES")
    for word, value in words.items():
        line = re.sub(rf"\b{word}\b", value, line)
    line = line.replace("app", f"app --server.headless true --server.port {port}", 1)
    server = subprocess.Popen(
        shlex.split(line),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert any(answers(port, 120))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def python_blocks() -> list[tuple[str, str]]:
    """Return the Python blocks, each with its page and number."""
    return [
        (f"{page}-{number}", block)
        for page, text in TEXT.items()
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        )
    ]


def scan_rows(folder: Path) -> None:
    """Write two shards as a scan leaves them."""
    folder.mkdir(parents=True)
    for row, score in enumerate((0.5, 2.5)):
        frame = pd.DataFrame({"identity": [str(row)], "score": [score], "flagged": [score > 1]})
        frame.to_parquet(folder / f"rows-{row:09}-{row:09}.parquet", index=False)


#: Blocks that go on from a scan, run below on one.
AFTER_A_SCAN = {"docs/how-to/own-prompts.md-0": ".", "docs/how-to/several-processes.md-0": "part"}


@pytest.mark.parametrize(("where", "below"), AFTER_A_SCAN.items())
def test_the_results_of_a_scan_are_read_as_described(
    where: str, below: str, tmp_path: Path
) -> None:
    scan_rows(tmp_path / "scan" / below)
    names: dict[str, object] = {"FOLDER": tmp_path / "scan"}
    exec(compile(dict(python_blocks())[where], where, "exec"), names)
    rows = names["rows"]
    assert isinstance(rows, pd.DataFrame)
    assert rows.score.tolist() == [0.5, 2.5]
    if "own-prompts" in where:
        flagged = names["flagged"]
        assert isinstance(flagged, pd.DataFrame)
        assert flagged.identity.tolist() == ["1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "block"), [one for one in python_blocks() if one[0] not in AFTER_A_SCAN]
)
def test_every_other_python_block_runs(where: str, block: str, tmp_path: Path) -> None:
    # Of its own process and folder, as a person runs it.
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    ended = subprocess.run(
        [sys.executable, "-c", block],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=600,
    )
    assert ended.returncode == 0, f"{where}: {ended.stderr.decode()}"
