"""Remember which of very many texts have been seen, in bounded memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from mmh_core.records import MMHError

#: KiB of memory; what exceeds it goes to a temporary file that SQLite removes by itself.
_CACHE = 16 * 1024


@contextmanager
def remembering() -> Iterator[Callable[[Sequence[bytes]], list[bool]]]:
    """Yield a function that takes digests and returns for each whether it is new, and keeps it.

    A digest twice in one call is new once. Digests, not texts, because a million texts may be
    long: 16 bytes of SHA-256 collide among a million with a chance below 1e-26. Raises MMHError
    where the temporary file cannot grow.
    """
    try:
        # The empty name: a database of this connection alone, on disk where memory is short.
        with closing(sqlite3.connect("", isolation_level=None)) as connection:
            connection.execute(f"PRAGMA cache_size = -{_CACHE}")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID")
            insert = "INSERT OR IGNORE INTO seen VALUES (?)"

            def add(digests: Sequence[bytes]) -> list[bool]:
                connection.execute("BEGIN")
                new = [connection.execute(insert, (d,)).rowcount == 1 for d in digests]
                connection.execute("COMMIT")
                return new

            yield add
    except sqlite3.Error as error:
        raise MMHError(
            f"What was read cannot be remembered ({error}): free some space in the folder for "
            "temporary files."
        ) from error
