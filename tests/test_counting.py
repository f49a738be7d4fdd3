"""Counts in words, and that nothing else chooses between singular and plural."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from mmh_core.counting import agreeing, plural


@pytest.mark.parametrize(
    ("noun", "one", "many"),
    [
        ("memorized caption", "1 memorized caption", "1,204 memorized captions"),
        ("copy", "1 copy", "1,204 copies"),
        ("near-duplicate", "1 near-duplicate", "1,204 near-duplicates"),
        ("day", "1 day", "1,204 days"),
        ("batch", "1 batch", "1,204 batches"),
        ("epoch", "1 epoch", "1,204 epochs"),
        ("index", "1 index", "1,204 indexes"),
    ],
)
def test_a_count_has_its_noun(noun: str, one: str, many: str) -> None:
    assert (plural(1, noun), plural(1204, noun)) == (one, many)
    assert plural(0, noun) == many.replace("1,204", "0")


def test_a_noun_with_words_behind_it_has_a_plural_of_its_own() -> None:
    named = ("copy of an image", "copies of an image")
    assert [plural(count, *named) for count in (1, 2)] == ["1 copy of an image", f"2 {named[1]}"]


def test_a_verb_agrees() -> None:
    assert [agreeing(count, "is", "are") for count in (0, 1, 2)] == ["are", "is", "are"]


VERBS = {("is", "are"), ("was", "were"), ("has", "have"), ("does", "do"), ("it", "them")}


def chooses_by_count(node: ast.AST) -> bool:
    """Return whether an expression takes one of two forms of a word by whether a count is one."""
    if not isinstance(node, ast.IfExp) or not isinstance(node.test, ast.Compare):
        return False
    limit = node.test.comparators[0]
    if not isinstance(limit, ast.Constant) or limit.value not in (1, 2):
        return False
    first, other = text_of(node.body), text_of(node.orelse)
    return inflected(first, other) or inflected(other, first)


def text_of(node: ast.AST) -> str:
    """Return a text, numbers in it as 1; another expression is a word of its own."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "1"
    return str(node.value) if isinstance(node, ast.Constant) else ast.dump(node)


def inflected(one: str, many: str) -> bool:
    """Return whether two texts differ by the number of a noun or verb alone."""
    words, others = one.split(), many.split()
    if not words or not others:
        return {one, many} == {"", "s"}
    if len(words) != len(others) or words == others:
        return one == "y" and many == "ies"
    pairs = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    return all(pair in VERBS or pair[1] in (f"{pair[0]}s", f"{pair[0][:-1]}ies") for pair in pairs)


def unguarded(node: ast.AST) -> list[str]:
    """Return what of an f-string has a length before a plural, which one item makes wrong."""
    if not isinstance(node, ast.JoinedStr):
        return []
    return [
        after.value
        for before, after in pairwise(node.values)
        if isinstance(before, ast.FormattedValue) and isinstance(before.value, ast.Call)
        if isinstance(before.value.func, ast.Name) and before.value.func.id == "len"
        # A constant, in capitals, is what it is.
        if not ast.unparse(before.value.args[0]).isupper()
        if isinstance(after, ast.Constant) and isinstance(after.value, str)
        if re.match(r" ([a-z-]+ )?[a-z-]+[^us]s\b(?! the)", after.value)
    ]


def choices(source: str) -> list[int]:
    """Return the lines of a module that choose between singular and plural by themselves."""
    nodes = list(ast.walk(ast.parse(source)))
    return [getattr(node, "lineno", 0) for node in nodes if chooses_by_count(node)]


def lengths(source: str) -> list[int]:
    """Return the lines of a module with a length that stands before a plural as it is."""
    nodes = list(ast.walk(ast.parse(source)))
    return [getattr(node, "lineno", 0) for node in nodes if unguarded(node)]


ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("mmh_core", "views", "pages", "docs/scripts")
    for path in (ROOT / folder).rglob("*.py")
    if path.name != "counting.py"
)


#: What a benchmark prints, on lists that may hold one prompt of a kind.
OF_BENCHMARKS = [
    path
    for path in SOURCES
    if re.search(r"benchmark|studies/(detection|mitigation)|_tables|docs/", str(path))
]


def lines_of(count: Callable[[str], list[int]], paths: Sequence[Path]) -> dict[str, list[int]]:
    read = {str(path.relative_to(ROOT)): count(path.read_text()) for path in paths}
    return {name: lines for name, lines in read.items() if lines}


def test_nothing_else_chooses_between_singular_and_plural() -> None:
    assert len(SOURCES) > 300 and lines_of(choices, SOURCES) == {}


def test_a_benchmark_counts_one_of_everything() -> None:
    assert len(OF_BENCHMARKS) > 40 and lines_of(lengths, OF_BENCHMARKS) == {}


@pytest.mark.parametrize(
    "source",
    [
        "f\"{n} item{'' if n == 1 else 's'}\"",
        "'1 image' if len(x) == 1 else f'{len(x)} images'",
        "'is' if n < 2 else 'are'",
        "'1 prompt is' if n == 1 else f'{n:,} prompts are'",
        "'copies' if n > 1 else 'copy'",
        'f\'cop{"y" if n == 1 else "ies"}\'',
    ],
)
def test_a_choice_is_noticed(source: str) -> None:
    assert choices(source) == [1]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("f'{len(x):,} memorized captions of the half'", [1]),
        ("f'{len(x)} seeds each'", [1]),
        ("f'{len(x)} of the captions'", []),
        ("f'{len(x)} less'", []),
        ("f'{count} seeds'", []),
    ],
)
def test_a_length_before_a_plural_is_noticed(source: str, lines: list[int]) -> None:
    assert lengths(source) == lines


@pytest.mark.parametrize(
    "source", ["1 if n == 1 else 2", "'once' if n == 1 else f'{n} times'", "'y' if n == 1 else y"]
)
def test_what_is_no_number_of_a_word_passes(source: str) -> None:
    assert choices(source) == []
