"""Keep queues of prompts to judge: make them, fill them, and say how far their review is."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import time
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import uuid4

from mmh_core.records import MMHError
from mmh_core.store.review_records import (
    MAX_NAME,
    MAX_TEXT,
    MAX_THUMBNAIL,
    REVIEW_VERDICTS,
    RUN_NAME,
    QueueRecord,
    ReviewItem,
    ReviewVerdict,
)
from mmh_core.store.review_schema import (
    ITEM_COLUMNS,
    QUEUE_SELECT,
    item_values,
    queue_from,
)
from mmh_core.store.sqlite_file import SqliteFile

MAX_ITEMS = 100_000
MAX_LIST = 256  # tags, scores or seeds of an item


@dataclass(frozen=True)
class QueueProgress:
    """Hold how many of `items` a reviewer gave each verdict."""

    items: int
    counts: Mapping[ReviewVerdict, int]

    @property
    def judged(self) -> int:
        """Return how many items have a verdict."""
        return sum(self.counts.values())


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

    `settings` say how the items were drawn and scored, as JSON. Errors: MMHError for a name that
    is empty or too long, and as `add_items`.
    """
    kept = json.dumps(dict(settings or {}), sort_keys=True, ensure_ascii=False)
    queue = QueueRecord(
        uuid4().hex,
        checked_text(name, "name of the queue", MAX_NAME),
        model,
        model_sha256,
        kept,
        time.time(),
        0,
        0,
        "",
    )
    with file.transaction() as connection:
        insert_queue(connection, replace(queue, head=queue.origin()))
        count = insert_items(connection, queue.id, items)
    return replace(queue, items=count, head=queue.origin())


def add_items(file: SqliteFile, queue: str, items: Iterable[ReviewItem]) -> int:
    """Add items at the end of a queue, all or none, and return how many were new.

    An item that the queue has already, equal in everything, is passed over: whoever was
    interrupted may simply add again. Errors: MMHError for an unknown queue, a text or thumbnail
    that is too long, and more than MAX_ITEMS.
    """
    with file.transaction() as connection:
        return insert_items(connection, queue, items)


def list_queues(file: SqliteFile) -> list[QueueRecord]:
    """Return all queues, newest first."""
    with file.connection("ro") as connection:
        rows = connection.execute(f"{QUEUE_SELECT} ORDER BY number DESC").fetchall()
    return [queue_from(row) for row in rows]


def get_queue(file: SqliteFile, queue: str) -> QueueRecord:
    """Return one queue. Raises MMHError if there is none, since ids come from links too."""
    with file.connection("ro") as connection:
        row = connection.execute(f"{QUEUE_SELECT} WHERE id = ?", (queue,)).fetchone()
    if row is None:
        raise MMHError(unknown_queue(queue))
    return queue_from(row)


def queue_progress(file: SqliteFile, queue: str, reviewer: str) -> QueueProgress:
    """Return how far a reviewer is."""
    with file.connection("ro") as connection:
        number = queue_number(connection, queue)
        (items,) = connection.execute(
            "SELECT COUNT(*) FROM items WHERE queue = ?", (number,)
        ).fetchone()
        found = dict(
            connection.execute(
                "SELECT verdict, COUNT(*) FROM judgements WHERE queue = ? AND reviewer = ? "
                "AND verdict IS NOT NULL GROUP BY verdict",
                (number, reviewer),
            ).fetchall()
        )
    return QueueProgress(items, {name: found.get(name, 0) for name in REVIEW_VERDICTS})


def judged_items(file: SqliteFile, queue: str) -> int:
    """Return how many items of a queue have a verdict of anybody."""
    with file.connection("ro") as connection:
        (count,) = connection.execute(
            "SELECT COUNT(DISTINCT item) FROM judgements WHERE queue = ? AND verdict IS NOT NULL",
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
    return [name for (name,) in rows]


def queue_number(connection: sqlite3.Connection, queue: str) -> int:
    """Return the number by which the tables name a queue. Raises MMHError if there is none."""
    row = connection.execute("SELECT number FROM queues WHERE id = ?", (queue,)).fetchone()
    if row is None:
        raise MMHError(unknown_queue(queue))
    return int(row[0])


def unknown_queue(queue: str) -> str:
    """Return the sentence on a queue that is not there."""
    return f"There is no queue {queue[:40]!r} here: choose one from the list, or import its case."


def insert_queue(connection: sqlite3.Connection, queue: QueueRecord) -> None:
    """Insert a queue as it is."""
    connection.execute(
        "INSERT INTO queues (id, name, model, model_sha256, settings, created, rows, head) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(queue.id, queue.name, queue.model, queue.model_sha256, queue.settings),
            *(queue.created, queue.rows, queue.head),
        ),
    )


