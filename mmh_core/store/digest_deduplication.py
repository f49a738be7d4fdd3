"""Which of very many digests are new and which are duplicates, in bounded memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from mmh_core.records import MMHError

#: KiB of memory; what exceeds it goes to a temporary file that SQLite removes by itself.
_CACHE = 16 * 1024


@contextmanager
def new_digests() -> Iterator[Callable[[Sequence[bytes]], list[bool]]]:
    """Yield a function that records digests and returns for each whether it is new.

    A digest twice in one call is new once. Raises MMHError where the temporary file cannot grow.
    """
    with first_numbers() as first:
        counted = 0

        def add(digests: Sequence[bytes]) -> list[bool]:
            nonlocal counted
            own = range(counted, counted + len(digests))
            counted += len(digests)
            firsts = first(list(zip(digests, own, strict=True)))
            return [first == number for first, number in zip(firsts, own, strict=True)]

        yield add


@contextmanager
def first_numbers() -> Iterator[Callable[[Sequence[tuple[bytes, int]]], list[int]]]:
    """Yield a function that takes (digest, number) and returns the first number of each digest.

    Digests, not texts, because a million texts may be long: 16 bytes of SHA-256 collide among a
    million with a chance below 1e-26. Raises MMHError where the temporary file cannot grow.
    """
    try:
        # The empty name: a database of this connection alone, on disk where memory is short.
        with closing(sqlite3.connect("", isolation_level=None)) as connection:
            connection.execute(f"PRAGMA cache_size = -{_CACHE}")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute(
                "CREATE TABLE seen (digest BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID"
            )
            insert = "INSERT OR IGNORE INTO seen VALUES (?, ?)"
            select = "SELECT number FROM seen WHERE digest = ?"

            def first(pairs: Sequence[tuple[bytes, int]]) -> list[int]:
                connection.execute("BEGIN")
                rows = [
                    pair[1]
                    if connection.execute(insert, pair).rowcount == 1
                    else int(connection.execute(select, pair[:1]).fetchone()[0])
                    for pair in pairs
                ]
                connection.execute("COMMIT")
                return rows

            yield first
    except sqlite3.Error as error:
        raise MMHError(
            f"Duplicate prompts cannot be counted ({error}): free some space in the folder for "
            "temporary files."
        ) from error
