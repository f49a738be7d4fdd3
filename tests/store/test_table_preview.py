"""A preview shows every row of a table in its order, with its id first and all of its columns."""

from __future__ import annotations

from pathlib import Path

from mmh_core.store.prompt_table import RepeatedRow
from mmh_core.store.table_preview import preview, repeats_by_first, repeats_text

TABLE = b"""source,prompt,id,label,Row
crawl,a fox,P1,red,x
mail,a cat,P2,,y
crawl,,P3,,z
mail,a fox,P4,blue,
"""


def test_every_row_is_there_in_order_with_what_becomes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(TABLE)
    frame = preview(path)
    assert list(frame.columns) == [
        *("ID", "Row", "Import", "Prompt", "Label", "Tags", "source"),
        "Row ",  # The table's own column of that name.
    ]
    assert frame["Row"].tolist() == [1, 2, 3, 4]
    assert frame["ID"].tolist() == ["P1", "P2", "", "P4"]
    assert frame["Import"].tolist()[:2] == ["scanned"] * 2
    assert "Row 3 was left out because it has no prompt" in frame["Import"][2]
    assert frame["Import"][3] == "same prompt as row 1"
    assert frame["Prompt"].tolist() == ["a fox", "a cat", "", "a fox"]
    assert frame["source"].tolist() == ["crawl", "mail", "", "mail"]


def test_rows_that_repeat_a_prompt_keep_their_own_cells(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(TABLE)
    [(first, [row])] = repeats_by_first(path).items()
    assert (first, row.row, row.name, row.label) == (1, 4, "P4", "blue")
    assert repeats_text([row]) == "4 (P4; blue; source: mail)"
    many = repeats_text([RepeatedRow(number, 1) for number in range(2, 70)])
    assert many.startswith("2, 3, ") and many.endswith(", 51, and 18 more")
