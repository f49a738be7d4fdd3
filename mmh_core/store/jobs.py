"""Keep the records of long jobs in an SQLite file that several servers may share.

A job is owned by the `JobStore` object that added it. An owner holds a locked file beside the
database, which tells the jobs of a server that died from those of one that lives.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import final
from uuid import uuid4

from mmh_core.files import hold, is_held
from mmh_core.records import MMHError
from mmh_core.store.job_record import JobRecord
from mmh_core.store.sqlite_file import BUSY_SECONDS, SqliteFile, like_pattern

_VERSION = 1
_ACTIVE = "state IN ('queued', 'running')"
_SCHEMA = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    label TEXT NOT NULL,
    device TEXT NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('queued', 'running', 'done', 'cancelled', 'failed', 'interrupted')),
    fraction REAL NOT NULL,
    message TEXT NOT NULL,
    error TEXT,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    result TEXT,
    owner TEXT NOT NULL
)
"""
# The position is counted, not stored: stored ones would all change whenever one job moves.
_SELECT = """
SELECT id, kind, label, device, state,
    CASE state WHEN 'running' THEN 0 WHEN 'queued' THEN 1 + (
        SELECT COUNT(*) FROM jobs AS ahead WHERE ahead.owner = jobs.owner
        AND ahead.device = jobs.device AND ahead.state = 'queued' AND ahead.number < jobs.number
    ) END,
    fraction, message, error, created, started, finished, result
FROM jobs
"""
_INTERRUPT = f"""
UPDATE jobs SET state = 'interrupted', finished = ?,
    error = 'The app stopped while this job was ' || state || ': start it again.'
WHERE {_ACTIVE} AND owner = ? RETURNING id
"""


_COLUMNS = tuple(entry.name for entry in fields(JobRecord) if entry.name != "position")


@final
class JobStore:
    """The job records in the SQLite file `path`, which is made with its folder if missing.

    A class because it owns the lock that marks its jobs as alive: `close` gives it back, and so
    does the end of the object or of the process. All methods may be called from any thread; each
    opens its own connection (WAL mode, full sync, `patience` seconds for other writers). Several
    processes of one machine may use one file; WAL does not work on network file systems.

    Raises MMHError, and leaves the file as it is, where it is damaged, another program's, of a
    newer version of this schema, busy for too long or not accessible.
    """

    def __init__(self, path: Path, *, patience: float = BUSY_SECONDS) -> None:
        self.path = path.absolute()
        self._claiming = threading.Lock()
        self._owner: str | None = None
        self._release: weakref.finalize[..., JobStore] | None = None
        self._file = SqliteFile(self.path, "job list", _VERSION, _SCHEMA, patience=patience)
        self._file.prepare()
        self._file.check_pages()

    def add(self, record: JobRecord) -> None:
        """Insert a new record, owned by this object. Raises ValueError if its id exists."""
        names = ", ".join((*_COLUMNS, "owner"))
        marks = ", ".join("?" * (len(_COLUMNS) + 1))
        values = (*_stored(record), self._claim())
        with self._file.connection() as connection:
            try:
                connection.execute(f"INSERT INTO jobs ({names}) VALUES ({marks})", values)
            except sqlite3.IntegrityError as error:
                raise ValueError(f"Job {record.id!r} cannot be added: {error}.") from error

    def update(self, record: JobRecord) -> None:
        """Replace the record with the same id; its owner stays. Raises ValueError if none is."""
        assignments = ", ".join(f"{column} = ?" for column in _COLUMNS)
        with self._file.connection() as connection:
            cursor = connection.execute(
                f"UPDATE jobs SET {assignments} WHERE id = ?", (*_stored(record), record.id)
            )
            if cursor.rowcount == 0:
                raise ValueError(f"Job {record.id!r} cannot be updated: add it first.")

    def get(self, id: str) -> JobRecord:
        """Return one record. Raises MMHError if there is none, since ids come from links too."""
        with self._file.connection() as connection:
            row = connection.execute(f"{_SELECT} WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise MMHError(f"There is no job {id!r} in this folder: start the work again.")
        return JobRecord(*row)

    def recent(self, limit: int = 50) -> list[JobRecord]:
        """Return the `limit` records added last, of all owners, newest first."""
        if limit < 1:
            raise ValueError(f"limit is {limit}; it must be at least 1.")
        with self._file.connection() as connection:
            rows = connection.execute(f"{_SELECT} ORDER BY number DESC LIMIT ?", (limit,))
            return [JobRecord(*row) for row in rows]

    def with_text(self, text: str, limit: int = 20) -> list[JobRecord]:
        """Return the records whose label contains a text, newest first, at most `limit`.

        The letters a to z are compared in any case.
        """
        with self._file.connection() as connection:
            rows = connection.execute(
                f"{_SELECT} WHERE label LIKE ? ESCAPE '!' ORDER BY number DESC LIMIT ?",
                (like_pattern(text), limit),
            )
            return [JobRecord(*row) for row in rows]

    def active(self) -> list[JobRecord]:
        """Return the records of all owners that run or wait, in the order they were added."""
        with self._file.connection() as connection:
            rows = connection.execute(f"{_SELECT} WHERE {_ACTIVE} ORDER BY number")
            return [JobRecord(*row) for row in rows]

    def interrupt_running(self) -> list[str]:
        """Mark queued and running jobs whose owner is gone as interrupted, and return their ids.

        Jobs of this object and of others that live, in this process or another, are left alone.
        """
        ids: list[str] = []
        with self._file.connection() as connection:
            owners = connection.execute(f"SELECT DISTINCT owner FROM jobs WHERE {_ACTIVE}")
            gone = [owner for (owner,) in owners if not is_held(self._lock_file(owner))]
            for owner in gone:
                rows = connection.execute(_INTERRUPT, (time.time(), owner)).fetchall()
                ids += [id for (id,) in rows]
                with suppress(OSError):
                    self._lock_file(owner).unlink(missing_ok=True)
        return ids

    def close(self) -> None:
        """Stop owning jobs: those still active count as left behind. Adding again owns anew."""
        with self._claiming:
            if self._release is not None:
                self._release()
            self._owner = self._release = None

    def _claim(self) -> str:
        """Return this object's owner mark, and hold its lock from the first call on."""
        with self._claiming:
            if self._owner is None:
                owner = uuid4().hex
                self._release = weakref.finalize(self, hold(self._lock_file(owner)))
                self._owner = owner
            return self._owner

    def _lock_file(self, owner: str) -> Path:
        return self.path.with_name(f"{self.path.name}-owner-{owner}")


def _stored(record: JobRecord) -> list[object]:
    """Return the values of the columns; half characters, as in odd file names, become "?"."""
    values = [getattr(record, column) for column in _COLUMNS]
    return [v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for v in values]
