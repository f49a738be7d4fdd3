"""Tables of prompts: what is good is kept as written, what is bad is named by its row."""

from __future__ import annotations

import tracemalloc
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mmh_core.formats import parquet_rows
from mmh_core.formats.columns import TextColumn
from mmh_core.formats.export import csv_text
from mmh_core.records import MMHError
from mmh_core.store.prompt_table import PromptBatch, PromptRow, prompt_batches

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t,\"';=+-@"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def read(path: Path, **options: Any) -> PromptBatch:
    """Return the whole table as one batch."""
    batches = list(prompt_batches(path, **options))
    return PromptBatch(
        tuple(row for batch in batches for row in batch.rows),
        tuple(problem for batch in batches for problem in batch.problems),
        tuple(repeat for batch in batches for repeat in batch.repeats),
    )


def read_csv(folder: Path, data: str | bytes) -> PromptBatch:
    path = folder / "prompts.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read(path)


def prompts(batch: PromptBatch) -> list[str]:
    return [row.prompt for row in batch.rows]


def kept(cells: list[tuple[str, str, str]]) -> tuple[list[PromptRow], int, list[int]]:
    """Return the rows that ought to come out of (prompt, label, id), duplicates and bad rows."""
    rows: dict[str, PromptRow] = {}
    duplicates, bad = 0, []
    for number, (prompt, label, name) in enumerate(cells, start=1):
        prompt = prompt.strip()
        if all(unicodedata.category(letter) in ("Zs", "Cf") for letter in prompt):
            # Nothing of it can be seen: it is empty, or of letters without a width.
            bad.append(number)
        elif prompt in rows:
            duplicates += 1
        else:
            rows[prompt] = PromptRow(number, prompt, label.strip(), name.strip())
    return list(rows.values()), duplicates, bad


def is_plain(text: str) -> bool:
    """Tell whether no apostrophe before a formula is the text's own: that one cannot be told."""
    return not text.startswith(tuple(f"'{start}" for start in "=+-@\t\r"))


CELLS = st.lists(st.tuples(*[TEXT.filter(is_plain)] * 3), max_size=12)


