"""Progress as people read it, in a terminal and in a file; places refused; JSON without NaN."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmh_core.cli import output as cli_output
from mmh_core.cli.output import check_writable, run_steps, run_to_end, write_json
from mmh_core.records import MMHError, Progress

#: Seconds at which work yields, and what it says.
WORK = (
    (0.0, "clip: step 1"),
    (0.1, "clip: step 2"),
    (1.0, "clip: step 3"),
    (31.0, "clip: step 4"),
    (31.1, "unet: step 1"),
    (31.2, "Estimating LID at noise scale 0.1"),
    (31.3, "Estimating LID at noise scale 0.25"),
    (31.4, "999 of 1,000 images"),
    (31.5, "1,000 of 1,000 images"),
    (31.6, "1,000 images indexed"),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Let the time be what the test says."""
    now = [0.0]
    with monkeypatch.context() as patch:
        patch.setattr(cli_output.time, "monotonic", lambda: now[0])
        yield now


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let standard error be a terminal from here on; pytest sets it anew before each test."""
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    return found


def work(clock: list[float]) -> Iterator[Progress[int]]:
    for i, (second, message) in enumerate(WORK):
        clock[0] = second
        yield Progress(i / 10, message, i)


def test_a_file_gets_a_line_for_each_stage_and_each_half_minute(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_steps(work(clock)) == len(WORK) - 1
    assert capsys.readouterr().err.splitlines() == [
        "  0%  clip: step 1",
        " 30%  clip: step 4",
        " 40%  unet: step 1",
        " 50%  Estimating LID at noise scale 0.1",
        " 70%  999 of 1,000 images",
        " 90%  1,000 images indexed",
    ]


def test_a_terminal_has_one_line_written_over_itself(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = terminal(monkeypatch)
    assert run_steps(work(clock)) == len(WORK) - 1
    head, *lines = shown.getvalue().split("\r\x1b[K")
    assert head == ""
    assert lines == [
        "  0%  clip: step 1",
        " 20%  clip: step 3",
        " 30%  clip: step 4",
        " 40%  unet: step 1",
        " 50%  Estimating LID at noise scale 0.1",
        " 70%  999 of 1,000 images",
        " 90%  1,000 images indexed\n",
    ]


def test_what_is_said_of_a_failure_begins_in_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> Iterator[Progress[None]]:
        yield Progress(0.5, "Half", None)
        raise MMHError("Do this.")

    shown = terminal(monkeypatch)
    with pytest.raises(MMHError, match="Do this"):
        run_steps(failing())
    assert shown.getvalue() == "\r\x1b[K 50%  Half\n"


def test_work_that_yields_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    with pytest.raises(MMHError, match="gave no result"):
        run_steps(iter(()))
    assert shown.getvalue() == ""


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    check_writable(None, tmp_path / "new", tmp_path / "file", tmp_path / "a" / "b" / "new")
    for path in (tmp_path, tmp_path / "file" / "below", Path("/")):
        with pytest.raises(MMHError, match="cannot be written"):
            check_writable(None, tmp_path / "new", path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_device_is_refused_before_the_work() -> None:
    for path in (Path("/dev/zero"), Path("/dev/stdout")):
        with pytest.raises(MMHError, match="device or a pipe"):
            check_writable(None, path)


def test_json_is_the_same_printed_and_written_and_holds_no_nan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @dataclass(frozen=True)
    class Record:
        values: Tensor
        limits: tuple[float, ...]

    record = Record(torch.tensor([0.5, math.nan]), (1.0, math.inf))
    write_json(record, None)
    write_json(record, tmp_path / "new" / "record.json")
    text = (tmp_path / "new" / "record.json").read_text()
    assert capsys.readouterr().out == text
    assert json.loads(text) == {"values": [0.5, None], "limits": [1.0, None]}
    assert text.endswith("}\n")


def test_work_without_a_result_is_run_to_its_end_where_none_is_expected() -> None:
    done: list[int] = []

    def steps() -> Iterator[Progress[None]]:
        for part in range(3):
            done.append(part)
            yield Progress(part / 2, "Writing", None)

    assert run_to_end(steps()) is None and done == [0, 1, 2]
    assert run_to_end(iter([Progress(1.0, "Finished", 4)])) == 4
