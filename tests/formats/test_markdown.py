"""Tables in Markdown."""

import pytest

from mmh_core.formats.markdown import markdown_table


@pytest.mark.parametrize("rows", [[], [["a|b", ""]], [["1", "2"], ["3", "4"]]])
def test_every_line_has_as_many_cells_as_there_are_heads(rows: list[list[str]]) -> None:
    lines = markdown_table(("one", "two"), rows).splitlines()
    assert lines[:2] == ["| one | two |", "|---|---|"] and len(lines) == 2 + len(rows)
    assert all(line.count("|") == 3 for line in lines)


def test_a_bar_in_a_cell_becomes_a_slash() -> None:
    assert markdown_table(["x"], [["a|b"]]).endswith("| a/b |")
