"""Tables as people bring them: by what they hold, and in a sentence where they hold too little."""

from __future__ import annotations

import gzip
import json
import shlex
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from mmh_core.records import MMHError
from mmh_core.retrieval.captions import read_captions
from mmh_core.store.table_summary import summarize
from mmh_core.studies.detection.labelled_prompts import read_calibrating, read_labelled
from mmh_core.text_to_image.requests import check_prompt
from tests.formats.test_tables import problems, rows, written


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        # A list named as lines, and lines named as a list.
        ("t.jsonl", '[{"prompt": "one"}, {"prompt": "two"}]', ["one", "two"]),
        ("t.jsonl", json.dumps([{"prompt": "one"}, {"prompt": "two"}], indent=1), ["one", "two"]),
        ("t.ndjson", '\n["one",\n "two"]\n', ["one", "two"]),
        ("t.jsonl", "\ufeff" + '[{"prompt": "one"}]', ["one"]),
        ("t.json", '{"prompt": "one"}\n{"prompt": "two"}\n', ["one", "two"]),
        ("t.json", '{"prompt": "one"} {"prompt": "two"}', ["one", "two"]),
        ("t.json", '\n\n{"prompt": "one"}\n\n{"prompt": "two"}', ["one", "two"]),
        ("t.json", '{\n"prompt": "one"\n}\n{\n"prompt": "two"\n}\n', ["one", "two"]),
        ("t.jsonl", '{\n "prompt": "one"\n}\n', ["one"]),
        ("t.jsonl", '{\n "prompt": ["one", "two"]\n}\n', ["one", "two"]),
        ("t.json", '"one"\n"two"\n', ["one", "two"]),
        ("t.jsonl", '{"prompt": "one"},\n{"prompt": "two"},\n', ["one", "two"]),
        ("t.json", '{"prompt": "one"},\n{"prompt": "two"}\n', ["one", "two"]),
        ("t.jsonl", '[\n{"prompt": "one"},\n{"prompt": "two"}\n]\n', ["one", "two"]),
        # A table of Markdown, whose second line is no row.
        ("t.md", "| prompt | label |\n|---|:---:|\n| one | x |\n", ["one"]),
        ("t.csv", "prompt|label\n--- | ---\none|x\n---|y\n", ["one", "---"]),
        # Texts that begin as other files do.
        ("t.txt", "ORCs in a field\nObject\n", ["ORCs in a field", "Object"]),
        ("t.txt", "version https\n<h>\n", ["version https", "<h>"]),
        # Apostrophes for quotation marks, and as what they are.
        ("t.csv", "'prompt','label'\n'one, or ''two''',x\n", ["one, or 'two'"]),
        ("t.csv", "prompt,label\n'one, two',x\nthree,y\n", ["one, two", "three"]),
        ("t.csv", "prompt;label\n'one; two';'x'\n'three';'y'\n", ["one; two", "three"]),
        ("t.csv", "label,prompt\n1,'one'\n0,'two'\n", ["one", "two"]),
        ("t.csv", "'prompt'\n'one\ntwo'\n'three'\n", ["one\ntwo", "three"]),
        (
            "t.csv",
            "prompt,label\n'Twas night,x\nrock 'n' roll,y\n",
            ["'Twas night", "rock 'n' roll"],
        ),
        ("t.csv", "prompt\n'tis one'\ntwo\n", ["'tis one'", "two"]),
        ("t.csv", "prompt,label\n\"'one', two\",x\n\"'a'\",y\n", ["'one', two", "'a'"]),
    ],
)
def test_tables_are_read_by_what_they_hold(
    tmp_path: Path, name: str, data: str, expected: list[str]
) -> None:
    path = written(tmp_path / name, data)
    assert [row.prompt for row in rows(path)] == expected
    assert problems(path) == []


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt", "t.json", "t.jsonl", "t"])
@pytest.mark.parametrize("data", [b"", b"\n \n", "\ufeff".encode(), "\ufeff\r\n".encode("utf-16")])
def test_a_table_without_anything_is_called_empty(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(MMHError, match=rf"^{name} is empty: "):
        rows(written(tmp_path / name, data))


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("t.json", "[]", "t.json has no rows"),
        ("t.json", "{}", "t.json has no rows"),
        ("t.jsonl", " [ ] \n", "t.jsonl has no rows"),
        ("t.csv", "[]", "t.csv has no rows"),
        ("t.csv", "{}", "t.csv has no rows"),
        ("t.json", '{"data": []}', "t.json has no rows"),
        ("t.json", "[{}]", "No row of t.json can be read: its objects are empty"),
        ("t.jsonl", "{}\n{}\n", "No row of t.jsonl can be read: its objects are empty"),
        ("t.jsonl", "{broken\n", "No row of t.jsonl can be read: row 1 .* no JSON"),
        ("t.json", "[true, null]", "No row of t.json can be read: row 1 .* no object and no text"),
    ],
)
def test_json_without_rows_says_so(tmp_path: Path, name: str, data: str, told: str) -> None:
    with pytest.raises(MMHError, match=told) as caught:
        rows(written(tmp_path / name, data))
    assert "header" not in str(caught.value) and "first line" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        ("prompt,label,id\none,x,1\ntwo\nthree,y\n", {2: "1 cell and", 3: "2 cells and"}),
        ("prompt;label\none\ntwo;y\n", {1: "1 cell and"}),
        ("id,prompt,label\n1,one\n2,two,y\n", {1: "2 cells and"}),
    ],
)
def test_short_rows_are_counted_and_named_with_a_step_for_them(
    tmp_path: Path, data: str, lines: dict[int, str]
) -> None:
    summary = summarize(written(tmp_path / "t.csv", data))
    assert summary.left_out == len(lines)
    assert summary.rows == data.count("\n") - 1
    for one in summary.problems:
        assert lines[one.row] in one.message
        assert "s for its empty cells too" in one.message
        assert "put text with" not in one.message


