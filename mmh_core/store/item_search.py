"""Find the items of a queue: filtered, sorted, page by page, and the next one to judge."""

from __future__ import annotations

import math
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from mmh_core.records import MMHError
from mmh_core.store.queues import queue_number
from mmh_core.store.review_records import ItemView, ReviewVerdict
from mmh_core.store.review_schema import (
    ITEM_COLUMNS,
    JUDGEMENT_COLUMNS,
    item_from,
    judgement_from,
)
from mmh_core.store.sqlite_file import SqliteFile, like_pattern

ItemOrder = Literal["position", "score", "lid", "lid_percentile", "similarity"]
MOST_ON_A_PAGE = 500

_FROM = (
    "items LEFT JOIN judgements ON judgements.queue = items.queue "
    "AND judgements.item = items.position AND judgements.reviewer = :reviewer"
)
_COLUMNS = ", ".join(
    ["items.position"]
    + [f"items.{name}" for name in ITEM_COLUMNS]
    + ["(SELECT data FROM thumbnails WHERE sha256 = items.thumbnail)"]
    + [f"judgements.{name}" for name in JUDGEMENT_COLUMNS]
)


class DamagedItem(MMHError):
    """The error for an item, or a judgement of it, that cannot be read; the others can."""


@dataclass(frozen=True)
class Share:
    """The items of a queue that are assigned to the reviewer at `place` (from 0) of `reviewers`.

    Items go round: that at position p is for `each` reviewers in turn, from number p - 1 on.
    """

    place: int
    reviewers: int
    each: int


@dataclass(frozen=True)
class ItemFilter:
    """A choice of items and their order.

    An item passes with a score from `least` to `most` (one without a score only where both are
    infinite), and with one of the `causes`, `kinds` and `verdicts` (None: not judged yet) where
    any are named. `text` is looked for, in any case of the letters a to z, in prompt, label, name,
    tags and the reviewer's own notes and tags. With a `share` only its items pass. Items without
    the figure of `order` come last.
    """

    least: float = -math.inf
    most: float = math.inf
    causes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    verdicts: tuple[ReviewVerdict | None, ...] = ()
    text: str = ""
    order: ItemOrder = "position"
    descending: bool = False
    share: Share | None = None


@dataclass(frozen=True)
class ItemsPage:
    """One page of the items that match a filter, their total, and those that cannot be read.

    `places` are the positions on this page, those of damaged items among them.
    """

    items: tuple[ItemView, ...]
    total: int
    places: tuple[int, ...] = ()
    damaged: tuple[int, ...] = ()


@dataclass(frozen=True)
class FoundItem:
    """An item of any queue: the queue's id and name, the item's position and prompt."""

    queue: str
    queue_name: str
    position: int
    prompt: str


def items_of_all_queues(file: SqliteFile, text: str, limit: int) -> tuple[list[FoundItem], int]:
    """Return the first items whose prompt, label, name or tags contain a text, and their total.

    Newest queue first. The letters a to z are compared in any case.
    """
    columns = ("prompt", "label", "name", "tags")
    condition = " OR ".join(f"items.{column} LIKE ? ESCAPE '!'" for column in columns)
    source = f"items JOIN queues ON queues.number = items.queue WHERE {condition}"
    values = [like_pattern(text)] * len(columns)
    with file.connection("ro") as connection:
        total = connection.execute(f"SELECT COUNT(*) FROM {source}", values).fetchone()[0]
        rows = connection.execute(
            "SELECT queues.id, queues.name, items.position, items.prompt "
            f"FROM {source} ORDER BY queues.number DESC, items.position LIMIT ?",
            [*values, limit],
        ).fetchall()
    return [FoundItem(*row) for row in rows if all(isinstance(v, str | int) for v in row)], total


def items_page(
    file: SqliteFile,
    queue: str,
    chosen: ItemFilter,
    reviewer: str,
    *,
    offset: int = 0,
    limit: int = 50,
) -> ItemsPage:
    """Return a page of the items that match a filter, with this reviewer's judgements.

    Damaged items are named and left out. Errors: MMHError for an unknown queue, ValueError for a
    page of another size than 1 to 500.
    """
    if not 1 <= limit <= MOST_ON_A_PAGE or offset < 0:
        raise ValueError(f"A page of {limit} items from {offset}: choose 1 to {MOST_ON_A_PAGE}.")
    with file.connection("ro") as connection:
        # Only places first, in one pass that also counts: what is shown is read for them alone.
        positions = _places(connection, queue, chosen, reviewer)
        values = {"queue": queue_number(connection, queue), "reviewer": reviewer}
        page = tuple(positions[offset : offset + limit])
        views, damaged = [], []
        for position in page:
            try:
                views.append(_view(connection, values, position))
            except DamagedItem:
                damaged.append(position)
    return ItemsPage(tuple(views), len(positions), page, tuple(damaged))


def item_places(file: SqliteFile, queue: str, chosen: ItemFilter, reviewer: str) -> list[int]:
    """Return the positions of all items that match a filter, in its order."""
    with file.connection("ro") as connection:
        return _places(connection, queue, chosen, reviewer)


