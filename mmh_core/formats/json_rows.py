"""Read tables that are JSON: one value a line, a list, or an object, in bounded memory.

A list is read value by value and lines one by one; an object has to be read as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmh_core.formats.columns import (
    MAX_COLUMNS,
    Cells,
    Reason,
    Table,
    TextColumn,
    check_count,
    is_usual,
)
from mmh_core.formats.texts import MAX_LINE, encoding_of, text_lines
from mmh_core.records import MMHError

#: Bytes of a file that is one object, and how many values it may have.
MAX_OBJECT = 2**26
MAX_VALUES = 2**22
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".jsonlines")
_LINES = _SUFFIXES[1:]
_CHUNK = 2**16
_BLANK = " \t\r\n"
#: What may follow "[" and ",", where no sign is expected.
_VALUE_OR_END = ""
_TOO_DEEP = "it is nested too deeply"

Row = Mapping[str, Any] | Reason


def is_json(path: Path) -> bool:
    """Return whether a file is JSON, by its name or by how it begins."""
    if path.suffix.casefold() in _SUFFIXES:
        return True
    if path.suffix.casefold() == ".txt":
        return False
    start = next((line for line in text_lines(path) if line.strip()), "").strip()
    return start[:1] in ("{", "[") and (start[1:].lstrip()[:1] in ("", '"', "{", "[", "}", "]"))


def json_table(path: Path) -> Table:
    """Return a JSON file as a table: rows are objects by column, or texts (column prompt).

    Columns are those of all rows. Numbers stand as they were written. Errors: MMHError for what is
    damaged, too large, or no table.
    """

    def values() -> Iterator[Row]:
        yield from _lines(path) if _is_lines(path) else _document(path)

    names: dict[str, None] = {}
    count, wrong = 0, ""
    for count, value in enumerate(values(), start=1):
        if isinstance(value, str):
            wrong = wrong or f"row {count:,} was left out because {value}"
        else:
            names.update(dict.fromkeys(value))
            check_count(list(names), path.name)
    if not count:
        raise MMHError(f"{path.name} has no rows: write an object for each, in a list or a line.")
    if not names:
        wrong = wrong or 'its objects are empty: write {"prompt": ...}'
        raise MMHError(f"No row of {path.name} can be read: {wrong}.")
    columns_of_table = tuple(names)

    def rows(columns: Sequence[TextColumn]) -> Iterator[Cells]:
        for value in values():
            yield value if isinstance(value, str) else _cells(value, columns_of_table, columns)

    return Table(columns_of_table, rows)


def _cells(value: Mapping[str, Any], names: Sequence[str], columns: Sequence[TextColumn]) -> Cells:
    cells = []
    for column in columns:
        cell = None if column.index < 0 else value.get(names[column.index])
        if column.plain and isinstance(cell, list | dict):
            if not (isinstance(cell, list) and len(cell) == 1 and isinstance(cell[0], str)):
                name = names[column.index][:40]
                return f"its {name} is no text but a list or an object: write text"
            cell = cell[0]
        cells.append(_text(cell)[: column.longest + 1])
    return tuple(cells)


def _text(value: Any) -> str:
    """Return the text form of a value; texts in a list are separated by semicolons."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _decoder() -> json.JSONDecoder:
    # Numbers as texts, as they were written: 1.10 stays 1.10, and no digit is rounded away.
    return json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=lambda _: None)


def _row(value: Any) -> Row:
    """Return a value as a row, or why it is none."""
    if isinstance(value, str):
        return {"prompt": value}
    if isinstance(value, dict):
        return value
    return 'it is no object and no text: write {"prompt": ...}'


def _is_lines(path: Path) -> bool:
    """Return whether a file has one value a line: by its first lines, in doubt by its name.

    A list, and an object that begins with a line of its own, are no lines whatever the name says.
    """
    named = path.suffix.casefold() in _LINES
    filled = (line for line in text_lines(path) if line.strip(_BLANK + "\ufeff"))
    first, second = next(filled, "").strip(_BLANK + "\ufeff"), next(filled, "")
    try:
        value = _decoder().decode(first.removesuffix(","))
    except (ValueError, RecursionError):
        return named and first[:1] != "[" and first != "{"
    if isinstance(value, list):
        return bool(second) and named
    return named or (bool(second) and isinstance(value, str | dict))


def _lines(path: Path) -> Iterator[Row]:
    decoder = _decoder()
    for line in text_lines(path):
        if not line.strip():
            continue
        if len(line) >= MAX_LINE:
            yield f"it is longer than {MAX_LINE:,} characters: shorten it"
            continue
        try:
            # Lines taken out of a list end in its commas.
            yield _row(decoder.decode(line.strip().removesuffix(",")))
        except RecursionError:
            yield f"{_TOO_DEEP}: write a flat object"
        except ValueError as error:
            yield f"it is no JSON ({_reason(error)}): write one object a line"


def _document(path: Path) -> Iterator[Row]:
    start = next((line for line in text_lines(path) if line.strip()), "").lstrip(_BLANK + "\ufeff")
    try:
        if start.startswith("["):
            yield from _listed(_elements(path))
        else:
            yield from _object(path)
    except RecursionError:
        raise MMHError(
            f"{path.name} cannot be read, for {_TOO_DEEP}: write a flat list."
        ) from None
    except ValueError as error:
        raise MMHError(
            f"{path.name} cannot be read as JSON ({_reason(error)}): write a list of objects, or "
            "one object a line in a file ending in .jsonl."
        ) from error


