"""Work that can be stopped: a generator that yields wherever that is possible, and returns.

A function of more than one network evaluation yields before each, or before each step of a
generation; closing the generator stops it there. `yield from` passes that on to the inner ones.
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
