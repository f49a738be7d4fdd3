"""Tables in Markdown, which the commands print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown; a bar within a cell, which would end it, becomes a slash."""
    first, *others = (
        f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in (heads, *rows)
    )
    return "\n".join([first, "|---" * len(heads) + "|", *others])
