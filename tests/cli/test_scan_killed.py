"""The scan command itself, killed without warning and started again until it is through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mmh_core.store.shards import count_rows, read_rows

ROOT = Path(__file__).parents[2]
#: Six batches of the early scan, so that there is something between two kills.
COUNT, PATIENCE = 288, 300.0


def rows_of(folder: Path) -> dict[str, float]:
    """Return the score of each prompt; each is there once."""
    rows = [row for batch in read_rows(folder) for row in batch]
    assert max(Counter(row.prompt for row in rows).values(), default=1) == 1
    return {row.prompt: float(row.values["score"] or 0.0) for row in rows}


@pytest.mark.slow
def test_a_scan_killed_again_and_again_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    table, out = tmp_path / "prompts.txt", tmp_path / "out"
    prompts = [f"a bridge in the fog number {i}" for i in range(COUNT)]
    table.write_text("\n".join(prompts))
    command = [sys.executable, "-m", "mmh_core", "scan", str(table), "--out", str(out)]
    command += ["--fpr", "0", "--no-study", "--device", "cpu"]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before: dict[str, float] = {}
    for _ in range(2):
        process = subprocess.Popen(
            command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + PATIENCE
        # As soon as it has written more than was there.
        while process.poll() is None and (not out.is_dir() or count_rows(out) <= len(before)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        now = rows_of(out)
        # What was written is as it was, and there is more of it.
        assert before.items() < now.items() and set(now) <= set(prompts)
        before = now
    assert len(before) < COUNT
    ended = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert f"{COUNT} prompts" in ended.stdout and f"{len(before)} were cached" in ended.stdout
    now = rows_of(out)
    assert before.items() < now.items() and set(now) == set(prompts)
    assert not list(out.glob(".writing-*"))
