"""Read JSON that may be damaged or hostile, and quote foreign text in a sentence.

The one reader for every JSON file that this program did not write in the same run: bytes, nesting
and numbers are bounded, values have the types that a record names, and whatever is wrong is one
`ValueError` (text) or `MMHError` (file), never a RecursionError, KeyError or OverflowError.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from mmh_core.records import MMHError

Record = TypeVar("Record")

MOST_BYTES = 2**26
MOST_DEPTH = 64
#: Integers are kept exactly up to the range of seeds; more digits than this are no number of ours.
_MOST_INTEGER = 2**64
_MOST_QUOTED = 80


def read_json(
    path: Path, noun: str, remedy: str, *, python: bool = False, most_bytes: int = MOST_BYTES
) -> Any:
    """Return the JSON value in a file; `noun` says what the file is, `remedy` what to do.

    Errors: MMHError, naming the file, for one that is missing, no regular file, larger than
    `most_bytes`, not UTF-8 (a BOM is accepted), no JSON or as in `parse_json`.
    """
    try:
        if not path.is_file():
            raise MMHError(f"There is no {noun} {quoted(path.name)}: {remedy}")
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise ValueError(f"it is larger than {most_bytes:,} bytes")
        return parse_json(data, python=python)
    except (OSError, ValueError) as error:
        raise MMHError(
            f"The {noun} {quoted(path.name)} cannot be read ({error_text(error)}): {remedy}"
        ) from error


def parse_json(text: str | bytes, *, python: bool = False, depth: int = MOST_DEPTH) -> Any:
    """Return the JSON value of a text. Errors: ValueError with a short sentence of one line.

    Refused are nesting deeper than `depth`, integers of more than 64 bits, floats past 1.8e308,
    and, unless `python` (what Python itself wrote), NaN, infinities and lone surrogates.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        value = json.loads(
            text,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=None if python else _refused,
        )
    except RecursionError:
        raise ValueError(f"it is nested more than {depth} deep") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON at line {error.lineno}: {error.msg}") from None
    _check(value, depth, surrogates=python)
    return value


def json_record(kind: type[Record], tree: object) -> Record:
    """Return a dataclass made of a JSON object, with every value of the type its field names.

    Lists become tuples where a field wants one; whole numbers are taken for floats. A field with a
    default may be missing. Errors: ValueError that names the field.
    """
    if not isinstance(tree, Mapping):
        raise ValueError(f"a {kind.__name__} is no object but {_type_name(tree)}")
    hints, names, needed = _fields_of(typing.cast(Any, kind))
    if strange := set(tree) - names:
        raise ValueError(f"it has another field {quoted(min(map(str, strange)))}")
    if missing := needed - set(tree):
        raise ValueError(f"it lacks the field {quoted(min(missing))}")
    fields_read = {}
    for name, value in tree.items():
        try:
            fields_read[name] = typed_value(value, hints[name])
        except ValueError as error:
            raise ValueError(f"the field {name} {error}") from None
    try:
        return kind(**fields_read)
    # What a record checks of itself when it is made.
    except (TypeError, ArithmeticError, LookupError, AttributeError, MMHError) as error:
        raise ValueError(error_text(error)) from error


def typed_value(value: Any, hint: Any) -> Any:
    """Return a JSON value as an instance of the type hint; ValueError where it is of another type.

    Knows None, bool, int, float, str, Literal, list, tuple, dict and Mapping with text keys,
    dataclasses and unions of them; Any takes everything.
    """
    if hint is Any or hint is object:
        return value
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _one_of(value, typing.get_args(hint))
    if origin is Literal:
        if isinstance(value, str | int | None) and value in typing.get_args(hint):
            return value
        raise ValueError(f"is {quoted(value)}, none of its choices")
    if origin in (tuple, list):
        return _items(value, origin, typing.get_args(hint))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"is {_type_name(value)}, no object")
        inner = typing.get_args(hint)[1]
        return {str(key): typed_value(item, inner) for key, item in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return json_record(hint, value)
    if hint is float and type(value) is int:
        return float(value)
    if (hint is None or hint is types.NoneType) and value is None:
        return None
    if isinstance(hint, type) and type(value) is hint:
        return value
    name = getattr(hint, "__name__", str(hint))
    raise ValueError(f"is {_type_name(value)}, not {name}")


def quoted(value: object, most: int = _MOST_QUOTED) -> str:
    """Return a value in a form that fits into a sentence: in quotes, on one line, not long."""
    text = value if isinstance(value, str) else _written(value)
    short = repr(text if len(text) <= most else text[: most - 1] + "…")
    return short if isinstance(value, str) else short[1:-1]


def error_text(error: BaseException, most: int = 160) -> str:
    """Return the message of another library's error, in a form that fits into a sentence."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return (text if len(text) <= most else text[: most - 1] + "…").rstrip(".:")


def _integer(digits: str) -> int:
    # Compared as text first: Python refuses thousands of digits with a sentence of its own.
    if len(digits) > 21 or abs(int(digits)) >= _MOST_INTEGER:
        raise ValueError(f"it holds a whole number of {len(digits):,} digits, past 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"it holds the number {quoted(digits, 20)[1:-1]}, past all floats")
    return value


def _refused(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no number of JSON")


def _check(value: Any, depth: int, *, surrogates: bool) -> None:
    """Refuse what is nested too deep, and texts that cannot be written as UTF-8."""
    level: list[Any] = [value]
    for _ in range(depth + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.keys()
                inner += item.values()
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, str) and not surrogates and not _encodes(item):
                raise ValueError("it holds half a character (a lone surrogate)")
        if not inner:
            return
        level = inner
    raise ValueError(f"it is nested more than {depth} deep")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def _fields_of(kind: Any) -> tuple[dict[str, Any], frozenset[str], frozenset[str]]:
    """Return hints of a dataclass, all its fields, and those without a default."""
    entries = [entry for entry in dataclasses.fields(kind) if entry.init]
    needed = (
        entry.name
        for entry in entries
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    )
    names = frozenset(entry.name for entry in entries)
    return typing.get_type_hints(kind), names, frozenset(needed)


def _one_of(value: Any, hints: tuple[Any, ...]) -> Any:
    said_of: list[str] = []
    # The exact type first: a union of int and float keeps an int.
    for hint in sorted(hints, key=lambda hint: type(value) is not hint):
        try:
            return typed_value(value, hint)
        except ValueError as error:
            said_of.append(str(error))
    raise ValueError(said_of[0])


def _items(value: Any, origin: Any, hints: tuple[Any, ...]) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"is {_type_name(value)}, no list")
    if origin is tuple and hints[-1:] != (...,):
        if len(value) != len(hints):
            raise ValueError(f"has {len(value)} entries, not {len(hints)}")
    else:
        hints = (hints[0],) * len(value)
    return origin(typed_value(item, hint) for item, hint in zip(value, hints, strict=True))


def _type_name(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "nothing"}
    return names.get(type(value), f"a {type(value).__name__}")


def _written(value: object) -> str:
    """Return a value's text; Python refuses to write integers of thousands of digits."""
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return f"<{type(value).__name__}>"
