"""Read prompts from a table that nobody has checked, row by row, keeping the good rows."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mmh_core.records import MMHError
from mmh_core.store.csv_rows import csv_cells, text_lines
from mmh_core.store.parquet_rows import is_parquet, parquet_cells
from mmh_core.store.seen import remembering

MAX_ROWS = 1_000_000
MAX_BYTES = 2**30
MAX_COLUMNS = 100
MAX_LENGTH = 10_000  # characters of one cell
BATCH_ROWS = 1_000
#: Names of the column that holds the prompt, the first that is there is taken.
PROMPT_NAMES = ("prompt", "caption", "text")
FURTHER_NAMES = ("label", "id", "tags")

#: Cells by column, or a sentence on why the row cannot be read.
Cells = tuple[str, ...] | str


@dataclass(frozen=True)
class PromptRow:
    """Hold one prompt; `row` counts from 1 below the header, `name` is the column id."""

    row: int
    prompt: str
    label: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowProblem:
    """Say in one sentence why a row was left out and what to do."""

    row: int
    message: str


@dataclass(frozen=True)
class PromptBatch:
    """Hold the good rows and the problems of some hundred consecutive rows of a table.

    `duplicates` counts the rows left out because an earlier one has the same prompt.
    """

    rows: tuple[PromptRow, ...]
    problems: tuple[RowProblem, ...]
    duplicates: int


def prompt_batches(
    path: Path, *, most: int = MAX_ROWS, batch_rows: int = BATCH_ROWS
) -> Iterator[PromptBatch]:
    """Yield the prompts of a CSV or text file in UTF-8, or of a Parquet file, in order.

    A text file (name ending in .txt) has one prompt a line and no header; blank lines are
    skipped. Tables have a column prompt (or caption, or text) and may have label, id and tags, in
    any case; tags are separated by semicolons; other columns are ignored. White space around a
    cell is taken off, and so is the apostrophe that spreadsheets need before a formula, which
    stays text. A row is left out, with a message, where it has no prompt, a cell longer than
    MAX_LENGTH, a control character, bytes that are not UTF-8, an open quotation mark or another
    number of cells than the header. Of equal prompts the first is kept. Memory does not grow with
    the number of rows. Errors: MMHError for a file that is missing, damaged, in another encoding,
    too large in bytes, columns or rows (`most`), or that lacks or doubles a column.
    """
    if not path.is_file():
        raise MMHError(f"There is no file {path}: name a table of prompts.")
    if path.stat().st_size > MAX_BYTES:
        raise MMHError(f"{path.name} is larger than {MAX_BYTES // 2**20} MiB: split it.")
    numbered = enumerate(_cells(path, most), start=1)
    with remembering() as add:
        while cells := list(islice(numbered, batch_rows)):
            if cells[-1][0] > most:
                raise MMHError(f"{path.name} has more than {most:,} rows: split it.")
            found = [_checked(row, cell) for row, cell in cells]
            rows = [entry for entry in found if isinstance(entry, PromptRow)]
            new = add([_digest(row.prompt) for row in rows])
            yield PromptBatch(
                rows=tuple(row for row, is_new in zip(rows, new, strict=True) if is_new),
                problems=tuple(entry for entry in found if isinstance(entry, RowProblem)),
                duplicates=new.count(False),
            )


def chosen_columns(names: Iterable[str], source: str) -> tuple[int, ...]:
    """Return the places of prompt, label, id and tags among column names, -1 where absent.

    Errors: MMHError for too many columns, none with prompts, and one that is there twice.
    """
    folded = [name.strip().casefold() for name in islice(names, MAX_COLUMNS + 1)]
    if len(folded) > MAX_COLUMNS:
        raise MMHError(
            f"{source} has more than {MAX_COLUMNS} columns: keep prompt, label, id and tags."
        )
    prompt = next((name for name in PROMPT_NAMES if name in folded), None)
    if prompt is None:
        shown = ", ".join(repr(name[:40]) for name in folded[:5])
        raise MMHError(
            f"{source} has no column prompt (its first line has {shown or 'nothing'}): name the "
            "column with the prompts so, and separate columns by commas."
        )
    for name in (prompt, *FURTHER_NAMES):
        if folded.count(name) > 1:
            raise MMHError(f"{source} has {folded.count(name)} columns {name!r}: keep one.")
    return tuple(folded.index(name) if name in folded else -1 for name in (prompt, *FURTHER_NAMES))


def _cells(path: Path, most: int) -> Iterator[Cells]:
    """Yield (prompt, label, id, tags) of each row."""
    if is_parquet(path):
        yield from parquet_cells(path, chosen_columns, most=most, longest=MAX_LENGTH)
    elif path.suffix.casefold() == ".txt":
        for line in filter(str.strip, text_lines(path)):
            yield (line.rstrip("\r\n"), "", "", "") if len(line) <= MAX_LENGTH + 2 else _TOO_LONG
    else:
        yield from csv_cells(path, chosen_columns)


_TOO_LONG = f"it is longer than {MAX_LENGTH:,} characters: shorten it"


def _checked(row: int, cells: Cells) -> PromptRow | RowProblem:
    """Return the row, or what is wrong with it."""
    wrong = cells if isinstance(cells, str) else _wrong(cells)
    if wrong is not None or isinstance(cells, str):
        return RowProblem(row, f"Row {row:,} was left out because {wrong}.")
    prompt, label, name, tags = (cell.strip() for cell in cells)
    split = (tag.strip() for tag in tags.split(";"))
    return PromptRow(row, prompt, label, name, tuple(dict.fromkeys(filter(None, split))))


def _wrong(cells: tuple[str, ...]) -> str | None:
    """Return what is wrong with the cells (prompt, label, id, tags), None where nothing is."""
    for name, cell in zip(("prompt", *FURTHER_NAMES), cells, strict=True):
        if len(cell) > MAX_LENGTH:
            return f"its {name} is longer than {MAX_LENGTH:,} characters: shorten it"
        for letter in _STRANGE.findall(cell):
            # The decoder marks bytes that it could not read as U+DC80 to U+DCFF.
            if "\udc80" <= letter <= "\udcff":
                return f"its {name} is not in UTF-8: save the table in UTF-8"
            if unicodedata.category(letter) in ("Cc", "Cs"):
                return f"its {name} holds the control character U+{ord(letter):04X}: remove it"
    return None if cells[0].strip() else "it has no prompt: write one or delete the row"


#: What may be a control character or half of one; ordinary text is passed over quickly.
_STRANGE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def _digest(prompt: str) -> bytes:
    return hashlib.sha256(prompt.encode()).digest()[:16]