def insert_items(connection: sqlite3.Connection, queue: str, items: Iterable[ReviewItem]) -> int:
    """Insert items after those of the queue, inside a transaction; return how many were new."""
    number = queue_number(connection, queue)
    (first,) = connection.execute(
        "SELECT COUNT(*) FROM items WHERE queue = ?", (number,)
    ).fetchone()
    names = ("queue", "position", "sha256", *ITEM_COLUMNS, "thumbnail")
    insert = (
        f"INSERT INTO items ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
        "ON CONFLICT (queue, sha256) DO NOTHING"
    )
    count = int(first)
    for item in map(_checked, items):
        picture = hashlib.sha256(item.thumbnail).hexdigest() if item.thumbnail else None
        if picture is not None:
            connection.execute(
                "INSERT OR IGNORE INTO thumbnails VALUES (?, ?)", (picture, item.thumbnail)
            )
        values = (number, count + 1, item.sha256(), *item_values(item), picture)
        count += connection.execute(insert, values).rowcount
        if count > MAX_ITEMS:
            raise MMHError(
                f"A queue holds {MAX_ITEMS:,} items at most: raise the threshold, or make several."
            )
    return count - int(first)


def checked_text(text: str, name: str, most: int, *, empty: bool = False) -> str:
    """Return the text without outer white space. Raises MMHError for what cannot be kept."""
    text = text.strip()
    if not text and not empty:
        raise MMHError(f"The {name} is empty: write one.")
    if len(text) > most:
        raise MMHError(f"The {name} is longer than {most:,} characters: shorten it.")
    for letter in text:
        if letter not in "\t\n\r" and unicodedata.category(letter) in ("Cc", "Cs"):
            raise MMHError(
                f"The {name} holds the control character U+{ord(letter):04X}: remove it."
            )
    return text


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags without repetitions. Raises MMHError for one that cannot be kept."""
    kept = tuple(dict.fromkeys(checked_text(tag, "tag", MAX_NAME) for tag in tags))
    if len(kept) > MAX_LIST:
        raise MMHError(f"There are {len(kept)} tags: keep {MAX_LIST} at most.")
    return kept


def _checked(item: ReviewItem) -> ReviewItem:
    """Return the item with infinite figures as unknown ones; refuse what is too long."""
    for name, most in (("prompt", MAX_TEXT), ("label", MAX_TEXT), ("name", MAX_TEXT)):
        checked_text(getattr(item, name), name, most, empty=name != "prompt")
    for name in ("cause", "kind"):
        checked_text(getattr(item, name), name, MAX_NAME, empty=True)
    if item.run and not RUN_NAME.fullmatch(item.run):
        raise MMHError(
            f"{item.run[:40]!r} is no name of a run's file: use letters, digits, dots and dashes."
        )
    checked_tags(item.tags)
    if len(item.thumbnail) > MAX_THUMBNAIL:
        raise MMHError(
            f"A thumbnail has {len(item.thumbnail):,} bytes: make it smaller than "
            f"{MAX_THUMBNAIL:,}."
        )
    if len(item.scores) > MAX_LIST or len(item.seeds) > MAX_LIST:
        raise ValueError(f"An item has more than {MAX_LIST} scores or seeds.")
    return replace(
        item,
        score=_finite(item.score),
        lid=_finite(item.lid),
        lid_percentile=_finite(item.lid_percentile),
        similarity=_finite(item.similarity),
        scores=tuple((name, _finite(value)) for name, value in item.scores),
    )


def _finite(value: float) -> float:
    """Return the value as SQLite gives it back: a float, without infinities and minus zero."""
    return float(value) + 0.0 if math.isfinite(value) else math.nan
