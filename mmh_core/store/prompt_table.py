"""Read prompts from a table that nobody has checked, row by row, keeping the good rows."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mmh_core.formats.columns import Cells, Layout, Table, TextColumn, by_option, prompt_layout
from mmh_core.formats.tables import MAX_ROWS, open_table
from mmh_core.formats.texts import half_character, is_blank
from mmh_core.records import MMHError
from mmh_core.store.digest_deduplication import first_numbers

MAX_LENGTH = 10_000  # characters of a prompt, label, id or tags
MAX_KEPT = 1_000  # characters of a cell of another column; longer ones are cut
BATCH_ROWS = 1_000
_FURTHER = ("label", "id", "tags")


@dataclass(frozen=True)
class PromptRow:
    """One prompt of a table; `row` counts from 1 below the header, `name` is the column id.

    `more` are the further cells of the row by column, without empty ones, the longest cut.
    """

    row: int
    prompt: str
    label: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    more: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class RowProblem:
    """One sentence on why a row was left out and what to do."""

    row: int
    message: str


@dataclass(frozen=True)
class RepeatedRow:
    """A row whose prompt the row `first` has too; everything else is its own, as in PromptRow."""

    row: int
    first: int
    label: str = ""
    name: str = ""
    prompt: str = ""
    tags: tuple[str, ...] = ()
    more: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PromptBatch:
    """The good rows, the repeated and the bad ones of some hundred consecutive rows."""

    rows: tuple[PromptRow, ...]
    problems: tuple[RowProblem, ...]
    repeats: tuple[RepeatedRow, ...] = ()

    @property
    def duplicates(self) -> int:
        """Return how many rows repeat the prompt of an earlier one."""
        return len(self.repeats)


@dataclass(frozen=True)
class PromptTable:
    """An opened table of prompts: its name, which columns it has, and what each holds."""

    source: str
    table: Table
    layout: Layout

    def kept(self) -> tuple[str, ...]:
        """Return the names of the columns that are kept beside the prompts."""
        return tuple(self.table.names[column].strip() for column in self.layout.kept)


def open_prompts(path: Path, *, most: int = MAX_ROWS, column: str = "") -> PromptTable:
    """Open a table of prompts; `column` names the one with the prompts where that is unclear.

    Columns are known by their usual names in any case: prompt (or caption, or text), label, id and
    tags. Errors: MMHError for a file that is no table (see `open_table`), and for one that lacks
    or doubles a column.
    """
    table = open_table(path, most=most)
    return PromptTable(path.name, table, prompt_layout(table, path.name, column))


def prompt_batches(
    path: Path, *, most: int = MAX_ROWS, batch_rows: int = BATCH_ROWS, column: str = ""
) -> Iterator[PromptBatch]:
    """Yield the prompts of a table (see `open_prompts`) in order.

    Tags are separated by semicolons; further columns are kept as they are. White space around a
    cell is taken off, and in CSV so is the apostrophe that spreadsheets need before a formula,
    which stays text. A row is left out, with a message, where it has no prompt, a cell longer than
    MAX_LENGTH, a control character, bytes that are not UTF-8, an open quotation mark or another
    number of cells than the header. Of equal prompts the first is kept, and the others name it.
    Memory does not grow with the number of rows. Errors: MMHError also for a table of which two
    columns may be the prompt and differ.
    """
    opened = open_prompts(path, most=most, column=column)
    checked = _checked_rows(opened)
    with first_numbers() as first:
        while batch := list(islice(checked, batch_rows)):
            rows = [entry for entry in batch if isinstance(entry, PromptRow)]
            numbers = first([(_digest(row.prompt), row.row) for row in rows])
            yield PromptBatch(
                rows=tuple(row for row, n in zip(rows, numbers, strict=True) if n == row.row),
                problems=tuple(entry for entry in batch if isinstance(entry, RowProblem)),
                repeats=tuple(
                    RepeatedRow(row.row, n, row.label, row.name, row.prompt, row.tags, row.more)
                    for row, n in zip(rows, numbers, strict=True)
                    if n != row.row
                ),
            )


def _checked_rows(opened: PromptTable) -> Iterator[PromptRow | RowProblem]:
    """Yield each row, or what is wrong with it."""
    layout, names = opened.layout, opened.table.names
    others = [names[column] for column in layout.prompts[1:]]
    columns = [TextColumn(column, MAX_LENGTH, plain=True) for column in layout.prompts]
    columns += [
        TextColumn(column, MAX_LENGTH) for column in (layout.label, layout.name, layout.tags)
    ]
    columns += [TextColumn(column, MAX_KEPT) for column in layout.kept]
    count, kept = len(layout.prompts), opened.kept()
    for row, cells in enumerate(opened.table.rows(columns), start=1):
        if isinstance(cells, str):
            yield _left_out(row, cells)
            continue
        for name, other in zip(others, cells[1:count], strict=True):
            if other.strip() and other.strip() != cells[0].strip():
                raise MMHError(_unclear(opened.source, names[layout.prompts[0]], name, row))
        yield _checked(row, (cells[0], *cells[count : count + 3]), kept, cells[count + 3 :])


def _unclear(source: str, first: str, other: str, row: int) -> str:
    """Return the question which of two columns holds the prompts."""
    first, other = first.strip(), other.strip()
    return (
        f"{source} has the columns {first!r} and {other!r}, which differ in row {row:,}: say "
        f"which holds the prompts, in a command by {by_option(first)} or {by_option(other)}."
    )


def _checked(
    row: int, cells: tuple[str, ...], names: tuple[str, ...], kept: tuple[str, ...]
) -> PromptRow | RowProblem:
    """Return a row of (prompt, label, id, tags) and further cells, or what is wrong with it."""
    wrong = _wrong(cells)
    if wrong is not None:
        return _left_out(row, wrong)
    prompt, label, name, tags = (cell.strip() for cell in cells)
    split = (tag.strip() for tag in tags.split(";"))
    more = tuple(
        (own, _clean(cell.strip())) for own, cell in zip(names, kept, strict=True) if cell.strip()
    )
    return PromptRow(row, prompt, label, name, tuple(dict.fromkeys(filter(None, split))), more)


def _left_out(row: int, why: str) -> RowProblem:
    return RowProblem(row, f"Row {row:,} was left out because {why}.")


def _clean(cell: str) -> str:
    """Return a cell of a further column, cut, with a sign for what is no text."""
    cut = cell if len(cell) <= MAX_KEPT else f"{cell[: MAX_KEPT - 3]}..."
    return _STRANGE.sub("\ufffd", cut)


def _wrong(cells: Cells) -> str | None:
    """Return what is wrong with the cells (prompt, label, id, tags), None where nothing is."""
    for name, cell in zip(("prompt", *_FURTHER), cells, strict=True):
        if len(cell) > MAX_LENGTH:
            return f"its {name} is longer than {MAX_LENGTH:,} characters: shorten it"
        strange = _STRANGE.findall(cell)
        if half := half_character("".join(strange)):
            return f"its {name} {half}"
        for letter in strange:
            if unicodedata.category(letter) == "Cc":
                return f"its {name} holds the control character U+{ord(letter):04X}: remove it"
    return "it has no prompt: write one or delete the row" if is_blank(cells[0]) else None


#: What may be a control character or half of one; ordinary text is passed over quickly.
_STRANGE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def _digest(prompt: str) -> bytes:
    return hashlib.sha256(prompt.encode()).digest()[:16]
