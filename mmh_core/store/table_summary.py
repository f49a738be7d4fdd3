"""Count what a table of prompts holds, so that every row and column is accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmh_core.counting import agreeing, plural
from mmh_core.formats.tables import MAX_ROWS
from mmh_core.installation import PROGRAM
from mmh_core.records import MMHError
from mmh_core.store.prompt_table import (
    PromptTable,
    RepeatedRow,
    RowProblem,
    open_prompts,
    prompt_batches,
)

#: Rows that are listed one by one; the others are counted.
MOST_LISTED = 1_000
_SHOWN = 20


@dataclass(frozen=True)
class TableSummary:
    """The counts of a table's rows and columns: `rows` are `prompts`, repeated and left out.

    `repeats` and `problems` are the first of `repeated` and `left_out` rows. `column` is the one
    with the prompts, `kept` are the columns kept beside them, `ignored` those that are not.
    """

    name: str
    prompts: int
    repeated: int
    left_out: int
    repeats: tuple[RepeatedRow, ...]
    problems: tuple[RowProblem, ...]
    column: str
    kept: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Return how many rows the table has."""
        return self.prompts + self.repeated + self.left_out

    def check(self) -> None:
        """Raise MMHError for a table without a prompt that can be used."""
        if not self.prompts:
            why = "repair the rows named above" if self.left_out else "write one a row"
            raise MMHError(
                f"{self.name} holds no prompt that can be used: {why}; what a table may hold is "
                f"said by `{PROGRAM} scan --help`."
            )

    def sentence(self) -> str:
        """Return the counts of the rows in one sentence."""
        repeat = agreeing(self.repeated, "repeats", "repeat")
        return (
            f"{self.name} has {plural(self.rows, 'row')}: {plural(self.prompts, 'prompt')} to "
            f"read, {self.repeated:,} {repeat} an earlier row, {self.left_out:,} left out."
        )

    def columns(self) -> str:
        """Return in a sentence or two which columns are read, kept and not read."""
        sentence = f"Prompts are in the column {self.column!r}."
        if self.kept:
            sentence += f" Kept beside them: {_names(self.kept)}."
        if self.ignored:
            sentence += f" Not read: {_names(self.ignored)}."
        return sentence

    def repeated_lines(self) -> list[str]:
        """Return a line for each row that repeats an earlier one, as far as they are listed."""
        return [
            f"Row {row.row:,}{f' ({row.name[:60]})' if row.name else ''} repeats the prompt of "
            f"row {row.first:,}."
            for row in self.repeats
        ]

    def text(self) -> str:
        """Return all of it in lines, of the rows the first twenty of a kind."""
        lines = [self.sentence(), self.columns()]
        lines += first_lines(self.repeated_lines(), self.repeated)
        lines += first_lines([problem.message for problem in self.problems], self.left_out)
        return "\n".join(lines)


def first_lines(lines: Sequence[str], count: int, most: int = _SHOWN) -> list[str]:
    """Return the first lines, indented, and how many more there are of `count`."""
    indented = [f"  {line}" for line in lines[:most]]
    return (
        [*indented, f"  and {count - len(indented):,} more"] if count > len(indented) else indented
    )


def summarize(path: Path, *, most: int = MAX_ROWS, column: str = "") -> TableSummary:
    """Read a table of prompts to its end and return what it holds. Errors: MMHError."""
    opened = open_prompts(path, most=most, column=column)
    described = (opened.layout.name, opened.layout.label, opened.layout.tags)
    prompts = repeated = left_out = 0
    repeats, problems = list[RepeatedRow](), list[RowProblem]()
    for batch in prompt_batches(path, most=most, column=column):
        prompts += len(batch.rows)
        repeated += len(batch.repeats)
        left_out += len(batch.problems)
        repeats += batch.repeats[: MOST_LISTED - len(repeats)]
        problems += batch.problems[: MOST_LISTED - len(problems)]
    return TableSummary(
        path.name,
        prompts,
        repeated,
        left_out,
        tuple(repeats),
        tuple(problems),
        _own(opened, opened.layout.prompts[0]),
        (*(_own(opened, index) for index in described if index >= 0), *opened.kept()),
        (*(_own(opened, index) for index in opened.layout.prompts[1:]), *opened.layout.ignored),
    )


def _own(opened: PromptTable, column: int) -> str:
    return opened.table.names[column].strip()


def _names(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names)
