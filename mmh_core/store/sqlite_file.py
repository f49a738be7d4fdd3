"""Open SQLite files that several processes share, with errors that a person can act on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmh_core.files import alone_in
from mmh_core.records import MMHError

BUSY_SECONDS = 10.0
#: What keeps a connection safe: a commit is on the disk when it returns.
_SAFE = "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON;"


@dataclass(frozen=True)
class SqliteFile:
    """Name an SQLite file, what it is to a person ("job list") and the schema it must have.

    Each use opens its own connection, so any thread and several processes of one machine may use
    one file (WAL mode, full sync, 10 s of patience with other writers); WAL does not work on
    network file systems. All methods raise MMHError, and leave the file as it is, where it is
    damaged, another program's, of a newer schema, busy for too long or not accessible.
    """

    path: Path
    noun: str
    version: int
    schema: str

    def prepare(self) -> None:
        """Make the file with its folder if missing, and check that it is one of ours."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MMHError(
                f"The folder {self.path.parent} of the {self.noun} cannot be made "
                f"({error.strerror}): choose another folder."
            ) from error
        # SQLite does not wait for a file that another process is just switching to WAL.
        with alone_in(self.path.parent):
            # Looked at read-only first: switching would already change a file that is not ours.
            if not self.path.exists() or self._found_version() == 0:
                self._create()

    def check_pages(self) -> None:
        """Raise MMHError where SQLite finds the file damaged; reads all of it."""
        with self.connection("ro") as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise MMHError(self._damaged())

    @contextmanager
    def connection(self, mode: Literal["ro", "rw", "rwc"] = "rw") -> Iterator[sqlite3.Connection]:
        """Yield a connection that commits each statement; turn SQLite's errors into MMHError."""
        address = f"{self.path.as_uri()}?mode={mode}"
        try:
            with closing(
                sqlite3.connect(address, timeout=BUSY_SECONDS, isolation_level=None, uri=True)
            ) as connection:
                connection.executescript(_SAFE)
                yield connection
        except sqlite3.Error as error:
            raise MMHError(self._explained(error)) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection whose changes are kept all at once when the block ends well.

        No other writer comes between; a block that raises changes nothing.
        """
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            # Closing the connection without COMMIT rolls back.
            yield connection
            connection.execute("COMMIT")

    def _found_version(self) -> int:
        """Return the schema version, 0 for an empty file; raise MMHError for one not ours."""
        with self.connection("ro") as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if version > self.version:
            raise MMHError(
                f"{self.path} is a {self.noun} of a newer version of this app (schema {version}, "
                f"this one knows {self.version}): update the app or choose another folder."
            )
        if version == 0 and tables:
            raise MMHError(f"{self.path} belongs to another program: choose another folder.")
        return int(version)

    def _create(self) -> None:
        """Turn an empty or missing file into one of ours."""
        with self.connection("rwc") as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(
                f"BEGIN IMMEDIATE; {self.schema}; PRAGMA user_version = {self.version}; COMMIT;"
            )

    def _damaged(self) -> str:
        return (
            f"{self.path} is damaged or not a {self.noun}: move it elsewhere (the next start "
            "makes a new one) or restore it from a backup; it was not changed."
        )

    def _explained(self, error: sqlite3.Error) -> str:
        """Return one sentence on an SQLite error that says what to do."""
        primary = getattr(error, "sqlite_errorcode", 0) & 0xFF  # The rest details the same cause.
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._damaged()
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return f"{self.path} is in use by another process: wait a moment and try again."
        return (
            f"{self.path} cannot be used ({error}): check that it exists, that this user may "
            "write to it and that the disk is not full."
        )
