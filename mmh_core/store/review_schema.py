"""The SQLite file of the review: its tables, and how records become rows."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from mmh_core.formats.untrusted import json_record, parse_json, typed_value
from mmh_core.store.review_records import (
    MAX_TIME,
    Judgement,
    LogRow,
    QueueRecord,
    ReviewItem,
    joined_sha256,
    seal_of,
)
from mmh_core.store.sqlite_file import SqliteFile

_VERSION = 5
# Images apart from the items, so that a search reads only what it compares.
_SCHEMA = """
CREATE TABLE queues (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    settings TEXT NOT NULL,
    created REAL NOT NULL,
    rows INTEGER NOT NULL,
    head TEXT NOT NULL,
    items_sha256 TEXT NOT NULL DEFAULT '',
    seal TEXT NOT NULL DEFAULT ''
);
CREATE TABLE thumbnails (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE items (
    queue INTEGER NOT NULL REFERENCES queues,
    position INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    prompt TEXT NOT NULL,
    seeds TEXT NOT NULL,
    model TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    score REAL,
    lid REAL,
    lid_percentile REAL,
    similarity REAL,
    nearest INTEGER NOT NULL,
    cause TEXT NOT NULL,
    kind TEXT NOT NULL,
    scores TEXT NOT NULL,
    label TEXT NOT NULL,
    name TEXT NOT NULL,
    tags TEXT NOT NULL,
    thumbnail TEXT REFERENCES thumbnails,
    run TEXT NOT NULL,
    run_sha256 TEXT NOT NULL DEFAULT '',
    more TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (queue, position),
    UNIQUE (queue, sha256)
) WITHOUT ROWID;
CREATE TABLE verdicts (
    queue INTEGER NOT NULL REFERENCES queues,
    number INTEGER NOT NULL,
    item INTEGER NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('verdict', 'notes', 'undo')),
    before TEXT,
    after TEXT,
    notes TEXT NOT NULL,
    tags TEXT NOT NULL,
    undoes INTEGER NOT NULL,
    reviewer TEXT NOT NULL,
    time REAL NOT NULL,
    item_sha256 TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    code_version TEXT NOT NULL,
    previous TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    items INTEGER NOT NULL DEFAULT 0,
    items_sha256 TEXT NOT NULL DEFAULT '',
    identified TEXT NOT NULL DEFAULT '',
    seconds REAL NOT NULL DEFAULT 0,
    role TEXT NOT NULL DEFAULT '',
    image TEXT NOT NULL DEFAULT '',
    region TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (queue, number),
    FOREIGN KEY (queue, item) REFERENCES items
) WITHOUT ROWID;
CREATE INDEX verdicts_of_reviewers ON verdicts (queue, reviewer, number);
CREATE TABLE judgements (
    queue INTEGER NOT NULL,
    item INTEGER NOT NULL,
    reviewer TEXT NOT NULL,
    verdict TEXT,
    notes TEXT NOT NULL,
    tags TEXT NOT NULL,
    revision INTEGER NOT NULL,
    time REAL NOT NULL,
    PRIMARY KEY (queue, reviewer, item)
) WITHOUT ROWID;
CREATE TRIGGER verdicts_stay BEFORE UPDATE ON verdicts
    BEGIN SELECT RAISE(ABORT, 'verdicts are only ever added'); END;
CREATE TRIGGER items_stay BEFORE UPDATE ON items
    BEGIN SELECT RAISE(ABORT, 'items are never changed'); END;
