"""A file of seals, kept apart from the log that they are of: what the log once was.

One seal a line: queue, rows, items, seal, UTC date. Whoever keeps the file where the writer of the
log cannot reach it can tell later whether the log was shortened, replaced or put back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmh_core.files import write_text
from mmh_core.formats.times import utc_second
from mmh_core.formats.untrusted import error_text
from mmh_core.records import MMHError
from mmh_core.store.log_chain import ChainReport

_LINE = re.compile(r"([A-Za-z0-9_-]{1,64}) (\d{1,18}) (\d{1,18}) ([0-9a-f]{64}) (\S{1,40})")
_MOST_BYTES = 2**26


@dataclass(frozen=True)
class KeptSeal:
    """The seal that a queue had with so many rows and items."""

    queue: str
    rows: int
    items: int
    seal: str
    date: str

    def line(self) -> str:
        """Return the seal as its line in the file."""
        return f"{self.queue} {self.rows} {self.items} {self.seal} {self.date}\n"


def read_seals(path: Path) -> list[KeptSeal]:
    """Return the seals in a file, none where there is no file yet. Errors: MMHError."""
    try:
        if not path.exists():
            return []
        with path.open("rb") as file:
            lines = file.read(_MOST_BYTES).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise MMHError(
            f"The file of seals {path} cannot be read ({error_text(error)}): name another one."
        ) from error
    seals = []
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise MMHError(
                f"Line {number} of {path} is no seal: name a file that --kept has written, or one "
                "that does not exist yet."
            )
        queue, rows, items, seal, date = match.groups()
        seals.append(KeptSeal(queue, int(rows), int(items), seal, date))
    return seals


def add_seals(path: Path, reports: Mapping[str, ChainReport]) -> int:
    """Add the seals of reports that are not in the file yet, and return how many were new."""
    kept = read_seals(path)
    stored = {(entry.queue, entry.seal) for entry in kept}
    date = utc_second(time.time())
    new = [
        KeptSeal(queue, report.rows, report.items, report.seal, date)
        for queue, report in reports.items()
        if (queue, report.seal) not in stored
    ]
    if new:
        write_text(path, "".join(entry.line() for entry in (*kept, *new)))
    return len(new)
