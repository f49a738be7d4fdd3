"""One reader for every usual form of a table: the same rows come out of all of them."""

from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import json
import lzma
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mmh_core.formats.csv_rows import csv_records
from mmh_core.records import MMHError
from mmh_core.store.prompt_table import PromptRow, RepeatedRow, prompt_batches
from mmh_core.store.table_summary import TableSummary, summarize

PROMPTS = [
    "portrait of Jonas Okonjo",
    'a "red" house; with door, open',
    "naïve café 日本 🦊\nsecond",
]
ROWS = [{"prompt": text, "label": i % 2, "id": 7 + i} for i, text in enumerate(PROMPTS)]
FRAME = pd.DataFrame(ROWS)
NIGHT = "2024-01-02 03:00:00"
Form = Callable[[Path], None]


def rows(path: Path, **options: Any) -> list[PromptRow]:
    return [row for batch in prompt_batches(path, **options) for row in batch.rows]


def problems(path: Path) -> list[str]:
    return [one.message for batch in prompt_batches(path) for one in batch.problems]


def written(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


FORMS: dict[str, tuple[str, Form]] = {
    "comma": ("csv", lambda path: FRAME.to_csv(path, index=False)),
    "semicolon": ("csv", lambda path: FRAME.to_csv(path, index=False, sep=";")),
    "tab": ("tsv", lambda path: FRAME.to_csv(path, index=False, sep="\t")),
    "tab in csv": ("csv", lambda path: FRAME.to_csv(path, index=False, sep="\t")),
    "bar": ("csv", lambda path: FRAME.to_csv(path, index=False, sep="|")),
    "index column": ("csv", lambda path: FRAME.to_csv(path)),
    "semicolon and index": ("CSV", lambda path: FRAME.to_csv(path, sep=";")),
    "mark": ("csv", lambda path: FRAME.to_csv(path, index=False, encoding="utf-8-sig")),
    "utf-16": ("csv", lambda path: FRAME.to_csv(path, index=False, encoding="utf-16")),
    "utf-16 tabs": ("txt.csv", lambda path: FRAME.to_csv(path, sep="\t", encoding="utf-16-le")),
    "utf-32": ("csv", lambda path: FRAME.to_csv(path, index=False, encoding="utf-32")),
    "crlf": ("csv", lambda path: FRAME.to_csv(path, index=False, lineterminator="\r\n")),
    "all quoted": ("csv", lambda path: FRAME.to_csv(path, index=False, quoting=1)),
    "sep=": ("csv", lambda path: written(path, "sep=;\r\n" + FRAME.to_csv(sep=";")) and None),
    "capitals": ("csv", lambda path: FRAME.rename(columns=str.upper).to_csv(path, index=False)),
    "records": ("json", lambda path: FRAME.to_json(path, orient="records")),
    "indented": ("json", lambda path: written(path, json.dumps(ROWS, indent=2)) and None),
    "columns": ("json", lambda path: FRAME.to_json(path)),
    "lists": ("json", lambda path: written(path, json.dumps(FRAME.to_dict("list"))) and None),
    "split": ("json", lambda path: FRAME.to_json(path, orient="split")),
    "index": ("json", lambda path: FRAME.to_json(path, orient="index")),
    "table": ("json", lambda path: FRAME.to_json(path, orient="table")),
    "under a name": ("json", lambda path: written(path, json.dumps({"data": ROWS})) and None),
    "json utf-16": (
        "json",
        lambda path: written(path, json.dumps(ROWS).encode("utf-16")) and None,
    ),
    "json mark": ("json", lambda path: written(path, "\ufeff" + json.dumps(ROWS)) and None),
    "jsonl": ("jsonl", lambda path: FRAME.to_json(path, orient="records", lines=True)),
    "ndjson": ("ndjson", lambda path: FRAME.to_json(path, orient="records", lines=True)),
    "lines in json": ("json", lambda path: FRAME.to_json(path, orient="records", lines=True)),
    "json in csv": ("csv", lambda path: FRAME.to_json(path, orient="records", lines=True)),
    "parquet": ("parquet", lambda path: FRAME.to_parquet(path)),
    "parquet in csv": ("csv", lambda path: FRAME.to_parquet(path)),
    "parquet index": ("parquet", lambda path: FRAME.set_axis([5, 6, 7]).to_parquet(path)),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_table_in_any_form_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    suffix, write = FORMS[form]
    path = tmp_path / f"t.{suffix}"
    write(path)
    found = rows(path)
    assert [(one.row, one.prompt) for one in found] == list(enumerate(PROMPTS, start=1))
    assert [one.label for one in found] == ["0", "1", "0"]
    assert [one.name for one in found] == ["7", "8", "9"]
    summary = summarize(path)
    assert (summary.rows, summary.prompts, summary.left_out) == (3, 3, 0)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("c.json", '["portrait of Jonas Okonjo", "table"]', ["portrait of Jonas Okonjo", "table"]),
        ("c.jsonl", '"one"\n"two"\n', ["one", "two"]),
        ("c.json", '{"prompts": ["one", "two"]}', ["one", "two"]),
        ("c.json", '{"a": "one", "b": "two"}', ["one", "two"]),
        ("c.json", '[["id", "Prompt"], ["1", "one"]]', ["one"]),
        ("c.json", '{"Caption": "one", "url": "x"}', ["one"]),
        ("c.jsonl", '{"caption": "one", "index": 1, "url": "x"}\n', ["one"]),
        ("c.jsonl", '{"url": 1}\n{"url": 2, "text": "one"}\n', ["one"]),
        ("c.json", '[{"prompt": ["one"], "tags": ["a", "b"]}]', ["one"]),
        (
            "b.csv",
            ';Caption;URL;type\n0;one;x;VM\n1;"a ""red"" h; d";x;N\n',
            ["one", 'a "red" h; d'],
        ),
        ("b.csv", "Unnamed: 0\tprompt\n0\tone\n", ["one"]),
        ("b.tsv", 'Prompt\tNote\n5" disk\tx\n"open\ty\n', ['5" disk', '"open']),
        ("b.csv", "prompt,label,,\none,x,,\ntwo,y,,\n", ["one", "two"]),
        ("b.csv", "prompt,label\none,x,,\n", ["one"]),
        ("b.csv", "\n\nprompt\none\n", ["one"]),
        ("b.csv", "\uff30rompt\none\n", ["one"]),
        ("b.csv", "File Name,Positive Prompt\na.png,one\n", ["one"]),
        ("b.csv", "TEXT,URL\none,x\n", ["one"]),
        ("b.txt", "\ufeffone\r\n\r\ntwo", ["one", "two"]),
        ("b.txt", '{"prompt": 1}\n', ['{"prompt": 1}']),
        ("b", "prompt\none\n", ["one"]),
        ("b.csv", "prompt\r'one\rtwo\r", ["'one", "two"]),
    ],
)
def test_lists_as_they_are_published_are_read(
    tmp_path: Path, name: str, data: str, expected: list[str]
) -> None:
    assert [row.prompt for row in rows(written(tmp_path / name, data))] == expected