TEXTS = ["a cat", "日本 " * 40, None, "a cat", "", "x" * 5_000]


@pytest.mark.parametrize(
    "values",
    [
        pa.array(TEXTS, pa.string_view()),
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS).dictionary_encode(),
        pa.array(TEXTS, pa.large_string()).dictionary_encode(),
        pa.array([None if t is None else t.encode() for t in TEXTS], pa.binary_view()),
        pa.array([None if t is None else t.encode() for t in TEXTS], pa.large_binary()),
        pa.array(TEXTS).cast(pa.dictionary(pa.int8(), pa.string())),
    ],
    ids=lambda values: str(values.type),
)
def test_every_type_of_text_in_parquet_is_a_prompt(tmp_path: Path, values: pa.Array) -> None:
    parquet.write_table(pa.table({"prompt": values, "note": values}), tmp_path / "t.parquet")
    found = rows(tmp_path / "t.parquet")
    assert [(row.row, row.prompt) for row in found] == [
        *((1, "a cat"), (2, ("日本 " * 40).strip()), (6, "x" * 5_000)),
    ]
    assert dict(found[0].more) == {"note": "a cat"}
    assert summarize(tmp_path / "t.parquet").rows == 6


@pytest.mark.parametrize(
    ("name", "data", "option"),
    [
        ("t.csv", "Nr,Anfrage,Art\n1,ein langer Text,x\n", "--column Anfrage"),
        ("t.csv", "Nr;Die Anfrage\n1;ein langer Text\n", '--column "Die Anfrage"'),
        ("t.csv", "a,b\nhttps://example.org/a-very-long-address.jpg,a cat\n", "--column b"),
        ("t.csv", "a,b\n2024-01-02 03:04:05.123456,a cat\n", "--column b"),
        ("t.csv", "a,b\n0123456789abcdef0123456789abcdef,a cat\n", "--column b"),
        ("t.csv", "nr,提示\n1,花园里的一只猫\n", "--column 提示"),
        ("t.csv", "nr,-words-\n1,a cat\n", "--column=-words-"),
        ("t.csv", "nr,$a\n1,a cat\n", "--column '$a'"),
        ("t.csv", "nr,it's\n1,a cat\n", '--column "it\'s"'),
        ("t.json", '[{"nr": 1, "words": "a cat"}]', "--column words"),
        ("t.jsonl", '{"nr": "1"}\n{"words": "a cat", "nr": "2"}\n', "--column words"),
        ("t.csv", "a,b\n", "--column a"),
        ("t.csv", "1,a long text of a cat,x\n2,another,y\n", '--column "a long text of a cat"'),
    ],
)
def test_the_column_of_the_longest_texts_is_proposed(
    tmp_path: Path, name: str, data: str, option: str
) -> None:
    path = written(tmp_path / name, data)
    with pytest.raises(MMHError) as caught:
        rows(path)
    assert f"in a command by {option}" in str(caught.value)
    assert ("write a line of names" in str(caught.value)) == (name == "t.csv")
    # The step that is told works.
    column = shlex.split(option)[-1].removeprefix("--column=")
    assert summarize(path, column=column).rows >= 0


