"""What becomes of each row of a table of prompts, before anything is computed for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mmh_core.formats.tables import MAX_ROWS
from mmh_core.store.prompt_table import (
    PromptRow,
    RepeatedRow,
    RowProblem,
    prompt_batches,
)

if TYPE_CHECKING:
    import pandas as pd

#: Rows of a preview; the counts of a table's summary are of all.
MOST_ROWS = 1_000
#: Repeated rows that an item lists; further ones are counted.
_MOST_REPEATS = 50


def preview(path: Path, *, most: int = MAX_ROWS, column: str = "") -> pd.DataFrame:
    """Return the first rows of a table in its order, with their id first and every column kept.

    Each row says what becomes of it; one that repeats a prompt names the row it repeats. Errors:
    MMHError, see `prompt_batches`.
    """
    import pandas as pd

    rows = [_cells(row) for row in islice(_in_order(path, most, column), MOST_ROWS)]
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame([{name: row.get(name, "") for name in names} for row in rows])


def repeats_by_first(
    path: Path, *, most: int = MAX_ROWS, column: str = ""
) -> dict[int, list[RepeatedRow]]:
    """Return the rows of a table that repeat an earlier prompt, by the row they repeat."""
    by_first: dict[int, list[RepeatedRow]] = {}
    for batch in prompt_batches(path, most=most, column=column):
        for row in batch.repeats:
            by_first.setdefault(row.first, []).append(row)
    return by_first


def repeats_text(rows: Sequence[RepeatedRow]) -> str:
    """Return repeated rows in a line: their numbers, ids and own cells."""
    listed = []
    for row in rows[:_MOST_REPEATS]:
        own = [text for text in (row.name, row.label) if text]
        own += [f"{name}: {text}" for name, text in row.more]
        short = "; ".join(own)
        listed.append(f"{row.row:,}" + (f" ({short[:150]})" if short else ""))
    if len(rows) > _MOST_REPEATS:
        listed.append(f"and {len(rows) - _MOST_REPEATS:,} more")
    return ", ".join(listed)


def _in_order(
    path: Path, most: int, column: str
) -> Iterator[PromptRow | RepeatedRow | RowProblem]:
    """Yield what was made of every row, in the order of the table."""
    for batch in prompt_batches(path, most=most, column=column):
        together: list[PromptRow | RepeatedRow | RowProblem] = [*batch.rows]
        together += [*batch.repeats, *batch.problems]
        yield from sorted(together, key=lambda entry: entry.row)


def _cells(entry: PromptRow | RepeatedRow | RowProblem) -> Mapping[str, object]:
    """Return the cells of a row; of one that cannot be read only why."""
    if isinstance(entry, RowProblem):
        return {"ID": "", "Row": entry.row, "Import": entry.message, "Prompt": ""}
    becomes = "scanned"
    if isinstance(entry, RepeatedRow):
        becomes = f"same prompt as row {entry.first:,}"
    cells: dict[str, object] = {
        "ID": entry.name,
        "Row": entry.row,
        "Import": becomes,
        "Prompt": entry.prompt,
        "Label": entry.label,
        "Tags": "; ".join(entry.tags),
    }
    # The table's own name may be one of ours.
    return cells | {f"{name}{' ' if name in cells else ''}": text for name, text in entry.more}
