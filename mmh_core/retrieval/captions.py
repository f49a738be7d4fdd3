"""Read the captions of a folder of pictures from a table that nobody has checked."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmh_core.records import MMHError

MAX_BYTES = 2**28
MAX_ROWS = 2_000_000
MAX_COLUMNS = 100
MAX_LENGTH = 10_000  # characters of one caption
SHOWN = 5  # names in a message


def read_captions(path: Path) -> dict[str, str]:
    """Return caption by file from a CSV (UTF-8) or Parquet table with columns file and caption.

    `file` is the path below the folder of pictures, with slashes; an empty cell is an empty
    caption; other columns are ignored. Raises MMHError, naming the row (the first below the header
    is 1), for a table that is missing, damaged, larger than MAX_BYTES, MAX_ROWS or MAX_COLUMNS,
    lacks a column, names a file twice or not at all, has a caption longer than MAX_LENGTH or a
    row of another length than the header.
    """
    found: dict[str, str] = {}
    for row, (file, caption) in enumerate(_rows(path), start=1):
        text = caption if isinstance(caption, str) else ""
        if row > MAX_ROWS:
            raise MMHError(_too_many_rows(path))
        if not isinstance(file, str) or not file:
            raise MMHError(f"Row {row} of {path} names no file: complete it or leave it out.")
        if file in found:
            raise MMHError(f"Row {row} of {path} names {file!r} a second time: keep one.")
        if len(text) > MAX_LENGTH:
            raise MMHError(
                f"The caption in row {row} of {path} is longer than {MAX_LENGTH:,} characters: "
                "shorten it."
            )
        found[file] = text
    return found


def check_matches(captions: dict[str, str], files: Iterable[str], path: Path) -> None:
    """Raise MMHError unless the table and the folder name the same files."""
    names = set(files)
    if strange := sorted(set(captions) - names):
        raise MMHError(
            f"{path} captions {_named(strange)} not found in the folder: correct the names, which "
            "are paths below the folder, or leave the rows out."
        )
    if bare := sorted(names - set(captions)):
        raise MMHError(
            f"{path} has no row for {_named(bare)} in the folder: add it, with an empty caption "
            "where there is none."
        )


def _named(names: list[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:SHOWN])
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{len(names):,} file{'s' if len(names) > 1 else ''} ({listed}{more})"


def _rows(path: Path) -> Iterator[tuple[object, object]]:
    """Yield the cells of file and caption, row by row."""
    if not path.is_file():
        raise MMHError(f"There is no file {path}: name a table of captions.")
    if path.stat().st_size > MAX_BYTES:
        raise MMHError(f"{path} is larger than {MAX_BYTES // 2**20} MiB: split it and the folder.")
    try:
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        yield from _parquet_rows(path) if parquet else _csv_rows(path)
    except MMHError:
        raise
    # Of Arrow, the CSV reader and the decoder, on damaged bytes.
    except Exception as error:
        raise MMHError(
            f"{path} cannot be read as a table ({error}): save it as CSV in UTF-8 or as Parquet."
        ) from error


def _csv_rows(path: Path) -> Iterator[tuple[object, object]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        head = next(lines, [])
        places = _places(head, path)
        for number, row in enumerate(filter(None, lines), start=1):
            if len(row) != len(head):
                raise MMHError(
                    f"Row {number} of {path} has {len(row)} cells and the header {len(head)}: put "
                    "captions with commas in quotation marks."
                )
            yield row[places[0]], row[places[1]]


def _parquet_rows(path: Path) -> Iterator[tuple[object, object]]:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    names = list(file.schema_arrow.names)
    _places(names, path)
    # Compressed, a small file may hold very many rows or long ones.
    if file.metadata.num_rows > MAX_ROWS:
        raise MMHError(_too_many_rows(path))
    size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
    if size > MAX_BYTES:
        raise MMHError(f"{path} unpacks to more than {MAX_BYTES // 2**20} MiB: split it.")
    table = file.read(columns=["file", "caption"])
    yield from zip(table["file"].to_pylist(), table["caption"].to_pylist(), strict=True)


def _places(names: list[str], path: Path) -> tuple[int, int]:
    """Return the positions of the columns file and caption."""
    if len(names) > MAX_COLUMNS:
        raise MMHError(f"{path} has more than {MAX_COLUMNS} columns: keep file and caption.")
    for name in ("file", "caption"):
        if names.count(name) != 1:
            raise MMHError(
                f"{path} has {names.count(name) or 'no'} columns {name!r}: give it the two "
                "columns file and caption."
            )
    return names.index("file"), names.index("caption")


def _too_many_rows(path: Path) -> str:
    return f"{path} has more than {MAX_ROWS:,} rows: split it and the folder."
