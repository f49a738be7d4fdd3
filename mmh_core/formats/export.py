"""Write tables as CSV that a spreadsheet opens as data and not as formulas."""

from __future__ import annotations

import codecs
import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: A text cell that starts with one of these is a formula, or becomes one, in a spreadsheet
#: (OWASP, "CSV injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

Cell = str | float | int | bool | None


def neutralized(cell: Cell) -> Cell:
    """Return a text cell with an apostrophe before what could start a formula; numbers as is."""
    if isinstance(cell, str) and cell.startswith(FORMULA_STARTS):
        return "'" + cell
    return cell


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return CSV text (RFC 4180) with formulas neutralized; `csv_bytes` makes a file of it.

    Numbers stay numbers; None and NaN become empty cells.
    Errors: ValueError for a row of another length than the header.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([neutralized(name) for name in header])
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ValueError(
                f"Row {number} has {len(row)} cells; the header has {len(header)} names."
            )
        writer.writerow(["" if _missing(cell) else neutralized(cell) for cell in row])
    return out.getvalue()


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """Return `csv_text` as a file in UTF-8, with the mark by which spreadsheets know that it is.

    Half a character, which UTF-8 cannot hold, becomes a question mark.
    """
    return codecs.BOM_UTF8 + csv_text(header, rows).encode(errors="replace")


def frame_csv(table: pd.DataFrame) -> bytes:
    """Return a table as a CSV file, see `csv_bytes`; the index is left out."""
    columns = [table[name].tolist() for name in table.columns]
    return csv_bytes([str(name) for name in table.columns], zip(*columns, strict=True))


def _missing(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))
