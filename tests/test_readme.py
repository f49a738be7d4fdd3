"""What the README tells people to run is there, and runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import missing_from_cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SCRIPTS = sorted(set(re.findall(r"python (benchmarks/\w+\.py)", README)))


def commands() -> list[tuple[str, ...]]:
    """Return the commands in the README, each as its words up to the end of its line or quote."""
    return sorted({tuple(found.split()) for found in re.findall(r"\./mmh ([^`\n#|]+)", README)})


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_option_of_the_readme_exists(words: tuple[str, ...]) -> None:
    assert missing_from_cli(words) == ""


def test_the_readme_names_every_benchmark_and_no_other() -> None:
    assert sorted(f"benchmarks/{path.name}" for path in ROOT.glob("benchmarks/*.py")) == SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_benchmark_starts_from_any_folder(script: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / script, "--help"], cwd=tmp_path, capture_output=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert b"usage:" in ended.stdout


def test_every_image_and_file_that_the_readme_links_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r'src="([^":]+)"', README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
