"""Job records survive restarts, several writers and damaged files."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from mmh_core.records import MMHError
from mmh_core.store.job_record import JobRecord, JobState, TimeLeft, time_left
from mmh_core.store.jobs import JobStore

PATIENCE = 60.0  # Seconds; only a broken test waits that long.


def queued(id: str, device: str = "cpu") -> JobRecord:
    return JobRecord(id, "manifold", f"Job {id}", device, "queued", created=1000.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "jobs.sqlite"


def test_every_field_survives_a_new_store(path: Path) -> None:
    store = JobStore(path)
    first = queued("a")
    store.add(first)
    full = JobRecord(
        *("a", "images", "Ünïcode ' \" label\n", "cuda:0", "failed", None, 0.625, "step 5 of 8"),
        *("It failed: do that.", 1000.5, 1001.25, 1003.125, "results/a.json"),
    )
    assert store.get("a") == replace(first, position=1)
    store.update(full)
    assert JobStore(path).get("a") == full


def test_half_characters_are_stored_as_question_marks(path: Path) -> None:
    store = JobStore(path)
    store.add(replace(queued("a"), label="file \udce4"))
    assert store.get("a").label == "file ?"


def test_recent_lists_the_newest_first_up_to_the_limit(path: Path) -> None:
    store = JobStore(path)
    assert store.recent() == []
    for id in "abcd":
        store.add(queued(id))
    assert [record.id for record in store.recent(3)] == ["d", "c", "b"]
    with pytest.raises(ValueError, match="limit is 0"):
        store.recent(0)


def test_jobs_are_found_by_a_part_of_their_label_and_signs_are_no_wildcards(path: Path) -> None:
    store = JobStore(path)
    for id, label in (
        ("a", "4 images, a Fox"),
        ("b", "100 % fox"),
        ("c", "1000 foxes"),
        ("d", ""),
    ):
        store.add(replace(queued(id), label=label))
    assert [record.id for record in store.with_text("fox")] == ["c", "b", "a"]
    assert [record.id for record in store.with_text("FOX", 1)] == ["c"]
    assert [record.id for record in store.with_text("100 %")] == ["b"]
    assert store.with_text("!") == store.with_text("_") == []


def test_unknown_and_repeated_ids_are_refused(path: Path) -> None:
    store = JobStore(path)
    store.add(queued("a"))
    with pytest.raises(MMHError, match="no job 'b' in this folder: start"):
        store.get("b")
    with pytest.raises(ValueError, match="'b' cannot be updated"):
        store.update(queued("b"))
    with pytest.raises(ValueError, match="'a' cannot be added"):
        store.add(replace(queued("a"), label="other"))
    assert store.get("a").label == "Job a"


def test_positions_count_waiting_jobs_of_the_same_owner_and_device(path: Path) -> None:
    store, other = JobStore(path), JobStore(path)
    for id in "abcd":
        store.add(queued(id))
    store.add(queued("gpu", "cuda"))
    other.add(queued("theirs"))

    def positions() -> list[int | None]:
        return [store.get(id).position for id in ("a", "b", "c", "d", "gpu", "theirs")]

    assert positions() == [1, 2, 3, 4, 1, 1]
    store.update(replace(queued("a"), state="running"))
    store.update(replace(queued("c"), state="cancelled"))
    assert positions() == [0, 1, None, 2, 1, 1]


@pytest.mark.parametrize(
    ("fraction", "now", "expected"),
    [
        (0.25, 130.0, 90.0),  # 30 s for a quarter: three quarters take 90 s.
        (0.5, 130.0, 30.0),
        (1.0, 130.0, 0.0),
        (0.03125, 132.0, 992.0),  # 1 / 32 done in 32 s: 31 times 32 s. Exact in binary.
        (0.029, 130.0, None),
        (0.0, 130.0, None),
        (0.5, 90.0, 0.0),  # The clock was set back: no negative time.
    ],
)
def test_time_left_extrapolates_the_mean_speed(
    fraction: float, now: float, expected: float | None
) -> None:
    record = replace(queued("a"), state="running", started=100.0, fraction=fraction)
    left = time_left(record, now)
    assert left == (None if expected is None else TimeLeft(expected, now))


def test_time_left_is_for_running_jobs_only() -> None:
    record = replace(queued("a"), state="running", started=100.0, fraction=0.5)
    assert time_left(record, 107.0) == TimeLeft(7.0, 107.0)
    assert time_left(replace(record, started=None), 107.0) is None
    states: tuple[JobState, ...] = ("queued", "done", "cancelled", "failed", "interrupted")
    assert [time_left(replace(record, state=state), 107.0) for state in states] == [None] * 5


def test_time_left_falls_between_two_steps_and_never_below_zero() -> None:
    left = TimeLeft(30.0, 100.0)
    assert [left.now(now) for now in (90.0, 100.0, 110.0, 130.0, 200.0)] == [30, 30, 20, 0, 0]


def test_time_left_keeps_its_promise_unless_a_step_was_clearly_slower() -> None:
    record = replace(queued("a"), state="running", started=0.0, fraction=0.5)
    before = time_left(record, 10.0)
    assert before == TimeLeft(10.0, 10.0)
    # As promised, a little late, and a little early: the time shown has only fallen.
    for fraction, now, seconds in ((0.6, 12.0, 8.0), (0.59, 12.0, 8.0), (0.75, 12.0, 4.0)):
        assert time_left(replace(record, fraction=fraction), now, before) == TimeLeft(
            pytest.approx(seconds), now
        )
    # A slow stage: 0.52 after 20 s leaves 18.5 s where none were promised any more.
    slow = time_left(replace(record, fraction=0.52), 20.0, before)
    assert slow == TimeLeft(pytest.approx(20 * 0.48 / 0.52), 20.0, slower=True)


def test_only_jobs_of_owners_that_are_gone_are_interrupted(path: Path) -> None:
    dead, alive, own = JobStore(path), JobStore(path), JobStore(path)
    dead.add(queued("waited"))
    dead.add(queued("ran"))
    dead.update(replace(queued("ran"), state="running", started=1001.0, fraction=0.5))
    dead.add(queued("ended"))
    dead.update(replace(queued("ended"), state="done", finished=1002.0))
    alive.add(queued("theirs"))
    own.add(queued("ours"))
    assert own.interrupt_running() == []
    dead.close()
    assert sorted(own.interrupt_running()) == ["ran", "waited"]
    assert own.interrupt_running() == []
    ran = own.get("ran")
    assert (ran.state, ran.position, ran.fraction, ran.started) == (
        *("interrupted", None, 0.5, 1001.0),
    )
    assert ran.error == "The app stopped while this job was running: start it again."
    assert own.get("waited").error == (
        "The app stopped while this job was queued: start it again."
    )
    assert ran.finished is not None
    assert ran.finished > 1002.0
    states = [own.get(id).state for id in ("ended", "theirs", "ours")]
    assert states == ["done", "queued", "queued"]


def test_a_forgotten_store_gives_its_jobs_up_and_a_closed_one_may_start_anew(path: Path) -> None:
    store = JobStore(path)
    JobStore(path).add(queued("forgotten"))
    assert store.interrupt_running() == ["forgotten"]
    again = JobStore(path)
    again.add(queued("before"))
    again.close()
    again.close()
    again.add(queued("after"))
    assert store.interrupt_running() == ["before"]
    again.close()
    store.close()
    leftover = [place.name for place in path.parent.iterdir() if "owner" in place.name]
    assert leftover == []


@pytest.mark.parametrize("where", ["everything", "a page", "cut"])
def test_a_damaged_file_is_reported_and_kept_as_it_is(path: Path, where: str) -> None:
    store = JobStore(path)
    for number in range(8):
        store.add(replace(queued(str(number)), message="m" * 3000))
    store.close()
    data = bytearray(path.read_bytes())
    assert len(data) > 4 * 4096  # Several pages, so that one in the middle can be hit.
    if where == "everything":
        data = bytearray(b"This was never a database. " * 300)
    elif where == "a page":
        data[2 * 4096 : 3 * 4096] = b"\xff" * 4096
    else:
        del data[3 * 4096 + 100 :]
    path.write_bytes(data)
    with pytest.raises(MMHError, match="is damaged or not a job list: move it elsewhere"):
        JobStore(path)
    assert path.read_bytes() == data
    # The advice helps, also where files that SQLite keeps beside the old one stay behind.
    path.rename(path.with_name("damaged"))
    fresh = JobStore(path)
    fresh.add(queued("new"))
    assert [record.id for record in fresh.recent()] == ["new"]


def test_damage_found_later_is_a_sentence_too(path: Path) -> None:
    store = JobStore(path)
    store.add(queued("a"))
    path.write_bytes(b"This was never a database. " * 300)
    with pytest.raises(MMHError, match="is damaged"):
        store.get("a")
    with pytest.raises(MMHError, match="is damaged"):
        store.update(queued("a"))
    path.unlink()
    with pytest.raises(MMHError, match="check that it exists"):
        store.recent()
    assert not path.exists()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("PRAGMA user_version = 2", "newer version of this app .schema 2, this one knows 1."),
        ("CREATE TABLE recipes (name TEXT)", "belongs to another program"),
    ],
)
def test_files_of_others_are_refused_and_kept(tmp_path: Path, script: str, sentence: str) -> None:
    path = tmp_path / "jobs.sqlite"
    connection = sqlite3.connect(path)
    connection.execute(script)
    connection.close()
    data = path.read_bytes()
    with pytest.raises(MMHError, match=sentence):
        JobStore(path)
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_a_newer_file_with_unmerged_changes_is_kept_too(tmp_path: Path) -> None:
    path, writer = tmp_path / "jobs.sqlite", sqlite3.connect(tmp_path / "theirs.sqlite")
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA user_version = 2")
    # A copy taken now is what a crash leaves: the version stands in the write-ahead log alone.
    for end in ("", "-wal"):
        shutil.copy(tmp_path / f"theirs.sqlite{end}", tmp_path / f"jobs.sqlite{end}")
    writer.close()
    log = path.with_name("jobs.sqlite-wal")
    data = path.read_bytes(), log.read_bytes()
    with pytest.raises(MMHError, match="newer version"):
        JobStore(path)
    assert (path.read_bytes(), log.read_bytes()) == data


def test_an_empty_file_becomes_a_job_list_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    path.touch()
    JobStore(path).add(queued("a"))
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()


def test_a_folder_in_the_way_or_a_file_as_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MMHError, match="cannot be made"):
        JobStore(tmp_path / "file" / "jobs.sqlite")
    with pytest.raises(MMHError, match="cannot be used"):
        JobStore(tmp_path)


def test_a_busy_file_is_a_sentence_and_readers_do_not_wait(
    path: Path,
) -> None:
    store = JobStore(path, patience=0.01)
    store.add(queued("a"))
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert store.get("a").state == "queued"
    with pytest.raises(MMHError, match="in use by another process: wait a moment"):
        store.update(replace(queued("a"), state="running"))
    writer.execute("ROLLBACK")
    writer.close()
    store.update(replace(queued("a"), state="running"))
    assert store.get("a").state == "running"


def test_threads_share_one_store(path: Path) -> None:
    store = JobStore(path)

    def write(name: str) -> None:
        for number in range(8):
            store.add(queued(f"{name}{number}"))
            store.update(replace(queued(f"{name}{number}"), state="done", result=name))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = store.recent(100)
    assert len(records) == 32
    assert all(record.state == "done" and record.id[0] == record.result for record in records)
    # One owner, hence one lock, whichever thread came first.
    assert len(list(path.parent.glob("*-owner-*"))) == 1


def write_in_step(path: Path, who: str, meeting: Barrier) -> None:
    meeting.wait(PATIENCE)
    store = JobStore(path)
    for number in range(20):
        meeting.wait(PATIENCE)
        record = replace(queued(f"{who} {number}"), state="running")
        store.add(record)
        store.update(replace(record, state="done", result=str(number)))
    store.close()


def test_two_processes_create_one_file_and_write_at_once(path: Path) -> None:
    # Forked, because a new interpreter would import torch for longer than the test lasts.
    context = get_context("fork")
    meeting = context.Barrier(2)  # Both write each of their records at the same moment.
    child = context.Process(target=write_in_step, args=(path, "child", meeting))
    child.start()
    write_in_step(path, "parent", meeting)
    child.join()
    assert child.exitcode == 0
    records = JobStore(path).recent(1000)[::-1]
    assert len(records) == 40
    for who in ("child", "parent"):
        own = [record for record in records if record.id.startswith(who)]
        assert [record.result for record in own] == [str(number) for number in range(20)]
        assert {record.state for record in own} == {"done"}
