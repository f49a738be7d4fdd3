"""One self-contained HTML page about a queue: what people decided, on what evidence, and proof.

Like the page about an image run it asks no network for anything, forbids itself scripts and
foreign content, and escapes every text. Its times are those of the verdicts.
"""

from __future__ import annotations

import base64
import json
import math
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mmh_core.report.charts import Chart, svg
from mmh_core.report.images import figure, percentile_words, shown
from mmh_core.store.agreement import Agreement, agreement
from mmh_core.store.code_version import code_version
from mmh_core.store.item_search import MOST_ON_A_PAGE, ItemFilter, items_page
from mmh_core.store.queues import QueueProgress, get_queue, queue_progress, reviewers
from mmh_core.store.review_records import (
    Judgement,
    QueueRecord,
    ReviewItem,
    ReviewVerdict,
)
from mmh_core.store.sqlite_file import SqliteFile
from mmh_core.store.verdict_chain import ChainReport, verify

#: Evidence sheets of one page; the tables of a case hold all items.
MOST_SHEETS = 300
#: Points of a chart.
_MOST_POINTS = 400
#: A sign beside each verdict, since none is told by color alone, and the name of its color.
LOOKS: dict[ReviewVerdict | None, tuple[str, str]] = {
    "exact copy": ("●", "copy"),
    "template copy": ("◆", "template"),
    "unsure": ("▲", "suspicious"),
    None: ("…", "unknown"),
    "skip": ("?", "unknown"),
    "not memorized": ("○", "free"),
}
_GRAVITY = list(LOOKS)


@dataclass(frozen=True)
class ReportItem:
    """Hold an item with what each reviewer says of it."""

    position: int
    item: ReviewItem
    judgements: tuple[tuple[str, Judgement], ...]

    @property
    def verdict(self) -> ReviewVerdict | None:
        """Return the gravest verdict that anybody gave, None for no verdict yet."""
        return min((one.verdict for _, one in self.judgements), key=_GRAVITY.index, default=None)


@dataclass(frozen=True)
class QueueCase:
    """Hold what a report says of a queue; `pair` are the two reviewers of `agreed`."""

    queue: QueueRecord
    items: tuple[ReportItem, ...]
    progress: tuple[tuple[str, QueueProgress], ...]
    pair: tuple[str, str] | None
    agreed: Agreement | None
    chain: ChainReport


def queue_case(file: SqliteFile, queue: str) -> QueueCase:
    """Read a queue with everybody's verdicts, and verify its log. Errors: MMHError."""
    names = reviewers(file, queue)
    progress = tuple((name, queue_progress(file, queue, name)) for name in names)
    most = sorted(progress, key=lambda one: -one[1].judged)[:2]
    pair = (most[0][0], most[1][0]) if len(most) == 2 else None
    found: dict[int, ReportItem] = {}
    for name in names or [""]:
        start = 0
        while page := items_page(
            file, queue, ItemFilter(), name, offset=start, limit=MOST_ON_A_PAGE
        ).items:
            for view in page:
                before = found.get(view.position, ReportItem(view.position, view.item, ()))
                said = ((name, view.judgement),) if view.judgement.revision else ()
                found[view.position] = ReportItem(
                    view.position, view.item, before.judgements + said
                )
            start += len(page)
    return QueueCase(
        get_queue(file, queue),
        tuple(found[position] for position in sorted(found)),
        progress,
        pair,
        None if pair is None else agreement(file, queue, *pair),
        verify(file, queue),
    )


def queue_report(
    case: QueueCase, nearest: Callable[[ReviewItem], tuple[str, bytes] | None]
) -> str:
    """Return the page about a case as HTML.

    `nearest` returns caption and PNG file of the training picture nearest to an item, None where
    it is not at hand.
    """
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    sheets = sorted(
        (one for one in case.items if one.verdict != "not memorized" or _suspected(one.item)),
        key=lambda one: (_GRAVITY.index(one.verdict), one.position),
    )
    return environment.get_template("queue_report.html").render(
        style=Markup(_style(folder)),
        case=case,
        summary=summary_words(case),
        sheets=[_sheet(one, nearest(one.item)) for one in sheets[:MOST_SHEETS]],
        left_out=max(0, len(sheets) - MOST_SHEETS),
        progress=[_progress(name, done) for name, done in case.progress],
        agreed=_agreement_words(case),
        charts=[Markup(chart) for chart in _charts(case) if chart],
        command=queue_command(case.queue),
        provenance=_provenance(case),
    )


def summary_words(case: QueueCase) -> str:
    """Return what people decided, in words for somebody who knows nothing of the method."""
    total = len(case.items)
    judged = [one for one in case.items if one.verdict is not None]
    who = len(case.progress)
    start = f"{_many(total, 'prompt')} of the model {case.queue.model} {_were(total)} put before "
    start += "a person." if who <= 1 else f"{who} reviewers."
    if not judged:
        return f"{start} Nobody has judged any of them yet, so nothing is decided."
    counts = {name: sum(one.verdict == name for one in judged) for name in LOOKS if name}
    copies = counts["exact copy"] + counts["template copy"]
    sentences = [start, f"{len(judged):,} {_were(len(judged))} judged."]
    if copies:
        sentences.append(
            f"{copies:,} {'makes' if copies == 1 else 'make'} the model give back what it was "
            f"trained on: {counts['exact copy']:,} a whole picture, {counts['template copy']:,} a "
            "layout. Anybody who asks in the same way can get it."
        )
    else:
        sentences.append("Nobody called any of them a copy of what the model was trained on.")
    if counts["unsure"]:
        sentences.append(f"At {counts['unsure']:,} the reviewers were unsure.")
    open_still = total - len(judged) + counts["skip"]
    if open_still:
        sentences.append(f"{open_still:,} {'is' if open_still == 1 else 'are'} still open.")
    sentences.append(
        "This speaks of these prompts, this model and the training pictures that were searched; "
        "it does not tell who owns a picture, nor what other prompts would give."
    )
    return " ".join(sentences)


