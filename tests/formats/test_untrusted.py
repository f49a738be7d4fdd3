"""Whatever a file of JSON holds, reading it is a value of the right types or one sentence."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from mmh_core.formats.untrusted import (
    error_text,
    json_record,
    parse_json,
    quoted,
    read_json,
    typed_value,
)
from mmh_core.records import MMHError


@dataclass(frozen=True)
class Inner:
    """Hold one number."""

    number: float


@dataclass(frozen=True)
class Outer:
    """Hold one field of every kind."""

    name: str
    count: int
    share: float
    done: bool
    maybe: float | None
    kind: Literal["a", "b"]
    inner: Inner
    many: tuple[Inner, ...]
    pair: tuple[int, str]
    table: Mapping[str, int]
    more: str = ""

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count is negative")


OUTER = Outer("x", 1, 0.5, True, None, "a", Inner(2.0), (Inner(1.0),), (1, "y"), {"k": 3})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "nested more than 64 deep"),
        ("[" * 70 + "]" * 70, "nested more than 64 deep"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested more than 64 deep"),
        ('{"a":' * 100_000, "nested more than 64 deep"),
        ("NaN", "NaN"),
        ("[Infinity]", "Infinity"),
        ("[-Infinity]", "Infinity"),
        ("1e999", "past all floats"),
        ("-1e400", "past all floats"),
        ("9" * 400, "400 digits"),
        ("9" * 5000, "5,000 digits"),
        (str(2**64), "64 bits"),
        ('"\\ud800"', "half a character"),
        ('{"\\udfff": 1}', "half a character"),
        ("[1, 2", "no JSON"),
        ("'a'", "no JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
    ],
)
def test_what_is_no_bounded_json_is_a_short_sentence(text: str | bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse_json(text)
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def test_what_is_json_is_read_as_python_reads_it() -> None:
    value = {"a": [1, 2.5, None, True, "é", 2**63, -1e300], "b": {}}
    assert parse_json(json.dumps(value)) == value
    assert parse_json(b"\xef\xbb\xbf" + json.dumps(value).encode()) == value
    written = json.dumps([float("inf"), "\ud800"])
    assert parse_json(written, python=True) == [float("inf"), "\ud800"]
    deep = "[" * 64 + "]" * 64
    assert parse_json(deep) is not None


def test_a_record_has_the_types_of_its_fields() -> None:
    tree = parse_json(json.dumps(asdict(OUTER)))
    assert json_record(Outer, tree) == OUTER
    assert json_record(Outer, {**tree, "share": 1}).share == 1.0
    assert isinstance(json_record(Outer, {**tree, "share": 1}).share, float)
    without = {name: value for name, value in tree.items() if name != "more"}
    assert json_record(Outer, without) == OUTER
    for name, value, words in (
        ("name", 1, "name is a int, not str"),
        ("count", True, "count is a bool, not int"),
        ("count", 1.0, "count is a float, not int"),
        ("count", -1, "count is negative"),
        ("share", "1", "share is a text, not float"),
        ("share", True, "share is a bool, not float"),
        ("done", 1, "done is a int, not bool"),
        ("maybe", "x", "maybe is a text"),
        ("kind", "c", "none of its choices"),
        ("kind", ["a"], "none of its choices"),
        ("inner", None, "inner a Inner is no object but nothing"),
        ("inner", {"number": "x"}, "number is a text"),
        ("many", {}, "many is an object, no list"),
        ("many", [[]], "a Inner is no object but a list"),
        ("pair", [1], "has 1 entries, not 2"),
        ("pair", ["y", 1], "is a text, not int"),
        ("table", [], "is a list"),
        ("table", {"k": "v"}, "is a text, not int"),
        ("strange", 1, "another field 'strange'"),
    ):
        with pytest.raises(ValueError, match=words):
            json_record(Outer, {**tree, name: value})
    with pytest.raises(ValueError, match="lacks the field 'count'"):
        json_record(Outer, {name: tree[name] for name in tree if name != "count"})
    with pytest.raises(ValueError, match="no object but a list"):
        json_record(Outer, [])


def mutated(tree: Any, draw: random.Random) -> Any:
    """Return the tree with one value somewhere replaced, removed or added."""
    others: list[Any] = [None, True, 0, -1, 2**63, 1e308, "", "x" * 300, [], {}, [[]], {"a": 1}]
    if isinstance(tree, dict) and tree and draw.random() < 0.8:
        key = draw.choice(sorted(tree))
        if draw.random() < 0.1:
            return {name: value for name, value in tree.items() if name != key}
        return {**tree, key: mutated(tree[key], draw)}
    if isinstance(tree, list) and tree and draw.random() < 0.8:
        at = draw.randrange(len(tree))
        return [*tree[:at], mutated(tree[at], draw), *tree[at + 1 :]]
    return draw.choice(others)


def test_any_value_in_any_place_is_a_record_or_a_value_error() -> None:
    draw = random.Random(0)
    tree = parse_json(json.dumps(asdict(OUTER)))
    refused = 0
    for _ in range(3000):
        try:
            found = json_record(Outer, mutated(tree, draw))
        except ValueError as error:
            refused += 1
            assert len(str(error)) < 300 and "\n" not in str(error)
        else:
            assert type(found.share) is float and type(found.pair) is tuple
    assert refused > 1000


def test_a_file_that_cannot_be_read_is_one_sentence_with_the_next_step(tmp_path: Path) -> None:
    loop, pipe, big = tmp_path / "loop", tmp_path / "pipe", tmp_path / "big"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    big.write_bytes(b" " * 2000)
    (tmp_path / "bad").write_bytes(b"\x00{")
    for path in (tmp_path, tmp_path / "none", loop, pipe, big, tmp_path / "bad"):
        with pytest.raises(MMHError, match=r"card .*: make it anew\.$"):
            read_json(path, "card", "make it anew.", most_bytes=1000)
    for name in ("x" * 300, "nul\x00", "line\nbreak"):
        with pytest.raises(MMHError) as caught:
            read_json(tmp_path / name, "card", "make it anew.")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    (tmp_path / "good").write_text('{"a": 1}')
    assert read_json(tmp_path / "good", "card", "make it anew.") == {"a": 1}


def test_quoted_and_said_are_one_short_line() -> None:
    assert quoted("a\nb") == r"'a\nb'"
    assert len(quoted("x" * 10_000)) <= 82
    assert len(quoted(10**5000)) <= 82
    assert quoted([1, 2]) == "[1, 2]"
    assert error_text(ValueError("first\n\tsecond \x1b[31m line.")) == "first second [31m line"
    assert len(error_text(ValueError("x" * 1000))) == 160
    assert error_text(KeyError()) == "KeyError"
    assert error_text(FileNotFoundError(2, "No such file", "x")) == "No such file"


def test_unions_lists_and_plain_values() -> None:
    assert typed_value(1, int | float) == 1 and type(typed_value(1, float | int)) is int
    assert typed_value([1, 2], list[float]) == [1.0, 2.0]
    assert typed_value({"a": [1]}, dict[str, tuple[int, ...]]) == {"a": (1,)}
    with pytest.raises(ValueError, match="is a text, not int"):
        typed_value("x", int)