"""
#: Apart, because removing a whole queue lifts it for that moment.
VERDICTS_REMAIN = """CREATE TRIGGER verdicts_remain BEFORE DELETE ON verdicts
    BEGIN SELECT RAISE(ABORT, 'verdicts are only ever added'); END"""
_TO_2 = """
ALTER TABLE queues ADD COLUMN items_sha256 TEXT NOT NULL DEFAULT '';
ALTER TABLE queues ADD COLUMN seal TEXT NOT NULL DEFAULT '';
ALTER TABLE verdicts ADD COLUMN items INTEGER NOT NULL DEFAULT 0;
ALTER TABLE verdicts ADD COLUMN items_sha256 TEXT NOT NULL DEFAULT '';
"""
_TO_4 = """
ALTER TABLE items ADD COLUMN more TEXT NOT NULL DEFAULT '[]';
ALTER TABLE verdicts ADD COLUMN identified TEXT NOT NULL DEFAULT '';
ALTER TABLE verdicts ADD COLUMN seconds REAL NOT NULL DEFAULT 0;
ALTER TABLE verdicts ADD COLUMN role TEXT NOT NULL DEFAULT '';
"""
_TO_5 = """
ALTER TABLE verdicts ADD COLUMN image TEXT NOT NULL DEFAULT '';
ALTER TABLE verdicts ADD COLUMN region TEXT NOT NULL DEFAULT '[]';
"""

ITEM_COLUMNS = (
    *("prompt", "seeds", "model", "model_sha256", "score", "lid", "lid_percentile"),
    *("similarity", "nearest", "cause", "kind", "scores", "label", "name", "tags", "run"),
    *("run_sha256", "more"),
)
#: Those that may be unknown.
FIGURES = ("score", "lid", "lid_percentile", "similarity")
LOG_COLUMNS = (
    *("number", "item", "action", "before", "after", "notes", "tags", "undoes", "reviewer"),
    *("time", "item_sha256", "model_sha256", "code_version", "previous", "sha256"),
    *("items", "items_sha256", "identified", "seconds", "role", "image", "region"),
)
JUDGEMENT_COLUMNS = ("verdict", "notes", "tags", "revision", "time")
#: Columns of a queue, with the number of its items.
QUEUE_SELECT = """
SELECT id, name, model, model_sha256, settings, created,
    (SELECT COUNT(*) FROM items WHERE items.queue = queues.number), rows, head,
    items_sha256, seal
FROM queues
"""


def open_queues(path: Path) -> SqliteFile:
    """Return the review's file at `path`, made if missing, and brought to this version if older.

    Errors: MMHError, see SqliteFile.
    """
    file = _named(path)
    file.prepare()
    return file


@contextmanager
def examined_queues(path: Path, *, writable: bool | None = None) -> Iterator[SqliteFile]:
    """Yield the review's file for reading alone: nothing at `path` or beside it is changed.

    A file of an older version is brought to this one in a temporary copy. `writable` says whether
    the folder can be written to, which is found out by default. Errors: MMHError.
    """
    with _named(path).examined(writable=writable) as file:
        yield file


def _named(path: Path) -> SqliteFile:
    schema = f"{_SCHEMA}{VERDICTS_REMAIN}"
    steps = (_to_2, _to_3, _to_4, _to_5)
    return SqliteFile(path.absolute(), "file of review queues", _VERSION, schema, steps)


def _to_2(connection: sqlite3.Connection) -> None:
    """Add what seals the items of a queue; rows that are there keep their digests."""
    for statement in _TO_2.strip().split(";\n"):
        connection.execute(statement)
    for (number,) in connection.execute("SELECT number FROM queues").fetchall():
        seal_queue(connection, number, rehash=True)


def _to_3(connection: sqlite3.Connection) -> None:
    """Add the digest of the file of an item's run; items that are there keep theirs."""
    connection.execute("ALTER TABLE items ADD COLUMN run_sha256 TEXT NOT NULL DEFAULT ''")


def _to_4(connection: sqlite3.Connection) -> None:
    """Add further columns of tables, and to the log who was how identified, time and role."""
    for statement in _TO_4.strip().split(";\n"):
        connection.execute(statement)


def _to_5(connection: sqlite3.Connection) -> None:
    """Add marked regions of images to the log."""
    for statement in _TO_5.strip().split(";\n"):
        connection.execute(statement)