def queue_command(queue: QueueRecord) -> str:
    """Return the line that scans the same table again, "" where the queue is of no scan."""
    settings = json.loads(queue.settings)
    if not isinstance(settings, dict) or not {"name", "share", "study"} <= set(settings):
        return ""
    words = ["python", "-m", "mmh_core", "scan", str(settings["name"]), "--model", queue.model]
    words += ["--share", f"{float(settings['share']):g}"]
    words += [] if settings["study"] else ["--no-study"]
    return shlex.join([*words, "--out", "scan"])


def item_command(item: ReviewItem) -> str:
    """Return the line that draws an item's pictures again with the model's own settings."""
    words = ["python", "-m", "mmh_core", "images", f"--model={item.model}"]
    words += [f"--prompt={item.prompt}", "--seeds", ",".join(map(str, item.seeds or (0,)))]
    return shlex.join([*words, "--out", "pictures"])


def _style(folder: Path) -> str:
    """Return the style sheet of the page about an image run: all reports look alike."""
    page = (folder / "image_report.html").read_text(encoding="utf-8")
    return page.split("<style>", 1)[1].split("</style>", 1)[0]


def _suspected(item: ReviewItem) -> bool:
    return item.kind in ("exact copy", "template copy")


def _sheet(one: ReportItem, near: tuple[str, bytes] | None) -> dict[str, Any]:
    sign, color = LOOKS[one.verdict]
    return {
        "one": one,
        "sign": sign,
        "color": color,
        "verdict": one.verdict or "not judged yet",
        "picture": _data_url(one.item.thumbnail) if one.item.thumbnail else "",
        "nearest": "" if near is None else _data_url(near[1]),
        "nearest_caption": "" if near is None else near[0],
        "figures": _figures(one.item),
        "judgements": [_judged(name, said) for name, said in one.judgements],
        "command": item_command(one.item),
    }


def _figures(item: ReviewItem) -> list[tuple[str, str]]:
    rows = [
        ("Kind of copy", item.kind),
        ("Cause", item.cause),
        ("Label in the table", item.label),
        ("Id in the table", item.name),
        ("Nearest training picture", "" if item.nearest < 0 else f"{item.nearest:,}"),
        ("Similarity", _known(item.similarity, 3)),
        ("LID", _known(item.lid, 1)),
        (
            "among normal prompts",
            "" if math.isnan(item.lid_percentile) else percentile_words(item.lid_percentile),
        ),
        ("Score of the scan", _known(item.score, 2)),
        *(
            (name[:1].upper() + name[1:], "" if math.isnan(value) else f"{value:.3g}")
            for name, value in item.scores
        ),
        ("Seeds", ", ".join(map(str, item.seeds))),
    ]
    return [(name, value) for name, value in rows if value]


def _judged(name: str, said: Judgement) -> tuple[str, str, str, str, str]:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(said.time))
    return name, said.verdict or "no verdict", when, said.notes, "; ".join(said.tags)


def _progress(name: str, done: QueueProgress) -> tuple[str, str, str]:
    counts = ", ".join(f"{count:,} {what}" for what, count in done.counts.items() if count)
    return name, f"{done.judged:,} of {done.items:,}", counts


def _agreement_words(case: QueueCase) -> str:
    if case.agreed is None or case.pair is None or not case.agreed.items:
        return ""
    found = case.agreed
    kappa = "cannot be told" if math.isnan(found.kappa) else f"is {found.kappa:.2f}"
    return (
        f"{case.pair[0]} and {case.pair[1]} both judged {_many(found.items, 'item')} and gave "
        f"the same verdict to {found.observed:.0%}; by chance it would be {found.expected:.0%}. "
        f"Cohen's kappa {kappa} (1 is full agreement, 0 what chance gives)."
    )


def _charts(case: QueueCase) -> list[str]:
    """Draw similarity and LID percentile of all items, each in descending order."""
    found = []
    for name, title in (("similarity", "similarity"), ("lid_percentile", "LID percentile")):
        values = [float(getattr(one.item, name)) for one in case.items]
        values = sorted((v for v in values if not math.isnan(v)), reverse=True)
        step = max(1, math.ceil(len(values) / _MOST_POINTS))
        places = range(0, len(values), step)
        found.append(
            svg(
                Chart(
                    alt=f"{title} of {len(values):,} items, highest first",
                    x_title="items, highest first",
                    y_title=title,
                    x=tuple(float(place + 1) for place in places),
                    y=tuple(values[place] for place in places),
                )
            )
        )
    return found


def _provenance(case: QueueCase) -> list[tuple[str, str]]:
    return [
        ("Weights, SHA-256", case.queue.model_sha256),
        ("Queue", case.queue.id),
        ("Rows of the log", f"{case.chain.rows:,}"),
        ("Seal of the log", case.chain.head),
        ("Code", code_version()),
    ]


def _known(value: float, digits: int) -> str:
    return "" if math.isnan(value) else figure(value, digits)


def _data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}" + ("" if count == 1 else "s")


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
