"""Large libraries are first imported by one thread at a time, and waited for by nobody later."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from views import importing

#: Two modules that import one another, as parts of libraries do, with time to meet in the middle.
LEFT = "import time\ntime.sleep(.2)\nimport {right} as other\ntime.sleep(.3)\nDONE = 1\n"
RIGHT = "import time\ntime.sleep(.2)\nimport {left} as other\nDONE = 1\n"


def test_two_threads_meet_no_module_that_is_half_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [(f"first_left_{k}", f"first_right_{k}") for k in range(3)]
    for left, right in names:
        (tmp_path / f"{left}.py").write_text(LEFT.format(right=right))
        (tmp_path / f"{right}.py").write_text(RIGHT.format(left=left))
    monkeypatch.syspath_prepend(str(tmp_path))
    faults: list[BaseException] = []

    def use(first: str) -> None:
        try:
            importing.load(first)
            # As code does that goes through one library into the other.
            assert sys.modules[first].DONE == sys.modules[first].other.DONE == 1
        except BaseException as error:
            faults.append(error)

    for left, right in names:
        threads = [threading.Thread(target=use, args=(name,)) for name in (left, right)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    assert faults == []


def test_what_is_there_is_not_waited_for() -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with importing.LOCK:
            held.set()
            assert done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    importing.load("json", "pathlib")
    done.set()
    thread.join()
