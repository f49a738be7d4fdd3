"""Export a queue as a table: CSV for spreadsheets, Parquet for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mmh_core.files import replacing
from mmh_core.formats.export import frame_csv
from mmh_core.formats.times import utc_second
from mmh_core.records import MMHError
from mmh_core.store.adjudication import disagreements_of
from mmh_core.store.item_search import MOST_ON_A_PAGE, ItemFilter, items_page
from mmh_core.store.queues import queue_number, reviewers
from mmh_core.store.remarks import comments, generations, region_words, regions, rows_by_item
from mmh_core.store.review_log import log_rows
from mmh_core.store.review_records import ItemView, Judgement, LogRow, ReviewItem
from mmh_core.store.review_schema import JUDGEMENT_COLUMNS, judgement_from
from mmh_core.store.sqlite_file import SqliteFile

if TYPE_CHECKING:
    import pandas as pd


def queue_frame(file: SqliteFile, queue: str) -> pd.DataFrame:
    """Return one row per item: the prompt, the evidence and each reviewer's judgement.

    Times are UTC. Tags are separated by semicolons, seeds by spaces; thumbnails are left out, and
    so are items that cannot be read, which `items_page` names. Errors: MMHError for an unknown
    queue.
    """
    import pandas as pd

    names = reviewers(file, queue)
    judged = _judgements(file, queue)
    rows_of_log: list[LogRow] = []
    with suppress(MMHError):  # A damaged row takes nothing else with it; `verify` names it.
        rows_of_log = log_rows(file, queue)
    decisions = {one.item: one.decision for one in disagreements_of(rows_of_log)}
    marked = rows_by_item(regions(rows_of_log))
    commented = rows_by_item(comments(rows_of_log))
    generated = rows_by_item(generations(rows_of_log))
    last = {
        (row.item, row.reviewer): row
        for row in rows_of_log
        if row.action == "verdict" and not row.role
    }
    rows = [
        _item_columns(view.position, view.item)
        | {
            f"{column} of {name}": value
            for name in names
            for column, value in _judgement_columns(
                judged.get((view.position, name), Judgement()),
                last.get((view.position, name)),
            ).items()
        }
        | (_decision_columns(decisions.get(view.position)) if decisions else {})
        | (_region_column(marked.get(view.position, ())) if marked else {})
        | (_comment_column(commented.get(view.position, ())) if commented else {})
        | (_generation_column(generated.get(view.position, ())) if generated else {})
        for view in _views(file, queue)
    ]
    return pd.DataFrame(rows)


def queue_csv(file: SqliteFile, queue: str) -> bytes:
    """Return `queue_frame` as a CSV file in which no cell is a formula."""
    return frame_csv(queue_frame(file, queue))


def write_queue_parquet(file: SqliteFile, queue: str, path: Path) -> None:
    """Write `queue_frame` as a Parquet file, whole or not at all, with texts exactly as kept."""
    table = queue_frame(file, queue)
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)


def _views(file: SqliteFile, queue: str) -> Iterator[ItemView]:
    start = 0
    while (
        page := items_page(file, queue, ItemFilter(), "", offset=start, limit=MOST_ON_A_PAGE)
    ).places:
        yield from page.items
        start += len(page.places)


def _judgements(file: SqliteFile, queue: str) -> dict[tuple[int, str], Judgement]:
    """Return each reviewer's judgement of each item."""
    with file.connection("ro") as connection:
        rows = connection.execute(
            f"SELECT item, reviewer, {', '.join(JUDGEMENT_COLUMNS)} FROM judgements "
            "WHERE queue = ?",
            (queue_number(connection, queue),),
        ).fetchall()
    judgements = {}
    for row in rows:
        # One that cannot be read takes no other with it; `verify` names it.
        with suppress(ValueError):
            judgements[row[0], row[1]] = judgement_from(row[2:])
    return judgements


def _item_columns(position: int, item: ReviewItem) -> dict[str, object]:
    return {
        "position": position,
        "id": item.name,
        "prompt": item.prompt,
        "label": item.label,
        "tags": "; ".join(item.tags),
        "seeds": " ".join(map(str, item.seeds)),
        "model": item.model,
        "model_sha256": item.model_sha256,
        "score": item.score,
        "lid": item.lid,
        "lid_percentile": item.lid_percentile,
        "similarity": item.similarity,
        "nearest": None if item.nearest < 0 else item.nearest,
        "cause": item.cause,
        "kind": item.kind,
        **{f"score {name}": value for name, value in item.scores},
        **{f"table {name}": text for name, text in item.more},
        "run": item.run,
        "sha256": item.sha256(),
    }


def _decision_columns(row: LogRow | None) -> dict[str, object]:
    """Return the adjudication of an item on which its reviewers differ."""
    return {
        "adjudicated verdict": "" if row is None else row.after,
        "adjudicator": "" if row is None else row.reviewer,
        "reason of the adjudication": "" if row is None else row.notes,
    }


def _region_column(marked: Sequence[LogRow]) -> dict[str, object]:
    """Return the regions that are marked on the images of an item, in one cell."""
    texts = [
        ": ".join(filter(None, (row.reviewer, region_words(row.image, row.region), row.notes)))
        for row in marked
    ]
    return {"marked regions": "; ".join(texts)}


def _comment_column(commented: Sequence[LogRow]) -> dict[str, object]:
    """Return the comments on an item, one a line of one cell, with their times in UTC."""
    texts = [f"{utc_second(row.time)} {row.reviewer}: {row.notes}" for row in commented]
    return {"comments": "\n".join(texts)}


def _generation_column(generated: Sequence[LogRow]) -> dict[str, object]:
    """Return what was generated for an item after it was sealed, with the digests of the runs."""
    texts = [f"{row.reviewer}: {row.notes}; run {row.image}" for row in generated]
    return {"generated in the review": "\n".join(texts)}


def _judgement_columns(judgement: Judgement, last: LogRow | None) -> dict[str, object]:
    judged = judgement.revision > 0
    return {
        "verdict": judgement.verdict or "",
        "notes": judgement.notes,
        "tags": "; ".join(judgement.tags),
        "time": utc_second(judgement.time) if judged else "",
        "seconds": last.seconds if last is not None and last.seconds else None,
        "identification": "" if last is None else last.identified,
    }