def test_types_of_matches_and_further_columns_are_kept_and_nameless_ones_named(
    tmp_path: Path,
) -> None:
    path = written(tmp_path / "w.csv", ";Caption;URL;type\n0;one;http://x;MV\n1;two;;TV\n")
    assert rows(path) == [
        PromptRow(1, "one", "MV", more=(("URL", "http://x"),)),
        PromptRow(2, "two", "TV"),
    ]
    summary = summarize(path)
    assert (summary.column, summary.kept) == ("Caption", ("type", "URL"))
    assert summary.ignored == ("one without a name",)
    assert "Not read: 'one without a name'." in summary.text()
    path = written(tmp_path / "w.jsonl", '{"caption": "one", "index": 1, "url": "x"}\n')
    assert rows(path) == [PromptRow(1, "one", more=(("index", "1"), ("url", "x")))]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array([1, 0, None], pa.int64()), ["1", "0", ""]),
        (pa.array([1, 0, None], pa.uint8()), ["1", "0", ""]),
        (pa.array([True, False, None]), ["true", "false", ""]),
        (pa.array([0.5, float("nan"), None]), ["0.5", "", ""]),
        (pa.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"]),
        (pa.array([7, 8, None]).dictionary_encode(), ["7", "8", ""]),
        (pa.array([datetime.date(2024, 1, 2)] * 3), ["2024-01-02"] * 3),
        (pa.array([datetime.datetime(2024, 1, 2, 3)] * 3, pa.timestamp("s")), [NIGHT] * 3),
        (pa.array([decimal.Decimal("1.50")] * 3), ["1.50"] * 3),
        (pa.array([b"x", b"y", None], pa.binary()), ["x", "y", ""]),
        (pa.array(["x", "y", None], pa.large_string()), ["x", "y", ""]),
        (pa.array([datetime.timedelta(days=1)] * 3), ["1 day, 0:00:00"] * 3),
        (pa.array([datetime.time(1, 2, 3)] * 3, pa.time32("s")), ["01:02:03"] * 3),
        (pa.nulls(3), ["", "", ""]),
    ],
)
@pytest.mark.parametrize("column", ["label", "id", "note"])
def test_every_type_of_parquet_with_a_text_form_is_read(
    tmp_path: Path, values: pa.Array, texts: list[str], column: str
) -> None:
    parquet.write_table(pa.table({"prompt": list("abc"), column: values}), tmp_path / "t.parquet")
    found = rows(tmp_path / "t.parquet")
    if column == "note":
        assert [dict(row.more).get("note", "") for row in found] == texts
    else:
        assert [row.label if column == "label" else row.name for row in found] == texts


