"""The project as a package: what it declares, what it pins, and where its files lie."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmh_core.installation import (
    PROGRAM,
    app_folder,
    assets,
    code_version,
    data_folder,
    is_installed,
)

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNS = [*sorted(ROOT.glob("mmh_core/**/*.py")), *sorted(ROOT.glob("views/**/*.py"))]
RUNS += [*sorted(ROOT.glob("pages/*.py")), ROOT / "app.py"]


def pins(*names: str) -> dict[str, str]:
    """Return the version of each package that files of requirements pin."""
    text = "\n".join((ROOT / name).read_text() for name in names)
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def declared(*extras: str) -> list[Requirement]:
    """Return what the project says that it needs, to run and for these extras."""
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level names that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_everything_imported_is_declared_and_nothing_else() -> None:
    known = packages_distributions()
    names = {name for path in RUNS for name in imported(path)}
    names -= {"mmh_core", "views", *sys.stdlib_module_names}
    needed = {canonicalize_name(known[name][0]) for name in names}
    assert {canonicalize_name(one.name) for one in declared()} == needed


@pytest.mark.parametrize(
    ("files", "extras"),
    [
        (("requirements.txt", "requirements-torch.txt"), ()),
        (("requirements-test.txt", "requirements-torch.txt"), ("test", "checks")),
        (("requirements-docs.txt", "requirements-torch.txt"), ("docs",)),
    ],
)
def test_pins_are_among_what_the_project_allows(
    files: tuple[str, ...], extras: tuple[str, ...]
) -> None:
    pinned = pins(*files)
    wrong = {
        str(one): pinned.get(canonicalize_name(one.name))
        for one in declared(*extras)
        if not one.specifier.contains(pinned.get(canonicalize_name(one.name), "0"))
    }
    assert wrong == {}


def test_what_runs_is_pinned_alike_for_tests_and_without_their_tools() -> None:
    runs, tests = pins("requirements.txt"), pins("requirements-test.txt")
    assert runs.items() < tests.items()
    assert not runs.keys() & {"pytest", "ruff", "mypy", "playwright", "hypothesis", "faiss-cpu"}
    assert not tests.keys() & {"torch", "triton"}
    assert not [name for name in tests if name.startswith(("nvidia-", "cuda-"))]


def test_what_runs_is_pinned_alike_for_the_documentation() -> None:
    runs, docs = pins("requirements.txt"), pins("requirements-docs.txt")
    assert runs.items() < docs.items()
    assert docs.keys() & {"torch", "triton", "mkdocs-material"} == {"mkdocs-material"}


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-test.txt", "requirements-docs.txt"]
)
def test_every_pin_has_a_hash(name: str) -> None:
    entries = re.split(r"\n(?=\S)", (ROOT / name).read_text().strip())
    assert len(entries) > 60
    assert [
        entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)
    ] == []


def test_a_checkout_holds_app_and_assets_and_is_called_by_its_path(tmp_path: Path) -> None:
    assert not is_installed()
    assert app_folder() == ROOT
    assert (assets() / "pocket-sd" / "model_index.json").is_file()
    assert data_folder(tmp_path) == ROOT / ".mmh"
    assert PROGRAM == "./mmh"


def test_no_other_module_asks_where_the_project_lies() -> None:
    # Templates beside a module are its own; what reaches over its folder is the installation's.
    wrong = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in RUNS
        for line in path.read_text().splitlines()
        if "__file__" in line and re.search(r"parents\[|\.parent\b.*\.parent\b|assets", line)
    ]
    assert wrong == []


def test_a_version_of_the_code_leaves_the_app_inside_a_package_out(tmp_path: Path) -> None:
    for name in ("store/a.py", "b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    before = code_version(root=tmp_path)
    (tmp_path / "_app" / "views").mkdir(parents=True)
    (tmp_path / "_app" / "views" / "c.py").write_text("c")
    code_version.cache_clear()
    assert code_version(root=tmp_path) == before
    (tmp_path / "b.py").write_text("d")
    code_version.cache_clear()
    assert code_version(root=tmp_path) != before


def test_the_licence_is_there_and_named() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "Apache-2.0" in (ROOT / "assets" / "README.md").read_text()