def next_item(
    file: SqliteFile, queue: str, chosen: ItemFilter, reviewer: str, *, after: int = 0
) -> ItemView | None:
    """Return the first item past `after`, in the filter's order, that the reviewer has not judged.

    From the end it starts over; None means that every item found is judged. `after` is a position,
    0 to start, and need not pass the filter itself.
    """
    condition, values = _condition(chosen, reviewer)
    order = _order(chosen)
    condition = f"{condition} AND judgements.verdict IS NULL"
    with file.connection("ro") as connection:
        values |= {"queue": queue_number(connection, queue), "after": after}
        start = connection.execute(
            f"SELECT {', '.join(order)} FROM items WHERE queue = :queue AND position = :after",
            values,
        ).fetchone()
        past = ""
        if start is not None:
            values |= {f"start{i}": value for i, value in enumerate(start)}
            marks = ", ".join(f":start{i}" for i in range(len(start)))
            past = f"AND ({', '.join(order)}) > ({marks})"
        for further in dict.fromkeys((past, "")):
            rows = connection.execute(
                f"SELECT items.position FROM {_FROM} WHERE {condition} {further} "
                f"ORDER BY {', '.join(order)} LIMIT 1000",
                values,
            ).fetchall()
            # One that cannot be read must not stand in the way of those that can.
            for (position,) in rows:
                with suppress(DamagedItem):
                    return _view(connection, values, position)
    return None


def get_item(file: SqliteFile, queue: str, position: int, reviewer: str) -> ItemView:
    """Return one item with this reviewer's judgement.

    Errors: MMHError if there is none, and DamagedItem, an MMHError, if it cannot be read.
    """
    with file.connection("ro") as connection:
        values = {"queue": queue_number(connection, queue), "reviewer": reviewer}
        return _view(connection, values, position)


def filter_choices(file: SqliteFile, queue: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the causes and the kinds of copy that the queue's items have, sorted."""
    with file.connection("ro") as connection:
        number = queue_number(connection, queue)
        columns = [
            connection.execute(
                f"SELECT DISTINCT {column} FROM items WHERE queue = ? ORDER BY 1", (number,)
            ).fetchall()
            for column in ("cause", "kind")
        ]
    causes, kinds = (tuple(v for (v,) in rows if isinstance(v, str)) for rows in columns)
    return causes, kinds


def _places(
    connection: sqlite3.Connection, queue: str, chosen: ItemFilter, reviewer: str
) -> list[int]:
    condition, values = _condition(chosen, reviewer)
    values["queue"] = queue_number(connection, queue)
    rows = connection.execute(
        f"SELECT items.position FROM {_FROM} WHERE {condition} "
        f"ORDER BY {', '.join(_order(chosen))}",
        values,
    )
    return [position for (position,) in rows]


def _view(connection: sqlite3.Connection, values: dict[str, Any], position: int) -> ItemView:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM {_FROM} WHERE items.queue = :queue AND items.position = :place",
        {**values, "place": position},
    ).fetchone()
    if row is None:
        raise MMHError(f"The queue has no item {position}: choose one from its list.")
    width = len(ITEM_COLUMNS)
    try:
        item = item_from(row[1 : width + 1], row[width + 1])
        return ItemView(row[0], item, judgement_from(row[width + 2 :]))
    except ValueError as error:
        raise DamagedItem(
            f"Item {position} is damaged ({error}) and left out: restore the file of queues from "
            "a backup, or import the case anew."
        ) from error


def _condition(chosen: ItemFilter, reviewer: str) -> tuple[str, dict[str, Any]]:
    """Return the condition of a filter and the values of its marks, but for :queue."""
    parts = ["items.queue = :queue"]
    values: dict[str, Any] = {"reviewer": reviewer}
    if chosen.least > -math.inf or chosen.most < math.inf:
        parts.append("items.score BETWEEN :least AND :most")
        values |= {"least": chosen.least, "most": chosen.most}
    for column, names in (
        *(("items.cause", chosen.causes), ("items.kind", chosen.kinds)),
        ("judgements.verdict", chosen.verdicts),
    ):
        if names:
            marks = {f"{column.split('.')[1]}{i}": name for i, name in enumerate(names)}
            listed = ", ".join(f":{mark}" for mark, name in marks.items() if name is not None)
            none = f" OR {column} IS NULL" if None in names else ""
            parts.append(f"({column} IN ({listed}){none})")
            values |= marks
    if chosen.share is not None:
        # SQL's remainder has the sign of what is divided.
        parts.append(
            "((:place - items.position + 1) % :reviewers + :reviewers) % :reviewers < :each"
        )
        share = chosen.share
        values |= {"place": share.place, "reviewers": share.reviewers, "each": share.each}
    if chosen.text:
        columns = [f"items.{name}" for name in ("prompt", "label", "name", "tags")]
        columns += ["judgements.notes", "judgements.tags"]
        parts.append(f"({' OR '.join(f'''{p} LIKE :text ESCAPE '!' ''' for p in columns)})")
        values["text"] = like_pattern(chosen.text)
    return " AND ".join(parts), values


def _order(chosen: ItemFilter) -> tuple[str, ...]:
    """Return terms that all increase along the order: unknown last, figure, position."""
    if chosen.order == "position":
        # A plain column, which is the key of the table, needs no sorting.
        return ("-items.position",) if chosen.descending else ("items.position",)
    column = f"items.{chosen.order}"
    sign = "-" if chosen.descending else ""
    return f"{column} IS NULL", f"IFNULL({sign}{column}, 0)", "items.position"