def test_the_proposed_column_of_parquet_is_one_that_has_a_text_form(tmp_path: Path) -> None:
    table = pa.table({"vector": [[0.5]], "nr": [1], "words": ["a cat"]})
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(MMHError, match=r"by --column words\.$"):
        rows(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("name", "data", "row"),
    [
        ("t.csv", "prompt,label\nMüller,x\na cat,y\n".encode("cp1252"), 1),
        ("t.csv", "prompt,label\na cat,y\n花园里的一只猫,x\n".encode("gbk"), 2),
        ("t.txt", "a cat\nMüller\n".encode("latin-1"), 2),
        ("t.tsv", "prompt\tlabel\nŁódź\tx\na cat\ty\n".encode("cp1250"), 1),
        ("t.jsonl", '{"prompt": "Müller"}\n{"prompt": "a cat"}\n'.encode("cp1252"), 1),
    ],
)
def test_rows_in_another_encoding_are_named_with_the_way_to_utf_8(
    tmp_path: Path, name: str, data: bytes, row: int
) -> None:
    summary = summarize(written(tmp_path / name, data))
    assert (summary.prompts, [one.row for one in summary.problems]) == (1, [row])
    assert "save the table in UTF-8 (in a spreadsheet: as CSV UTF-8)" in summary.text()


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("t.csv", "Prompt;Schlüssel\na;x\n".encode("cp1252"), "not in UTF-8: save the table"),
        ("t.csv", "提示,标签\n一只猫,x\n".encode("gbk"), "not in UTF-8: save the table"),
        ("t.json", r'[{"prompt": "a", "x\ud83d": "b"}]', "half of a character \\(U\\+D83D\\)"),
    ],
)
def test_names_of_columns_that_are_no_unicode_are_refused(
    tmp_path: Path, name: str, data: str | bytes, told: str
) -> None:
    with pytest.raises(MMHError, match=rf"The name of a column of {name} .*{told}") as caught:
        rows(written(tmp_path / name, data))
    assert str(caught.value).encode()


def test_half_of_a_character_is_called_that(tmp_path: Path) -> None:
    path = written(tmp_path / "t.json", r'[{"prompt": "a \ud83d"}, {"prompt": "a \ud83d\ude00"}]')
    assert problems(path) == [
        "Row 1 was left out because its prompt holds half of a character (U+D83D): write it whole "
        "or remove it."
    ]
    assert [row.prompt for row in rows(path)] == ["a 😀"]


def test_a_folder_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(MMHError, match=r"is a folder: name a table\.$"):
        rows(tmp_path)
    written(tmp_path / "b.csv", "prompt\na\n")
    with pytest.raises(MMHError, match=r"is a folder: name a table in it, such as .*b\.csv\.$"):
        rows(tmp_path)


def test_a_packed_table_is_told_how_to_unpack_it(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv.gz", gzip.compress(b"prompt\na\n"))
    with pytest.raises(MMHError, match=r"unpack it, in a terminal by gunzip -k t\.csv\.gz\.$"):
        rows(path)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:a\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html></html>\n", "a web page"),
        (b"<html><body>404</body></html>", "a web page"),
        (b"<?xml version='1.0'?><a/>", "XML"),
        (b"{\\rtf1\\ansi prompt}", "RTF"),
        (b"\x89PNG\r\n\x1a\n\x00", "an image"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "an image"),
        (b"\x89HDF\r\n\x1a\n\x00", "HDF5"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", "NumPy"),
        (b"Obj\x01\x04", "Avro"),
        (b"ORC\x00\x00", "control characters"),
        (b"a.txt" + bytes(252) + b"ustar", "control characters"),
        (bytes(60), "control characters"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t"])
def test_other_files_are_called_what_they_are(
    tmp_path: Path, name: str, data: bytes, told: str
) -> None:
    path = written(tmp_path / name, data)
    for read in (rows, read_captions):
        with pytest.raises(MMHError, match=rf"^{name} .*{told}") as caught:
            read(path)
        assert "--column" not in str(caught.value)


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u200b", "\u2060\ufeff", "\u3000", "\u200e"])
def test_a_prompt_of_which_nothing_can_be_seen_is_none(tmp_path: Path, blank: str) -> None:
    path = written(tmp_path / "t.csv", f"prompt,label\na cat,x\n{blank},y\n")
    assert [row.prompt for row in rows(path)] == ["a cat"]
    assert problems(path) == [
        "Row 2 was left out because it has no prompt: write one or delete the row."
    ]
    with pytest.raises(MMHError, match="prompt is empty"):
        check_prompt(blank)


def test_columns_without_a_text_form_are_not_proposed(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"conversation": [["a"]]}), tmp_path / "t.parquet")
    with pytest.raises(MMHError, match=r"none of its columns .'conversation'. has a text form"):
        rows(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv", b""),
        ("t.json", b"[]"),
        ("t.jsonl", b"{broken\n"),
        ("t.json", b"{'prompt': 1}"),
        ("t.csv.gz", gzip.compress(b"prompt\na\n", mtime=0)),
        ("t.csv", "Schl\u00fcssel\nx\n".encode("cp1252")),
        ("t.parquet", b"PAR1" + bytes(50)),
        ("folder", None),
        ("missing.csv", None),
    ],
)
def test_every_reader_says_the_same_sentence(
    tmp_path: Path, name: str, data: bytes | None
) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    elif name == "folder":
        path.mkdir()
    said = set()
    for read in (summarize, read_labelled, read_calibrating, read_captions):
        with pytest.raises(MMHError) as caught:
            read(path)
        said.add(str(caught.value))
    assert len(said) == 1
