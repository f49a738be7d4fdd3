"""Verdicts are never lost, never overwritten unseen, and any change to them is found."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mmh_core.installation import code_version
from mmh_core.records import MMHError
from mmh_core.store.item_search import get_item
from mmh_core.store.log_chain import verify
from mmh_core.store.queues import create_queue, get_queue, queue_progress, reviewers
from mmh_core.store.review_log import (
    JudgedMeanwhile,
    ReviewTarget,
    annotate,
    judge,
    log_rows,
    undo,
)
from mmh_core.store.review_records import REVIEW_VERDICTS, LogRow, ReviewItem, ReviewVerdict
from mmh_core.store.review_schema import open_queues
from mmh_core.store.sqlite_file import SqliteFile

ROOT = Path(__file__).resolve().parents[2]


def make(path: Path, count: int = 5) -> tuple[SqliteFile, str]:
    file = open_queues(path)
    items = [
        ReviewItem(f"prompt {i}", (0, 1), "pocket", "ab" * 32, score=i / 8, thumbnail=b"png%d" % i)
        for i in range(count)
    ]
    return file, create_queue(file, "q", model="pocket", model_sha256="ab" * 32, items=items).id


@pytest.fixture
def store(tmp_path: Path) -> tuple[SqliteFile, str]:
    return make(tmp_path / "review.sqlite")


def say(
    store: tuple[SqliteFile, str], item: int, verdict: ReviewVerdict, reviewer: str = "ann"
) -> LogRow:
    """Judge an item as somebody who has just looked at it."""
    file, queue = store
    seen = get_item(file, queue, item, reviewer).judgement.revision
    return judge(file, ReviewTarget(queue, item, reviewer, seen), verdict)


def stands(store: tuple[SqliteFile, str], item: int, reviewer: str = "ann") -> object:
    return get_item(*store, item, reviewer).judgement.verdict


def test_a_row_says_who_when_what_and_by_which_code(store: tuple[SqliteFile, str]) -> None:
    file, queue = store
    before = time.time()
    first, second = say(store, 2, "exact copy"), say(store, 2, "template copy", "bob")
    third = say(store, 2, "unsure")
    assert [(r.number, r.item, r.reviewer) for r in (first, second, third)] == [
        *((1, 2, "ann"), (2, 2, "bob"), (3, 2, "ann")),
    ]
    assert [(r.before, r.after) for r in (first, second, third)] == [
        *((None, "exact copy"), (None, "template copy"), ("exact copy", "unsure")),
    ]
    assert before <= first.time <= second.time <= third.time <= time.time()
    item = get_item(file, queue, 2, "ann").item
    assert first.item_sha256 == item.sha256()
    assert first.model_sha256 == "ab" * 32
    assert first.code_version == code_version()
    assert first.previous == get_queue(file, queue).origin()
    assert third.previous == second.sha256
    assert get_queue(file, queue).head == third.sha256
    assert log_rows(file, queue) == [first, second, third]
    assert log_rows(file, queue, 1) == []
    assert reviewers(file, queue) == ["ann", "bob"]
    assert queue_progress(file, queue, "ann").counts["unsure"] == 1
    assert queue_progress(file, queue, "ann").judged == 1


def test_undo_restores_the_verdict_before_one_after_the_other(
    store: tuple[SqliteFile, str],
) -> None:
    file, queue = store
    assert undo(file, queue, "ann") is None
    say(store, 1, "exact copy")
    say(store, 2, "skip")
    say(store, 1, "unsure")
    seen = get_item(file, queue, 1, "ann").judgement.revision
    annotate(file, ReviewTarget(queue, 1, "ann", seen), "odd eyes", ["later", "later"])
    say(store, 1, "not memorized", "bob")
    back = undo(file, queue, "ann")
    assert back is not None
    assert (back.item, back.undoes, back.before, back.after) == (1, 3, "unsure", "exact copy")
    # What was typed stays.
    judgement = get_item(file, queue, 1, "ann").judgement
    assert (judgement.notes, judgement.tags) == ("odd eyes", ("later",))
    say(store, 3, "unsure")
    undone = [undo(file, queue, "ann") for _ in range(4)]
    assert [row and row.item for row in undone] == [3, 2, 1, None]
    assert [stands(store, item) for item in (1, 2, 3)] == [None] * 3
    assert stands(store, 1, "bob") == "not memorized"
    assert len(log_rows(file, queue)) == 10
    assert verify(file, queue).whole


def test_of_two_windows_the_later_is_told_and_nothing_is_lost(
    store: tuple[SqliteFile, str],
) -> None:
    file, queue = store
    place = ReviewTarget(queue, 4, "ann", 0)
    judge(file, place, "exact copy")
    with pytest.raises(JudgedMeanwhile, match=r"under the name 'ann' at .* stands as 'exact"):
        judge(file, place, "not memorized")
    with pytest.raises(JudgedMeanwhile):
        annotate(file, place, "notes", [])
    assert len(log_rows(file, queue)) == 1
    # A second reviewer is no second window.
    judge(file, replace(place, reviewer="bob"), "not memorized")
    judge(file, replace(place, revision=1), "unsure")
    assert (stands(store, 4), stands(store, 4, "bob")) == ("unsure", "not memorized")


def test_what_cannot_be_recorded_is_refused(store: tuple[SqliteFile, str]) -> None:
    file, queue = store
    with pytest.raises(ValueError, match="Unknown verdict 'maybe'"):
        judge(file, ReviewTarget(queue, 1, "ann", 0), "maybe")  # type: ignore[arg-type]
    for place, sentence in (
        (ReviewTarget(queue, 6, "ann", 0), "no item 6"),
        (ReviewTarget("nowhere", 1, "ann", 0), "no queue 'nowhere'"),
        (ReviewTarget(queue, 1, " ", 0), "name of the reviewer is empty"),
    ):
        with pytest.raises(MMHError, match=sentence):
            judge(file, place, "unsure")
    with pytest.raises(MMHError, match=r"U\+0007"):
        annotate(file, ReviewTarget(queue, 1, "ann", 0), "a\x07", [])
    with pytest.raises(MMHError, match="longer than 200"):
        annotate(file, ReviewTarget(queue, 1, "ann", 0), "", ["x" * 201])
    assert log_rows(file, queue) == []


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[SqliteFile, str]:
    """Return a queue with ten rows of every kind."""
    store = make(tmp_path_factory.mktemp("filled") / "review.sqlite")
    file, queue = store
    for item, verdict in zip(range(1, 6), REVIEW_VERDICTS, strict=True):
        say(store, item, verdict)
    undo(file, queue, "ann")
    for item in (1, 2, 3):
        say(store, item, "unsure", "bob")
    seen = get_item(file, queue, 2, "bob").judgement.revision
    annotate(file, ReviewTarget(queue, 2, "bob", seen), "the same vase", ["vase"])
    return store


@pytest.fixture
def filled(original: tuple[SqliteFile, str], tmp_path: Path) -> tuple[SqliteFile, str]:
    """Return a copy of that queue."""
    file, queue = original
    shutil.copy(file.path, tmp_path / "copy.sqlite")
    return replace(file, path=tmp_path / "copy.sqlite"), queue


def tamper(file: SqliteFile, *statements: str) -> None:
    """Change the file as somebody would who can write to it and knows SQL."""
    with closing(sqlite3.connect(file.path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        for trigger in ("verdicts_stay", "verdicts_remain", "items_stay"):
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    ("statements", "bad", "sentence"),
    [
        (["UPDATE verdicts SET after = 'skip' WHERE number = 3"], 3, "does not match its digest"),
        (["UPDATE verdicts SET reviewer = 'eve' WHERE number = 1"], 1, "does not match"),
        (["UPDATE verdicts SET time = time - 1 WHERE number = 10"], 10, "does not match"),
        (["UPDATE verdicts SET notes = '' WHERE number = 10"], 10, "does not match"),
        (["UPDATE verdicts SET code_version = 'x' WHERE number = 6"], 6, "does not match"),
        (["DELETE FROM verdicts WHERE number = 4"], 4, "next one has number 5"),
        (
            [
                "DELETE FROM verdicts WHERE number = 4",
                "UPDATE verdicts SET number = number - 1 WHERE number > 4",
            ],
            4,
            "does not build on the row before",
        ),
        (
            [
                "UPDATE verdicts SET number = 99 WHERE number = 7",
                "UPDATE verdicts SET number = 7 WHERE number = 8",
                "UPDATE verdicts SET number = 8 WHERE number = 99",
            ],
            7,
            "does not build on the row before",
        ),
        (["DELETE FROM verdicts WHERE number > 8"], 9, "left with 10 rows and has 8"),
        (["DELETE FROM verdicts"], 1, "left with 10 rows and has 0"),
        (["UPDATE items SET prompt = 'x' WHERE position = 2"], 2, "item 2, .* changed afterwards"),
        (["UPDATE items SET score = 0.9 WHERE position = 5"], 5, "item 5, .* changed afterwards"),
        (["UPDATE thumbnails SET data = 'x' WHERE data = x'706e6730'"], 1, "item 1, .* changed"),
        (["DELETE FROM items WHERE position = 3"], 3, "item 3, which it judges, is missing"),
        (["UPDATE judgements SET verdict = 'skip' WHERE item = 3 AND reviewer = 'bob'"], 9, "log"),
        (["DELETE FROM judgements WHERE item = 1 AND reviewer = 'ann'"], 1, "differs from the"),
        (["UPDATE queues SET model_sha256 = 'x'"], 1, "does not build"),
    ],
)
def test_any_tampering_is_found_and_the_first_bad_row_named(
    filled: tuple[SqliteFile, str], statements: list[str], bad: int, sentence: str
) -> None:
    file, queue = filled
    before = verify(file, queue)
    assert (before.whole, before.rows, before.head) == (True, 10, get_queue(file, queue).head)
    tamper(file, *statements)
    report = verify(file, queue)
    assert report.bad_row == bad
    assert not report.whole
    assert re.search(sentence, report.message), report.message


def test_no_column_can_be_changed_to_anything(filled: tuple[SqliteFile, str]) -> None:
    file, queue = filled
    tamper(file)
    whole = file.path.read_bytes()
    tried = 0
    for table, key, place in (
        *(("verdicts", "number", 9), ("items", "position", 3), ("judgements", "item", 3)),
        ("queues", "number", 1),
    ):
        with closing(sqlite3.connect(file.path)) as connection:
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        for name in set(names) - {"queue", "rows", "sha256" if table == "items" else ""}:
            for value in ("x'00'", "'{'", "NULL"):
                file.path.write_bytes(whole)
                with closing(sqlite3.connect(file.path)) as connection, connection:
                    connection.execute("PRAGMA synchronous = OFF")
                    before = connection.execute(f"SELECT * FROM {table}").fetchall()
                    with suppress(sqlite3.IntegrityError):
                        connection.execute(
                            f"UPDATE {table} SET {name} = {value} WHERE {key} = {place}"
                        )
                    if connection.execute(f"SELECT * FROM {table}").fetchall() == before:
                        continue
                tried += 1
                try:
                    assert not verify(file, queue).whole, (table, name, value)
                except MMHError as error:
                    assert table == "queues", (table, name, value)
                    assert "no queue" in str(error) or "is damaged" in str(error)
    assert tried > 60


def test_the_file_itself_refuses_to_change_or_delete_verdicts(
    filled: tuple[SqliteFile, str],
) -> None:
    file, _ = filled
    with closing(sqlite3.connect(file.path)) as connection:
        for statement in (
            "UPDATE verdicts SET after = 'skip'",
            "DELETE FROM verdicts",
            "INSERT OR REPLACE INTO verdicts SELECT * FROM verdicts WHERE number = 1",
            "UPDATE items SET score = 1",
        ):
            connection.execute("PRAGMA recursive_triggers = ON")
            with pytest.raises(sqlite3.IntegrityError, match=r"only ever added|never changed"):
                connection.execute(statement)


def test_a_busy_file_is_a_sentence_and_the_verdict_can_be_repeated(
    store: tuple[SqliteFile, str],
) -> None:
    file, queue = replace(store[0], patience=0.01), store[1]
    with closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(MMHError, match="in use by another process: wait a moment"):
            judge(file, ReviewTarget(queue, 1, "ann", 0), "unsure")
        assert stands(store, 1) is None
        other.execute("ROLLBACK")
    judge(file, ReviewTarget(queue, 1, "ann", 0), "unsure")
    assert stands(store, 1) == "unsure"


def test_a_full_disk_is_a_sentence_and_what_was_recorded_stays(
    store: tuple[SqliteFile, str],
) -> None:
    file, queue = store
    say(store, 1, "exact copy")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system then refuses to let any file of this process grow, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(MMHError, match="that the disk is not full"):
            judge(file, ReviewTarget(queue, 2, "ann", 0), "exact copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    report = verify(file, queue)
    assert (report.whole, report.rows) == (True, 1)
    judge(file, ReviewTarget(queue, 2, "ann", 0), "exact copy")
    assert stands(store, 2) == "exact copy"


WRITER = """
import sys
from pathlib import Path
from mmh_core.store.item_search import get_item
from mmh_core.store.review_records import REVIEW_VERDICTS
from mmh_core.store.review_schema import open_queues
from mmh_core.store.review_log import ReviewTarget, judge
file, queue = open_queues(Path(sys.argv[1])), sys.argv[2]
n = 0
while True:
    item = n % 5 + 1
    seen = get_item(file, queue, item, "ann").judgement.revision
    row = judge(file, ReviewTarget(queue, item, "ann", seen), REVIEW_VERDICTS[n % 3])
    sys.stdout.write(f"{row.number} {row.sha256}\\n")
    sys.stdout.flush()
    n += 1
"""


def kill_writers(path: Path, times: int) -> None:
    """Let a process judge until it is killed, again and again; nothing it committed is lost."""
    file, queue = make(path)
    told: dict[int, str] = {}
    for round in range(times):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), queue],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2 + round % 3)]
        time.sleep(0.003 * (round % 7))
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        whole = [line.split() for line in lines if line.endswith("\n")]
        told |= {int(number): digest for number, digest in whole}
        report = verify(file, queue)
        assert report.whole, report.message
        assert report.rows >= max(told)
    rows = {row.number: row.sha256 for row in log_rows(file, queue)}
    assert len(told) >= 2 * times
    assert told.items() <= rows.items()


def test_no_committed_verdict_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    kill_writers(tmp_path / "review.sqlite", 3)


@pytest.mark.slow
def test_no_committed_verdict_is_lost_in_many_kills(tmp_path: Path) -> None:
    kill_writers(tmp_path / "review.sqlite", 60)