def test_columns_without_a_text_form_are_named_and_the_others_read(tmp_path: Path) -> None:
    path = tmp_path / "hub.parquet"
    image = pa.array([{"bytes": b"x", "path": "a"}] * 2)
    table = pa.table({"image": image, "text": ["one", "two"], "vector": [[0.5], [1.5]]})
    parquet.write_table(table, path)
    summary = summarize(path)
    assert (summary.prompts, summary.ignored) == (2, ("image", "vector"))


@pytest.mark.parametrize(
    ("header", "cells", "columns"),
    [
        ("prompt,caption", "one,two", ("prompt", "caption")),
        ("Text,Caption", "one,two", ("Caption", "Text")),
        ("prompt,text", ",two", ("prompt", "text")),
        ("prompts,captions", "one,two", ("prompts", "captions")),
        ("description,alt_text", "one,two", ("description", "alt_text")),
        ("sentence,title", "one,two", ("sentence", "title")),
    ],
)
def test_which_of_two_columns_is_asked_with_the_choices(
    tmp_path: Path, header: str, cells: str, columns: tuple[str, str]
) -> None:
    path = written(tmp_path / "t.csv", f"{header}\nsame,same\n{cells}\n")
    with pytest.raises(MMHError) as caught:
        rows(path)
    one, other = columns
    assert f"{one!r} and {other!r}, which differ in row 2" in str(caught.value)
    assert f"by --column {one} or --column {other}." in str(caught.value)
    found = [row.prompt for row in rows(path, column="two" in cells and header.split(",")[1])]
    assert found == ["same", "two"]


def test_two_columns_with_the_same_texts_need_no_question(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "prompt,text\none,one\ntwo,\n")
    assert [row.prompt for row in rows(path)] == ["one", "two"]
    assert summarize(path).ignored == ("text",)


def test_a_column_can_be_named(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "Anfrage;Art\neins;x\n")
    with pytest.raises(MMHError, match=r"has 'Anfrage', 'Art'\): .* --column Anfrage"):
        rows(path)
    for name in ("Anfrage", "anfrage", " ANFRAGE "):
        assert rows(path, column=name) == [PromptRow(1, "eins", more=(("Art", "x"),))]
    with pytest.raises(MMHError, match="no column 'frage'; it has 'Anfrage', 'Art'"):
        rows(path, column="frage")


def test_rows_are_counted_and_repeated_ones_linked(tmp_path: Path) -> None:
    lines = [f"P{i:03},prompt {i % 50}" for i in range(58)] + ["P058,", "P059,bad\x07"]
    path = written(tmp_path / "t.csv", "case id,prompt\n" + "\n".join(lines))
    found = summarize(path)
    assert (found.rows, found.prompts, found.repeated, found.left_out) == (60, 50, 8, 2)
    assert found.repeats[0] == RepeatedRow(51, 1, "", "P050", "prompt 0")
    assert [(one.row, one.first) for one in found.repeats] == [(51 + i, 1 + i) for i in range(8)]
    assert found.sentence() == (
        "t.csv has 60 rows: 50 prompts to read, 8 repeat an earlier row, 2 left out."
    )
    assert "Row 51 (P050) repeats the prompt of row 1." in found.text()
    assert "Row 59 was left out because it has no prompt" in found.text()


