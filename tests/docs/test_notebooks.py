"""The notebooks of the documentation run, and the page of the Python API is its docstrings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docs.scripts import notebooks, python_api

PATHS = sorted(notebooks.NOTEBOOKS.glob("*.ipynb"))
READ: dict[Path, dict[str, Any]] = {path: json.loads(path.read_text()) for path in PATHS}


def kinds(cell: dict[str, Any]) -> list[list[str]]:
    """Return what kinds of output a cell has."""
    return [sorted(one.get("data", {"text": ""})) for one in cell["outputs"]]


def cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the code cells of a notebook."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_notebooks_are_there() -> None:
    assert [path.stem for path in PATHS] == ["checkpoint", "circle"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_was_run_in_order_and_is_small(path: Path) -> None:
    counts = [cell["execution_count"] for cell in cells(READ[path])]
    assert counts == list(range(1, len(counts) + 1))
    assert any("text/html" in kind for cell in cells(READ[path]) for kind in kinds(cell)[-1:])
    assert path.stat().st_size < 300_000
    assert READ[path]["nbformat"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_shows(path: Path, elsewhere: Path) -> None:
    found = notebooks.executed(READ[path])
    assert list(map(kinds, cells(found))) == list(map(kinds, cells(READ[path])))


def test_a_cell_prints_shows_its_last_value_and_shares_its_names() -> None:
    source = [["x = 2\n", "print(x)\n", "x + 1"], ["y = x"], ["y"]]
    notebook = {"cells": [{"cell_type": "code", "source": one} for one in source]}
    first, second, third = notebooks.executed(notebook)["cells"]
    assert [one.get("text") for one in first["outputs"]] == [["2\n"], None]
    assert first["outputs"][1]["data"] == {"text/plain": ["3"]}
    assert second["outputs"] == []
    assert third["outputs"][0]["data"]["text/plain"] == ["2"]


def test_the_page_of_the_python_api_is_its_docstrings() -> None:
    text = python_api.PAGE.read_text()
    assert python_api.filled(text) == text, "run: python docs/scripts/python_api.py"
    assert text.count("\n### ") == text.count("```pycon")
