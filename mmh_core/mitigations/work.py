"""Work that can be stopped: a generator that yields wherever that is possible, and returns.

What takes more than one network evaluation yields before each, or before each step of a
generation: whoever stops listening, and closes it, has stopped it there. `yield from` passes
stops on, so that nothing inside a mitigation is out of reach.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")
Report = TypeVar("Report")
Work = Generator[None, None, Result]


def finished(work: Work[Result]) -> Result:
    """Run work to its end and return what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


def ready(value: Result) -> Work[Result]:
    """Return a value that needs no work."""
    yield from ()
    return value


def reporting(work: Work[Result], report: Report) -> Generator[Report, None, Result]:
    """Yield the same report wherever work can be stopped, and return what the work returns."""
    while True:
        yield report
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
