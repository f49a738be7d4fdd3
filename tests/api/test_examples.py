"""The examples of the Python API run in the order of the file, as one session with one model."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest

import mmh_core

FUNCTIONS = [
    found for name in mmh_core.__all__ if inspect.isfunction(found := getattr(mmh_core, name))
]


def test_every_function_has_an_example_and_names_its_errors() -> None:
    lacking = [one.__name__ for one in FUNCTIONS if ">>> " not in (one.__doc__ or "")]
    assert lacking == []
    assert [one.__name__ for one in FUNCTIONS if "Errors:" not in (one.__doc__ or "")] == []


@pytest.mark.slow
def test_the_examples_of_the_api_run(elsewhere: Path) -> None:
    names: dict[str, object] = {}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    report: list[str] = []
    for one in sorted(FUNCTIONS, key=lambda one: one.__code__.co_firstlineno):
        example = parser.get_doctest(
            one.__doc__ or "", names, one.__name__, inspect.getsourcefile(one), 0
        )
        runner.run(example, out=report.append, clear_globs=False)
        names = example.globs
    assert "".join(report) == ""
    assert runner.tries > 20
