"""Run long work on worker threads, one per device, with a queue, progress and cancel.

Work is a function that returns a generator of `Progress`. Nothing here knows the user interface:
pages and the CLI submit, poll by id and cancel.
"""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from threading import Condition, Event, Lock, Thread
from time import monotonic, time
from typing import Any, final
from uuid import uuid4

import torch

from mmh_core.records import MMHError, Progress
from mmh_core.store.job_record import (
    JobRecord,
    JobState,
    TimeLeft,
    empty_caches,
    is_out_of_memory,
    sentence,
    time_left,
)
from mmh_core.store.jobs import JobStore

Work = Callable[[], Iterator[Progress[Any]]]
Finish = Callable[[Any], str]

_WRITE_GAP = 0.5  # Seconds between two writes of mere progress to the disk.
_SHUTTING_DOWN = "The app is shutting down: restart it, then start this again."
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Task:
    """The work of one job, kept while it waits or runs."""

    id: str
    work: Work
    finish: Finish | None
    stop: Event
    short: bool


@final
class JobRunner:
    """A queue of jobs for each device, first in, first out; devices run side by side.

    Short jobs go first: before the long ones that wait, and between two steps of the one that
    runs, so that one image need not wait for a scan of hours.

    A class because it owns threads: one daemon thread per device, started with the first job for
    it. All methods may be called from any thread. A job is known by its id alone: the same work
    submitted twice makes two jobs, and who has no id sees no job but through `active`.

    `capacity` bounds the jobs that wait for one device, besides the one that runs; `keep` is how
    many ended jobs stay in memory with their last progress, older ones are read from the store.
    Jobs that a dead process left in the store are marked interrupted at the start.

    Caveats: name a device in one way only ("cuda" and "cuda:0" would get a thread each). State
    changes are written to the store at once, progress at most twice a second, so that the store
    may lag behind `record`. Where the store cannot be written, the job goes on and the failure is
    logged.
    """

    def __init__(
        self,
        store: JobStore,
        *,
        capacity: int = 8,
        keep: int = 32,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if capacity < 1 or keep < 1:
            raise ValueError(f"capacity is {capacity} and keep {keep}; both must be at least 1.")
        store.interrupt_running()
        self._store = store
        self._clock = clock
        self._capacity = capacity
        self._keep = keep
        self._closed = False
        self._threads: dict[str, Thread] = {}
        self._waiting: dict[str, deque[_Task]] = {}
        self._running: dict[str, list[_Task]] = {}  # A long job, and a short one within it.
        self._records: dict[str, JobRecord] = {}
        self._latest: dict[str, Progress[Any]] = {}
        self._ended: deque[str] = deque()
        self._written: dict[str, float] = {}
        self._left: dict[str, TimeLeft] = {}
        # Guards all of the above and wakes workers and waiters; never held while work runs or the
        # disk writes, since every poll of every window needs it.
        self._changed = Condition()
        # One submission after the other, so that the order in the store is that of the queue.
        self._adding = Lock()

    def submit(
        self,
        kind: str,
        label: str,
        work: Work,
        *,
        device: str = "cpu",
        finish: Finish | None = None,
        short: bool = False,
    ) -> str:
        """Queue `work` for `device` and return the id of the job; `short` work goes first.

        `finish` gets the last partial record once the work is done or cancelled, so that what
        exists is kept, and returns the identifier that becomes `result`. It runs on the worker,
        and not at all if there was no progress or the work failed.

        Raises MMHError for too many waiting jobs, after `shutdown`, and where the store fails.
        """
        task = _Task(uuid4().hex, work, finish, Event(), short)
        record = JobRecord(task.id, kind, label, device, "queued")
        with self._adding:
            self._check_room(device)
            self._store.add(record)
            with self._changed:
                closed = self._closed
                if not closed:
                    self._queue(task, record)
        if closed:
            # Shut down while the disk wrote: what nobody will run must not stand there as waiting.
            self._save(replace(record, state="cancelled", finished=time()))
            raise MMHError(_SHUTTING_DOWN)
        return task.id

    def _check_room(self, device: str) -> None:
        """Refuse a job after `shutdown` and where too many are waiting."""
        with self._changed:
            if self._closed:
                raise MMHError(_SHUTTING_DOWN)
            waiting = len(self._waiting.get(device, ()))
            if waiting + bool(self._running.get(device)) > self._capacity:
                raise MMHError(
                    f"The queue for {device} is full with {waiting} jobs waiting: cancel "
                    "one or wait until one has ended, then start this again."
                )

    def _queue(self, task: _Task, record: JobRecord) -> None:
        """Give a job its place, before the long ones if it is short; inside the lock."""
        self._records[task.id] = record
        waiting = self._waiting.setdefault(record.device, deque())
        at = sum(entry.short for entry in waiting) if task.short else len(waiting)
        waiting.insert(at, task)
        if record.device not in self._threads:
            thread = Thread(target=self._serve, args=(record.device,), daemon=True)
            self._threads[record.device] = thread
            thread.start()
        self._changed.notify_all()

    def record(self, id: str) -> JobRecord:
        """Return the present record of a job of this runner, or a stored one.

        Raises MMHError for an unknown id.
        """
        with self._changed:
            record = self._records.get(id)
            if record is not None:
                return replace(record, position=self._place(record))
        return self._store.get(id)

    def latest(self, id: str) -> Progress[Any] | None:
        """Return the last progress with its partial record, or None if memory holds none."""
        with self._changed:
            return self._latest.get(id)

    def time_left(self, id: str) -> TimeLeft | None:
        """Return what a running job had left at its last progress, None where it is unknown."""
        with self._changed:
            return self._left.get(id)

    def position(self, id: str) -> int | None:
        """Return 0 for a running job, 1 for the next one, None for one that ended."""
        return self.record(id).position

    def active(self) -> list[JobRecord]:
        """Return the running and waiting jobs of this runner, in order of submission."""
        with self._changed:
            records = [record for record in self._records.values() if record.is_active]
            return [replace(record, position=self._place(record)) for record in records]

    def wait(self, id: str, timeout: float | None = None) -> JobRecord:
        """Block until the job has ended or `timeout` seconds have passed; return its record."""
        with self._changed:
            self._changed.wait_for(
                lambda: id not in self._records or not self._records[id].is_active, timeout
            )
        return self.record(id)

    def cancel(self, id: str) -> None:
        """Cancel a job; cancelling again, or one that has ended, does nothing.

        A waiting job is cancelled at once. A running one is closed at its next `yield` (its
        `finally` blocks run), its last partial record goes to `finish`, and then its state is
        "cancelled"; work that ends before another `yield` is done. Raises MMHError for an unknown
        id, and for a job of another server.
        """
        with self._changed:
            record = self._records.get(id)
            if record is not None and record.is_active:
                tasks = (*self._running.get(record.device, ()), *self._waiting[record.device])
                next(task for task in tasks if task.id == id).stop.set()
        if record is not None and record.state == "queued":
            self._cancel_waiting(record)
        if record is None and self._store.get(id).is_active:
            raise MMHError(
                f"Job {id!r} belongs to another server that uses this folder: cancel it there."
            )

    def _cancel_waiting(self, record: JobRecord) -> None:
        """End a waiting job, which no worker will take any more."""
        ended = replace(record, state="cancelled", finished=time())
        self._save(ended)
        with self._changed:
            waiting = self._waiting[record.device]
            self._waiting[record.device] = deque(
                entry for entry in waiting if entry.id != record.id
            )
            # Another thread may have cancelled it at the same time.
            if self._records.get(record.id) == record:
                self._settle(ended)

    def shutdown(self, timeout: float = 10.0) -> bool:
        """Accept no more jobs, cancel all, and wait for the workers; return whether all ended.

        A worker inside a long step ends after it; its thread does not keep the process alive.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for record in self.active():
            self.cancel(record.id)
        deadline = monotonic() + timeout
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - monotonic()))
        return not any(thread.is_alive() for thread in self._threads.values())

    def _place(self, record: JobRecord) -> int | None:
        if record.state != "queued":
            return 0 if record.state == "running" else None
        return 1 + [task.id for task in self._waiting[record.device]].index(record.id)

    def _serve(self, device: str) -> None:
        """Run the jobs of one device until the end."""
        # One call per job: no name may hold on to the work, and its arrays, while waiting.
        while self._serve_next(device):
            pass

    def _serve_next(self, device: str) -> bool:
        """Wait for the next job of a device and do it; return False to end the worker."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._next(device) is not None)
            task = self._take(device)
        if task is None:
            return False
        self._do(device, task)
        return True

    def _next(self, device: str, *, short: bool = False) -> _Task | None:
        """Return the task whose turn it is, None without one; inside the lock.

        One that was cancelled while it waited is skipped: who cancelled it ends it.
        """
        ready = (entry for entry in self._waiting[device] if not entry.stop.is_set())
        task = next(ready, None)
        return None if task is None or (short and not task.short) else task

    def _take(self, device: str, *, short: bool = False) -> _Task | None:
        """Take the next task out of the queue as running, None without one or after `shutdown`."""
        task = None if self._closed else self._next(device, short=short)
        if task is not None:
            self._waiting[device].remove(task)
            self._running.setdefault(device, []).append(task)
            self._records[task.id] = replace(
                self._records[task.id], state="running", started=time()
            )
        return task

    def _do(self, device: str, task: _Task) -> None:
        """Do a task that was taken, from its first record on the disk to its last."""
        self._save(self._records[task.id])
        record = self._run(task)
        # The disk first: an end that can be seen is an end that was kept.
        self._save(record)
        with self._changed:
            self._running[device].remove(task)
            self._settle(record)

    def _do_short_ones(self, device: str) -> None:
        """Do the short jobs that wait for a device between two steps of the long one there."""
        while True:
            with self._changed:
                task = self._take(device, short=True)
            if task is None:
                return
            threads = torch.get_num_threads()
            self._do(device, task)
            torch.set_num_threads(threads)

    def _run(self, task: _Task) -> JobRecord:
        """Run one job to its end, good or bad, and return its last record."""
        state: JobState = "failed"
        result = error = None
        exhausted = False
        try:
            state = self._follow(task)
            last = self._latest.get(task.id)
            if task.finish is not None and last is not None:
                result = task.finish(last.partial)
        # Not only Exception: a library that calls sys.exit must not end the worker either.
        except BaseException as failure:
            state = "failed"
            exhausted = is_out_of_memory(failure)
            error = sentence(self._records[task.id], failure)
            if not isinstance(failure, MMHError):
                _log.exception("Job %s (%s) failed.", task.id, self._records[task.id].kind)
            # The traceback, which a log may keep, must not keep the arrays of the work.
            traceback.clear_frames(failure.__traceback__)
        if exhausted:
            empty_caches()
        record = self._records[task.id]
        fraction = 1.0 if state == "done" else record.fraction
        return replace(
            record, state=state, fraction=fraction, error=error, finished=time(), result=result
        )

    def _follow(self, task: _Task) -> JobState:
        """Take one progress after the other, and close the work whatever happens."""
        steps = task.work()
        try:
            for progress in steps:
                self._publish(task.id, progress)
                if not task.short:
                    self._do_short_ones(self._records[task.id].device)
                if task.stop.is_set():
                    return "cancelled"
            return "done"
        finally:
            if isinstance(steps, Generator):
                steps.close()

    def _publish(self, id: str, progress: Progress[Any]) -> None:
        """Show progress to those who poll, and write it if the last write is old enough."""
        fraction = min(max(0.0, progress.fraction), 1.0)  # In this order NaN becomes 0.
        with self._changed:
            record = replace(self._records[id], fraction=fraction, message=progress.message)
            self._records[id] = record
            self._latest[id] = progress
            left = time_left(record, time(), self._left.get(id))
            if left is not None:
                self._left[id] = left
        if self._clock() - self._written.get(id, 0.0) >= _WRITE_GAP:
            self._save(record)

    def _save(self, record: JobRecord) -> None:
        """Write a record; a disk that refuses ends neither the job nor the worker."""
        self._written[record.id] = self._clock()
        try:
            self._store.update(record)
        except Exception:
            _log.exception("Job %s: its state %s was not stored.", record.id, record.state)

    def _settle(self, record: JobRecord) -> None:
        """Make an end public, and forget the oldest ended jobs beyond `keep`."""
        self._records[record.id] = record
        self._written.pop(record.id, None)
        self._left.pop(record.id, None)
        self._ended.append(record.id)
        while len(self._ended) > self._keep:
            oldest = self._ended.popleft()
            del self._records[oldest]
            self._latest.pop(oldest, None)
        self._changed.notify_all()
