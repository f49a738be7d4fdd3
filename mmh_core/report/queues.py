"""One self-contained HTML page about a queue: what people decided, on what evidence, and proof.

Like the page about an image run it asks no network for anything, forbids itself scripts and
foreign content, and escapes every text. Its times are those of the judgements.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from mmh_core.formats.times import utc_minute
from mmh_core.installation import PROGRAM, code_version
from mmh_core.memorization.cause import cause_words
from mmh_core.memorization.verdict import COPY_VERDICTS, REVIEW_ROWS
from mmh_core.report.charts import Chart, svg
from mmh_core.report.page import number_text, percentile_words, png_url, render
from mmh_core.report.queue_case import (
    QueueCase,
    ReportItem,
    agreement_words,
    conflicts,
    item_command,
    queue_command,
    summary_words,
)
from mmh_core.report.queue_errors import error_sentences
from mmh_core.report.queue_people import people
from mmh_core.store.remarks import ITEM_IMAGE, generations, region_words
from mmh_core.store.review_records import Judgement, LogRow, ReviewItem
from mmh_core.store.thumbnails import shown_thumbnail
from mmh_core.studies.review.items import KINDS, score_label, score_words

#: Evidence sheets of one page; the tables of a case hold all items.
MOST_SHEETS = 300
#: Items listed under one conflict; all of them have a sheet, or are in the tables.
_MOST_LISTED = 50
#: Points of a chart.
_MOST_POINTS = 400


def queue_report(
    case: QueueCase, nearest: Callable[[ReviewItem], tuple[str, bytes] | None]
) -> str:
    """Return the page about a case as HTML.

    `nearest` returns caption and PNG file of the training image nearest to an item, None where
    it is not at hand.
    """
    sheets = sorted(
        (
            item
            for item in case.items
            if item.verdict != "not memorized"
            or item.disputed
            or item.regions
            or item.comments
            or _suspected(item.item)
        ),
        key=lambda item: (-REVIEW_ROWS[item.verdict].severity, item.position),
    )
    return render(
        "queue_report.html",
        program=PROGRAM,
        case=case,
        summary=summary_words(case),
        sheets=[_sheet(item, nearest(item.item)) for item in sheets[:MOST_SHEETS]],
        left_out=max(0, len(sheets) - MOST_SHEETS),
        conflicts=[
            (title, [_conflict(item) for item in items[:_MOST_LISTED]], len(items))
            for title, items in conflicts(case)
        ],
        most_listed=_MOST_LISTED,
        people=people(case.progress, case.rows),
        generated=[_generated(row) for row in generations(case.rows)],
        errors=[sentence for sentence in error_sentences(case) if sentence],
        agreed=agreement_words(case),
        charts=[Markup(chart) for chart in _charts(case) if chart],
        command=queue_command(case.queue),
        provenance=_provenance(case),
    )


def _generated(row: LogRow) -> tuple[int, str, str, str, str]:
    """Return item, reviewer, time, what was generated, and the digest of the run."""
    return row.item, row.reviewer, utc_minute(row.time), row.notes, row.image


def _conflict(item: ReportItem) -> tuple[int, str, str, str]:
    """Return position, prompt, what people said, and what was measured."""
    judgements = "; ".join(f"{name}: {judged.verdict}" for name, judged in item.judgements)
    if item.disputed and item.decision is not None:
        judgements += (
            f". Adjudicated by {item.decision.reviewer}: {item.decision.after}, because "
            f"{item.decision.notes}"
        )
    measured = item.item.kind or "not analyzed"
    if not math.isnan(item.item.similarity):
        measured += f", similarity {number_text(item.item.similarity, 3)}"
    return item.position, item.item.prompt, judgements, measured


def _suspected(item: ReviewItem) -> bool:
    return item.kind in (*COPY_VERDICTS, KINDS["likely"])


def _sheet(item: ReportItem, near: tuple[str, bytes] | None) -> dict[str, Any]:
    row = REVIEW_ROWS[item.verdict]
    return {
        "one": item,
        "sign": row.sign,
        "color": row.tone,
        "verdict": item.verdict or "not judged yet",
        "image": png_url(kept) if (kept := shown_thumbnail(item.item)) else "",
        "nearest": "" if near is None else png_url(near[1]),
        "nearest_caption": "" if near is None else near[0],
        "figures": _figures(item.item),
        "judgements": [_judged(name, judgement) for name, judgement in item.judgements],
        "decision": _decided(item),
        "regions": [_region(number, row) for number, row in enumerate(item.regions, start=1)],
        "comments": [(row.reviewer, utc_minute(row.time), row.notes) for row in item.comments],
        "on_image": _outlines(item, ITEM_IMAGE),
        "on_nearest": _outlines(item, f"training image {item.item.nearest}"),
        "command": item_command(item.item),
    }


def _figures(item: ReviewItem) -> list[tuple[str, str]]:
    rows = [
        ("Kind of copy", item.kind),
        ("Cause", cause_words(item.cause)),
        ("Label in the table", item.label),
        ("ID in the table", item.name),
        ("Nearest training image", "" if item.nearest < 0 else f"{item.nearest:,}"),
        ("Highest similarity", _known(item.similarity, 3)),
        ("Mean LID of its images", _known(item.lid, 1)),
        (
            "Mean LID percentile",
            "" if math.isnan(item.lid_percentile) else percentile_words(item.lid_percentile),
        ),
        ("Early-scan score", _known(item.score, 2)),
        *(
            (score_label(name), "" if math.isnan(value) else score_words(name, value))
            for name, value in item.scores
        ),
        ("Seeds", ", ".join(map(str, item.seeds))),
        *((f"Table: {name}", text) for name, text in item.more),
    ]
    return [(name, value) for name, value in rows if value]


def _judged(name: str, judgement: Judgement) -> tuple[str, str, str, str, str]:
    return (
        name,
        judgement.verdict or "no verdict",
        utc_minute(judgement.time),
        judgement.notes,
        "; ".join(judgement.tags),
    )


def _decided(item: ReportItem) -> str:
    """Return the adjudication of an item whose reviewers differ, "" for none."""
    if not item.disputed:
        return ""
    row = item.decision
    if row is None:
        return "Its reviewers differ, and nobody has adjudicated yet: it counts as undecided."
    judged = any(name == row.reviewer for name, _ in item.judgements)
    own = " (who had judged the item too)" if judged else ""
    when = utc_minute(row.time)
    return f"Adjudicated by {row.reviewer}{own}, {when}: {row.after}. Reason: {row.notes}"


def _region(number: int, row: LogRow) -> tuple[int, str, str, str, str]:
    """Return number, reviewer, time, place and text of a marked region."""
    when, where = utc_minute(row.time), region_words(row.image, row.region)
    return number, row.reviewer, when, where, row.notes


def _outlines(item: ReportItem, image: str) -> list[tuple[int, str]]:
    """Return number and place, as CSS, of the regions on an image; a seed may follow its name."""
    outlines = []
    for number, row in enumerate(item.regions, start=1):
        if row.image.split(",")[0] == image:
            left, top, right, bottom = (100 * side for side in row.region)
            place = f"left:{left:.2f}%;top:{top:.2f}%;"
            outlines.append(
                (number, f"{place}width:{right - left:.2f}%;height:{bottom - top:.2f}%")
            )
    return outlines


def _charts(case: QueueCase) -> list[str]:
    """Draw similarity and LID percentile of all items, each in descending order."""
    charts = []
    for name, title in (("similarity", "similarity"), ("lid_percentile", "LID percentile")):
        values = [float(getattr(item.item, name)) for item in case.items]
        values = sorted((v for v in values if not math.isnan(v)), reverse=True)
        step = max(1, math.ceil(len(values) / _MOST_POINTS))
        places = range(0, len(values), step)
        charts.append(
            svg(
                Chart(
                    alt=f"{title} of {len(values):,} items, highest first",
                    x_title="items, highest first",
                    y_title=title,
                    x=tuple(float(index + 1) for index in places),
                    y=tuple(values[index] for index in places),
                )
            )
        )
    return charts


def _provenance(case: QueueCase) -> list[tuple[str, str]]:
    return [
        ("Weights, SHA-256", case.queue.model_sha256),
        ("Queue", case.queue.id),
        ("Rows of the log", f"{case.chain.rows:,}"),
        ("Items of the queue", f"{case.chain.items:,}"),
        (
            "Seal: head hash of log and items",
            case.chain.seal or "none, since the log is not whole",
        ),
        ("Hash of the last row", case.chain.head),
        ("Code", code_version()),
    ]


def _known(value: float, digits: int) -> str:
    return "" if math.isnan(value) else number_text(value, digits)
