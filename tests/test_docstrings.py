"""Docstrings of the core name things: a class is no action on what it holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

CORE = Path(__file__).parents[1] / "mmh_core"
FOLDERS = ("memorization", "detectors", "mitigations", "subject", "studies", "pocket")
#: First words of a class docstring that act on the class instead of naming it.
ACTIONS = frozenset(
    [
        "Hold",
        "Say",
        "Tell",
        "Name",
        "Be",
        "Draw",
        "Report",
        "Make",
        "Halve",
        "Map",
        "Score",
        "Read",
        "Keep",
        "Put",
        "Give",
        "Know",
        "Find",
    ]
)

#: By folder and module of the project: the nodes of its syntax tree.
Nodes = dict[str, dict[Path, tuple[ast.AST, ...]]]


@pytest.fixture(scope="module")
def nodes() -> Nodes:
    """Return the syntax trees of core and app, which hold memory until this module ends."""
    return {
        folder: {
            path: tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            for path in sorted(CORE.with_name(folder).rglob("*.py"))
        }
        for folder in ("mmh_core", "views", "pages")
    }


def test_a_class_docstring_names_the_thing(nodes: Nodes) -> None:
    first = {
        (str(path.relative_to(CORE)), node.name): (ast.get_docstring(node) or "").split(" ")[0]
        for path, tree in nodes["mmh_core"].items()
        if path.relative_to(CORE).parts[0] in FOLDERS
        for node in tree
        if isinstance(node, ast.ClassDef)
    }
    assert {path.split("/")[0] for path, _ in first} == set(FOLDERS)
    assert {name: word for name, word in first.items() if word in ACTIONS or not word} == {}


def test_one_class_name_names_one_class(nodes: Nodes) -> None:
    homes: dict[str, list[str]] = {}
    for path, tree in (nodes["mmh_core"] | nodes["views"]).items():
        for node in tree:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(f"{path.name}:{node.lineno}")
    assert len(homes) > 200
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


#: Names that say nothing of what a value is.
VAGUE = frozenset(
    ["found", "said", "known", "told", "asked", "wanted", "mine", "theirs", "heard", "thing"]
)
#: Fields of records in files that older versions wrote.
STORED = frozenset(
    [
        ("Measured", "found"),
        ("ScanState", "known"),
    ]
)


@pytest.mark.parametrize("folder", ["mmh_core", "views", "pages"])
def test_a_name_says_what_its_value_is(folder: str, nodes: Nodes) -> None:
    vague = []
    for path, tree in nodes[folder].items():
        fields = {
            id(line.target): (node.name, line.target.id)
            for node in tree
            if isinstance(node, ast.ClassDef)
            for line in node.body
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        }
        for node in tree:
            is_bound = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            name = node.arg if isinstance(node, ast.arg) else node.id if is_bound else ""
            if name in VAGUE and fields.get(id(node)) not in STORED:
                vague.append(f"{path.name}:{node.lineno} {name}")
    assert vague == []


#: Beginnings and plurals that have to be read twice: an LID is estimated, an image generated.
TWICE = re.compile(
    r"^(Drawing|Reading LID|Reading prompts)\b|prompt\(s\)|image\(s\)|row\(s\)|item\(s\)"
    r"|possible from|[Ll]earned LID|windows of text|at or below all|[Ww]hatever was fitted"
)


@pytest.mark.parametrize("folder", ["mmh_core", "views", "pages"])
def test_progress_and_labels_say_what_is_done(folder: str, nodes: Nodes) -> None:
    texts = [
        (path.name, node.value)
        for path, tree in nodes[folder].items()
        for node in tree
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [(name, text) for name, text in texts if TWICE.search(text)] == []
    assert [bool(TWICE.search(text)) for text in ("Drawing starts", "learned LID", "f(x)")] == [
        *(True, True),
        False,
    ]
