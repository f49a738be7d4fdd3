"""A queue with everybody's judgements, as a report reads it, and what it says in words."""

from __future__ import annotations

import math
import shlex
from contextlib import suppress
from dataclasses import dataclass, replace

from mmh_core.counting import agreeing, plural
from mmh_core.installation import PROGRAM
from mmh_core.memorization.verdict import COPY_VERDICTS, REVIEW_ROWS
from mmh_core.records import MMHError
from mmh_core.store.adjudication import disagreements_of
from mmh_core.store.agreement import Agreement, agreement
from mmh_core.store.item_search import MOST_ON_A_PAGE, ItemFilter, items_page
from mmh_core.store.log_chain import ChainReport, verify
from mmh_core.store.queues import (
    QueueProgress,
    get_queue,
    queue_progress,
    queue_settings,
    reviewers,
)
from mmh_core.store.remarks import comments, regions, rows_by_item
from mmh_core.store.review_log import log_rows
from mmh_core.store.review_records import (
    Judgement,
    LogRow,
    QueueRecord,
    ReviewItem,
    ReviewVerdict,
)
from mmh_core.store.sqlite_file import SqliteFile


@dataclass(frozen=True)
class ReportItem:
    """An item with the judgement of each reviewer, and the adjudication where they differ.

    `regions` are the rows of the log that mark one on its images, and are not removed; `comments`
    are those that comment on it.
    """

    position: int
    item: ReviewItem
    judgements: tuple[tuple[str, Judgement], ...]
    decision: LogRow | None = None
    regions: tuple[LogRow, ...] = ()
    comments: tuple[LogRow, ...] = ()

    @property
    def verdict(self) -> ReviewVerdict | None:
        """Return the final verdict, else the most severe that anybody gave, None for no one."""
        return self.final_verdict or max(
            (judgement.verdict for _, judgement in self.judgements),
            key=lambda verdict: REVIEW_ROWS[verdict].severity,
            default=None,
        )

    @property
    def verdicts(self) -> tuple[ReviewVerdict, ...]:
        """Return the judgements that were given, without skips, in the order of the reviewers."""
        values = (judgement.verdict for _, judgement in self.judgements)
        return tuple(verdict for verdict in values if verdict is not None and verdict != "skip")

    @property
    def agreed_verdict(self) -> ReviewVerdict | None:
        """Return what all who judged the item agree on, None where they differ or nobody did."""
        return self.verdicts[0] if len(set(self.verdicts)) == 1 else None

    @property
    def final_verdict(self) -> ReviewVerdict | None:
        """Return what the reviewers agree on, else the adjudication, None without either."""
        if self.disputed:
            return None if self.decision is None else self.decision.after
        return self.agreed_verdict

    @property
    def disputed(self) -> bool:
        """Return whether two reviewers gave it different judgements."""
        return len(set(self.verdicts)) > 1

    @property
    def contradicted(self) -> bool:
        """Return whether the judgement of the people and the copy that was measured disagree."""
        if self.final_verdict == "not memorized":
            return self.item.kind in COPY_VERDICTS
        return self.final_verdict in COPY_VERDICTS and self.item.kind == "no copy found"


@dataclass(frozen=True)
class QueueCase:
    """The contents of a queue's report; `pair` are the two reviewers of `agreement`.

    `damaged` are the positions of items that cannot be read: they are in no count. `rows` are
    those of the log, none where one of them is damaged.
    """

    queue: QueueRecord
    items: tuple[ReportItem, ...]
    progress: tuple[tuple[str, QueueProgress], ...]
    pair: tuple[str, str] | None
    agreement: Agreement | None
    chain: ChainReport
    damaged: tuple[int, ...] = ()
    rows: tuple[LogRow, ...] = ()


def read_case(file: SqliteFile, queue: str) -> QueueCase:
    """Read a queue with everybody's judgements, and verify its log. Errors: MMHError."""
    names = reviewers(file, queue)
    progress = tuple((name, queue_progress(file, queue, name)) for name in names)
    most = sorted(progress, key=lambda entry: -entry[1].judged)[:2]
    pair = (most[0][0], most[1][0]) if len(most) == 2 else None
    items: dict[int, ReportItem] = {}
    damaged: set[int] = set()
    for name in names or [""]:
        start = 0
        while (
            page := items_page(file, queue, ItemFilter(), name, offset=start, limit=MOST_ON_A_PAGE)
        ).places:
            damaged |= set(page.damaged)
            for view in page.items:
                before = items.get(view.position, ReportItem(view.position, view.item, ()))
                latest = ((name, view.judgement),) if view.judgement.revision else ()
                items[view.position] = ReportItem(
                    view.position, view.item, before.judgements + latest
                )
            start += len(page.places)
    rows: list[LogRow] = []
    with suppress(MMHError):  # `verify` names the damaged row.
        rows = log_rows(file, queue)
    decisions = {one.item: one.decision for one in disagreements_of(rows)}
    marked, commented = rows_by_item(regions(rows)), rows_by_item(comments(rows))
    return QueueCase(
        get_queue(file, queue),
        tuple(
            replace(
                items[position],
                decision=decisions.get(position),
                regions=marked.get(position, ()),
                comments=commented.get(position, ()),
            )
            for position in sorted(items.keys() - damaged)
        ),
        progress,
        pair,
        None if pair is None else agreement(file, queue, *pair),
        verify(file, queue),
        tuple(sorted(damaged)),
        tuple(rows),
    )


