"""A table of figures that page, command and documentation show alike."""

from __future__ import annotations

from dataclasses import dataclass

from mmh_core.formats.markdown import markdown_table


@dataclass(frozen=True)
class FigureTable:
    """Figures as text, with a note on what was counted and how.

    Where there is nothing to show, there are no rows and `note` says why.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str

    def records(self) -> list[dict[str, str]]:
        """Return the rows by their heads, as a page takes them."""
        return [dict(zip(self.heads, row, strict=True)) for row in self.rows]

    def markdown(self) -> str:
        """Return the table with its note as Markdown; the note alone where there is no row."""
        if not self.rows:
            return self.note
        table = markdown_table(self.heads, self.rows)
        return f"{table}\n\n{self.note}" if self.note else table
