"""Read CSV and text files that may be broken, line by line in bounded memory."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from mmh_core.export import FORMULA_STARTS
from mmh_core.records import MMHError

#: Characters of one line; a longer one is cut. What is left has a cell that is too long, too few
#: cells or an open quotation mark, so that the row is refused.
MAX_LINE = 2**20

Columns = Callable[[list[str], str], tuple[int, ...]]


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines with their ends; bytes that are not UTF-8 become U+DC80 to U+DCFF.

    A line longer than MAX_LINE is cut to that length. Errors: MMHError for UTF-16 and UTF-32.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in start:
        raise MMHError(
            f"{path.name} cannot be read from its first row on, since it is not in UTF-8 (it "
            "looks like UTF-16, or is no text): save it as CSV or text in UTF-8."
        )
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        while line := file.readline(MAX_LINE):
            if not line.endswith(("\n", "\r")):
                while (rest := file.readline(MAX_LINE)) and not rest.endswith(("\n", "\r")):
                    continue
            yield line


def csv_cells(path: Path, columns: Columns) -> Iterator[tuple[str, ...] | str]:
    """Yield the cells of the chosen columns ("" for a place of -1), or why a row is unreadable.

    `columns` gets the names of the header and the file's name. Where a quotation mark is left
    open, only the line that opens it is lost: reading goes on with the next line.
    """
    records = _records(path)
    head = next(records, [])
    if isinstance(head, str):
        raise MMHError(f"The first line of {path.name} cannot be read, since {head}.")
    places = columns(head, path.name)
    for record in records:
        if isinstance(record, str):
            yield record
        elif not record:
            continue
        elif len(record) != len(head):
            yield (
                f"it has {len(record)} cells and the header {len(head)}: put text with commas in "
                "quotation marks"
            )
        else:
            yield tuple("" if place < 0 else _text(record[place]) for place in places)


def _records(path: Path) -> Iterator[list[str] | str]:
    """Yield the cells of each row, or why it cannot be read."""
    lines, again, taken = text_lines(path), deque[str](), list[str]()

    def take() -> str:
        line = again.popleft() if again else next(lines, "")
        taken.append(line)
        return line

    ended = False
    while not ended:
        # Anew after each failure, because a reader that met the end of the file stays there.
        reader = csv.reader(iter(take, ""), strict=True)
        while True:
            taken.clear()
            try:
                yield next(reader)
            except StopIteration:
                ended = True
                break
            except csv.Error as error:
                yield _unreadable(str(error), len(taken))
                again.extendleft(reversed([line for line in taken[1:] if line]))
                break


def _unreadable(reason: str, lines: int) -> str:
    if lines > 1 or "unexpected end" in reason:
        return "a quotation mark is left open: close it"
    if "limit" in reason:
        return "a cell is far too long: shorten it"
    return f"its quotation marks are wrong ({reason}): double those inside a cell"


def _text(cell: str) -> str:
    """Return the cell without the apostrophe that keeps a spreadsheet from computing it."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA_STARTS) else cell