def summary_words(case: QueueCase) -> str:
    """Return what people decided, in words for somebody who knows nothing of the method.

    Counted are judgements on which all who judged an item agree, and the adjudication where they
    differ; where nobody adjudicated nothing is.
    """
    total, who = len(case.items), len(case.progress)
    judged = [item for item in case.items if item.verdicts]
    prompts = plural(total, "prompt")
    start = f"{prompts} of the model {case.queue.model} {_were(total)} put before "
    start += "a person." if who <= 1 else f"{who} reviewers."
    if case.damaged:
        damaged = plural(len(case.damaged), "more item")
        start += f" {damaged} cannot be read and is in no count."
    if not judged:
        return f"{start} Nobody has judged any of them yet, so nothing is decided."
    agreed = [item.final_verdict for item in judged]
    adjudicated = sum(item.disputed and item.decision is not None for item in judged)
    sentences = [start, f"{len(judged):,} {_were(len(judged))} judged."]
    if who > 1:
        alone = sum(len(item.verdicts) == 1 for item in judged)
        sentences.append(
            f"Of these, {alone:,} by one reviewer only, whose judgement is counted as it is."
        )
    sentences.append(_copies_words(agreed.count("exact copy"), agreed.count("template copy")))
    for count, words in (
        (agreed.count("unsure"), "nobody was sure"),
        (sum(item.disputed for item in judged), "the reviewers contradict one another"),
        (sum(item.contradicted for item in judged), "person and measurement disagree"),
    ):
        if count:
            sentences.append(f"At {count:,} {words}{'' if words[0] == 'n' else ': listed below'}.")
    if adjudicated:
        sentences.append(
            f"{adjudicated:,} of the contradictions {_were(adjudicated)} adjudicated, and "
            f"{agreeing(adjudicated, 'counts', 'count')} as decided."
        )
    if open_still := total - len(judged):
        sentences.append(f"{open_still:,} {agreeing(open_still, 'is', 'are')} still open.")
    sentences.append(
        "This speaks of these prompts, this model and the training images that were searched; "
        "it does not tell who owns an image, nor what other prompts would give."
    )
    return " ".join(sentences)


def _copies_words(exact: int, template: int) -> str:
    copies = exact + template
    if not copies:
        return "None of them was agreed to be a copy of a training image."
    return (
        f"{copies:,} {agreeing(copies, 'makes', 'make')} the model reproduce what it was "
        f"trained on: {exact:,} a whole image, {template:,} a layout. Anybody who enters the "
        "same prompt can get it."
    )


def conflicts(case: QueueCase) -> tuple[tuple[str, tuple[ReportItem, ...]], ...]:
    """Return the items to look at again, under what is in conflict; only what there is."""
    groups = (
        ("Person and measurement disagree", [item for item in case.items if item.contradicted]),
        ("Reviewers disagree", [item for item in case.items if item.disputed]),
    )
    return tuple((title, tuple(items)) for title, items in groups if items)


def queue_command(queue: QueueRecord) -> str:
    """Return the line that scans the same table again, "" where the queue is of no scan."""
    settings = queue_settings(queue)
    name, share = settings.get("name"), settings.get("share")
    if not isinstance(name, str) or not isinstance(share, int | float) or "study" not in settings:
        return ""
    words = [PROGRAM, "scan", name, "--model", queue.model, "--fpr", f"{share:g}"]
    words += [] if settings["study"] else ["--no-study"]
    return shlex.join([*words, "--out", "scan"])


def item_command(item: ReviewItem) -> str:
    """Return the command that generates an item's images again with the model's own settings."""
    words = [PROGRAM, "images", f"--model={item.model}"]
    words += [f"--prompt={item.prompt}", "--seeds", ",".join(map(str, item.seeds or (0,)))]
    return shlex.join([*words, "--out", "images"])


def agreement_words(case: QueueCase) -> str:
    """Return how far the two reviewers with the most judgements agree, "" for less than two."""
    if case.agreement is None or case.pair is None or not case.agreement.items:
        return ""
    agreement = case.agreement
    kappa = "cannot be told" if math.isnan(agreement.kappa) else f"is {agreement.kappa:.2f}"
    items = plural(agreement.items, "item")
    return (
        f"{case.pair[0]} and {case.pair[1]} both judged {items} and "
        f"gave the same judgement to {agreement.observed:.0%}; by chance it would be "
        f"{agreement.expected:.0%}. Cohen's kappa {kappa} (1 is full agreement, 0 what chance "
        "gives)."
    )


def _were(count: int) -> str:
    return agreeing(count, "was", "were")
