"""Records of the review: items to judge, judgements, and the rows of the verdict log."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

ReviewVerdict = Literal["exact copy", "template copy", "not memorized", "unsure", "skip"]
REVIEW_VERDICTS: tuple[ReviewVerdict, ...] = get_args(ReviewVerdict)
Action = Literal["verdict", "notes", "undo"]
#: How the program knew who judged: "" in rows of older versions, and of other programs.
Identified = Literal["", "signed in", "typed name"]
#: "adjudicator" for a verdict on the item itself, where those of its reviewers differ; "mark" and
#: "comment" for notes on the item itself, which are nobody's own; "generation" for images that
#: were generated for it after it was sealed.
Role = Literal["", "adjudicator", "mark", "comment", "generation"]
REMARKS: tuple[Role, ...] = ("mark", "comment", "generation")

MAX_TEXT = 10_000  # characters of a prompt or of notes
MAX_NAME = 200  # characters of a name or a tag
MAX_THUMBNAIL = 2**17  # bytes
#: Seconds since 1970 up to the year 9999, past which no calendar writes them.
MAX_TIME = 253_402_300_799.0
#: Fields that items and rows of older versions lack, and that are written where they are filled.
LATER_ITEM_FIELDS = ("run_sha256", "more")
LATER_ROW_FIELDS = ("identified", "seconds", "role", "image", "region")
#: What a file of a run may be called: no path, nothing hidden.
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class ReviewItem:
    """One prompt to judge with the evidence for it; NaN and "" stand for unknown.

    `seeds` are those of the generated images. A higher `score` is more memorized. `lid` is the
    model's, in dimensions, `lid_percentile` (0 to 1) the share of reference prompts below it.
    `cause` and `kind` are what the study says of cause and kind of copy, `similarity` that to the
    training image `nearest` (-1: none). `scores` are further figures by name. `label`, `name` and
    `tags` come from the table of prompts. `thumbnail` is a small image, as the bytes of a file;
    `run` is the name of the file with the full study, `run_sha256` the digest of that file ("" in
    items of older versions, which did not keep it). `more` are further columns of the table, by
    name, and the rows that repeat the prompt.
    """

    prompt: str
    seeds: tuple[int, ...]
    model: str
    model_sha256: str
    score: float = math.nan
    lid: float = math.nan
    lid_percentile: float = math.nan
    similarity: float = math.nan
    nearest: int = -1
    cause: str = ""
    kind: str = ""
    scores: tuple[tuple[str, float], ...] = ()
    label: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    thumbnail: bytes = b""
    run: str = ""
    run_sha256: str = ""
    more: tuple[tuple[str, str], ...] = ()

    def sha256(self) -> str:
        """Return the digest of everything in the item."""
        # Fields of later versions count where they say something: older items keep their digest.
        left_out = {name for name in LATER_ITEM_FIELDS if not getattr(self, name)}
        names = [entry.name for entry in fields(self) if entry.name not in left_out]
        return digest_of({name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Judgement:
    """A reviewer's present judgement of an item: none yet where `verdict` is None.

    `revision` is the number of the last row about it by this reviewer, 0 for none; whoever judges
    hands it back, so that two windows cannot overwrite one another. `time` is in seconds since
    1970 UTC, NaN for none.
    """

    verdict: ReviewVerdict | None = None
    notes: str = ""
    tags: tuple[str, ...] = ()
    revision: int = 0
    time: float = math.nan


@dataclass(frozen=True)
class ItemView:
    """An item, its position in the queue (from 1) and one reviewer's judgement of it."""

    position: int
    item: ReviewItem
    judgement: Judgement


@dataclass(frozen=True)
class QueueRecord:
    """The record of a queue: `rows` counts its verdict rows, `items` its items.

    `head` is the digest of the last row, and of the queue itself before the first. `items_sha256`
    is the joint digest of the items in their order, "" without any (`joined_sha256`). `seal`
    covers number, rows, head, items and their joint digest. It proves nothing by itself, since
    whoever may write to the file can compute all of it anew; whoever keeps it elsewhere can tell
    later whether the rows and items up to it are the same.
    """

    id: str
    name: str
    model: str
    model_sha256: str
    settings: str
    created: float
    items: int
    rows: int
    head: str
    items_sha256: str = ""
    seal: str = ""

    def origin(self) -> str:
        """Return the digest on which the first verdict row builds."""
        settled = (self.id, self.name, self.model, self.model_sha256, self.settings, self.created)
        return digest_of(settled)

    def computed_seal(self) -> str:
        """Return the seal that the queue must have."""
        return seal_of(self.id, self.rows, self.head, self.items, self.items_sha256)


@dataclass(frozen=True)
class LogRow:
    """One row of the log of judgements, which the program only ever adds to.

    `number` counts from 1 in the queue, `item` is the position judged. A verdict changes `before`
    into `after`; an undo does so for the row `undoes` (0 otherwise); `notes` and `tags` are those
    after the row. `items` and `items_sha256` are the number and the joint digest of the queue's
    items at that time (0 and "" in rows of older versions, which did not keep them). `sha256`
    covers everything else, with `previous`, that of the row before.

    `identified` says how the program knew the reviewer, `seconds` how long the item was on the
    screen before the verdict (0: not measured). A row of an "adjudicator" is a verdict on the
    item itself; it changes nobody's judgement, and `before` is that of the adjudication before.

    Nor do the notes of a "mark", a region of an `image` of the item, and of a "comment" to the
    other reviewers; they have no verdict before and after. `region` is left, top, right and bottom
    in shares of width and height; a mark without one removes that of the row `undoes`. The notes
    of a "generation" say which images were generated for the item, and `image` is the SHA-256 of
    the file of their run.
    """

    number: int
    item: int
    action: Action
    before: ReviewVerdict | None
    after: ReviewVerdict | None
    notes: str
    tags: tuple[str, ...]
    undoes: int
    reviewer: str
    time: float
    item_sha256: str
    model_sha256: str
    code_version: str
    previous: str
    sha256: str = ""
    items: int = 0
    items_sha256: str = ""
    identified: Identified = ""
    seconds: float = 0.0
    role: Role = ""
    image: str = ""
    region: tuple[float, ...] = ()

    def computed_sha256(self) -> str:
        """Return the digest that the row must have."""
        left_out = {"sha256", *LATER_ROW_FIELDS}
        left_out |= set() if self.items_sha256 else {"items", "items_sha256"}
        values = [getattr(self, f.name) for f in fields(self) if f.name not in left_out]
        # By name, and only what says something: rows of older versions keep their digest.
        later = {name: getattr(self, name) for name in LATER_ROW_FIELDS if getattr(self, name)}
        return digest_of([*values, later] if later else values)


def seal_of(queue: str, rows: int, head: str, items: int, items_sha256: str) -> str:
    """Return the seal of a queue with so many rows and items."""
    return digest_of(["seal", queue, rows, head, items, items_sha256])


def joined_sha256(before: str, item: str) -> str:
    """Return the joint digest of the items after one more, from that before ("" for none)."""
    return hashlib.sha256(f"{before} {item}".encode()).hexdigest()


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value of numbers, texts, bytes, tuples and dictionaries, as JSON."""
    text = json.dumps(_plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Return the value with None for NaN and a digest for bytes, which JSON cannot hold."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, bytes):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value
