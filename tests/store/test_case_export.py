"""A case arrives elsewhere whole and proven, or not at all."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import sqlite3
import time
import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_LZMA, ZipFile

import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmh_core.files import write_bytes
from mmh_core.formats.export import FORMULA_STARTS
from mmh_core.records import MMHError
from mmh_core.store import case_archive, case_import, review_log
from mmh_core.store.case_export import CaseExport, export_case
from mmh_core.store.case_import import import_case
from mmh_core.store.case_tables import queue_csv, queue_frame, write_queue_parquet
from mmh_core.store.item_search import ItemFilter, items_page
from mmh_core.store.log_chain import verify
from mmh_core.store.queues import create_queue, get_queue, list_queues, remove_queue
from mmh_core.store.review_log import ReviewTarget, annotate, judge, log_rows, undo
from mmh_core.store.review_records import ReviewItem
from mmh_core.store.review_schema import open_queues
from mmh_core.store.sqlite_file import SqliteFile

ITEMS = [
    ReviewItem(
        *("=cmd|'/c calc'!A0", (0, 2**60), "pocket", "ab" * 32, 0.1, 3.25, 0.01, 0.9, 7),
        *("OD-Mem", "exact", (("norm", 1.5),), "@label", "+1"),
        *(("-a", "b"), bytes(range(256)), "run-1.safetensors"),
    ),
    ReviewItem("a fox", (0,), "pocket", "ab" * 32, run="run-1.safetensors"),
    ReviewItem("Ünïcode\n\"'", (), "pocket", "ab" * 32, thumbnail=b"p", run="lost.safetensors"),
]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[SqliteFile, str, Path, Path]:
    """Return a file with a queue, the queue, its runs and its case file."""
    folder = tmp_path_factory.mktemp("case")
    file = open_queues(folder / "review.sqlite")
    queue = create_queue(
        file, "=Q1", model="pocket", model_sha256="ab" * 32, settings={"steps": 1}, items=ITEMS
    ).id
    judge(file, ReviewTarget(queue, 1, "ann", 0), "exact copy")
    annotate(file, ReviewTarget(queue, 1, "ann", 1), "=SUM(A1)", ["@eyes"])
    judge(file, ReviewTarget(queue, 2, "ann", 0), "skip")
    undo(file, queue, "ann")
    judge(file, ReviewTarget(queue, 2, "+bob", 0), "not memorized")
    runs = folder / "runs"
    write_bytes(runs / "run-1.safetensors", b"weights" * 1000)
    found = export_case(file, queue, runs, folder / "case.zip")
    assert found == CaseExport(3, 5, 1, ("lost.safetensors",))
    return file, queue, runs, folder / "case.zip"


@pytest.fixture
def elsewhere(tmp_path: Path) -> tuple[SqliteFile, Path]:
    return open_queues(tmp_path / "there" / "review.sqlite"), tmp_path / "there" / "runs"


def test_a_case_arrives_as_it_left(
    case: tuple[SqliteFile, str, Path, Path], elsewhere: tuple[SqliteFile, Path], tmp_path: Path
) -> None:
    file, queue, _, path = case
    there, runs = elsewhere
    record = import_case(there, path, runs)
    assert record == get_queue(file, queue) == get_queue(there, queue)
    for reviewer in ("ann", "+bob", "nobody"):
        pages = [items_page(f, queue, ItemFilter(), reviewer) for f in (file, there)]
        assert repr(pages[0]) == repr(pages[1])
    assert log_rows(there, queue) == log_rows(file, queue)
    report = verify(there, queue)
    assert (report.whole, report.head) == (True, record.head)
    assert [p.name for p in runs.iterdir()] == ["run-1.safetensors"]
    assert (runs / "run-1.safetensors").read_bytes() == b"weights" * 1000
    # And goes on from there; exported again it is the same file but for the verdict.
    export_case(there, queue, runs, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == path.read_bytes()
    judge(there, ReviewTarget(queue, 3, "cleo", 0), "unsure")
    assert verify(there, queue).whole


def test_a_case_that_is_here_already_changes_nothing(
    case: tuple[SqliteFile, str, Path, Path], elsewhere: tuple[SqliteFile, Path]
) -> None:
    file, queue, runs, path = case
    rows = log_rows(file, queue)
    with pytest.raises(MMHError, match=r"'=Q1' of case\.zip is here already"):
        import_case(file, path, runs)
    assert log_rows(file, queue) == rows
    there, other = elsewhere
    write_bytes(other / "run-1.safetensors", b"mine")
    with pytest.raises(MMHError, match=r"another file 'run-1\.safetensors' already"):
        import_case(there, path, other)
    untouched(there, other, ["run-1.safetensors"])
    assert (other / "run-1.safetensors").read_bytes() == b"mine"
    # The same content is no conflict.
    shutil.copy(runs / "run-1.safetensors", other)
    import_case(there, path, other)


def untouched(file: SqliteFile, runs: Path, names: list[str]) -> None:
    """Assert that nothing of a case was kept."""
    assert list_queues(file) == []
    with closing(sqlite3.connect(file.path)) as connection:
        for table in ("items", "verdicts", "judgements", "thumbnails"):
            assert connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,)
    assert not runs.exists() or sorted(path.name for path in runs.iterdir()) == names


def contents(path: Path) -> dict[str, bytes]:
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, entries: dict[str, bytes], *, method: int = ZIP_DEFLATED) -> None:
    with ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def listed(entries: dict[str, bytes]) -> dict[str, bytes]:
    """Return the entries with a list of contents that matches them."""
    from hashlib import sha256

    rest = {name: data for name, data in entries.items() if name != "contents.json"}
    tree = {
        name: {"bytes": len(data), "sha256": sha256(data).hexdigest()}
        for name, data in rest.items()
    }
    return {**rest, "contents.json": json.dumps(tree).encode()}


def edited(entries: dict[str, bytes], name: str, line: int, **changes: Any) -> dict[str, bytes]:
    """Return the entries with fields of one record changed, and the list made to match."""
    lines = entries[name].splitlines()
    lines[line] = json.dumps({**json.loads(lines[line]), **changes}).encode()
    return listed({**entries, name: b"\n".join(lines) + b"\n"})


HOSTILE: list[tuple[str, Any]] = [
    ("entries are not those", lambda e: {**e, "../escaped": b"x"}),
    ("is no entry of a case", lambda e: listed({**e, "runs/../../escaped": b"x"})),
    ("is no entry of a case", lambda e: listed({**e, "runs/.hidden": b"x"})),
    ("is no entry of a case", lambda e: listed({**e, "/etc/passwd": b"x"})),
    ("is no entry of a case", lambda e: listed({**e, "runs/a\\b": b"x"})),
    (
        "does not match its digest",
        lambda e: {**e, "items.jsonl": e["items.jsonl"].replace(b"fox", b"dog")},
    ),
    ("is larger than listed", lambda e: {**e, "runs/run-1.safetensors": b"x" * 10_000_000}),
    ("does not match its digest", lambda e: {**e, "runs/run-1.safetensors": b""}),
    ("item 1, which it judges, was changed", lambda e: edited(e, "items.jsonl", 0, score=0.2)),
    ("content does not match", lambda e: edited(e, "verdicts.jsonl", 0, after="skip")),
    ("'ok', none of its choices", lambda e: edited(e, "verdicts.jsonl", 0, after="ok")),
    ("reviewer is a list, not str", lambda e: edited(e, "verdicts.jsonl", 0, reviewer=["x"])),
    ("past 64 bits", lambda e: edited(e, "items.jsonl", 2, nearest=2**70)),
    ("more than 64 bits", lambda e: edited(e, "items.jsonl", 2, nearest=2**63)),
    ("Row 1 is not as it was", lambda e: edited(e, "case.json", 0, queue=queue_of(e, name="x"))),
    ("no JSON object", lambda e: edited(e, "case.json", 0, queue=queue_of(e, settings="[1]"))),
    ("no JSON", lambda e: edited(e, "case.json", 0, queue=queue_of(e, settings="x"))),
    ("NaN", lambda e: edited(e, "case.json", 0, queue=queue_of(e, settings='{"a": NaN}'))),
    ("settings are longer", lambda e: edited(e, "case.json", 0, queue=queue_of(e, settings=LONG))),
    ("is no time", lambda e: edited(e, "case.json", 0, queue=queue_of(e, created=1e300))),
    ("is no time", lambda e: edited(e, "case.json", 0, queue=queue_of(e, created=-1.0))),
    ("longer than 200", lambda e: edited(e, "case.json", 0, queue=queue_of(e, name=LONG))),
    ("U+001B", lambda e: edited(e, "case.json", 0, queue=queue_of(e, name="a\x1b[2J"))),
    ("white space", lambda e: edited(e, "case.json", 0, queue=queue_of(e, name=" a"))),
    ("is no id", lambda e: edited(e, "case.json", 0, queue=queue_of(e, id="../x"))),
    ("a digest", lambda e: edited(e, "case.json", 0, queue=queue_of(e, head="x"))),
    ("sealed with", lambda e: edited(e, "case.json", 0, queue=queue_of(e, seal="0" * 64))),
    ("negative", lambda e: edited(e, "case.json", 0, queue=queue_of(e, rows=-1))),
    ("no object", lambda e: listed({**e, "case.json": b'{"format": "mmh-case-2"}\n'})),
    ("no object", lambda e: edited(e, "case.json", 0, queue=[])),
    ("its format is not", lambda e: edited(e, "case.json", 0, format="other")),
    ("its format is not", lambda e: edited(e, "case.json", 0, format={"a": 1})),
    ("past all floats", lambda e: replaced(e, "items.jsonl", b'"score": 0.1', b'"score": 1e999')),
    ("it holds Infinity", lambda e: replaced(e, "items.jsonl", b"0.1", b"Infinity")),
    ("it holds NaN", lambda e: replaced(e, "items.jsonl", b"0.1", b"NaN")),
    ("half a character", lambda e: replaced(e, "items.jsonl", b"a fox", b"\\ud800")),
    ("longer than 10,000", lambda e: edited(e, "items.jsonl", 1, prompt=LONG)),
    ("longer than 200", lambda e: edited(e, "items.jsonl", 1, model=LONG)),
    ("U+0000", lambda e: edited(e, "items.jsonl", 1, label="a\x00")),
    ("5,000 tags", lambda e: edited(e, "items.jsonl", 1, tags=[str(i) for i in range(5000)])),
    ("more than 256", lambda e: edited(e, "items.jsonl", 1, seeds=list(range(5000)))),
    ("is a list, not float", lambda e: edited(e, "items.jsonl", 1, score=[1])),
    ("is a text", lambda e: edited(e, "items.jsonl", 1, scores=[["a", "b"]])),
    ("lacks the field", lambda e: listed({**e, "items.jsonl": b'{"scores": []}\n'})),
    ("is an object, no list", lambda e: edited(e, "items.jsonl", 1, scores={})),
    ("is no time", lambda e: edited(e, "verdicts.jsonl", 0, time=1e300)),
    ("longer than 200", lambda e: edited(e, "verdicts.jsonl", 0, reviewer="n" * 200_000)),
    ("U+0007", lambda e: edited(e, "verdicts.jsonl", 0, reviewer="a\x07b")),
    ("white space", lambda e: edited(e, "verdicts.jsonl", 0, reviewer="ann ")),
    ("reviewer is empty", lambda e: edited(e, "verdicts.jsonl", 0, reviewer="")),
    ("5,000 tags", lambda e: edited(e, "verdicts.jsonl", 0, tags=[str(i) for i in range(5000)])),
    ("tag twice", lambda e: edited(e, "verdicts.jsonl", 0, tags=["a", "a"])),
    ("notes is longer", lambda e: edited(e, "verdicts.jsonl", 0, notes=LONG)),
    ("64 bits", lambda e: edited(e, "verdicts.jsonl", 0, number=2**64)),
    ("63 bits", lambda e: edited(e, "verdicts.jsonl", 0, item=2**63)),
    ("a digest", lambda e: edited(e, "verdicts.jsonl", 0, sha256="x")),
    ("no object", lambda e: listed({**e, "contents.json": b""}) | {"contents.json": b"[]"}),
    ("is no object", lambda e: {**e, "contents.json": b'{"case.json": []}'}),
    ("nested", lambda e: {**e, "contents.json": b"[" * 3000}),
    ("too long", lambda e: {**e, "contents.json": b" " * 10_000_000}),
    ("Row 6 is missing", lambda e: edited(e, "case.json", 0, queue=queue_of(e, rows=6))),
    ("should have 4 items", lambda e: edited(e, "case.json", 0, queue=queue_of(e, items=4))),
    ("Row 5 is missing", lambda e: listed(shortened(e, "verdicts.jsonl"))),
    ("should have 3 items", lambda e: listed(shortened(e, "items.jsonl"))),
    ("'verdicts.jsonl' is missing", lambda e: listed(without(e, "verdicts.jsonl"))),
    ("case.json", lambda e: listed(without(e, "case.json"))),
    ("contents.json", lambda e: without(e, "contents.json")),
    ("a line that is no record", lambda e: listed({**e, "items.jsonl": b"[]\n"})),
    ("ends within a line", lambda e: listed({**e, "items.jsonl": e["items.jsonl"][:-1]})),
    ("a line longer than", lambda e: listed({**e, "items.jsonl": b" " * 3_000_000})),
    ("no case file", lambda e: listed({**e, "items.jsonl": b"[" * 500_000 + b"\n"})),
    ("no name of a run's file", lambda e: edited(e, "items.jsonl", 2, run="../x")),
]


LONG = "n" * 200_000


def replaced(entries: dict[str, bytes], name: str, old: bytes, new: bytes) -> dict[str, bytes]:
    """Return the entries with bytes of one replaced, and the list made to match."""
    assert old in entries[name]
    return listed({**entries, name: entries[name].replace(old, new, 1)})


def queue_of(entries: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    return {**json.loads(entries["case.json"])["queue"], **changes}


def shortened(entries: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {**entries, name: b"".join(entries[name].splitlines(keepends=True)[:-1])}


def without(entries: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {key: data for key, data in entries.items() if key != name}


def test_changed_and_hostile_cases_are_refused_and_leave_nothing(
    case: tuple[SqliteFile, str, Path, Path], elsewhere: tuple[SqliteFile, Path], tmp_path: Path
) -> None:
    there, runs = elsewhere
    whole = contents(case[3])
    path = tmp_path / "bad.zip"
    for sentence, change in HOSTILE:
        write(path, change(dict(whole)))
        with pytest.raises(MMHError) as caught:
            import_case(there, path, runs)
        assert sentence in str(caught.value)
        untouched(there, runs, [])
    assert not list(tmp_path.rglob("escaped"))


def test_zip_files_of_other_kinds_are_refused(
    case: tuple[SqliteFile, str, Path, Path],
    elsewhere: tuple[SqliteFile, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there, runs = elsewhere
    whole = contents(case[3])
    path = tmp_path / "bad.zip"

    def refused(sentence: str) -> None:
        with pytest.raises(MMHError, match=sentence):
            import_case(there, path, runs)
        untouched(there, runs, [])

    refused("There is no file")
    path.write_bytes(b"")
    refused("does not end like a zip file")
    write(path, whole, method=ZIP_LZMA)
    refused("packed in another way")
    with pytest.warns(UserWarning, match="Duplicate name"), ZipFile(path, "w") as archive:
        archive.writestr("case.json", b"")
        archive.writestr("case.json", b"")
    refused("an entry is there twice")
    shutil.copy(case[3], path)
    for name, sentence in (("MAX_ENTRIES", "lists 7 entries"), ("MAX_UNPACKED", "unpacks to")):
        with monkeypatch.context() as patch:
            patch.setattr(case_archive, name, 6)
            patch.setattr(case_archive, "_most_bytes", lambda name: 10**9)
            refused(sentence)
    # A list of entries that claims to be huge in the form for huge files.
    data = path.read_bytes()
    at, size = data.rindex(b"PK\x01\x02"), len(data)
    huge = b"PK\x06\x06" + bytes(28) + (2**40).to_bytes(8, "little") * 2 + bytes(8)
    locator = b"PK\x06\x07" + bytes(4) + (size - 22).to_bytes(8, "little") + bytes(4)
    assert at < size
    path.write_bytes(data[:-22] + huge + locator + data[-22:])
    refused("lists 1,099,511,627,776 entries")


@given(st.integers(0, 10**6), st.integers(0, 255), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_byte_changed_anywhere_is_a_sentence_or_no_change(
    case: tuple[SqliteFile, str, Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
    at: int,
    value: int,
    cut: bool,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "flipped"
    folder.mkdir(exist_ok=True)
    data = bytearray(case[3].read_bytes())
    at %= len(data)
    data[at] = value
    path = folder / "case.zip"
    path.write_bytes(data[: at + 1] if cut else data)
    there = open_queues(folder / "review.sqlite")
    try:
        record = import_case(there, path, folder / "runs")
    except MMHError:
        untouched(there, folder / "runs", [])
    else:
        # The byte was that already, or it is a date or a version that nobody reads.
        assert record == get_queue(case[0], case[1])
        assert verify(there, case[1]).whole
        (folder / "review.sqlite").unlink()
        shutil.rmtree(folder / "runs")


def test_a_failure_at_the_end_takes_everything_back(
    case: tuple[SqliteFile, str, Path, Path],
    elsewhere: tuple[SqliteFile, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there, runs = elsewhere
    insert = review_log.insert_log_row

    def fail(connection: sqlite3.Connection, number: int, row: Any) -> None:
        insert(connection, number, row)
        if row.number == 5:
            # Refused at the commit only, after the runs were moved in.
            connection.execute("PRAGMA defer_foreign_keys = ON")
            connection.execute("UPDATE queues SET number = 99")

    with monkeypatch.context() as patch:
        patch.setattr(case_import, "insert_log_row", fail)
        with pytest.raises(MMHError, match="FOREIGN KEY"):
            import_case(there, case[3], runs)
    untouched(there, runs, [])
    # A name taken meanwhile, between the check and the move.
    with monkeypatch.context() as patch:
        patch.setattr(
            case_import,
            "insert_log_row",
            lambda *values: (insert(*values), write_bytes(runs / "run-1.safetensors", b"mine")),
        )
        with pytest.raises(MMHError, match="could not be written"):
            import_case(there, case[3], runs)
    untouched(there, runs, ["run-1.safetensors"])
    assert (runs / "run-1.safetensors").read_bytes() == b"mine"


def test_a_case_with_a_broken_log_is_not_handed_over(
    case: tuple[SqliteFile, str, Path, Path], tmp_path: Path
) -> None:
    file = replace(case[0], path=tmp_path / "copy.sqlite")
    shutil.copy(case[0].path, file.path)
    with closing(sqlite3.connect(file.path)) as connection, connection:
        connection.execute("DROP TRIGGER verdicts_stay")
        connection.execute("UPDATE verdicts SET notes = 'x' WHERE number = 2")
    with pytest.raises(MMHError, match="Row 2 is not as it was"):
        export_case(file, case[1], case[2], tmp_path / "case.zip")
    assert not (tmp_path / "case.zip").exists()


def test_the_table_says_what_each_reviewer_says_and_has_no_formulas(
    case: tuple[SqliteFile, str, Path, Path], tmp_path: Path
) -> None:
    file, queue = case[:2]
    frame = queue_frame(file, queue)
    assert frame["prompt"].tolist() == [item.prompt for item in ITEMS]
    assert frame["verdict of ann"].tolist() == ["exact copy", "", ""]
    assert frame["verdict of +bob"].tolist() == ["", "not memorized", ""]
    assert frame["notes of ann"].tolist() == ["=SUM(A1)", "", ""]
    assert frame["seeds"].tolist() == [f"0 {2**60}", "0", ""]
    rows = list(csv.reader(io.StringIO(queue_csv(file, queue).decode("utf-8-sig"), newline="")))
    assert not [cell for line in rows for cell in line if cell.startswith(FORMULA_STARTS)]
    table = dict(zip(rows[0], rows[1], strict=True))
    expected = {"prompt": "'=cmd|'/c calc'!A0", "label": "'@label", "id": "'+1", "score": "0.1"}
    expected |= {"tags": "'-a; b", "notes of ann": "'=SUM(A1)", "tags of ann": "'@eyes"}
    assert {name: table[name] for name in expected} == expected
    assert dict(zip(rows[0], rows[2], strict=True))["score"] == ""
    write_queue_parquet(file, queue, tmp_path / "queue.parquet")
    read = pyarrow.parquet.read_table(tmp_path / "queue.parquet").to_pydict()
    assert read["prompt"] == [item.prompt for item in ITEMS]
    assert read["notes of ann"] == ["=SUM(A1)", "", ""]
    assert read["score"] == [0.1, None, None]
    assert read["sha256"] == [item.sha256() for item in ITEMS]


@pytest.mark.parametrize(
    "change",
    [
        lambda e: edited(e, "case.json", 0, format="mmh-case-5"),
        lambda e: edited(e, "case.json", 0, format="mmh-case-17"),
        lambda e: edited(e, "case.json", 0, more=1),
        lambda e: edited(e, "case.json", 0, queue=queue_of(e, more=1)),
        lambda e: edited(e, "items.jsonl", 1, further=[1]),
        lambda e: edited(e, "verdicts.jsonl", 0, further=None),
        lambda e: listed({**e, "notes.json": b"{}"}),
        lambda e: listed({**e, "seals.jsonl": b"{}\n"}),
        lambda e: listed({**e, "images/a-1.png": b"x"}),
    ],
)
def test_a_case_of_a_newer_version_is_called_that(
    case: tuple[SqliteFile, str, Path, Path],
    elsewhere: tuple[SqliteFile, Path],
    tmp_path: Path,
    change: Any,
) -> None:
    there, runs = elsewhere
    write(tmp_path / "new.zip", change(contents(case[3])))
    with pytest.raises(MMHError, match=r"newer version of the app \(.*\): update this app"):
        import_case(there, tmp_path / "new.zip", runs)
    untouched(there, runs, [])


def test_a_case_of_version_1_is_read_and_sealed(
    elsewhere: tuple[SqliteFile, Path], tmp_path: Path
) -> None:
    there, runs = elsewhere
    file, queue = (
        there,
        create_queue(there, "Q", model="pocket", model_sha256="ab" * 32, items=ITEMS),
    )
    export_case(file, queue.id, runs, tmp_path / "new.zip")
    entries = contents(tmp_path / "new.zip")
    old = queue_of(entries)
    del old["seal"], old["items_sha256"]
    write(tmp_path / "old.zip", edited(entries, "case.json", 0, format="mmh-case-1", queue=old))
    other = open_queues(tmp_path / "other.sqlite")
    assert import_case(other, tmp_path / "old.zip", runs) == queue
    assert verify(other, queue.id, kept=queue.seal).whole


def test_a_small_zip_that_unpacks_to_much_is_refused_at_its_first_bad_row(
    case: tuple[SqliteFile, str, Path, Path], elsewhere: tuple[SqliteFile, Path], tmp_path: Path
) -> None:
    there, runs = elsewhere
    entries = contents(case[3])
    row, item = (entries[name].splitlines(True)[-1] for name in ("verdicts.jsonl", "items.jsonl"))
    for name, data, words in (
        ("verdicts.jsonl", entries["verdicts.jsonl"] + row * 60_000, "row was taken out"),
        ("verdicts.jsonl", row * 60_000, "row was taken out"),
        ("verdicts.jsonl", b"{}\n" * 5_000_000, "lacks the field"),
        ("items.jsonl", entries["items.jsonl"] + item * 60_000, "an item is there twice"),
        ("items.jsonl", b"{}\n" * 5_000_000, "lacks|no list"),
    ):
        write(tmp_path / "bomb.zip", listed({**entries, name: data}))
        tracemalloc.start()
        started = time.process_time()
        with pytest.raises(MMHError, match=words):
            import_case(there, tmp_path / "bomb.zip", runs)
        seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # Some chunks of a mebibyte, whatever the rest unpacks to.
        assert seconds < 2 and peak < 2**24, (words, seconds, peak)
        untouched(there, runs, [])


def test_any_value_in_any_record_of_a_case_is_a_sentence_or_the_same_case(
    case: tuple[SqliteFile, str, Path, Path], tmp_path: Path
) -> None:
    from tests.formats.test_untrusted import mutated

    whole, draw = contents(case[3]), random.Random(0)
    there, runs = open_queues(tmp_path / "there.sqlite"), tmp_path / "runs"
    for _ in range(150):
        name = draw.choice(["case.json", "items.jsonl", "verdicts.jsonl", "contents.json"])
        lines = whole[name].splitlines()
        at = draw.randrange(len(lines))
        lines[at] = json.dumps(mutated(json.loads(lines[at]), draw)).encode()
        entries = {**whole, name: b"\n".join(lines) + b"\n"}
        write(tmp_path / "odd.zip", entries if name == "contents.json" else listed(entries))
        try:
            record = import_case(there, tmp_path / "odd.zip", runs)
        except MMHError as error:
            assert "\n" not in str(error) and len(str(error)) < 600
            continue
        # An unjudged item, or what no digest covers, may differ; what came in goes out again.
        assert verify(there, record.id).whole
        export_case(there, record.id, runs, tmp_path / "again.zip")
        remove_queue(there, record.id)