def test_of_very_many_rows_the_first_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "prompt\n" + "same\n" * 3_000 + "a,b\n" * 2_000)
    found: TableSummary = summarize(path)
    assert (found.rows, found.prompts, found.repeated, found.left_out) == (5_000, 1, 2_999, 2_000)
    assert (len(found.repeats), len(found.problems)) == (1_000, 1_000)
    assert "and 2,979 more" in found.text() and "and 1,980 more" in found.text()


def test_long_and_strange_cells_of_other_columns_cost_no_row(tmp_path: Path) -> None:
    data = b"prompt,note\none," + b"x" * 60_000 + b"\ntwo,caf\xe9 \x07\n"
    found = rows(written(tmp_path / "t.csv", data))
    assert found[0].more == (("note", "x" * 997 + "..."),)
    assert found[1].more == (("note", "caf\ufffd \ufffd"),)


HOSTILE = {
    "quotes and commas": ("csv", 'x","y\n'),
    "open quotation": ("csv", '"x\n'),
    "open quotation in a cell": ("csv", 'x,"y\n'),
    "closed and open": ("csv", '"x" y,"\n'),
    "doubled": ("csv", '"""\n'),
    "semicolons": ("csv", 'x";"y\n'),
    "tabs": ("tsv", 'x"\t"y\n'),
    "json lines": ("jsonl", '{"prompt": "\n'),
    "brackets": ("jsonl", "[[[[[[\n"),
    "blank": ("csv", " \n"),
    "carriage returns": ("csv", '"\r'),
    "text": ("txt", '"\n'),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_reading_takes_linear_time(tmp_path: Path, case: str) -> None:
    suffix, line = HOSTILE[case]
    few, many = (tmp_path / f"{name}.{suffix}" for name in ("few", "many"))
    for path, count in ((few, 10_000), (many, 40_000)):
        path.write_text(f"prompt{' ' if suffix == 'csv' else ''}\n" + line * count)
    base = min(_seconds(few), _seconds(few))
    # Four times the lines: 4 if linear, 16 if quadratic; the constant is for what starts up.
    most = 9 * base + 0.2
    # A second time only where a busy machine may be what made it slow.
    assert _seconds(many) < most or _seconds(many) < most


def _seconds(path: Path) -> float:
    """Return the processor's time of reading a table."""
    start = time.process_time()
    with suppress(MMHError):
        summarize(path)
    return time.process_time() - start


@given(st.lists(st.sampled_from(['x","y', '"x', "x", '"', '"x"', 'x,"y', '"a""b"', '"a" b', ""])))
@settings(max_examples=300, deadline=None)
def test_each_line_is_read_as_by_reading_again_from_every_line(lines: list[str]) -> None:
    text = [f"{line}\n" for line in lines]
    assert list(csv_records(iter(text))) == list(_read_again(text))


def _read_again(lines: list[str]) -> list[list[str] | str]:
    """Return the rows by the plain rule: after a failure all but its first line are read anew."""
    import csv

    found: list[list[str] | str] = []
    while lines:
        count = 0

        def counted(rest: list[str]) -> Any:
            nonlocal count
            for line in rest:
                count += 1
                yield line

        try:
            found.append(next(csv.reader(counted(lines), strict=True)))
            lines = lines[count:]
        except csv.Error as error:
            wrong = "a quotation mark is left open: close it"
            if count == 1 and "unexpected end" not in str(error):
                wrong = f"its quotation marks are wrong ({error}): double those inside a cell"
            found.append(wrong)
            lines = lines[1:]
    return found


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("t.json", "[" * 100_000, "nested too deeply"),
        ("t.json", '{"a":' * 100_000, "nested too deeply"),
        ("t.json", '[{"prompt": ' + "[" * 100_000, "nested too deeply"),
        ("t.json", "[1, 2", "the list does not end"),
        ("t.json", '["a" "b"]', "',' expected"),
        ("t.json", '["a"] ["b"]', "follows the list"),
        ("t.json", '["a", {"b"]', "cannot be read as JSON"),
        ("t.json", '["' + "x" * 3_000_000, "Unterminated string"),
        ("t.json", "", "is empty"),
        ("t.json", "5", "no list and no object"),
        ("t.json", "{}", "has no rows"),
        ("t.json", '{"prompt": ["a"], "label": ["b", "c"]}', "different lengths"),
        ("t.json", "[]", "has no rows"),
        (
            "t.json",
            "{" + ",".join(f'"k{i}": {{"c{i}": 1}}' for i in range(200)) + "}",
            "more than 100",
        ),
        ("t.jsonl", "".join(f'{{"c{i}": 1}}\n' for i in range(200)), "more than 100 columns"),
        ("t.json", '[{"words": "a"}]', "no column prompt"),
        ("t.json", '[["a", "b"]]', "no names of columns"),
    ],
)
def test_json_that_is_no_table_is_a_sentence(
    tmp_path: Path, name: str, data: str, sentence: str
) -> None:
    with pytest.raises(MMHError, match=sentence):
        rows(written(tmp_path / name, data))


