"""Review queues: create and fill them, remove them, and the progress of their reviewers."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from mmh_core.formats.untrusted import parse_json, quoted
from mmh_core.installation import PROGRAM
from mmh_core.records import MMHError
from mmh_core.store.review_checks import checked_item, checked_queue
from mmh_core.store.review_records import (
    REVIEW_VERDICTS,
    QueueRecord,
    ReviewItem,
    ReviewVerdict,
    joined_sha256,
)
from mmh_core.store.review_schema import (
    ITEM_COLUMNS,
    QUEUE_SELECT,
    VERDICTS_REMAIN,
    item_values,
    queue_from,
    seal_queue,
)
from mmh_core.store.sqlite_file import SqliteFile

MAX_ITEMS = 100_000


@dataclass(frozen=True)
class DamagedQueue:
    """A queue whose record cannot be read: its id, if that is a text, and the reason."""

    id: str
    reason: str


@dataclass(frozen=True)
class QueueProgress:
    """A reviewer's progress in a queue of `items`: the number of each verdict."""

    items: int
    counts: Mapping[ReviewVerdict, int]

    @property
    def judged(self) -> int:
        """Return how many items have a verdict; to skip one is not to judge it."""
        return sum(count for name, count in self.counts.items() if name != "skip")

    @property
    def skipped(self) -> int:
        """Return how many items were left out."""
        return self.counts.get("skip", 0)


def create_queue(
    file: SqliteFile,
    name: str,
    *,
    model: str,
    model_sha256: str,
    settings: Mapping[str, object] | None = None,
    items: Iterable[ReviewItem] = (),
) -> QueueRecord:
    """Make a queue with its first items, all at once, and return it.

    `settings` say how the items were generated and scored, as JSON. Errors: MMHError for a name
    that is empty or too long, and as `add_items`.
    """
    kept = json.dumps(dict(settings or {}), sort_keys=True, ensure_ascii=False)
    queue = QueueRecord(
        uuid4().hex,
        name.strip(),
        model,
        model_sha256,
        kept,
        time.time(),
        0,
        0,
        "",
    )
    queue = checked_queue(replace(queue, head=queue.origin()))
    with file.transaction() as connection:
        insert_queue(connection, queue)
        insert_items(connection, queue.id, items)
        row = connection.execute(f"{QUEUE_SELECT} WHERE id = ?", (queue.id,)).fetchone()
    return queue_from(row)


def add_items(
    file: SqliteFile, queue: str, items: Iterable[ReviewItem], *, most: int = MAX_ITEMS
) -> int:
    """Add items at the end of a queue, all or none, and return how many were new.

    An item that the queue has already, equal in everything, is passed over: whoever was
    interrupted may simply add again. Errors: MMHError for an unknown queue, a text or thumbnail
    that is too long, and more than `most` items.
    """
    with file.transaction() as connection:
        return insert_items(connection, queue, items, most)


def list_queues(file: SqliteFile) -> list[QueueRecord]:
    """Return all queues that can be read, newest first; `damaged_queues` has the others."""
    return [record for record in _all_queues(file) if isinstance(record, QueueRecord)]


def damaged_queues(file: SqliteFile) -> list[DamagedQueue]:
    """Return the queues whose record cannot be read, newest first."""
    return [record for record in _all_queues(file) if isinstance(record, DamagedQueue)]


def _all_queues(file: SqliteFile) -> list[QueueRecord | DamagedQueue]:
    with file.connection("ro") as connection:
        rows = connection.execute(f"{QUEUE_SELECT} ORDER BY number DESC").fetchall()
    return [_queue_or_damaged(row) for row in rows]


def _queue_or_damaged(row: tuple[Any, ...]) -> QueueRecord | DamagedQueue:
    try:
        return queue_from(row)
    except ValueError as error:
        return DamagedQueue(row[0] if isinstance(row[0], str) else "", str(error))


def get_queue(file: SqliteFile, queue: str) -> QueueRecord:
    """Return one queue. Raises MMHError if there is none, since ids come from links too."""
    with file.connection("ro") as connection:
        return read_queue(connection, queue)


def read_queue(connection: sqlite3.Connection, queue: str) -> QueueRecord:
    """Return one queue, as `get_queue` does, inside a transaction."""
    row = connection.execute(f"{QUEUE_SELECT} WHERE id = ?", (queue,)).fetchone()
    if row is None:
        raise MMHError(unknown_queue(queue))
    record = _queue_or_damaged(row)
    if isinstance(record, DamagedQueue):
        raise MMHError(
            f"The record of the queue {quoted(queue, 40)} is damaged ({record.reason}): import "
            f"its case anew into another data folder, or remove it by {PROGRAM} review remove."
        )
    return record


