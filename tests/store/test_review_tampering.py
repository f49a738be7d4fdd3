"""What plain SQL can change is found; what only a kept seal can tell is told by it."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mmh_core.records import MMHError
from mmh_core.store import review_log
from mmh_core.store.case_export import export_case
from mmh_core.store.case_tables import queue_frame
from mmh_core.store.item_search import DamagedItem, ItemFilter, get_item, items_page, next_item
from mmh_core.store.log_chain import verify
from mmh_core.store.orphaned_rows import OrphanedRows, find_orphaned_rows
from mmh_core.store.queues import (
    add_items,
    create_queue,
    damaged_queues,
    get_queue,
    list_queues,
    queue_progress,
    queue_settings,
    remove_queue,
)
from mmh_core.store.review_log import (
    ReviewTarget,
    annotate,
    insert_log_row,
    judge,
    log_rows,
    undo,
)
from mmh_core.store.review_records import ReviewItem, ReviewVerdict
from mmh_core.store.review_schema import examined_queues, open_queues, seal_queue
from mmh_core.store.sqlite_file import SqliteFile


def items(count: int, first: int = 0) -> list[ReviewItem]:
    return [
        ReviewItem(f"prompt {i}", (0, 1), "pocket", "ab" * 32, score=i / 8, thumbnail=b"png%d" % i)
        for i in range(first, first + count)
    ]


def filled(path: Path) -> tuple[SqliteFile, str]:
    """Return a queue of six items, four of which are judged in seven rows."""
    file = open_queues(path)
    queue = create_queue(file, "q", model="pocket", model_sha256="ab" * 32, items=items(6)).id
    for item in (1, 2, 3):
        judge(file, ReviewTarget(queue, item, "ann", 0), "exact copy")
    judge(file, ReviewTarget(queue, 1, "bob", 0), "unsure")
    annotate(file, ReviewTarget(queue, 4, "bob", 0), "a vase", ["vase"])
    undo(file, queue, "ann")
    judge(file, ReviewTarget(queue, 4, "bob", 5), "skip")
    return file, queue


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[SqliteFile, str]:
    return filled(tmp_path_factory.mktemp("original") / "review.sqlite")


@pytest.fixture
def store(original: tuple[SqliteFile, str], tmp_path: Path) -> tuple[SqliteFile, str]:
    """Return a copy of that queue."""
    file, queue = original
    shutil.copy(file.path, tmp_path / "review.sqlite")
    return replace(file, path=tmp_path / "review.sqlite"), queue


def tamper(file: SqliteFile, *statements: str) -> None:
    with closing(sqlite3.connect(file.path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        for trigger in ("verdicts_stay", "verdicts_remain", "items_stay"):
            connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        for statement in statements:
            connection.execute(statement)


#: Removes rows from the end and makes everything else of the file agree, as far as SQL can.
SHORTER = (
    "DELETE FROM verdicts WHERE number > 5",
    "DELETE FROM judgements WHERE revision > 5",
    "INSERT OR REPLACE INTO judgements SELECT queue, item, reviewer, after, notes, tags, number, "
    "time FROM verdicts WHERE number IN (3, 5)",
    "UPDATE queues SET rows = 5, head = (SELECT sha256 FROM verdicts WHERE number = 5)",
)


@pytest.mark.parametrize(
    "statements",
    [
        SHORTER,
        ("DELETE FROM verdicts", "DELETE FROM judgements", "UPDATE queues SET rows = 0"),
        ("UPDATE queues SET rows = rows + 1",),
        ("UPDATE queues SET seal = ''",),
        ("UPDATE queues SET seal = '', items_sha256 = ''",),
        ("UPDATE queues SET items_sha256 = 'x'",),
        ("DELETE FROM items WHERE position = 6",),
        ("DELETE FROM items WHERE position = 6", "UPDATE queues SET items_sha256 = ''"),
        ("UPDATE items SET prompt = 'x' WHERE position = 6",),
        ("UPDATE items SET prompt = 'x', sha256 = 'y' WHERE position = 5",),
        ("UPDATE items SET position = 9 WHERE position = 6",),
        ("UPDATE items SET thumbnail = NULL WHERE position = 5",),
        (
            "UPDATE items SET position = 99 WHERE position = 5",
            "UPDATE items SET position = 5 WHERE position = 6",
            "UPDATE items SET position = 6 WHERE position = 99",
        ),
        (
            "INSERT INTO items SELECT queue, 7, 'd', 'new', seeds, model, model_sha256, score, "
            "lid, lid_percentile, similarity, nearest, cause, kind, scores, label, name, tags, "
            "thumbnail, run, run_sha256, more FROM items WHERE position = 6",
        ),
        ("UPDATE verdicts SET items = 5 WHERE number = 2",),
        ("UPDATE verdicts SET items = 0, items_sha256 = '' WHERE number = 7",),
        ("UPDATE verdicts SET items_sha256 = '' WHERE number = 7",),
        ("UPDATE verdicts SET time = 0 WHERE number = 7",),
        ("UPDATE queues SET head = 'x'",),
        ("UPDATE queues SET created = 0",),
        ("UPDATE queues SET name = 'other'",),
        ("UPDATE queues SET settings = '{\"a\": 1}'",),
    ],
)
def test_what_plain_sql_changes_is_found(
    store: tuple[SqliteFile, str], statements: tuple[str, ...]
) -> None:
    file, queue = store
    assert verify(file, queue).whole
    tamper(file, *statements)
    report = verify(file, queue)
    assert not report.whole, report.message
    assert report.bad_row is not None


def computed_anew(file: SqliteFile, queue: str) -> None:
    """Shorten the log as somebody can who runs this code."""
    tamper(file, *SHORTER)
    with file.transaction() as connection:
        [(number,)] = connection.execute("SELECT number FROM queues WHERE id = ?", (queue,))
        seal_queue(connection, number, rehash=True)


def test_a_log_computed_anew_is_whole_but_for_a_seal_that_was_kept(
    store: tuple[SqliteFile, str],
) -> None:
    file, queue = store
    kept = get_queue(file, queue).seal
    last = get_queue(file, queue).head
    computed_anew(file, queue)
    assert verify(file, queue).whole
    for seal in (kept, last, kept.upper() + "\n"):
        report = verify(file, queue, kept=seal)
        assert not report.whole and "never stood at the seal" in report.message


def test_a_kept_seal_says_at_which_row_it_stood(store: tuple[SqliteFile, str]) -> None:
    file, queue = store
    seals = {get_queue(file, queue).seal: 7}
    judge(file, ReviewTarget(queue, 5, "ann", 0), "unsure")
    seals[get_queue(file, queue).seal] = 8
    add_items(file, queue, items(3, 10))
    seals[get_queue(file, queue).seal] = 8
    add_items(file, queue, items(2, 20))
    seals[get_queue(file, queue).seal] = 8
    judge(file, ReviewTarget(queue, 11, "ann", 0), "unsure")
    seals[get_queue(file, queue).seal] = 9
    assert len(seals) == 5
    for seal, row in seals.items():
        report = verify(file, queue, kept=seal)
        assert (report.whole, report.kept_row) == (True, row)
        assert f"stood at row {row}" in report.message
    for number, row in enumerate(log_rows(file, queue), start=1):
        assert verify(file, queue, kept=row.sha256).kept_row == number
    assert verify(file, queue, kept=get_queue(file, queue).origin()).kept_row == 0
    report = verify(file, queue)
    assert (report.items, report.seal) == (11, get_queue(file, queue).seal)
    other = create_queue(file, "other", model="m", model_sha256="", items=items(6)).seal
    for wrong in (other, "0" * 64):
        assert not verify(file, queue, kept=wrong).whole


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "x", "0" * 63, "0" * 65, "g" * 64, "é\n" * 50, "0" * 32 + " " + "0" * 32),
        *("0x" + "0" * 62, "seal " + "0" * 64, "O" * 64, "٣" * 64, "-" * 64, "0" * 63 + "\0"),
    ],
)
def test_what_is_no_seal_is_not_called_a_changed_log(
    store: tuple[SqliteFile, str], text: str
) -> None:
    file, queue = store
    with pytest.raises(MMHError, match="is no seal: a seal is 64 digits and letters"):
        verify(file, queue, kept=text)


def test_a_seal_may_be_copied_with_what_stands_around_it(store: tuple[SqliteFile, str]) -> None:
    file, queue = store
    seal = get_queue(file, queue).seal
    for text in (seal, f" {seal}\n", seal.upper(), f"{seal}.", f"{seal};"):
        assert verify(file, queue, kept=text).kept_row is not None


def test_rows_of_no_queue_are_counted(store: tuple[SqliteFile, str]) -> None:
    file, queue = store
    assert find_orphaned_rows(file) == OrphanedRows(0, 0, 0, 0, 0)
    assert find_orphaned_rows(file).sentence == find_orphaned_rows(file).warning == ""
    names = [create_queue(file, f"queue {i}", model="m", model_sha256="").id for i in range(3)]
    remove_queue(file, names[0])
    remove_queue(file, names[1])
    assert find_orphaned_rows(file) == OrphanedRows(0, 0, 0, 0, 2)
    assert "2 queues were removed before the newest one" in find_orphaned_rows(file).warning
    counts = get_queue(file, queue)
    with closing(sqlite3.connect(file.path)) as connection:
        connection.execute("INSERT INTO thumbnails VALUES ('a', 'b')")
        connection.execute("DELETE FROM queues WHERE id = ?", (queue,))
        connection.commit()
    found = find_orphaned_rows(file)
    assert (found.items, found.verdicts, found.removed) == (counts.items, counts.rows, 3)
    assert found.judgements > 0 and found.thumbnails == 1
    assert f"{counts.items:,} items, {counts.rows:,} rows of verdicts" in found.sentence
    assert "1 thumbnail is of no item" in found.warning


def test_an_older_copy_put_back_is_told_by_the_seal(
    store: tuple[SqliteFile, str], tmp_path: Path
) -> None:
    file, queue = store
    shutil.copy(file.path, tmp_path / "older")
    judge(file, ReviewTarget(queue, 6, "ann", 0), "unsure")
    seal = get_queue(file, queue).seal
    shutil.copy(tmp_path / "older", file.path)
    assert verify(file, queue).whole
    assert not verify(file, queue, kept=seal).whole


def test_a_time_that_runs_backwards_is_a_warning(
    store: tuple[SqliteFile, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, queue = store
    assert verify(file, queue).warnings == ()
    said: tuple[tuple[float, ReviewVerdict], ...]
    said = ((0.0, "unsure"), (4e9, "skip"), (1.7e9, "unsure"))
    for clock, verdict in said:
        monkeypatch.setattr(review_log.time, "time", partial(float, clock))
        seen = get_item(file, queue, 5, "ann").judgement.revision
        judge(file, ReviewTarget(queue, 5, "ann", seen), verdict)
    monkeypatch.undo()
    report = verify(file, queue)
    assert report.whole and len(report.warnings) == 3
    assert "Row 8 is dated 1970-01-01 00:00 UTC, earlier than" in report.warnings[0]
    assert "Row 9 is dated 2096" in report.warnings[1] and "to come" in report.warnings[1]
    assert "Row 10" in report.warnings[2]


SINCE_VERSION_3 = (
    *(("items", "more"), ("verdicts", "identified"), ("verdicts", "seconds")),
    ("verdicts", "role"),
    *(("verdicts", "image"), ("verdicts", "region")),
)


def test_a_file_of_version_3_opens_with_its_digests_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "review.sqlite"
    file, queue = filled(path)
    before, seal = log_rows(file, queue), get_queue(file, queue).seal
    with file.transaction() as connection:
        for table, column in SINCE_VERSION_3:
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 3")
    again = open_queues(path)
    assert verify(again, queue, kept=seal).whole and log_rows(again, queue) == before
    assert (tmp_path / "review.sqlite.version-3").is_file()
    judge(again, ReviewTarget(queue, 6, "ann", 0, "typed name", 4.0), "unsure")
    assert verify(again, queue, kept=seal).rows == len(before) + 1
    # What is new in a row is covered by its digest as everything else is.
    for change in ("identified = 'signed in'", "seconds = 5.0", "role = 'adjudicator'"):
        tamper(again, f"UPDATE verdicts SET {change} WHERE number = {len(before) + 1}")
        assert verify(again, queue).bad_row == len(before) + 1, change
        tamper(
            again,
            "UPDATE verdicts SET identified = 'typed name', seconds = 4.0, role = '' "
            f"WHERE number = {len(before) + 1}",
        )
        assert verify(again, queue).whole


def of_version_1(path: Path) -> tuple[SqliteFile, str, list[str]]:
    """Return a file as version 1 wrote it: rows and queues without anything about items."""
    file, queue = filled(path)
    rows = log_rows(file, queue)
    tamper(file, "DELETE FROM verdicts", "DELETE FROM judgements")
    with file.transaction() as connection:
        previous = get_queue(file, queue).origin()
        for row in rows:
            old = replace(row, previous=previous, items=0, items_sha256="", sha256="")
            old = replace(old, sha256=old.computed_sha256())
            insert_log_row(connection, 1, old)
            previous = old.sha256
        connection.execute("UPDATE queues SET head = ?", (previous,))
        for table, column in (
            *(("queues", "seal"), ("queues", "items_sha256")),
            *(("verdicts", "items"), ("verdicts", "items_sha256"), ("items", "run_sha256")),
            *SINCE_VERSION_3,
        ):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 1")
        heads = connection.execute("SELECT sha256 FROM verdicts ORDER BY number").fetchall()
    return file, queue, [head for (head,) in heads]


def test_a_file_of_version_1_opens_verifies_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "review.sqlite"
    _, queue, heads = of_version_1(path)
    file = open_queues(path)
    report = verify(file, queue)
    assert (report.whole, report.rows, report.head) == (True, 7, heads[-1])
    # What was kept of it then still tells.
    assert [verify(file, queue, kept=head).kept_row for head in heads] == list(range(1, 8))
    sealed = get_queue(file, queue).seal
    add_items(file, queue, items(2, 30))
    more = get_queue(file, queue).seal
    judge(file, ReviewTarget(queue, 8, "ann", 0), "unsure")
    rows = log_rows(file, queue)
    assert [row.items for row in rows] == [0] * 7 + [8]
    for seal, row in ((sealed, 7), (more, 7), (get_queue(file, queue).seal, 8)):
        assert verify(file, queue, kept=seal).kept_row == row
    # The file as it was lies beside it.
    assert (tmp_path / "review.sqlite.version-1").is_file()
    tamper(file, "UPDATE items SET prompt = 'x' WHERE position = 6")
    assert not verify(file, queue).whole


def names_and_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("writable", [False, True])
def test_a_file_is_examined_without_any_change(tmp_path: Path, old: bool, writable: bool) -> None:
    path = tmp_path / "review.sqlite"
    queue = of_version_1(path)[1] if old else filled(path)[1]
    for left in tmp_path.glob("review.sqlite-*"):
        left.unlink()
    before = names_and_bytes(tmp_path)
    with examined_queues(path, writable=writable) as file:
        assert verify(file, queue).whole and len(list_queues(file)) == 1
        if not old:
            with pytest.raises(MMHError, match="opened to be read"):
                judge(file, ReviewTarget(queue, 6, "ann", 0), "unsure")
    assert names_and_bytes(tmp_path) == before


def test_a_log_that_waits_beside_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a" / "review.sqlite"
    file, queue = filled(path)
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM queues").fetchall()
        judge(file, ReviewTarget(queue, 6, "ann", 0), "unsure")
        assert path.with_name("review.sqlite-wal").stat().st_size
        with examined_queues(path) as open_now:
            assert verify(open_now, queue).rows == 8
        away = tmp_path / "away"
        away.mkdir()
        for name in ("review.sqlite", "review.sqlite-wal"):
            shutil.copy(path.with_name(name), away)
        with (
            pytest.raises(MMHError, match="copy both to another folder"),
            examined_queues(away / "review.sqlite", writable=False),
        ):
            pass
    with (
        pytest.raises(MMHError, match="There is no file of review queues"),
        examined_queues(path / "x"),
    ):
        pass


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("settings", "'[1, 2]'"),
        ("settings", "'x'"),
        ("settings", f"'{'[' * 50_000}'"),
        ("settings", "x'00ff'"),
        ("created", "1e300"),
        ("created", "-1"),
        ("created", "'soon'"),
        ("name", "x'00'"),
        ("name", "'" + "n" * 200_000 + "'"),
        ("rows", "'many'"),
        ("head", "x'01'"),
        ("seal", "x'01'"),
        ("model", "12"),
    ],
)
def test_one_bad_queue_never_hides_the_others_and_can_be_removed(
    store: tuple[SqliteFile, str], column: str, value: str
) -> None:
    file, bad = store
    good = create_queue(file, "good", model="m", model_sha256="", items=items(6))
    tamper(file, f"UPDATE queues SET {column} = {value} WHERE id = '{bad}'")
    assert good in list_queues(file)
    readable = {one.id for one in list_queues(file)}
    damaged = [one.id for one in damaged_queues(file)]
    assert sorted([*readable, *damaged]) == sorted([bad, good.id])
    if bad in readable:
        assert isinstance(queue_settings(get_queue(file, bad)), dict)
    else:
        with pytest.raises(MMHError, match="is damaged"):
            get_queue(file, bad)
    judge(file, ReviewTarget(good.id, 1, "ann", 0), "unsure")
    remove_queue(file, bad)
    assert [one.id for one in list_queues(file)] == [good.id] and damaged_queues(file) == []
    assert verify(file, good.id).whole
    assert get_item(file, good.id, 1, "ann").item == items(6)[0]
    with file.connection() as connection:
        # The log of the other refuses to lose rows as before.
        with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
            connection.execute("DELETE FROM verdicts")
        counts = [
            connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            for table in ("items", "verdicts", "judgements", "thumbnails")
        ]
    assert counts == [6, 1, 1, 6]


@pytest.mark.parametrize(
    "change",
    [
        "seeds = '['",
        f"seeds = '{'[' * 50_000}'",
        "seeds = '{}'",
        f"seeds = '[{'9' * 400}]'",
        "scores = '[[1, 2]]'",
        "scores = '[[\"a\"]]'",
        "tags = '[1]'",
        "score = 'high'",
        "prompt = x'ff'",
        "nearest = 'none'",
    ],
)
def test_one_bad_item_never_hides_the_others(store: tuple[SqliteFile, str], change: str) -> None:
    file, queue = store
    tamper(file, f"UPDATE items SET {change} WHERE position = 2")
    page = items_page(file, queue, ItemFilter(), "ann")
    assert [view.position for view in page.items] == [1, 3, 4, 5, 6]
    assert page.damaged == (2,) and page.places == (1, 2, 3, 4, 5, 6) and page.total == 6
    with pytest.raises(DamagedItem, match="Item 2 is damaged"):
        get_item(file, queue, 2, "ann")
    following = next_item(file, queue, ItemFilter(), "cleo", after=1)
    assert following is not None and following.position == 3
    assert len(queue_frame(file, queue)) == 5
    assert not verify(file, queue).whole


def test_whatever_stands_in_a_column_reading_is_a_value_or_one_sentence(
    store: tuple[SqliteFile, str], tmp_path: Path
) -> None:
    file, queue = store
    tamper(file)
    whole = file.path.read_bytes()
    draw = random.Random(0)
    values = [
        *("NULL", "''", "'x'", "x'00ff'", "-1", "0", "1e300", "9e999", "9223372036854775807"),
        *("'{}'", "'[]'", "'null'", "'[[]]'", "'{\"a\": [1]}'", f"'{'[' * 20_000}'", "'NaN'"),
        *(f"'{'9' * 500}'", "'1e999'", "'[\"\\ud800\"]'", "'" + "n" * 30_000 + "'", "char(7)"),
    ]
    with closing(sqlite3.connect(file.path)) as connection:
        columns = [
            (table, row[1])
            for table in ("queues", "items", "verdicts", "judgements", "thumbnails")
            for row in connection.execute(f"PRAGMA table_info({table})")
        ]
    reads: list[Callable[[], object]] = [
        lambda: list_queues(file),
        lambda: damaged_queues(file),
        lambda: get_queue(file, queue),
        lambda: queue_settings(get_queue(file, queue)),
        lambda: items_page(file, queue, ItemFilter(), "ann"),
        lambda: next_item(file, queue, ItemFilter(order="score"), "cleo"),
        lambda: get_item(file, queue, 1, "ann"),
        lambda: log_rows(file, queue),
        lambda: queue_progress(file, queue, "ann"),
        lambda: queue_frame(file, queue),
        lambda: verify(file, queue, kept="0" * 64),
        lambda: export_case(file, queue, tmp_path, tmp_path / "case.zip"),
        lambda: undo(file, queue, "ann"),
        lambda: judge(file, ReviewTarget(queue, 6, "dan", 0), "unsure"),
        lambda: open_queues(file.path),
    ]
    sentences = 0
    for _ in range(40):
        table, column = draw.choice(columns)
        file.path.write_bytes(whole)
        with (
            closing(sqlite3.connect(file.path)) as connection,
            suppress(sqlite3.Error),
            connection,
        ):
            connection.execute(f"UPDATE {table} SET {column} = {draw.choice(values)}")
        for read in reads:
            try:
                read()
            except MMHError as error:
                sentences += 1
                assert "\n" not in str(error) and len(str(error)) < 600
    assert sentences > 40
