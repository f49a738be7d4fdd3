"""What a queue, an item, a judgement and a row of the log may hold, for making and importing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace

from mmh_core.formats.texts import check_text
from mmh_core.formats.untrusted import parse_json, quoted
from mmh_core.records import MMHError
from mmh_core.store.review_records import (
    MAX_NAME,
    MAX_TEXT,
    MAX_THUMBNAIL,
    MAX_TIME,
    REMARKS,
    RUN_NAME,
    LogRow,
    QueueRecord,
    ReviewItem,
)

MAX_LIST = 256  # tags, scores or seeds of an item
MAX_SETTINGS = 2**16  # characters of the settings of a queue
_MOST_SEED = 2**64 - 1
_MOST_COUNT = 2**63 - 1  # of SQLite's integers
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def checked_seal(text: str) -> str:
    """Return a seal, or the digest of a row, as it is compared; MMHError for what is none."""
    seal = text.strip().rstrip(".,;").lower()
    if not _DIGEST.fullmatch(seal):
        raise MMHError(
            f"{quoted(text.strip(), 80)} is no seal: a seal is 64 digits and letters from a to "
            f"f, and this is {len(seal):,} long; copy it again from where it was kept."
        )
    return seal


def checked_text(text: str, name: str, most: int, *, empty: bool = False) -> str:
    """Return the text without outer white space. Raises MMHError for what cannot be kept."""
    text = text.strip()
    if not text and not empty:
        raise MMHError(f"The {name} is empty: write one.")
    if len(text) > most:
        raise MMHError(f"The {name} is longer than {most:,} characters: shorten it.")
    check_text(text, name)
    return text


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags without repetitions. Raises MMHError for one that cannot be kept."""
    kept = tuple(dict.fromkeys(checked_text(tag, "tag", MAX_NAME) for tag in tags))
    if len(kept) > MAX_LIST:
        raise MMHError(f"There are {len(kept):,} tags: keep {MAX_LIST} at most.")
    return kept


def checked_queue(queue: QueueRecord) -> QueueRecord:
    """Return the queue. Raises MMHError or ValueError for what cannot be kept as it is."""
    _same(queue.name, "name of the queue", MAX_NAME)
    for name, text in (("model", queue.model), ("model's digest", queue.model_sha256)):
        _same(text, name, MAX_NAME, empty=True)
    if not _ID.fullmatch(queue.id):
        raise ValueError(f"{quoted(queue.id, 40)} is no id of a queue")
    if len(queue.settings) > MAX_SETTINGS:
        raise MMHError(f"The settings are longer than {MAX_SETTINGS:,} characters: shorten them.")
    if not isinstance(parse_json(queue.settings), dict):
        raise ValueError("the settings of the queue are no JSON object")
    _check_time(queue.created)
    _check_count(queue.items, queue.rows)
    for digest in (queue.head, queue.items_sha256 or queue.head, queue.seal or queue.head):
        if not _DIGEST.fullmatch(digest):
            raise ValueError("a digest of the queue is none")
    return queue


def checked_item(item: ReviewItem) -> ReviewItem:
    """Return the item with infinite figures as unknown ones; refuse what cannot be kept.

    Errors: MMHError, and ValueError for too many scores or seeds.
    """
    for name, most in (("prompt", MAX_TEXT), ("label", MAX_TEXT), ("name", MAX_TEXT)):
        checked_text(getattr(item, name), name, most, empty=name != "prompt")
    for name in ("cause", "kind", "model", "model_sha256"):
        checked_text(getattr(item, name), name, MAX_NAME, empty=True)
    if item.run and not RUN_NAME.fullmatch(item.run):
        raise MMHError(
            f"{quoted(item.run, 40)} is no name of a run's file: use letters, digits, dots and "
            "dashes."
        )
    if item.run_sha256 and not (item.run and _DIGEST.fullmatch(item.run_sha256)):
        raise ValueError("the digest of an item's run is none, or of no run")
    checked_tags(item.tags)
    if len(item.thumbnail) > MAX_THUMBNAIL:
        raise MMHError(
            f"A thumbnail has {len(item.thumbnail):,} bytes: make it smaller than "
            f"{MAX_THUMBNAIL:,}."
        )
    if len(item.scores) > MAX_LIST or len(item.seeds) > MAX_LIST:
        raise ValueError(f"An item has more than {MAX_LIST} scores or seeds.")
    if len(item.more) > MAX_LIST:
        raise ValueError(f"An item has more than {MAX_LIST} further columns.")
    for name, text in item.more:
        if checked_text(name, "name of a column", MAX_TEXT) != name:
            raise ValueError("the name of a column has white space around it")
        if checked_text(text, f"column {quoted(name)}", MAX_TEXT) != text:
            raise ValueError("a cell of a further column has white space around it")
    for name, _ in item.scores:
        checked_text(name, "name of a score", MAX_NAME, empty=True)
    if any(not 0 <= seed <= _MOST_SEED for seed in item.seeds) or abs(item.nearest) > _MOST_COUNT:
        raise ValueError("A seed or the nearest image is a number of more than 64 bits.")
    return replace(
        item,
        score=_finite(item.score),
        lid=_finite(item.lid),
        lid_percentile=_finite(item.lid_percentile),
        similarity=_finite(item.similarity),
        scores=tuple((name, _finite(value)) for name, value in item.scores),
    )


