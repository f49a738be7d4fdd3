"""Jobs keep their order, what they made and their worker, however they end."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from mmh_core.records import MMHError, Progress
from mmh_core.store.job_record import JobRecord
from mmh_core.store.job_runner import JobRunner
from mmh_core.store.jobs import JobStore

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # Seconds; only a broken test waits that long.


@dataclass
class Gated:
    """Work of four steps that stops after its first one until `gate` is set."""

    started: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> Iterator[Progress[list[int]]]:
        try:
            yield Progress(0.25, "step 1", [1])
            self.started.set()  # The runner has seen step 1 by now.
            assert self.gate.wait(PATIENCE)
            yield Progress(0.5, "step 2", [1, 2])
            yield Progress(0.75, "step 3", [1, 2, 3])
            yield Progress(1.0, "step 4", [1, 2, 3, 4])
        finally:
            self.closed.set()


def brief(partial: object = "partial", fraction: float = 1.0) -> Callable[[], Iterator[Any]]:
    return lambda: iter([Progress(fraction, "the only step", partial)])


def failing(error: BaseException) -> Callable[[], Iterator[Progress[str]]]:
    def work() -> Iterator[Progress[str]]:
        yield Progress(0.5, "half", "half of it")
        raise error

    return work


def keeping(kept: list[object], result: str = "kept") -> Callable[[object], str]:
    def finish(partial: object) -> str:
        kept.append(partial)
        return result

    return finish


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path / "jobs.sqlite")
    yield store
    store.close()


@pytest.fixture
def runner(store: JobStore) -> Iterator[JobRunner]:
    before = set(threading.enumerate())
    runner = JobRunner(store, capacity=2, keep=3)
    yield runner
    assert runner.shutdown(PATIENCE)
    assert set(threading.enumerate()) <= before


def test_a_job_passes_through_its_states_and_keeps_progress(
    runner: JobRunner, store: JobStore
) -> None:
    work = Gated()
    kept = list[object]()
    id = runner.submit("manifold", "A torus", work, finish=keeping(kept, "results/1"))
    assert work.started.wait(PATIENCE)
    running = runner.record(id)
    assert (running.state, running.position, running.fraction) == ("running", 0, 0.25)
    assert (running.message, running.device, running.result) == ("step 1", "cpu", None)
    assert store.get(id).state == "running"
    assert runner.latest(id) == Progress(0.25, "step 1", [1])
    assert [record.id for record in runner.active()] == [id]
    work.gate.set()
    done = runner.wait(id, PATIENCE)
    assert (done.state, done.position, done.fraction) == ("done", None, 1.0)
    assert (done.kind, done.label, done.result, done.error) == (
        *("manifold", "A torus", "results/1", None),
    )
    assert kept == [[1, 2, 3, 4]]
    assert runner.latest(id) == Progress(1.0, "step 4", [1, 2, 3, 4])
    assert runner.active() == []
    assert store.get(id) == done
    assert done.started is not None
    assert done.finished is not None
    assert done.created <= done.started <= done.finished


def test_time_left_is_offered_while_a_job_runs(runner: JobRunner) -> None:
    work = Gated()
    id = runner.submit("manifold", "A torus", work)
    assert work.started.wait(PATIENCE)
    record, left = runner.record(id), runner.time_left(id)
    assert record.started is not None and left is not None
    # A quarter is done: what is left takes three times as long. The tolerance is that of sums of
    # clock estimates.
    assert left.seconds == pytest.approx(3 * (left.at - record.started), abs=1e-6)
    work.gate.set()
    assert runner.wait(id, PATIENCE).state == "done"
    assert runner.time_left(id) is None


def test_jobs_of_one_device_run_first_in_first_out(runner: JobRunner, store: JobStore) -> None:
    work = Gated()
    order = list[str]()
    first = runner.submit("k", "first", work)
    assert work.started.wait(PATIENCE)

    def named(name: str) -> Callable[[], Iterator[Progress[str]]]:
        def steps() -> Iterator[Progress[str]]:
            order.append(f"{name} begins")
            yield Progress(0.5, "", name)
            order.append(f"{name} ends")

        return steps

    ids = [first, *(runner.submit("k", name, named(name)) for name in ("second", "third"))]
    assert [runner.position(id) for id in ids] == [0, 1, 2]
    assert [store.get(id).position for id in ids] == [0, 1, 2]
    assert [record.position for record in runner.active()] == [0, 1, 2]
    assert [runner.record(id).state for id in ids] == ["running", "queued", "queued"]
    assert runner.latest(ids[1]) is None
    work.gate.set()
    assert runner.wait(ids[2], PATIENCE).state == "done"
    assert order == ["second begins", "second ends", "third begins", "third ends"]
    assert [runner.position(id) for id in ids] == [None] * 3


def noting(order: list[str], name: str, steps: int = 2) -> Callable[[], Iterator[Progress[str]]]:
    """Return work that notes each of its steps."""

    def work() -> Iterator[Progress[str]]:
        for step in range(steps):
            order.append(f"{name} {step}")
            yield Progress(0.5, "", name)

    return work


def test_short_jobs_go_before_the_long_ones_that_wait(store: JobStore) -> None:
    runner, work, order = JobRunner(store), Gated(), list[str]()
    runner.submit("k", "held up", work, short=True)
    assert work.started.wait(PATIENCE)
    ids = [
        runner.submit("k", name, noting(order, name), short=name.startswith("short"))
        for name in ("long a", "short a", "long b", "short b")
    ]
    assert [runner.position(id) for id in ids] == [3, 1, 4, 2]
    work.gate.set()
    assert all(runner.wait(id, PATIENCE).state == "done" for id in ids)
    assert order == [
        f"{name} {k}" for name in ("short a", "short b", "long a", "long b") for k in range(2)
    ]
    assert runner.shutdown(PATIENCE)


def test_a_short_job_runs_between_two_steps_of_a_long_one(runner: JobRunner) -> None:
    order, threads = list[str](), list[int]()
    started, arrived = threading.Event(), threading.Event()

    def long() -> Iterator[Progress[str]]:
        torch.set_num_threads(1)
        yield Progress(0.1, "", "long")
        started.set()
        assert arrived.wait(PATIENCE)
        order.append("long 0")
        yield Progress(0.5, "", "long")
        threads.append(torch.get_num_threads())
        order.append("long 1")
        yield Progress(1.0, "", "long")

    def short() -> Iterator[Progress[str]]:
        torch.set_num_threads(2)
        order.append("short")
        yield Progress(1.0, "", "short")

    kept = list[object]()
    first = runner.submit("k", "long", long, finish=keeping(kept))
    assert started.wait(PATIENCE)
    second = runner.submit("k", "short", short, finish=keeping(kept), short=True)
    third = runner.submit("k", "failing", failing(MMHError("no")), short=True)
    arrived.set()
    records = [runner.wait(id, PATIENCE) for id in (first, second, third)]
    assert [record.state for record in records] == ["done", "done", "failed"]
    assert order == ["long 0", "short", "long 1"]
    assert kept == ["short", "long"]
    assert threads == [1]


def test_a_short_job_inside_a_long_one_is_cancelled_alone(runner: JobRunner) -> None:
    work, held, going = Gated(), threading.Event(), threading.Event()

    def long() -> Iterator[Progress[str]]:
        yield Progress(0.1, "", "long")
        held.set()
        assert going.wait(PATIENCE)
        yield Progress(0.5, "", "long")

    first = runner.submit("k", "long", long)
    assert held.wait(PATIENCE)
    second = runner.submit("k", "short", work, short=True)
    going.set()
    assert work.started.wait(PATIENCE)
    assert [record.state for record in runner.active()] == ["running", "running"]
    runner.cancel(second)
    work.gate.set()
    assert runner.wait(second, PATIENCE).state == "cancelled"
    assert runner.wait(first, PATIENCE).state == "done"


def test_a_slow_disk_keeps_nobody_waiting_who_only_asks(tmp_path: Path) -> None:
    disk, stuck = threading.Event(), threading.Event()
    disk.set()

    class Slow(JobStore):
        def add(self, record: JobRecord) -> None:
            stuck.set()
            assert disk.wait(PATIENCE)
            super().add(record)

    store = Slow(tmp_path / "slow.sqlite")
    runner = JobRunner(store)
    held = runner.submit("k", "first", brief())
    assert runner.wait(held, PATIENCE).state == "done"
    disk.clear()
    stuck.clear()
    thread = threading.Thread(target=runner.submit, args=("k", "second", brief()))
    thread.start()
    assert stuck.wait(PATIENCE)
    answers = list[object]()
    asking = threading.Thread(
        target=lambda: answers.append((runner.record(held), runner.active()))
    )
    asking.start()
    asking.join(5)
    disk.set()
    thread.join(PATIENCE)
    assert len(answers) == 1
    assert runner.shutdown(PATIENCE)
    store.close()


def test_devices_work_side_by_side(runner: JobRunner) -> None:
    meeting = threading.Barrier(2)

    def work() -> Iterator[Progress[int]]:
        meeting.wait(PATIENCE)  # Passed only while the other job runs as well.
        yield Progress(1.0, "", threading.get_ident())

    ids = [runner.submit("k", "l", work, device=device) for device in ("cpu", "second")]
    assert [runner.wait(id, PATIENCE).state for id in ids] == ["done", "done"]
    threads = {progress.partial for id in ids if (progress := runner.latest(id))}
    assert len(threads) == 2


def test_identical_work_makes_two_jobs(runner: JobRunner) -> None:
    work = brief()
    ids = [runner.submit("k", "same", work) for _ in range(2)]
    assert ids[0] != ids[1]
    assert [runner.wait(id, PATIENCE).state for id in ids] == ["done", "done"]


def test_cancel_of_a_running_job_closes_it_and_keeps_its_last_partial(
    runner: JobRunner, store: JobStore
) -> None:
    work = Gated()
    kept = list[object]()

    def finish(partial: object) -> str:
        assert work.closed.is_set()  # Cleaned up before the result is written.
        kept.append(partial)
        return "results/half"

    id = runner.submit("k", "l", work, finish=finish)
    assert work.started.wait(PATIENCE)
    runner.cancel(id)
    runner.cancel(id)
    assert runner.record(id).state == "running"  # It ends at its next yield, not in a step.
    work.gate.set()
    record = runner.wait(id, PATIENCE)
    assert (record.state, record.fraction, record.result, record.error) == (
        *("cancelled", 0.5, "results/half", None),
    )
    assert kept == [[1, 2]]
    assert runner.latest(id) == Progress(0.5, "step 2", [1, 2])
    assert store.get(id) == record
    runner.cancel(id)
    assert runner.record(id) == record


def test_cancel_raises_generator_exit_in_the_work(runner: JobRunner) -> None:
    started, gate, seen = threading.Event(), threading.Event(), list[type]()

    def work() -> Iterator[Progress[None]]:
        yield Progress(0.1, "", None)
        started.set()
        assert gate.wait(PATIENCE)
        try:
            yield Progress(0.2, "", None)
        except BaseException as error:
            seen.append(type(error))
            raise

    steps = work()  # Held here, so that only the runner can close it, not the end of its life.
    id = runner.submit("k", "l", lambda: steps)
    assert started.wait(PATIENCE)
    runner.cancel(id)
    gate.set()
    assert runner.wait(id, PATIENCE).state == "cancelled"
    assert seen == [GeneratorExit]


def test_cancel_of_a_waiting_job_takes_effect_at_once(runner: JobRunner, store: JobStore) -> None:
    work, never, kept = Gated(), Gated(), list[object]()
    first = runner.submit("k", "first", work)
    assert work.started.wait(PATIENCE)
    waiting = runner.submit("k", "waiting", never, finish=keeping(kept))
    last = runner.submit("k", "last", brief())
    runner.cancel(waiting)
    runner.cancel(waiting)
    record = runner.record(waiting)
    assert (record.state, record.position, record.started) == ("cancelled", None, None)
    assert record.finished is not None
    assert store.get(waiting) == record
    assert [runner.position(id) for id in (first, last)] == [0, 1]
    work.gate.set()
    assert runner.wait(last, PATIENCE).state == "done"
    assert not never.started.is_set()
    assert kept == []


def test_cancel_of_an_ended_job_does_nothing(runner: JobRunner) -> None:
    id = runner.submit("k", "l", brief())
    record = runner.wait(id, PATIENCE)
    runner.cancel(id)
    assert runner.record(id) == record
    assert record.state == "done"


def test_jobs_of_nobody_and_of_other_servers_cannot_be_cancelled(
    runner: JobRunner, store: JobStore
) -> None:
    other = JobStore(store.path)
    other.add(JobRecord("theirs", "k", "l", "cpu", "queued"))
    with pytest.raises(MMHError, match=r"'theirs' belongs to another server.*cancel it there"):
        runner.cancel("theirs")
    assert runner.record("theirs").state == "queued"
    assert runner.active() == []
    for call in (runner.cancel, runner.record, runner.position, runner.wait):
        with pytest.raises(MMHError, match="no job 'nobody'"):
            call("nobody")
    assert runner.latest("nobody") is None
    other.close()


@pytest.mark.parametrize(
    ("error", "sentence", "logged"),
    [
        (MMHError("The index is missing: build it."), "The index is missing: build it.", False),
        (ValueError("steps is 0; use 1 to 50."), "steps is 0; use 1 to 50.", True),
        (KeyError("x"), "A scan failed unexpectedly: KeyError: 'x'", True),
        (RuntimeError("a\n  b"), "A scan failed unexpectedly: RuntimeError: a b", True),
        (ValueError(), "A scan failed unexpectedly: ValueError: no details", True),
        (SystemExit(3), "A scan failed unexpectedly: SystemExit: 3", True),
    ],
)
def test_failures_become_sentences(
    runner: JobRunner,
    store: JobStore,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    sentence: str,
    logged: bool,
) -> None:
    kept = list[object]()
    id = runner.submit("scan", "A scan", failing(error), finish=keeping(kept))
    record = runner.wait(id, PATIENCE)
    assert (record.state, record.error, record.fraction) == ("failed", sentence, 0.5)
    assert store.get(id) == record
    assert runner.latest(id) == Progress(0.5, "half", "half of it")
    assert kept == []
    tracebacks = [entry.exc_info[1] for entry in caplog.records if entry.exc_info]
    assert tracebacks == ([error] if logged else [])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
    ],
)
def test_running_out_of_memory_says_what_to_do_and_frees_before_the_cache_is_emptied(
    runner: JobRunner, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    arrays = list[weakref.ref[torch.Tensor]]()
    alive = list[bool]()

    def work() -> Iterator[Progress[None]]:
        array = torch.zeros(3)
        arrays.append(weakref.ref(array))
        yield Progress(0.1, "", None)
        raise type(error)(*error.args)

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.accelerator, "empty_cache", lambda: alive.append(arrays[0]() is not None)
    )
    record = runner.wait(runner.submit("k", "A scan", work, device="fake"), PATIENCE)
    assert record.state == "failed"
    assert record.error == (
        "A scan ran out of memory on fake: choose fewer samples, a smaller batch or a smaller "
        "model, then start it again."
    )
    assert alive == [False]


def test_real_memory_errors_are_recognized(runner: JobRunner) -> None:
    def work() -> Iterator[Progress[None]]:
        yield Progress(0.1, "", None)
        torch.empty(10**15)  # 4 petabytes, refused at once.

    record = runner.wait(runner.submit("k", "A scan", work), PATIENCE)
    assert record.error is not None
    assert record.error.startswith("A scan ran out of memory on cpu")


def test_a_cache_that_cannot_be_emptied_does_not_end_the_worker(
    runner: JobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise RuntimeError("the device is in a bad state")

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "empty_cache", refuse)
    assert runner.wait(runner.submit("k", "l", failing(MemoryError())), PATIENCE).error
    assert runner.wait(runner.submit("k", "l", brief()), PATIENCE).state == "done"


def test_the_worker_and_other_jobs_outlive_failures(runner: JobRunner) -> None:
    def who() -> Iterator[Progress[int]]:
        yield Progress(1.0, "", threading.get_ident())

    def no_generator() -> Iterator[Progress[None]]:
        raise KeyError("before the first step")

    workers = set[int]()
    for error in (KeyError("x"), SystemExit(1), KeyboardInterrupt()):
        before = runner.submit("k", "before", who)
        assert runner.wait(runner.submit("k", "l", failing(error)), PATIENCE).state == "failed"
        assert runner.wait(runner.submit("k", "l", no_generator), PATIENCE).state == "failed"
        after = runner.submit("k", "after", who)
        assert runner.wait(after, PATIENCE).state == "done"
        assert runner.record(before).state == "done"
        progress = runner.latest(after)
        assert progress is not None
        workers.add(progress.partial)
    assert len(workers) == 1


def test_a_result_that_cannot_be_kept_is_a_failure_with_its_sentence(runner: JobRunner) -> None:
    def finish(partial: object) -> str:
        raise MMHError("The disk is full: free some space.")

    record = runner.wait(runner.submit("k", "l", brief("made"), finish=finish), PATIENCE)
    assert (record.state, record.error) == ("failed", "The disk is full: free some space.")
    assert record.result is None
    progress = runner.latest(record.id)
    assert progress is not None
    assert progress.partial == "made"


def test_work_without_progress_has_nothing_to_finish(runner: JobRunner) -> None:
    kept = list[object]()
    id = runner.submit("k", "l", lambda: iter(()), finish=keeping(kept))
    record = runner.wait(id, PATIENCE)
    assert (record.state, record.fraction, record.result, kept) == ("done", 1.0, None, [])
    assert runner.latest(id) is None


def test_work_that_yields_something_else_fails_and_is_closed(runner: JobRunner) -> None:
    closed = threading.Event()

    def work() -> Iterator[Any]:
        try:
            yield "not a Progress"
        finally:
            closed.set()

    record = runner.wait(runner.submit("k", "l", work), PATIENCE)
    assert record.error is not None
    assert "failed unexpectedly: AttributeError" in record.error
    assert closed.is_set()


@pytest.mark.parametrize(("given", "shown"), [(-0.5, 0.0), (1.5, 1.0), (float("nan"), 0.0)])
def test_fractions_are_kept_between_0_and_1(
    runner: JobRunner, store: JobStore, given: float, shown: float
) -> None:
    def work() -> Iterator[Progress[None]]:
        yield Progress(given, "", None)
        raise MMHError("Stop here.")

    record = runner.wait(runner.submit("k", "l", work), PATIENCE)
    assert record.fraction == shown
    assert store.get(record.id).fraction == shown


def test_a_full_queue_refuses_with_its_length_and_only_its_own_device(
    runner: JobRunner, store: JobStore
) -> None:
    work = Gated()
    runner.submit("k", "running", work)
    assert work.started.wait(PATIENCE)
    waiting = [runner.submit("k", "waiting", brief()) for _ in range(2)]
    with pytest.raises(MMHError, match="queue for cpu is full with 2 jobs waiting: cancel one or"):
        runner.submit("k", "refused", brief())
    assert "refused" not in [record.label for record in store.recent()]
    other = runner.submit("k", "elsewhere", brief(), device="second")
    assert runner.wait(other, PATIENCE).state == "done"
    runner.cancel(waiting[0])
    replacement = runner.submit("k", "fits again", brief())
    work.gate.set()
    assert runner.wait(replacement, PATIENCE).state == "done"


def test_older_ended_jobs_leave_memory_but_not_the_disk(runner: JobRunner) -> None:
    ids = []
    for number in range(5):
        ids.append(runner.submit("k", str(number), brief(number)))
        runner.wait(ids[-1], PATIENCE)
    progress = [runner.latest(id) for id in ids]  # keep=3.
    assert [p and p.partial for p in progress] == [None, None, 2, 3, 4]
    assert [runner.record(id).label for id in ids] == ["0", "1", "2", "3", "4"]
    assert runner.wait(ids[0], PATIENCE).state == "done"
    assert runner.position(ids[0]) is None
    runner.cancel(ids[0])
    assert runner.record(ids[0]).state == "done"


def test_an_idle_worker_does_not_hold_on_to_the_work(runner: JobRunner) -> None:
    work, released = Gated(), threading.Event()
    work.gate.set()
    weakref.finalize(work, released.set)
    runner.wait(runner.submit("k", "l", work), PATIENCE)
    del work
    assert released.wait(PATIENCE)  # The worker lets go a moment after the end is public.


def test_progress_is_written_twice_a_second_and_states_always(tmp_path: Path) -> None:
    clock = [100.0]
    written = list[tuple[str, float]]()

    class Recording(JobStore):
        def update(self, record: JobRecord) -> None:
            written.append((record.state, record.fraction))
            super().update(record)

    def work() -> Iterator[Progress[None]]:
        for step in range(1, 9):
            clock[0] += 0.25  # Exact in binary, hence so is the half second.
            yield Progress(step / 8, "", None)
        for _ in range(1000):
            yield Progress(1.0, "", None)

    store = Recording(tmp_path / "recording.sqlite")
    runner = JobRunner(store, clock=lambda: clock[0])
    runner.wait(runner.submit("k", "l", work), PATIENCE)
    assert runner.shutdown(PATIENCE)
    store.close()
    assert written == [
        ("running", 0.0),
        *(("running", fraction) for fraction in (0.25, 0.5, 0.75, 1.0)),
        ("done", 1.0),
    ]


def test_a_store_that_fails_refuses_new_jobs_but_ends_no_running_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = list[str]()

    class Full(JobStore):
        def update(self, record: JobRecord) -> None:
            raise MMHError("The disk is full.")

        def add(self, record: JobRecord) -> None:
            if taken:
                raise MMHError("The disk is full.")
            taken.append(record.id)
            super().add(record)

    store = Full(tmp_path / "full.sqlite")
    runner = JobRunner(store)
    id = runner.submit("k", "l", brief("made"))
    assert runner.wait(id, PATIENCE).state == "done"
    assert [entry.levelno for entry in caplog.records] == [logging.ERROR] * 2
    with pytest.raises(MMHError, match="The disk is full"):
        runner.submit("k", "refused", brief())
    assert runner.active() == [] and runner.shutdown(PATIENCE)
    store.close()


def test_wait_gives_up_after_its_timeout(runner: JobRunner) -> None:
    work = Gated()
    id = runner.submit("k", "l", work)
    assert runner.wait(id, 0.01).is_active
    work.gate.set()


def test_shutdown_cancels_everything_and_refuses_more(store: JobStore) -> None:
    runner = JobRunner(store)
    work = Gated()
    kept = list[object]()
    running = runner.submit("k", "l", work, finish=keeping(kept))
    assert work.started.wait(PATIENCE)
    waiting = runner.submit("k", "l", brief())
    assert not runner.shutdown(0.01)  # The running step is not over.
    assert runner.record(waiting).state == "cancelled"
    with pytest.raises(MMHError, match="shutting down: restart it"):
        runner.submit("k", "l", brief())
    work.gate.set()
    assert runner.shutdown(PATIENCE)
    assert [store.get(id).state for id in (running, waiting)] == ["cancelled", "cancelled"]
    assert store.get(running).result == "kept"
    assert kept == [[1, 2]]
    assert JobRunner(store).shutdown()  # One that never worked has nothing to wait for.


@pytest.mark.parametrize(("capacity", "keep"), [(0, 1), (1, 0)])
def test_limits_below_one_are_refused(store: JobStore, capacity: int, keep: int) -> None:
    with pytest.raises(ValueError, match=f"capacity is {capacity} and keep {keep}"):
        JobRunner(store, capacity=capacity, keep=keep)


SERVER = """
import sys
from pathlib import Path
from threading import Event
from mmh_core.store.job_runner import JobRunner
from mmh_core.records import Progress
from mmh_core.store.jobs import JobStore

