"""The page on intervals lists every interval, who prints it, and what simulates its coverage."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests import test_coverage_of_intervals
from tests.pocket.second import test_second_copy_rates

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "statistics.md"
STATISTICS = ROOT / "mmh_core" / "statistics"
#: What a function returns that makes an interval, by its annotation.
INTERVALS = {"Interval", "Separation"}
#: Those whose annotation does not say so.
OTHERS = {"half_width", "percentile_interval", "reliability"}
#: Arguments of the tests that say of how many cases intervals are.
SIZES = {"among", "captions", "count", "few", "many", "networks", "probes", "prompts", "terms"}
SIZES |= {"positives", "negatives"}
MODULES = (test_coverage_of_intervals, test_second_copy_rates)


def rows() -> dict[str, tuple[set[str], set[str], set[int]]]:
    """Return by interval who prints it, which tests simulate it, and at which sizes."""
    listed = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith(("| of ", "| an area ")):
            _, sizes, name, tests, users = line.strip("| ").split(" | ")
            printed, simulated = (set(re.findall(r"`([^`]+)`", cell)) for cell in (users, tests))
            counts = {int(number) for number in re.findall(r"\d+", sizes)}
            listed[name.strip("`")] = printed, simulated, counts
    return listed


def sizes(test: str) -> set[int]:
    """Return the numbers of cases at which a test simulates an interval."""
    [module] = [module for module in MODULES if hasattr(module, test)]
    function, counts = getattr(module, test), set[int]()
    for mark in getattr(function, "pytestmark", []):
        names = [mark.args[0]] if isinstance(mark.args[0], str) else mark.args[0]
        for values in mark.args[1]:
            case = [values] if len(names) == 1 else values
            counts |= {n for name, n in zip(names, case, strict=True) if name in SIZES}
    return counts


def functions(path: Path) -> list[ast.FunctionDef]:
    tree = ast.parse(path.read_text())
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def intervals() -> set[str]:
    """Return every public function of the statistics that makes an interval."""
    return OTHERS | {
        node.name
        for path in STATISTICS.glob("*.py")
        for node in functions(path)
        if node.returns is not None and ast.unparse(node.returns) in INTERVALS
        if not node.name.startswith("_")
    }


def users(name: str) -> set[str]:
    """Return the modules that take a function from the statistics, by path below their package."""
    return {
        str(path.relative_to(folder)) if folder.name == "mmh_core" else str(path.relative_to(ROOT))
        for folder in (ROOT / "mmh_core", ROOT / "views")
        for path in folder.rglob("*.py")
        if STATISTICS not in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and f"{node.module}".startswith("mmh_core.statistics")
        if any(one.name == name for one in node.names)
    }


def test_the_page_lists_every_interval_and_no_other() -> None:
    assert set(rows()) == intervals() and len(rows()) > 12


@pytest.mark.parametrize("name", sorted(rows()))
def test_who_prints_an_interval_is_listed(name: str) -> None:
    assert rows()[name][0] == users(name)


@pytest.mark.parametrize("name", sorted(rows()))
def test_an_interval_is_simulated_in_a_test_that_is_there(name: str) -> None:
    simulated = rows()[name][1]
    files = (
        ROOT / "tests" / "test_coverage_of_intervals.py",
        ROOT / "tests" / "pocket" / "second" / "test_second_copy_rates.py",
    )
    there = {node.name for path in files for node in functions(path)}
    assert simulated and simulated <= there


@pytest.mark.parametrize("name", sorted(rows().keys() - {"separation"}))
def test_an_interval_is_simulated_at_the_sizes_listed(name: str) -> None:
    _, simulated, counts = rows()[name]
    assert counts == set[int]().union(*(sizes(test) for test in simulated))
