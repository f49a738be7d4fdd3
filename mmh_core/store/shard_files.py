"""Keep numbered rows in a folder of Parquet files that survives being killed.

Each write makes one file, whole or not at all, named by the numbers of its rows:
`rows-000000000-000000063.parquet`. Many small files are merged into one that spans them; until
they are removed, whatever lies within a larger span is ignored. So every moment at which the
process may end leaves a folder that holds each row once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from mmh_core.files import folder_lock, replacing
from mmh_core.records import MMHError

#: So many files of about one size are made one, up to so many rows.
MERGED = 32
MERGED_ROWS = 2**15
#: Rows that are read at once.
BATCH_ROWS = 2_000
_NAME = re.compile(r"rows-(\d{9})-(\d{9})\.parquet")

#: First row, last row, file.
Shard = tuple[int, int, Path]


def holds_shards(folder: Path) -> bool:
    """Return whether there is any file of rows."""
    return any(_NAME.fullmatch(path.name) for path in folder.iterdir())


def next_row(folder: Path) -> int:
    """Return the number that the next row must have."""
    return max((last for _, last, _ in _listed(folder)), default=-1) + 1


def row_count(folder: Path) -> int:
    """Return how many rows there are, by the names of the files."""
    return sum(last - first + 1 for first, last, _ in _listed(folder))


def write_shard(folder: Path, first: int, table: Any) -> None:
    """Write an Arrow table as the rows from `first` on, and merge small files if there are many.

    The rows are on the disk when it returns. Only one process at a time may write to a folder.
    """
    _write(folder, first, table)
    while small := _mergeable(_listed(folder)):
        _merge(folder, small)


def remove_leftovers(folder: Path) -> None:
    """Remove what a writer left that was killed; only for who alone may write to the folder."""
    with folder_lock(folder):
        kept = {path for _, _, path in _shards(folder)}
        for path in list(folder.iterdir()):
            spanned = _NAME.fullmatch(path.name) and path not in kept
            if spanned or path.name.startswith(".writing-"):
                path.unlink(missing_ok=True)


def shard_batches(folder: Path, columns: list[str], rows: int = BATCH_ROWS) -> Iterator[Any]:
    """Yield Arrow batches of at most so many rows, all in order, also while files are merged.

    Errors: MMHError, naming the file, for a damaged one.
    """
    from pyarrow.parquet import ParquetFile

    at, gone = 0, None
    while shard := next((shard_at for shard_at in _listed(folder) if shard_at[1] >= at), None):
        first, last, path = shard
        at, skip = max(at, first), max(0, at - first)
        try:
            with ParquetFile(path) as file:
                if file.metadata.num_rows != last - first + 1:
                    raise ValueError(f"it has {file.metadata.num_rows} rows")
                for batch in file.iter_batches(rows, columns=columns, use_threads=False):
                    if skip < batch.num_rows:
                        yield batch.slice(skip)
                        at += batch.num_rows - skip
                    skip = max(0, skip - batch.num_rows)
        # Of Arrow, on damaged bytes: it raises half a dozen kinds.
        except Exception as error:
            if isinstance(error, FileNotFoundError) and gone != path:
                gone = path  # Merged just now: its rows are in the file that spans it.
                continue
            raise MMHError(
                f"{path} is damaged ({error}): remove the file and start the scan again, which "
                "computes only its rows anew."
            ) from error


def _listed(folder: Path) -> list[Shard]:
    # Alone, because a listing made during a merge may miss both the old files and the new one.
    with folder_lock(folder):
        return _shards(folder)


def _shards(folder: Path) -> list[Shard]:
    """Return the files in order, without those within a larger span."""
    shards = [
        (int(match[1]), int(match[2]), path)
        for path in folder.iterdir()
        if (match := _NAME.fullmatch(path.name))
    ]
    kept: list[Shard] = []
    for shard in sorted(shards, key=lambda shard: (shard[0], -shard[1])):
        if not kept or shard[1] > kept[-1][1]:
            kept.append(shard)
    return kept


def _mergeable(shards: list[Shard]) -> list[Shard]:
    """Return the last MERGED files if they follow one another and are of about one size."""
    last = shards[-MERGED:]
    sizes = [end - start + 1 for start, end, _ in last]
    joined = all(previous[1] + 1 == other[0] for previous, other in pairwise(last))
    # One that outweighs the rest was merged before and stays.
    even = bool(sizes) and max(sizes) * 4 <= sum(sizes) <= MERGED_ROWS
    return last if len(last) == MERGED and joined and even else []


def _merge(folder: Path, small: list[Shard]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.concat_tables([parquet.read_table(path) for _, _, path in small])
    with folder_lock(folder):
        _write(folder, small[0][0], table)
        for _, _, path in small:
            path.unlink(missing_ok=True)


def _write(folder: Path, first: int, table: Any) -> None:
    from pyarrow import parquet

    name = f"rows-{first:09d}-{first + table.num_rows - 1:09d}.parquet"
    with replacing(folder / name) as temporary:
        parquet.write_table(table, temporary, compression="zstd")
