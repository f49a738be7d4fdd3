"""The command that shows the documentation: what it starts, and what it says where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAND_IN = "import os, sys; print(*sys.argv[1:], os.environ['NO_MKDOCS_2_WARNING'])\n"


@pytest.mark.parametrize(
    ("words", "started"),
    [
        (("--build",), ["build", "--config-file", str(ROOT / "mkdocs.yml"), "1"]),
        (
            (),
            [
                *("serve", "--config-file", str(ROOT / "mkdocs.yml")),
                *("--dev-addr", "127.0.0.1:8502", "1"),
            ],
        ),
        (
            ("--port", "9000"),
            [
                *("serve", "--config-file", str(ROOT / "mkdocs.yml")),
                *("--dev-addr", "127.0.0.1:9000", "1"),
            ],
        ),
    ],
)
def test_mkdocs_is_started_with_the_project_s_configuration(
    words: tuple[str, ...], started: list[str], tmp_path: Path
) -> None:
    (tmp_path / "mkdocs.py").write_text(STAND_IN)
    # Called from another folder; the stand-in is found first.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "mmh_core", "docs", *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == started


def test_without_mkdocs_the_next_step_is_said(tmp_path: Path) -> None:
    code = (
        "from mmh_core.cli import documentation\n"
        "from mmh_core.cli.app import main\n"
        "documentation.find_spec = lambda name: None\n"
        "main(['docs', '--build'])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert "Error: mkdocs-material is not installed here: run `./mmh docs`" in ended.stderr
    assert "Traceback" not in ended.stderr