@given(CELLS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_our_own_csv_writer_wrote_comes_back(
    folder: Path, cells: list[tuple[str, str, str]], mark: bool
) -> None:
    text = csv_text(["Prompt", "label", "ID"], cells)
    batch = read_csv(folder, text.encode("utf-8-sig" if mark else "utf-8"))
    rows, duplicates, bad = kept(cells)
    assert list(batch.rows) == rows
    assert batch.duplicates == duplicates
    assert [problem.row for problem in batch.problems] == bad


@given(CELLS, st.sampled_from([pa.string(), pa.large_string()]), st.booleans())
@settings(max_examples=30, deadline=None)
def test_parquet_comes_back_however_it_was_encoded(
    folder: Path, cells: list[tuple[str, str, str]], kind: pa.DataType, dictionary: bool
) -> None:
    path = folder / "prompts.parquet"
    columns = [pa.array([row[i] for row in cells], kind) for i in range(3)]
    table = pa.table(dict(zip(["CAPTION", "label", "id"], columns, strict=True)))
    parquet.write_table(table, path, row_group_size=5, use_dictionary=dictionary)
    batch = read(path, batch_rows=4)
    rows, duplicates, bad = kept(cells)
    assert list(batch.rows) == rows
    assert batch.duplicates == duplicates
    assert [problem.row for problem in batch.problems] == bad


@given(st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_rows_or_a_sentence(folder: Path, data: bytes) -> None:
    for name, start in (("x.csv", b"prompt\n"), ("x.txt", b""), ("x.parquet", b"PAR1")):
        (folder / name).write_bytes(start + data)
        try:
            batch = read(folder / name)
        except MMHError as error:
            assert name in str(error)
        else:
            for row in batch.rows:
                row.prompt.encode()  # No half characters are let through.


def test_every_kind_of_bad_row_is_named_and_the_good_ones_are_kept(tmp_path: Path) -> None:
    lines = [
        b"id,prompt,label",
        b"1,a red fox,animal",
        b"2,,animal",
        b"3,   ,animal",
        b"4," + b"x" * 10_001 + b",animal",
        b"5," + b"y" * 10_000 + b",animal",
        b"6,a caf\xe9,place",
        b"7,a bell\x07,thing",
        b"8,a, b,thing",
        b"",
        b"9,=1+1,'@thing",
        b'10,"a ""great"" ship",thing',
        b"11,a red fox,again",
        b'12,a "b" c,inch',
        b'13,"a "b" c",inch',
    ]
    batch = read_csv(tmp_path, b"\r\n".join(lines))
    assert [row.name for row in batch.rows] == ["1", "5", "9", "10", "12"]
    assert [row.prompt for row in batch.rows if row.row > 8] == [
        *("=1+1", 'a "great" ship', 'a "b" c'),
    ]
    assert batch.rows[2].label == "@thing"
    assert batch.duplicates == 1
    assert {problem.row: problem.message for problem in batch.problems} == {
        2: "Row 2 was left out because it has no prompt: write one or delete the row.",
        3: "Row 3 was left out because it has no prompt: write one or delete the row.",
        4: "Row 4 was left out because its prompt is longer than 10,000 characters: shorten it.",
        6: "Row 6 was left out because its prompt is not in UTF-8: save the table in UTF-8 (in a "
        "spreadsheet: as CSV UTF-8).",
        7: "Row 7 was left out because its prompt holds the control character U+0007: remove it.",
        8: "Row 8 was left out because it has 4 cells and the header 3: put text with commas in "
        'straight quotation marks (").',
        13: "Row 13 was left out because its quotation marks are wrong (',' expected after "
        "'\"'): double those inside a cell.",
    }


def test_an_open_quotation_mark_costs_one_row(tmp_path: Path) -> None:
    good = [f"prompt {i}" for i in range(20_000)]
    text = "prompt\n" + "\n".join([*good[:5], '"open', *good[5:]])
    batch = read_csv(tmp_path, text)
    assert prompts(batch) == good
    assert [problem.row for problem in batch.problems] == [6]
    assert "a quotation mark is left open" in batch.problems[0].message
    # Closed by accident in a later row.
    batch = read_csv(tmp_path, 'prompt\n"open\na\nb\n"c" d\ne\n"f\ng"\n')
    assert prompts(batch) == ["a", "b", "e", "f\ng"]
    assert [problem.row for problem in batch.problems] == [1, 4]


def test_tags_are_split_and_columns_found_in_any_case(tmp_path: Path) -> None:
    batch = read_csv(tmp_path, "extra, TAGS ,Caption\nx,a; b;;a,yes\n")
    assert batch.rows == (PromptRow(1, "yes", tags=("a", "b"), more=(("extra", "x"),)),)


def test_a_text_file_has_one_prompt_a_line_and_no_header(tmp_path: Path) -> None:
    path = tmp_path / "list.TXT"
    path.write_bytes(b'\xef\xbb\xbfprompt\r\n\r\na, "b\n' + b"z" * 3_000_000 + b"\n'=c\nlast")
    batch = read(path)
    assert prompts(batch) == ["prompt", 'a, "b', "'=c", "last"]
    assert [problem.row for problem in batch.problems] == [3]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            "image,label\na,b\n",
            r"no column prompt, .*'image', 'label'.*--column image",
        ),
        ("", "is empty: save the table again"),
        ("prompt,Prompt \na,b\n", "2 columns 'prompt': keep one"),
        ("prompt,label,LABEL\na,b,c\n", "2 columns 'label': keep one"),
        ("prompt," + ",".join(f"c{i}" for i in range(1_000_000)), "more than 100 columns"),
        ("prompt\na\n".encode("utf-16") + b"b", "looks like UTF-16"),
        ("prompt\na\n".encode("utf-32") + b"b", "looks like UTF-32"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(
    tmp_path: Path, data: str | bytes, sentence: str
) -> None:
    with pytest.raises(MMHError, match=sentence):
        read_csv(tmp_path, data)


def test_missing_and_too_long_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MMHError, match="no file"):
        read(tmp_path / "none.csv")
    path = tmp_path / "prompts.csv"
    path.write_text("prompt\na\nb\nc\n")
    assert len(read(path, most=3).rows) == 3
    with pytest.raises(MMHError, match="more than 2 rows: split it"):
        read(path, most=2)
    parquet.write_table(pa.table({"prompt": list("abc")}), tmp_path / "p.parquet")
    assert len(read(tmp_path / "p.parquet", most=3).rows) == 3
    with pytest.raises(MMHError, match="more than 2 rows: split it"):
        read(tmp_path / "p.parquet", most=2)


@pytest.mark.parametrize("length", [30_000, 1_000_000, 2_000_000])
def test_one_long_value_repeated_needs_little_memory(tmp_path: Path, length: int) -> None:
    # The longest are 2.4 GB of text in a file of a few kB.
    path = tmp_path / "bomb.parquet"
    values = pa.DictionaryArray.from_arrays(
        pa.array([0] * 1_200 + [1], pa.int32()), pa.array(["x" * length, "good"])
    )
    # Without Arrow's own schema, which would have it read as a dictionary in any case.
    table = pa.table({"prompt": values})
    parquet.write_table(table, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 20_000
    before = pa.default_memory_pool().max_memory()
    tracemalloc.start()
    good = bad = 0
    for batch in prompt_batches(path):
        good, bad = good + len(batch.rows), bad + len(batch.problems)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (good, bad) == (1, 1_200)
    # A batch is 64 MiB at most, twice while it grows; a thousand rows in full would be 1 or 2 GB.
    assert most < 20_000_000
    assert pa.default_memory_pool().max_memory() - before < 2.5 * 2**26


def test_parquet_bombs_are_refused_before_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.parquet"
    table = pa.table({"prompt": [f"{i} {'x' * 3000}" for i in range(1000)]})
    parquet.write_table(table, path, compression="zstd", use_dictionary=False)
    assert len(read(path).rows) == 1000
    with monkeypatch.context() as patch:
        patch.setattr(parquet_rows, "MAX_GROUP_BYTES", 2_000_000)
        with pytest.raises(MMHError, match="unpacks to more than"):
            read(path)
    parquet.write_table(table, path, row_group_size=100, use_dictionary=False)
    monkeypatch.setattr(parquet_rows, "MAX_UNPACKED_BYTES", 2_000_000)
    with pytest.raises(MMHError, match="unpacks to more than"):
        read(path)


def test_parquet_is_read_the_same_with_dictionaries_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "prompts.parquet"
    names = [f"prompt {i % 700}" for i in range(2_000)]
    parquet.write_table(pa.table({"prompt": names, "label": ["x", None] * 1_000}), path)
    found = read(path)
    assert prompts(found) == names[:700]
    for name, value in (("SMALL_DICTIONARY", 10), ("_BATCH_BYTES", 20_000)):
        monkeypatch.setattr(parquet_rows, name, value)
        assert read(path) == found


def test_memory_does_not_grow_with_the_rows_of_a_row_group(tmp_path: Path) -> None:
    peaks = []
    for count in (60_000, 240_000):
        path = tmp_path / f"{count}.parquet"
        names = pa.array([f"prompt number {i} of a long list" for i in range(count)])
        parquet.write_table(pa.table({"prompt": names}), path)
        del names
        file = parquet_rows.parquet_table(path, most=10**6).rows([TextColumn(0, 10**4)])
        held = [pa.total_allocated_bytes() for number, _ in enumerate(file) if number % 999 == 0]
        peaks.append(max(held))
    # A page or two of 1 MiB, the dictionary and a batch, however many rows follow.
    assert peaks[1] < 1.5 * peaks[0]


def test_an_encoding_that_repeats_the_value_before_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "delta.parquet"
    options = {"use_dictionary": False, "column_encoding": {"prompt": "DELTA_BYTE_ARRAY"}}
    parquet.write_table(pa.table({"prompt": ["x" * 100] * 10}), path, **options)
    with pytest.raises(MMHError, match="DELTA_BYTE_ARRAY: write it again"):
        read(path)


def test_parquet_with_strange_columns_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wide.parquet"
    parquet.write_table(pa.table({f"c{i}": ["a"] for i in range(200)}), path)
    with pytest.raises(MMHError, match="more than 100 columns"):
        read(path)
    monkeypatch.setattr(parquet_rows, "MAX_FOOTER", 1000)
    with pytest.raises(MMHError, match="too many columns or row groups"):
        read(path)
    monkeypatch.undo()
    parquet.write_table(pa.table({"prompt": [["a"]]}), path)
    with pytest.raises(MMHError, match=r"'prompt' of wide\.parquet holds list<.*: save it"):
        read(path)


def test_parquet_rows_that_are_nothing_or_no_text_are_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    raw = pa.array([b"fine", b"caf\xe9", None, b"'=1"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    parquet.write_table(pa.table({"prompt": text, "label": pa.nulls(4)}), path)
    batch = read(path)
    assert prompts(batch) == ["fine", "'=1"]
    assert ["not in UTF-8" in p.message for p in batch.problems] == [True, False]
    assert [problem.row for problem in batch.problems] == [2, 3]


def test_damaged_parquet_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"prompt": [f"prompt {i}" for i in range(100)]}), path)
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    with pytest.raises(MMHError, match="cut off or damaged"):
        read(path)
    path.write_bytes(data[:40] + bytes(200) + data[240:])
    with pytest.raises(MMHError, match="cannot be read as Parquet"):
        read(path)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = []
    for count in (1_000, 10_000):
        path = tmp_path / f"{count}.csv"
        path.write_text("prompt\n" + "".join(f"prompt number {i}\n" for i in range(count)))
        tracemalloc.start()
        batches = prompt_batches(path, batch_rows=100)
        assert sum(len(batch.rows) for batch in batches) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Ten times the rows; the same batches. 30 % for what the interpreter keeps.
    assert peaks[1] < 1.3 * peaks[0]
