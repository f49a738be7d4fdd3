"""Whatever is in a queue arrives in its files: tables without formulas, and the case whole."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmh_core.formats.export import FORMULA_STARTS
from mmh_core.report import queue_report, read_case
from mmh_core.store.case_export import export_case
from mmh_core.store.case_import import import_case
from mmh_core.store.case_tables import queue_csv, write_queue_parquet
from mmh_core.store.item_search import get_item
from mmh_core.store.log_chain import verify
from mmh_core.store.queues import create_queue
from mmh_core.store.review_log import ReviewTarget, annotate, judge, log_rows
from mmh_core.store.review_records import REVIEW_VERDICTS, ReviewItem
from mmh_core.store.review_schema import open_queues
from mmh_core.store.sqlite_file import SqliteFile

#: What the store takes: no control characters but those of text, no halves of characters.
LETTERS = st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\t\n\r=+-@'\",;<&")
TEXTS = st.text(LETTERS, max_size=12)
PROMPTS = TEXTS.filter(lambda text: bool(text.strip()))
FIGURES = st.just(math.nan) | st.floats(-1e9, 1e9).map(lambda value: value + 0.0)
ITEMS = st.lists(
    st.builds(
        ReviewItem,
        PROMPTS,
        st.lists(st.integers(0, 2**63 - 1), max_size=3).map(tuple),
        st.just("pocket"),
        st.just("ab" * 32),
        score=FIGURES,
        similarity=FIGURES,
        nearest=st.integers(-1, 10**6),
        label=TEXTS,
        name=TEXTS,
        thumbnail=st.binary(max_size=20),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda item: item.sha256(),
)
VERDICTS = st.lists(st.sampled_from(REVIEW_VERDICTS), max_size=5)
_number = count()


class Tags(HTMLParser):
    """Collect the tags and attributes of a page; a class because the parser asks for one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Counter[str]()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


def judged(
    folder: Path, items: list[ReviewItem], verdicts: list[str], notes: str
) -> tuple[SqliteFile, str]:
    """Return a queue of the items, the first ones of which are judged and annotated."""
    file = open_queues(folder / "here.sqlite")
    queue = create_queue(file, "q", model="pocket", model_sha256="ab" * 32, items=items).id
    for item, verdict in zip(range(1, len(items) + 1), verdicts, strict=False):
        row = judge(file, ReviewTarget(queue, item, "ann", 0), verdict)  # type: ignore[arg-type]
        annotate(file, ReviewTarget(queue, item, "ann", row.number), notes, [])
    return file, queue


@given(ITEMS, VERDICTS, TEXTS)
@example([ReviewItem("\t=1", (), "pocket", "ab" * 32, label="-2", name="@x")], ["skip"], "+1")
@settings(max_examples=25, deadline=None)
def test_tables_hold_every_text_and_no_formula(
    folder: Path, items: list[ReviewItem], verdicts: list[str], notes: str
) -> None:
    file, queue = judged(folder, items, verdicts, notes)
    kept = [get_item(file, queue, i + 1, "ann") for i in range(len(items))]
    text = queue_csv(file, queue).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    for row, view in zip(rows, kept, strict=True):
        # A negative number is one, and no formula.
        cells = [cell for name, cell in row.items() if name not in ("score", "similarity")]
        assert not [cell for cell in cells if cell.startswith(FORMULA_STARTS)]
        texts = (row["prompt"], row["label"], row["id"])
        for cell, text in zip(
            texts, (view.item.prompt, view.item.label, view.item.name), strict=True
        ):
            assert cell in (text, "'" + text)
        assert (row["score"] == "") == math.isnan(view.item.score)
        if row["score"]:
            assert float(row["score"]) == view.item.score
    path = folder / "queue.parquet"
    write_queue_parquet(file, queue, path)
    table = pyarrow.parquet.read_table(path).to_pydict()
    assert table["prompt"] == [item.prompt for item in items]
    assert table["label"] == [item.label for item in items]
    assert table["sha256"] == [view.item.sha256() for view in kept]


@given(ITEMS, VERDICTS, TEXTS)
@settings(max_examples=25, deadline=None)
def test_a_case_arrives_whole_whatever_it_holds(
    folder: Path, items: list[ReviewItem], verdicts: list[str], notes: str
) -> None:
    file, queue = judged(folder, items, verdicts, notes)
    path = folder / "case.zip"
    export_case(file, queue, folder / "runs", path)
    there = open_queues(folder / f"there-{next(_number)}.sqlite")
    import_case(there, path, folder / "runs")
    for position in range(1, len(items) + 1):
        views = [get_item(one, queue, position, "ann") for one in (file, there)]
        assert repr(views[0]) == repr(views[1])
    assert log_rows(there, queue) == log_rows(file, queue)
    assert verify(there, queue).whole


@given(ITEMS, VERDICTS, TEXTS)
@example([ReviewItem('<img src=x onerror="y">', (), "pocket", "ab" * 32)], [], "<script>")
@settings(max_examples=15, deadline=None)
def test_a_report_is_one_page_without_scripts_or_strangers(
    folder: Path, items: list[ReviewItem], verdicts: list[str], notes: str
) -> None:
    file, queue = judged(folder, items, verdicts, notes)
    page = queue_report(read_case(file, queue), lambda item: None)
    found = Tags()
    found.feed(page)
    assert found.seen["html"] == 1 and found.seen["script"] == 0
    assert found.seen["article"] <= len(items)
    # Nothing that a text says becomes an attribute: none acts, and none asks another machine.
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "href"]
    sources = [value for name, value in found.attributes if name == "src"]
    assert all(value.startswith("data:image/png;base64,") for value in sources)