def work():
    yield Progress(0.5, "half", None)
    print(running, waiting, flush=True)
    Event().wait()

submitted = Event()
def first():
    submitted.wait()
    yield from work()

runner = JobRunner(JobStore(Path(sys.argv[1])))
ended = runner.submit("k", "ended", lambda: iter([]), device="second")
runner.wait(ended)
running = runner.submit("k", "running", first)
waiting = runner.submit("k", "waiting", work)
submitted.set()
Event().wait()
"""


def test_jobs_of_a_killed_server_are_interrupted_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with server:
        try:
            assert server.stdout is not None
            ids = server.stdout.readline().split()
            beside = JobStore(path)  # A second server, while the first one lives.
            JobRunner(beside)
            assert [beside.get(id).state for id in ids] == ["running", "queued"]
        finally:
            server.kill()
    assert server.returncode == -signal.SIGKILL
    JobRunner(beside)
    records = [beside.get(id) for id in ids]
    assert [record.state for record in records] == ["interrupted", "interrupted"]
    assert [record.error for record in records] == [
        "The app stopped while this job was running: start it again.",
        "The app stopped while this job was queued: start it again.",
    ]
    assert [record.label for record in beside.recent() if record.state == "done"] == ["ended"]
    assert list(tmp_path.glob("*-owner-*")) == []
