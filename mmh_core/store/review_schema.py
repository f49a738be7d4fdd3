"""The SQLite file of the review: its tables, and how records become rows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from mmh_core.store.review_records import Judgement, QueueRecord, ReviewItem, VerdictRow
from mmh_core.store.sqlite_file import SqliteFile

_VERSION = 1
# Pictures apart from the items, so that a search reads only what it compares.
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
    head TEXT NOT NULL
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
CREATE TRIGGER verdicts_remain BEFORE DELETE ON verdicts
    BEGIN SELECT RAISE(ABORT, 'verdicts are only ever added'); END;
CREATE TRIGGER items_stay BEFORE UPDATE ON items
    BEGIN SELECT RAISE(ABORT, 'items are never changed'); END
"""

ITEM_COLUMNS = (
    *("prompt", "seeds", "model", "model_sha256", "score", "lid", "lid_percentile"),
    *("similarity", "nearest", "cause", "kind", "scores", "label", "name", "tags", "run"),
)
#: Those that may be unknown.
FIGURES = ("score", "lid", "lid_percentile", "similarity")
VERDICT_COLUMNS = (
    *("number", "item", "action", "before", "after", "notes", "tags", "undoes", "reviewer"),
    *("time", "item_sha256", "model_sha256", "code_version", "previous", "sha256"),
)
JUDGEMENT_COLUMNS = ("verdict", "notes", "tags", "revision", "time")
#: Columns of a queue, with the number of its items.
QUEUE_SELECT = """
SELECT id, name, model, model_sha256, settings, created,
    (SELECT COUNT(*) FROM items WHERE items.queue = queues.number), rows, head
FROM queues
"""


def open_queues(path: Path) -> SqliteFile:
    """Return the review's file at `path`, made if missing. Errors: MMHError, see SqliteFile."""
    file = SqliteFile(path.absolute(), "file of review queues", _VERSION, _SCHEMA)
    file.prepare()
    return file


def item_values(item: ReviewItem) -> tuple[Any, ...]:
    """Return the values of ITEM_COLUMNS."""
    return tuple(_value(getattr(item, column)) for column in ITEM_COLUMNS)


def item_from(values: tuple[Any, ...], thumbnail: bytes | None) -> ReviewItem:
    """Return the item with these values of ITEM_COLUMNS."""
    found = dict(zip(ITEM_COLUMNS, values, strict=True))
    for column in FIGURES:
        found[column] = math.nan if found[column] is None else found[column]
    found["seeds"], found["tags"] = tuple(json.loads(found["seeds"])), _tags(found["tags"])
    pairs = json.loads(found["scores"])
    found["scores"] = tuple((k, math.nan if v is None else v) for k, v in pairs)
    return ReviewItem(**found, thumbnail=thumbnail or b"")


def verdict_values(row: VerdictRow) -> tuple[Any, ...]:
    """Return the values of VERDICT_COLUMNS."""
    return tuple(_value(getattr(row, column)) for column in VERDICT_COLUMNS)


def verdict_from(values: tuple[Any, ...]) -> VerdictRow:
    """Return the row with these values of VERDICT_COLUMNS."""
    found = dict(zip(VERDICT_COLUMNS, values, strict=True))
    return VerdictRow(**{**found, "tags": _tags(found["tags"])})


def judgement_from(values: tuple[Any, ...]) -> Judgement:
    """Return the judgement with these values of JUDGEMENT_COLUMNS, all None for none."""
    if values[3] is None:
        return Judgement()
    verdict, notes, tags, revision, time = values
    return Judgement(verdict, notes, _tags(tags), revision, time)


def queue_from(values: tuple[Any, ...]) -> QueueRecord:
    """Return the queue of a row of QUEUE_SELECT."""
    return QueueRecord(*values)


def tags_text(tags: tuple[str, ...]) -> str:
    """Return how tags are kept in a column."""
    return json.dumps(tags, ensure_ascii=False)


def _tags(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _value(value: Any) -> Any:
    """Return a value as SQLite keeps it: tuples as JSON, NaN as nothing."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, tuple):
        return json.dumps(
            [[k, None if math.isnan(v) else v] for k, v in value]
            if value and isinstance(value[0], tuple)
            else value,
            ensure_ascii=False,
        )
    return value