def checked_row(row: LogRow) -> LogRow:
    """Return a row of a log from elsewhere; refuse whatever `judge` or `annotate` would refuse.

    Errors: MMHError or ValueError.
    """
    _same(row.reviewer, "name of the reviewer", MAX_NAME)
    _same(row.notes, "notes", MAX_TEXT, empty=True)
    _same(row.model_sha256, "model's digest", MAX_NAME, empty=True)
    _same(row.code_version, "version of the code", MAX_NAME, empty=True)
    if checked_tags(row.tags) != row.tags:
        raise ValueError("a row has a tag twice, or with white space around it")
    _check_time(row.time)
    _check_count(row.number, row.item, row.undoes, row.items)
    if not 0 <= row.seconds <= MAX_TIME:
        raise ValueError(f"{row.seconds:g} is no time on an item")
    if row.role == "adjudicator" and (row.action != "verdict" or row.after in (None, "skip")):
        raise ValueError("an adjudication gives no verdict")
    _check_remark(row)
    for digest in (row.item_sha256, row.previous, row.sha256, row.items_sha256 or row.sha256):
        if not _DIGEST.fullmatch(digest):
            raise ValueError("a digest of a row is none")
    return row


def checked_region(region: Iterable[float]) -> tuple[float, ...]:
    """Return left, top, right and bottom as kept, in shares of an image; ValueError if outside."""
    # Negative zero has another digest than zero.
    kept = tuple(round(float(side), 4) + 0.0 for side in region)
    if len(kept) == 4:
        left, top, right, bottom = kept
        if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
            return kept
    raise ValueError(f"{quoted(kept, 80)} is no region of an image")


def _check_remark(row: LogRow) -> None:
    """Refuse what a row of a role in `REMARKS`, or another row in its place, would not hold."""
    is_mark = row.role == "mark"
    _same(row.image, "name of the image", MAX_NAME, empty=not is_mark)
    if row.region and checked_region(row.region) != row.region:
        raise ValueError("a marked region would be kept in another way")
    is_generation = row.role == "generation"
    if is_generation and not _DIGEST.fullmatch(row.image):
        raise ValueError("a generation of images has no digest of its run")
    if not is_mark and (row.region or (row.image and not is_generation)):
        raise ValueError("a row that is no mark has an image or a region")
    if is_mark and bool(row.region) == bool(row.undoes):
        raise ValueError("a mark has no region, or removes one and has one too")
    if row.role in REMARKS and (
        (row.action, row.before, row.after, row.tags) != ("notes", None, None, ())
        or not (row.notes or is_mark)
    ):
        raise ValueError(f"a {row.role} holds a judgement, or no text")


def _same(text: str, name: str, most: int, *, empty: bool = False) -> None:
    """Refuse a text that would be kept in another way."""
    if checked_text(text, name, most, empty=empty) != text:
        raise ValueError(f"the {name} has white space around it")


def _check_time(seconds: float) -> None:
    if not 0 <= seconds <= MAX_TIME:
        raise ValueError(f"{seconds:g} is no time that a calendar writes")


def _check_count(*counts: int) -> None:
    if any(not 0 <= count <= _MOST_COUNT for count in counts):
        raise ValueError("a count is negative or past 63 bits")


def _finite(value: float) -> float:
    """Return the value as SQLite gives it back: a float, without infinities and minus zero."""
    return float(value) + 0.0 if math.isfinite(value) else math.nan