def seal_queue(connection: sqlite3.Connection, number: int, *, rehash: bool = False) -> None:
    """Write the seal of a queue as it stands; `rehash` joins the digests of its items anew."""
    if rehash:
        joint = ""
        digests = "SELECT sha256 FROM items WHERE queue = ? ORDER BY position"
        for (item,) in connection.execute(digests, (number,)):
            joint = joined_sha256(joint, str(item))
        connection.execute("UPDATE queues SET items_sha256 = ? WHERE number = ?", (joint, number))
    row = connection.execute(
        "SELECT id, rows, head, (SELECT COUNT(*) FROM items WHERE queue = queues.number), "
        "items_sha256 FROM queues WHERE number = ?",
        (number,),
    ).fetchone()
    name, rows, head, items, joint = row
    connection.execute(
        "UPDATE queues SET seal = ? WHERE number = ?",
        (seal_of(name, rows, head, items, joint), number),
    )


def item_values(item: ReviewItem) -> tuple[Any, ...]:
    """Return the values of ITEM_COLUMNS."""
    return tuple(_value(getattr(item, column)) for column in ITEM_COLUMNS)


def item_from(values: tuple[Any, ...], thumbnail: bytes | None) -> ReviewItem:
    """Return the item with these values of ITEM_COLUMNS; ValueError for what no item holds."""
    columns = dict(zip(ITEM_COLUMNS, values, strict=True))
    for column in FIGURES:
        columns[column] = math.nan if columns[column] is None else columns[column]
    for column in ("seeds", "tags", "scores", "more"):
        columns[column] = parse_json(typed_value(columns[column], str))
    columns["scores"] = [
        (name, math.nan if value is None else value)
        for name, value in typed_value(columns["scores"], list[tuple[str, float | None]])
    ]
    return json_record(
        ReviewItem, {**columns, "thumbnail": b"" if thumbnail is None else thumbnail}
    )


def log_values(row: LogRow) -> tuple[Any, ...]:
    """Return the values of LOG_COLUMNS."""
    return tuple(_value(getattr(row, column)) for column in LOG_COLUMNS)


def log_row_from(values: tuple[Any, ...]) -> LogRow:
    """Return the row with these values of LOG_COLUMNS; ValueError for what no row holds."""
    columns = dict(zip(LOG_COLUMNS, values, strict=True))
    columns["region"] = parse_json(typed_value(columns["region"], str))
    row = json_record(LogRow, {**columns, "tags": _tags(columns["tags"])})
    _check_time(row.time)
    if not 0 <= row.seconds <= MAX_TIME:
        raise ValueError(f"{row.seconds:g} is no time on an item")
    return row


def judgement_from(values: tuple[Any, ...]) -> Judgement:
    """Return the judgement with these values of JUDGEMENT_COLUMNS, all None for none.

    Errors: ValueError for what no judgement holds.
    """
    if values[3] is None:
        return Judgement()
    columns = dict(zip(JUDGEMENT_COLUMNS, values, strict=True))
    judgement = json_record(Judgement, {**columns, "tags": _tags(columns["tags"])})
    _check_time(judgement.time)
    return judgement


def queue_from(values: tuple[Any, ...]) -> QueueRecord:
    """Return the queue of a row of QUEUE_SELECT; ValueError for what no queue holds."""
    names = [entry.name for entry in fields(QueueRecord)]
    queue = json_record(QueueRecord, dict(zip(names, values, strict=True)))
    _check_time(queue.created)
    return queue


def _check_time(seconds: float) -> None:
    """Refuse a time that no calendar writes."""
    if not 0 <= seconds <= MAX_TIME:
        raise ValueError(f"{seconds:g} is no time")


def tags_text(tags: tuple[str, ...]) -> str:
    """Return how tags are kept in a column."""
    return json.dumps(tags, ensure_ascii=False)


def _tags(text: Any) -> list[str]:
    return list(typed_value(parse_json(typed_value(text, str)), list[str]))


def _value(value: Any) -> Any:
    """Return a value as SQLite keeps it: tuples as JSON, NaN as nothing."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, tuple):
        return json.dumps(
            [[k, None if isinstance(v, float) and math.isnan(v) else v] for k, v in value]
            if value and isinstance(value[0], tuple)
            else value,
            ensure_ascii=False,
        )
    return value
