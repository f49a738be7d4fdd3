"""Marks, comments and further images of an item: rows that change nobody's judgement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mmh_core.records import MMHError
from mmh_core.store.queues import queue_number
from mmh_core.store.review_checks import checked_region, checked_text
from mmh_core.store.review_log import ReviewTarget, append_row, item_rows, next_row
from mmh_core.store.review_records import MAX_NAME, MAX_TEXT, LogRow, Role
from mmh_core.store.sqlite_file import SqliteFile

#: What a mark calls the generated image that the item itself keeps.
ITEM_IMAGE = "generated image of the item"


def mark_region(
    file: SqliteFile, target: ReviewTarget, image: str, region: Iterable[float], text: str = ""
) -> LogRow:
    """Record a region of an image, with a text or without, and return the row.

    `region` is left, top, right and bottom in shares of width and height; `target.revision` is not
    looked at, since nothing is overwritten. Errors: ValueError for what is no region; MMHError
    as in `judge`.
    """
    with file.transaction() as connection:
        row = replace(
            next_row(connection, target, check=False),
            image=checked_text(image, "name of the image", MAX_NAME),
            region=checked_region(region),
        )
        return append_row(connection, target, _remark(row, "mark", text))


def remove_region(file: SqliteFile, target: ReviewTarget, number: int) -> LogRow:
    """Take a region back that the same reviewer marked, by a new row, and return that.

    Errors: MMHError where row `number` is no region of theirs that is still marked.
    """
    with file.transaction() as connection:
        rows = item_rows(connection, queue_number(connection, target.queue), target.item)
        own = [row for row in regions(rows) if row.reviewer == target.reviewer]
        marked = next((row for row in own if row.number == number), None)
        if marked is None:
            raise MMHError(f"Row {number} marks no region of yours: look at the item again.")
        row = replace(next_row(connection, target, check=False), image=marked.image, undoes=number)
        return append_row(connection, target, _remark(row, "mark", ""))


def regions(rows: Sequence[LogRow]) -> list[LogRow]:
    """Return the rows whose regions are still marked, oldest first."""
    removed = {(row.undoes, row.reviewer) for row in rows if row.role == "mark"}
    return [row for row in rows if row.region and (row.number, row.reviewer) not in removed]


def add_comment(file: SqliteFile, target: ReviewTarget, text: str) -> LogRow:
    """Record a comment on an item, for all its reviewers, and return the row.

    `target.revision` is not looked at. Errors: MMHError for no text, and as in `judge`.
    """
    with file.transaction() as connection:
        row = next_row(connection, target, check=False)
        return append_row(connection, target, _remark(row, "comment", text))


def comments(rows: Sequence[LogRow]) -> list[LogRow]:
    """Return the comments among rows of a log, oldest first."""
    return [row for row in rows if row.role == "comment"]


def record_generation(
    file: SqliteFile, target: ReviewTarget, run_sha256: str, words: str
) -> LogRow:
    """Record that images were generated for an item after it was sealed, and return the row.

    `run_sha256` is the digest of the file with their run, `words` say which they are;
    `target.revision` is not looked at. Errors: MMHError as in `judge`.
    """
    with file.transaction() as connection:
        row = replace(next_row(connection, target, check=False), image=run_sha256)
        return append_row(connection, target, _remark(row, "generation", words))


def generations(rows: Sequence[LogRow]) -> list[LogRow]:
    """Return the rows of a log about images that were generated afterwards, oldest first."""
    return [row for row in rows if row.role == "generation"]


def rows_by_item(rows: Iterable[LogRow]) -> dict[int, tuple[LogRow, ...]]:
    """Return rows of a log under the positions of their items, in the order of the log."""
    grouped: dict[int, list[LogRow]] = {}
    for row in rows:
        grouped.setdefault(row.item, []).append(row)
    return {item: tuple(its_rows) for item, its_rows in grouped.items()}


def region_words(image: str, region: Sequence[float]) -> str:
    """Return where a region lies on which image."""
    left, top, right, bottom = region
    return (
        f"{image}, from {left:.0%} to {right:.0%} of its width and {top:.0%} to {bottom:.0%} of "
        "its height"
    )


def _remark(row: LogRow, role: Role, text: str) -> LogRow:
    notes = checked_text(text, role, MAX_TEXT, empty=role == "mark")
    return replace(row, action="notes", role=role, before=None, after=None, notes=notes, tags=())