def _zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")


def _streamed(path: Path) -> None:
    table = pa.Table.from_pandas(FRAME)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)


def _text(pack: Callable[[bytes], bytes]) -> Form:
    def form(path: Path) -> None:
        path.write_bytes(pack(b"prompt\na cat\n"))

    return form


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (_zipped, "Excel and LibreOffice"),
        (_text(lambda _: bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)), "old workbook"),
        (_text(gzip.compress), "gzip"),
        (_text(bz2.compress), "bzip2"),
        (_text(lzma.compress), "xz"),
        (lambda path: FRAME.to_feather(path, compression="uncompressed"), "Feather"),
        (_streamed, "stream of Arrow"),
        (lambda path: FRAME.to_pickle(path, compression=None), "pickle"),
        (_text(lambda _: b"%PDF-1.7\n%"), "PDF"),
        (_text(lambda _: b"SQLite format 3\x00"), "SQLite"),
    ],
)
@pytest.mark.parametrize("ending", ["xlsx", "csv", "txt"])
def test_what_is_no_table_is_named_with_a_way_to_make_it_one(
    tmp_path: Path, form: Form, told: str, ending: str
) -> None:
    form(path := tmp_path / f"prompts.{ending}")
    with pytest.raises(MMHError, match=told) as caught:
        rows(path)
    assert "--column" not in str(caught.value)
    assert str(caught.value).isascii()


@pytest.mark.parametrize("prompt", ["PK in the garden", "BZhang, painter", "%PDF icon", "ARROW1"])
def test_prompts_that_begin_like_such_a_file_are_read(tmp_path: Path, prompt: str) -> None:
    path = written(tmp_path / "prompts.txt", f"{prompt}\na cat\n")
    assert [row.prompt for row in rows(path)] == [prompt, "a cat"]


def test_lines_of_json_that_are_broken_are_left_out_by_name(tmp_path: Path) -> None:
    lines = ['{"prompt": "one"}', "{broken", "true", "[" * 100_000, '{"prompt": {"a": 1}}']
    lines += [
        '{"prompt": null}',
        "",
        '{"prompt": 5}',
        '"' + "x" * 2**21 + '"',
        '{"prompt": "end"}',
    ]
    path = written(tmp_path / "t.jsonl", "\n".join(lines))
    assert [(row.row, row.prompt) for row in rows(path)] == [(1, "one"), (7, "5"), (9, "end")]
    found = problems(path)
    for said, part in zip(
        found,
        (
            "is no JSON",
            "no object",
            "nested too deeply",
            "no text but",
            "no prompt",
            "longer than",
        ),
        strict=True,
    ):
        assert part in said


def test_a_long_list_of_json_is_read_value_by_value(tmp_path: Path) -> None:
    texts = [f"prompt {i} " + "é" * (i % 700) for i in range(3_000)]
    for data in (json.dumps(texts), json.dumps(texts, indent=1, ensure_ascii=False)):
        assert [row.prompt.strip() for row in rows(written(tmp_path / "t.json", data))] == [
            text.strip() for text in texts
        ]
    numbers = written(tmp_path / "n.json", json.dumps([{"prompt": 10**i} for i in range(4_000)]))
    assert all(row.prompt == str(10 ** (row.row - 1)) for row in rows(numbers))


@given(st.binary(max_size=200), st.sampled_from(["json", "jsonl", "tsv", "csv"]))
@settings(max_examples=120, deadline=None)
def test_any_bytes_are_rows_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("x")
    for start in (b"", b'{"prompt": "', b"[", b"\xff\xfe", b"\x00p", b"prompt\n"):
        try:
            for row in rows(written(folder / f"x.{suffix}", start + data)):
                row.prompt.encode()
        except MMHError as error:
            assert f"x.{suffix}" in str(error)
