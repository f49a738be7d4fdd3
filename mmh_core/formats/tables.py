"""Open a table that nobody has checked, in any usual form: the one reader of tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mmh_core.formats.columns import Cells, Table, TextColumn
from mmh_core.formats.csv_rows import csv_table
from mmh_core.formats.json_rows import is_json, json_table
from mmh_core.formats.parquet_rows import is_parquet, parquet_table
from mmh_core.formats.texts import MAX_LINE, half_character, text_lines
from mmh_core.records import MMHError

MAX_ROWS = 1_000_000
MAX_BYTES = 2**30
#: What the name of a table may end in, for those who choose a file.
SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")
#: What files that people take for tables begin with, what they are and what to do with them.
_NO_TABLES = (
    (
        b"PK\x03\x04",
        "a zip archive, as workbooks of Excel and LibreOffice are: save the sheet as CSV in "
        "UTF-8, or unpack the archive",
    ),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old workbook of Excel: save the sheet as CSV in UTF-8",
    ),
    (b"\x1f\x8b", "packed by gzip: unpack it"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd: unpack it"),
    *((b"BZh%d1AY&SY" % level, "packed by bzip2: unpack it") for level in range(1, 10)),
    (b"\xfd7zXZ\x00", "packed by xz: unpack it"),
    (b"ARROW1\x00\x00", "an Arrow (Feather) file: save it as Parquet"),
    (b"\xff\xff\xff\xff", "a stream of Arrow: save it as Parquet"),
    (b"SQLite format 3\x00", "a database of SQLite: export the table as CSV in UTF-8"),
    (b"version https://git-lfs.", "a pointer of Git LFS, not the file: fetch it by git lfs pull"),
    *(
        (mark, "a web page: download the table itself")
        for mark in (b"<!DOCTYPE html", b"<!doctype html", b"<html", b"<HTML")
    ),
    (b"<?xml", "XML: save the table as CSV in UTF-8"),
    (b"{\\rtf", "a text with formats (RTF): save it as plain text in UTF-8"),
    (b"\x89PNG", "an image: name a table"),
    (b"\xff\xd8\xff", "an image: name a table"),
    (b"\x89HDF", "an HDF5 file: save the table as CSV or Parquet"),
    (b"\x93NUMPY", "an array of NumPy: save it as CSV or Parquet"),
    (b"Obj\x01", "an Avro file: save it as Parquet"),
    (b"%PDF-", "a PDF: save the table as CSV in UTF-8"),
    *(
        (b"\x80" + bytes([n]), "a pickle of Python: save it as CSV or Parquet")
        for n in range(2, 6)
    ),
)


#: How a table is unpacked in a terminal, by what its file begins with.
_UNPACKED = {
    b"\x1f\x8b": ", in a terminal by gunzip -k {}",
    b"\xfd7zXZ\x00": ", in a terminal by xz -dk {}",
}


def open_table(path: Path, *, most: int = MAX_ROWS, largest: int = MAX_BYTES) -> Table:
    """Return a table whose header has been read; its rows are read lazily.

    By what they hold, Parquet and JSON (lines, a list, an object) are distinguished from CSV
    (separated by commas, semicolons, tabs or bars); a file ending in .txt has one prompt a line.
    Texts may be in UTF-8, UTF-16 or UTF-32. Errors: MMHError for a file that is missing, damaged,
    or too large in bytes (`largest`), columns or rows (`most`, found out in the end).
    """
    try:
        if path.is_dir():
            raise MMHError(f"{path} is a folder: name a table{_inside(path)}.")
        if not path.is_file():
            raise MMHError(f"There is no file {path}: name a table.")
        if path.stat().st_size > largest:
            raise MMHError(f"{path.name} is larger than {largest // 2**20} MiB: split it.")
        table = _opened(path, most)
    except OSError as error:
        raise MMHError(
            f"{path.name} cannot be read ({error.strerror}): check the file and its permissions."
        ) from error

    _check_names(table.names, path.name)

    def rows(columns: Sequence[TextColumn]) -> Iterator[Cells]:
        for number, cells in enumerate(table.rows(columns), start=1):
            if number > most:
                raise MMHError(f"{path.name} has more than {most:,} rows: split it.")
            yield cells

    return replace(table, rows=rows)


def _check_names(names: Sequence[str], source: str) -> None:
    """Refuse names of columns that are no text, as the first line of any other file is."""
    letters = "".join(names)
    if any(unicodedata.category(letter) == "Cc" and letter not in "\t\r\n" for letter in letters):
        raise MMHError(
            f"{source} is no table of text (its first line holds control characters): save it as "
            "CSV in UTF-8, JSON or Parquet."
        )
    if half := half_character(letters):
        raise MMHError(f"The name of a column of {source} {half}.")


def _inside(folder: Path) -> str:
    """Return which table a folder holds, as a sentence has it, "" for none."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.suffix.casefold() in SUFFIXES)
    return f" in it, such as {folder / names[0]}" if names else ""


def _opened(path: Path, most: int) -> Table:
    with path.open("rb") as file:
        start = file.read(32)
    for mark, problem in _NO_TABLES:
        if start.startswith(mark):
            raise MMHError(f"{path.name} is {problem}{_UNPACKED.get(mark, '').format(path.name)}.")
    if is_parquet(path):
        return parquet_table(path, most=most)
    if not any(line.strip("\ufeff \t\r\n") for line in text_lines(path)):
        raise MMHError(f"{path.name} is empty: save the table again, or name another one.")
    if path.suffix.casefold() == ".txt":
        return Table(("prompt",), lambda columns: _lines(path, columns))
    return json_table(path) if is_json(path) else csv_table(path)


def _lines(path: Path, columns: Sequence[TextColumn]) -> Iterator[Cells]:
    for line in filter(str.strip, text_lines(path)):
        if len(line) >= MAX_LINE:
            yield f"it is longer than {MAX_LINE:,} characters: shorten it"
            continue
        text = line.rstrip("\r\n")
        yield tuple("" if column.index < 0 else text[: column.longest + 1] for column in columns)