def queue_settings(queue: QueueRecord) -> dict[str, Any]:
    """Return how the items of a queue were generated and scored, {} where that cannot be read."""
    try:
        settings = parse_json(queue.settings)
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def remove_queue(file: SqliteFile, queue: str) -> None:
    """Remove a queue with its items, verdicts and log, whole or not at all.

    Files of runs stay. Errors: MMHError for an unknown queue.
    """
    with file.transaction() as connection:
        number = queue_number(connection, queue)
        # The log refuses to lose single rows; a whole queue goes with the order of a person.
        connection.execute("DROP TRIGGER IF EXISTS verdicts_remain")
        for table in ("judgements", "verdicts", "items"):
            connection.execute(f"DELETE FROM {table} WHERE queue = ?", (number,))
        connection.execute("DELETE FROM queues WHERE number = ?", (number,))
        connection.execute(
            "DELETE FROM thumbnails WHERE sha256 NOT IN "
            "(SELECT thumbnail FROM items WHERE thumbnail IS NOT NULL)"
        )
        connection.execute(VERDICTS_REMAIN)


def queue_progress(file: SqliteFile, queue: str, reviewer: str) -> QueueProgress:
    """Return the progress of a reviewer: how many items have which verdict."""
    with file.connection("ro") as connection:
        number = queue_number(connection, queue)
        (items,) = connection.execute(
            "SELECT COUNT(*) FROM items WHERE queue = ?", (number,)
        ).fetchone()
        counts = dict(
            connection.execute(
                "SELECT verdict, COUNT(*) FROM judgements WHERE queue = ? AND reviewer = ? "
                "AND verdict IS NOT NULL GROUP BY verdict",
                (number, reviewer),
            ).fetchall()
        )
    return QueueProgress(items, {name: counts.get(name, 0) for name in REVIEW_VERDICTS})


def judged_items(file: SqliteFile, queue: str) -> int:
    """Return how many items of a queue have a verdict of anybody; to skip is none."""
    with file.connection("ro") as connection:
        (count,) = connection.execute(
            "SELECT COUNT(DISTINCT item) FROM judgements WHERE queue = ? AND verdict <> 'skip'",
            (queue_number(connection, queue),),
        ).fetchone()
    return int(count)


def reviewers(file: SqliteFile, queue: str) -> list[str]:
    """Return who has judged or annotated anything in the queue, in order of the alphabet."""
    with file.connection("ro") as connection:
        rows = connection.execute(
            "SELECT DISTINCT reviewer FROM judgements WHERE queue = ? ORDER BY reviewer",
            (queue_number(connection, queue),),
        ).fetchall()
    return [name for (name,) in rows if isinstance(name, str)]


def queue_number(connection: sqlite3.Connection, queue: str) -> int:
    """Return the number by which the tables name a queue. Raises MMHError if there is none."""
    row = connection.execute("SELECT number FROM queues WHERE id = ?", (queue,)).fetchone()
    if row is None:
        raise MMHError(unknown_queue(queue))
    return int(row[0])


def unknown_queue(queue: str) -> str:
    """Return the sentence on a queue that is not there."""
    return (
        f"There is no queue {quoted(queue, 40)} here: choose one from the list, or import its "
        "case."
    )


def insert_queue(connection: sqlite3.Connection, queue: QueueRecord) -> None:
    """Insert a queue as it is, still without items."""
    connection.execute(
        "INSERT INTO queues (id, name, model, model_sha256, settings, created, rows, head) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(queue.id, queue.name, queue.model, queue.model_sha256, queue.settings),
            *(queue.created, queue.rows, queue.head),
        ),
    )


def insert_items(
    connection: sqlite3.Connection,
    queue: str,
    items: Iterable[ReviewItem],
    most: int = MAX_ITEMS,
) -> int:
    """Insert items after those of the queue, inside a transaction; return how many were new."""
    number = queue_number(connection, queue)
    first, joint = connection.execute(
        "SELECT (SELECT COUNT(*) FROM items WHERE queue = number), items_sha256 FROM queues "
        "WHERE number = ?",
        (number,),
    ).fetchone()
    names = ("queue", "position", "sha256", *ITEM_COLUMNS, "thumbnail")
    insert = (
        f"INSERT INTO items ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
        "ON CONFLICT (queue, sha256) DO NOTHING"
    )
    count = int(first)
    for item in map(checked_item, items):
        image = hashlib.sha256(item.thumbnail).hexdigest() if item.thumbnail else None
        if image is not None:
            connection.execute(
                "INSERT OR IGNORE INTO thumbnails VALUES (?, ?)", (image, item.thumbnail)
            )
        sha256 = item.sha256()
        values = (number, count + 1, sha256, *item_values(item), image)
        if connection.execute(insert, values).rowcount:
            count, joint = count + 1, joined_sha256(joint, sha256)
        if count > most:
            raise MMHError(
                f"A queue holds {most:,} items at most: raise the threshold, or make several."
            )
    connection.execute("UPDATE queues SET items_sha256 = ? WHERE number = ?", (joint, number))
    seal_queue(connection, number)
    return count - int(first)
