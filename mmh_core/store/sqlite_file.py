"""Open SQLite files that several processes share, with errors that a person can act on."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from mmh_core.files import folder_lock
from mmh_core.formats.untrusted import error_text
from mmh_core.records import MMHError

#: How long a writer waits for another one.
BUSY_SECONDS = 10.0
#: What keeps a connection safe: a commit is on the disk when it returns.
_SAFE = "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON;"


@dataclass(frozen=True)
class SqliteFile:
    """An SQLite file, what it is to a person ("job list") and the schema it must have.

    `steps` bring a file of an older schema to this one: the first from 1 to 2, and so on. One that
    is `frozen` is read as it lies, without a lock: nobody may be writing to it.

    Each use opens its own connection, so any thread and several processes of one machine may use
    one file (WAL mode, full sync, `patience` seconds for other writers); WAL does not work on
    network file systems. All methods raise MMHError, and leave the file as it is, where it is
    damaged, another program's, of a newer schema, busy for too long or not accessible.
    """

    path: Path
    noun: str
    version: int
    schema: str
    steps: tuple[Callable[[sqlite3.Connection], None], ...] = ()
    frozen: bool = False
    patience: float = BUSY_SECONDS

    def prepare(self) -> None:
        """Make the file with its folder if missing, bring an older one to this schema.

        Before it is changed, an older file is copied beside itself, with its version in the name.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MMHError(
                f"The folder {self.path.parent} of the {self.noun} cannot be made "
                f"({error_text(error)}): choose another folder."
            ) from error
        # SQLite does not wait for a file that another process is just switching to WAL.
        with folder_lock(self.path.parent):
            # Looked at read-only first: switching would already change a file that is not ours.
            version = self._found_version() if self.path.exists() else 0
            if version == 0:
                self._create()
            elif version < self.version:
                self._copy_to(self.path.with_name(f"{self.path.name}.version-{version}"))
                self._upgrade(version)

    @contextmanager
    def examined(self, *, writable: bool | None = None) -> Iterator[SqliteFile]:
        """Yield this file for reading alone: it is not changed, and nothing is made beside it.

        Only where a log of changes waits beside it may SQLite write an index of that log.
        `writable` says whether the folder can be written to; found out by default. One of an older
        schema is brought to this one in a temporary copy. Errors: MMHError.
        """
        if not self.path.is_file():
            raise MMHError(f"There is no {self.noun} {self.path}: name the folder that has it.")
        if writable is None:
            writable = os.access(self.path.parent, os.W_OK)
        log = self.path.with_name(f"{self.path.name}-wal")
        waiting = log.is_file() and log.stat().st_size > 0
        if waiting and not writable and not log.with_name(f"{self.path.name}-shm").is_file():
            raise MMHError(
                f"{self.path} has changes that still lie in {log.name} beside it, and its folder "
                "cannot be written to: copy both to another folder and name that one."
            )
        # Without a log nobody has the file open, and nothing need be made beside it to read it.
        file = replace(self, frozen=not waiting)
        version = file._found_version()
        if version == self.version:
            yield file
            return
        with TemporaryDirectory() as folder:
            copy = replace(self, path=Path(folder) / self.path.name, frozen=False)
            file._copy_to(copy.path)
            copy._upgrade(version)
            yield copy

    def check_pages(self) -> None:
        """Raise MMHError where SQLite finds the file damaged; reads all of it."""
        with self.connection("ro") as connection:
            (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if result != "ok":
            raise MMHError(self._damaged())

    @contextmanager
    def connection(self, mode: Literal["ro", "rw", "rwc"] = "rw") -> Iterator[sqlite3.Connection]:
        """Yield a connection that commits each statement; turn SQLite's errors into MMHError."""
        if self.frozen and mode != "ro":
            raise MMHError(f"{self.path} was opened to be read: nothing was changed.")
        address = f"{self.path.as_uri()}?mode={mode}{'&immutable=1' * self.frozen}"
        try:
            with closing(
                sqlite3.connect(address, timeout=self.patience, isolation_level=None, uri=True)
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

    def _copy_to(self, path: Path) -> None:
        """Write the whole file, with what still waits in its log, to another path."""
        with self.connection("ro") as connection:
            target = sqlite3.connect(path, isolation_level=None)
            with closing(target):
                connection.backup(target)

    def _upgrade(self, version: int) -> None:
        """Bring a file of an older schema to this one, whole or not at all."""
        if len(self.steps) < self.version - 1:
            raise MMHError(
                f"{self.path} is a {self.noun} of an older version of this app "
                f"(schema {version}), which this one cannot read any more: choose another folder."
            )
        with self.transaction() as connection:
            # Another process may have done it between the look and the lock.
            (now,) = connection.execute("PRAGMA user_version").fetchone()
            for step in self.steps[now - 1 :]:
                step(connection)
            connection.execute(f"PRAGMA user_version = {self.version}")

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
            f"{self.path} cannot be used ({error_text(error)}): check that it exists, that this "
            "user may write to it and that the disk is not full."
        )


def like_pattern(text: str) -> str:
    """Return the pattern of `LIKE ? ESCAPE '!'` for texts that contain this one.

    LIKE compares the letters a to z in any case, all others as they are.
    """
    return f"%{''.join(f'!{letter}' if letter in '!%_' else letter for letter in text)}%"
