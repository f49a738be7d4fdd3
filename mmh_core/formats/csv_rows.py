"""Read CSV files that may be broken, line by line in bounded memory and linear time."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from mmh_core.counting import plural
from mmh_core.formats.columns import MAX_COLUMNS, Table, TextColumn, is_usual
from mmh_core.formats.export import FORMULA_STARTS
from mmh_core.formats.texts import text_lines
from mmh_core.records import MMHError

#: Characters of one row, which may have several lines.
MAX_ROW = 2**20
#: Rows by which the kind of quotation marks is recognized.
_SAMPLE = 100
_RULE = re.compile(r"\|?(\s*:?-{3,}:?\s*\|?)+")
_DELIMITERS = (",", ";", "\t", "|")
#: The first line that names for a spreadsheet what separates columns.
_SEPARATOR = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)


def csv_table(path: Path) -> Table:
    """Return a CSV file as a table; columns may be separated by , ; | or tabs.

    Cells may stand in quotation marks, or in apostrophes. Empty lines are no rows. Where a
    quotation mark is left open, only the line that opens it is lost: reading goes on with the next
    line. Errors: MMHError for a header that cannot be read.
    """
    declared = _SEPARATOR.fullmatch(next(text_lines(path), ""))

    def records(delimiter: str, quote: str = '"') -> Iterator[list[str] | str]:
        lines = islice(text_lines(path), int(declared is not None), None)
        return (record for record in csv_records(lines, delimiter, quote) if record)

    heads = {d: next(records(d), []) for d in ([declared[1]] if declared else _DELIMITERS)}
    delimiter = max(heads, key=lambda d: _merit(heads[d]))
    sample = {quote: list(islice(records(delimiter, quote), _SAMPLE)) for quote in ('"', "'")}
    quote = "'" if _in_single_quotes(sample['"'], sample["'"]) else '"'
    head = next(records(delimiter, quote), [])
    if isinstance(head, str):
        raise MMHError(f"The first line of {path.name} cannot be read, since {head}.")

    def rows(columns: Sequence[TextColumn]) -> Iterator[tuple[str, ...] | str]:
        body = islice(records(delimiter, quote), 1, None)
        for number, record in enumerate(body):
            if isinstance(record, str):
                yield record
            elif not number and delimiter == "|" and _RULE.fullmatch("|".join(record)):
                continue  # The line below the header of a table in Markdown.
            elif not _fits(record, len(head)):
                yield _misfit(len(record), len(head), _WORDS.get(delimiter, repr(delimiter)))
            else:
                yield tuple(
                    "" if p.index < 0 else _text(record[p.index])[: p.longest + 1] for p in columns
                )

    return Table(tuple(head), rows, first_line=True)


def _fits(record: list[str], count: int) -> bool:
    """Return whether a row has a cell for each column, without empty ones beyond the header.

    Spreadsheets write separators for cells that were filled once.
    """
    while len(record) > count and not record[-1].strip():
        record.pop()
    return len(record) == count


_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def _misfit(cells: int, columns: int, separators: str) -> str:
    """Return why a row with another number of cells than the header cannot be read."""
    counted = f"it has {plural(cells, 'cell')} and the header {columns}"
    if cells > columns:
        return f'{counted}: put text with {separators} in straight quotation marks (")'
    return (
        f"{counted}: write {separators} for its empty cells too, and text of several lines in "
        "quotation marks"
    )


def _in_single_quotes(
    doubly: Sequence[list[str] | str], singly: Sequence[list[str] | str]
) -> bool:
    """Return whether cells stand in apostrophes: the first rows, read with each kind of marks.

    They do where the header has them around all its names, where more rows have a cell for each
    column then, and where a column of two rows or more has them around every text.
    """
    head = doubly[0] if doubly else ""
    if isinstance(head, str):
        return False
    if all(map(_is_wrapped, head)):
        return True
    whole = [row for row in doubly[1:] if not isinstance(row, str) and len(row) == len(head)]
    others = [row for row in singly[1:] if not isinstance(row, str) and len(row) == len(head)]
    if len(others) != len(whole):
        marked = any(cell.startswith('"') for row in singly for cell in row)
        return len(others) > len(whole) and not marked
    columns = ([cell for cell in cells if cell] for cells in zip(*whole, strict=True))
    return any(len(cells) > 1 and all(map(_is_wrapped, cells)) for cells in columns)


def _is_wrapped(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == "'"


def csv_records(
    lines: Iterator[str], delimiter: str = ",", quote: str = '"'
) -> Iterator[list[str] | str]:
    """Yield the cells of each row, or why it cannot be read.

    Each line is read at most twice. A row that fails within a quotation has been through the lines
    after its first with the quotation open, and whatever opens one before any of these would come
    to the same end: it is refused at once. In rows cut at MAX_ROW that may be one too many.
    """
    again, taken = deque[str](), list[str]()
    following = doomed = held = 0

    def take() -> str:
        nonlocal following, held
        if taken and (following < doomed or held > MAX_ROW):
            return ""
        line = again.popleft() if again else next(lines, "")
        if line:
            following += 1
            held += len(line)
            taken.append(line)
        return line

    ended = False
    while not ended:
        # Anew after each failure, because a reader that met the end of the file stays there.
        reader = csv.reader(iter(take, ""), delimiter=delimiter, quotechar=quote, strict=True)
        while True:
            taken.clear()
            held = 0
            try:
                yield next(reader)
            except StopIteration:
                ended = True
                break
            except csv.Error as error:
                # Tab-separated files seldom know quotation marks.
                bare = delimiter == "\t" and "\t" in taken[0]
                cells = taken[0].rstrip("\r\n").split("\t") if bare else None
                yield cells or _unreadable(str(error), len(taken))
                doomed = max(doomed, following)
                following -= len(taken) - 1
                again.extendleft(reversed(taken[1:]))
                break


def _merit(head: list[str] | str) -> tuple[int, int]:
    """Return the plausibility of a header, to compare: columns with usual names, all columns."""
    if isinstance(head, str):
        return -1, 0
    return sum(is_usual(name) for name in head[: MAX_COLUMNS + 1]), len(head)


def _unreadable(reason: str, lines: int) -> str:
    if lines > 1 or "unexpected end" in reason:
        return "a quotation mark is left open: close it"
    if "limit" in reason:
        return "a cell is far too long: shorten it"
    return f"its quotation marks are wrong ({reason}): double those inside a cell"


def _text(cell: str) -> str:
    """Return the cell without the apostrophe that keeps a spreadsheet from computing it."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA_STARTS) else cell
