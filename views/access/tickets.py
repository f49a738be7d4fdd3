"""Tickets of those who have signed in: a name and a moment, sealed; some are revoked early."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from mmh_core.files import write_bytes
from mmh_core.records import MMHError

#: Seconds for which a person stays signed in.
LIFETIME = 12 * 3600.0


class Tickets:
    """The tickets of signed-in people: issued, checked and withdrawn.

    `key` is the file of the secret that seals them, made if missing, so that a restart of the
    server signs nobody out; beside it, under the ending `.ended`, stand the digests of those that
    were revoked, so that a restart does not bring them back either. `users` returns name ->
    password record: who is taken out of it or gets another password holds no ticket any more.
    """

    def __init__(
        self,
        key: Path,
        users: Callable[[], Mapping[str, str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = _secret(key)
        self._clock = clock
        self._users = users
        self._file = key.with_suffix(".ended")
        # Digests of tickets that were revoked, until the moment at which they end anyway.
        self._ended = _read_ended(self._file)

    def issue(self, name: str) -> str:
        """Return a new ticket: the name, until when, and the seal of both."""
        until = int(self._clock() + LIFETIME)
        words = f"{base64.urlsafe_b64encode(name.encode()).decode()}.{until}"
        return f"{words}.{self._seal(words, self._users()[name])}"

    def holders(self, tickets: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each ticket that holds."""
        for ticket in tickets:
            words, _, seal = ticket.rpartition(".")
            coded, _, until = words.partition(".")
            try:
                name = base64.urlsafe_b64decode(coded).decode()
                late = float(until) < self._clock()
            except ValueError:
                continue
            record = self._users().get(name)
            if record is None or late or _digest(ticket) in self._ended:
                continue
            if hmac.compare_digest(self._seal(words, record).encode(), seal.encode()):
                yield name, ticket

    def end(self, tickets: Iterable[str]) -> None:
        """Take tickets back, wherever else they are kept."""
        now = self._clock()
        held = {_digest(ticket): now + LIFETIME for _, ticket in self.holders(tickets)}
        if not held:
            return
        self._ended = {ended: until for ended, until in self._ended.items() if until > now} | held
        lines = "".join(f"{ended} {until:.0f}\n" for ended, until in self._ended.items())
        # Where the disk refuses they have ended all the same, for as long as this server runs.
        with suppress(MMHError), _owner_only():
            write_bytes(self._file, lines.encode())

    def _seal(self, words: str, record: str) -> str:
        # With the password's record: another password ends what was signed before.
        return hmac.new(self._key, f"{words}.{record}".encode(), hashlib.sha256).hexdigest()


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()


def _read_ended(path: Path) -> dict[str, float]:
    """Return what `end` has written; nothing where that cannot be read."""
    ended = {}
    with suppress(OSError, ValueError):
        for line in path.read_text("ascii").splitlines():
            digest, until = line.split()
            ended[digest] = float(until)
    return ended


def _secret(path: Path) -> bytes:
    """Return the secret in a file that only its owner can read, made if it is missing."""
    if not (path.is_file() and path.stat().st_size == 32):
        with _owner_only():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, os.urandom(32))
    return path.read_bytes()


@contextmanager
def _owner_only() -> Iterator[None]:
    """Make files that nobody else can read, not even for the moment until a mode is set."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