def _reason(error: ValueError) -> str:
    return str(error)[:120]


def _elements(path: Path) -> Iterator[Any]:
    """Yield the values of a list one by one. Errors: ValueError, RecursionError."""
    decoder, text, at, closed = _decoder(), "", 0, False
    chunks = _chunks(path)
    expected = "["
    while True:
        while at < len(text) and text[at] in _BLANK:
            at += 1
        if at == len(text):
            text, at = next(chunks, ""), 0
            if not text:
                break
            continue
        if closed:
            raise ValueError(f"something follows the list: {text[at : at + 20]!r}")
        letter = text[at]
        if letter == "]" and expected != "[":
            at, closed = at + 1, True
        elif letter == expected:
            at, expected = at + 1, _VALUE_OR_END
        elif expected:
            raise ValueError(f"{expected!r} expected, not {text[at : at + 20]!r}")
        else:
            value, text, at = _value(decoder, text, at, chunks)
            expected = ","
            yield value
    if not closed:
        raise ValueError("the list does not end")


def _value(
    decoder: json.JSONDecoder, text: str, at: int, chunks: Iterator[str]
) -> tuple[Any, str, int]:
    """Return the value that begins at a place, with the text from there on and its end."""
    text = text[at:]
    while True:
        try:
            value, end = decoder.raw_decode(text)
            # A number may go on in the next piece.
            if end < len(text):
                return value, text, end
        except ValueError:
            if len(text) > MAX_LINE:
                raise
            value, end = None, -1
        if not (more := _more(chunks, len(text))):
            if end < 0:
                decoder.raw_decode(text)
            return value, text, end
        text += more


def _more(chunks: Iterator[str], least: int) -> str:
    """Return more than `least` further characters, or all that are left.

    The text so doubles each time, and is parsed again only a few times.
    """
    pieces, size = list[str](), 0
    while size <= least and (piece := next(chunks, "")):
        pieces.append(piece)
        size += len(piece)
    return "".join(pieces)


def _chunks(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        encoding = encoding_of(file.read(4))
    errors = "surrogateescape" if encoding.startswith("utf-8") else "surrogatepass"
    with path.open(encoding=encoding, errors=errors) as file:
        while text := file.read(_CHUNK):
            yield text


def _listed(values: Iterator[Any]) -> Iterator[Row]:
    """Yield the rows of a list: objects, texts, or a list of column names and lists of cells."""
    head: list[str] | None = None
    for value in values:
        if not isinstance(value, list):
            yield _row(value)
        elif head is None and all(isinstance(item, str) for item in value):
            head = value
            if not any(map(is_usual, head[:MAX_COLUMNS])):
                raise ValueError("its rows are lists, and the first one has no names of columns")
        elif head is not None and len(value) == len(head):
            yield dict(zip(head, value, strict=True))
        else:
            yield "it is a list of another length than the first one: write objects"


def _object(path: Path) -> Iterator[Row]:
    """Yield the rows of a file that is one object, or several one after another.

    Errors: ValueError, RecursionError.
    """
    if path.stat().st_size > MAX_OBJECT:
        raise ValueError(f"one object of more than {MAX_OBJECT // 2**20} MiB")
    text = "".join(_chunks(path))
    if sum(text.count(sign) for sign in "[{,") > MAX_VALUES:
        raise ValueError(f"one object of more than {MAX_VALUES:,} values")
    decoder, at, values = _decoder(), 0, list[Any]()
    text = text.strip(_BLANK + "\ufeff")
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        values.append(value)
        while at < len(text) and text[at] in _BLANK:
            at += 1
    if len(values) > 1:
        # Values one after the other, of which each may have several lines.
        yield from map(_row, values)
    elif values and isinstance(values[0], dict):
        yield from _rows_of(values[0])
    else:
        raise ValueError("it is no list and no object")


def _rows_of(value: dict[str, Any]) -> Iterator[Row]:
    """Yield the rows of an object of columns, of rows by key, or of one list of rows."""
    if set(value) >= {"columns", "data"} and isinstance(value["columns"], list):
        yield from _listed(iter([[str(name) for name in value["columns"]], *_list(value["data"])]))
        return
    if not value:
        return
    usual = {name: held for name, held in value.items() if is_usual(name)}
    columns = {name: _list(held) for name, held in value.items() if isinstance(held, list | dict)}
    if any(isinstance(held, list | dict) for held in usual.values()):
        yield from _columns(columns)
    elif usual and not columns:
        yield value
    elif value and all(isinstance(held, dict) for held in value.values()):
        # Rows by key, as some tools keep captions by file.
        yield from ({"key": name} | held for name, held in value.items())
    elif value and all(isinstance(held, str) for held in value.values()):
        yield from ({"key": name, "text": held} for name, held in value.items())
    elif lists := [held for held in value.values() if isinstance(held, list)]:
        if len(lists) > 1:
            raise ValueError("an object of several lists, none of which has a usual name")
        yield from _listed(iter(lists[0]))
    else:
        raise ValueError("an object without columns")


def _list(held: Any) -> list[Any]:
    """Return the cells of a column, which may be an object by row."""
    if isinstance(held, dict):
        return list(held.values())
    return held if isinstance(held, list) else []


def _columns(columns: Mapping[str, list[Any]]) -> Iterator[Row]:
    lengths = {len(held) for held in columns.values()}
    if len(lengths) > 1:
        raise ValueError("columns of different lengths")
    names = list(columns)
    for cells in zip(*columns.values(), strict=True):
        yield dict(zip(names, cells, strict=True))
