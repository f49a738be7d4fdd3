"""An adjudication decides an item on which reviewers differ, and changes nobody's judgement."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmh_core.records import MMHError
from mmh_core.store.adjudication import adjudicate, disagreements
from mmh_core.store.case_export import export_case
from mmh_core.store.case_import import import_case
from mmh_core.store.item_search import get_item
from mmh_core.store.log_chain import verify
from mmh_core.store.queues import create_queue, queue_progress, reviewers
from mmh_core.store.remarks import mark_region
from mmh_core.store.review_log import JudgedMeanwhile, ReviewTarget, judge, log_rows, undo
from mmh_core.store.review_records import ReviewItem, ReviewVerdict
from mmh_core.store.review_schema import open_queues
from mmh_core.store.sqlite_file import SqliteFile


@pytest.fixture
def store(tmp_path: Path) -> tuple[SqliteFile, str]:
    """Three items: on the first two reviewers differ, the third one skipped."""
    file = open_queues(tmp_path / "review.sqlite")
    items = [ReviewItem(f"prompt {i}", (0,), "m", "", more=(("row", f"{i + 1}"),)) for i in (0, 1)]
    items.append(ReviewItem("prompt 2", (0,), "m", ""))
    queue = create_queue(file, "q", model="m", model_sha256="", items=items).id
    said: dict[str, tuple[ReviewVerdict, ...]] = {
        "ann": ("exact copy", "unsure", "skip"),
        "bob": ("not memorized", "unsure", "exact copy"),
    }
    for name, verdicts in said.items():
        for item, verdict in enumerate(verdicts, start=1):
            judge(file, ReviewTarget(queue, item, name, 0, "typed name", 2.5), verdict)
    return file, queue


def test_what_differs_is_listed_and_decided_with_a_reason(store: tuple[SqliteFile, str]) -> None:
    file, queue = store
    [one] = disagreements(file, queue)
    assert (one.item, one.decision) == (1, None)
    assert one.verdicts == (("ann", "exact copy"), ("bob", "not memorized"))
    place = ReviewTarget(queue, 1, "cy", one.revision, "signed in")
    with pytest.raises(MMHError, match="reason of the adjudication is empty"):
        adjudicate(file, place, "exact copy", " ")
    with pytest.raises(ValueError, match="decides nothing"):
        adjudicate(file, place, "skip", "why")
    row = adjudicate(file, place, "exact copy", "same face")
    assert (row.role, row.after, row.notes, row.identified) == (
        *("adjudicator", "exact copy", "same face"),
        "signed in",
    )
    [one] = disagreements(file, queue)
    assert one.decision == row
    # Nobody's own judgement is another one now, and who decides is no third reviewer.
    assert get_item(file, queue, 1, "bob").judgement.verdict == "not memorized"
    assert reviewers(file, queue) == ["ann", "bob"] and verify(file, queue).whole
    # A second thought builds on the first, and undo of a reviewer does not reach it.
    again = adjudicate(file, ReviewTarget(queue, 1, "bob", row.number), "unsure", "on reflection")
    assert (again.before, again.after) == ("exact copy", "unsure")
    undone = undo(file, queue, "bob", identified="typed name")
    assert undone is not None and (undone.item, undone.identified) == (3, "typed name")
    assert verify(file, queue).whole


def test_only_what_was_seen_and_differs_is_decided(store: tuple[SqliteFile, str]) -> None:
    file, queue = store
    with pytest.raises(MMHError, match="item 2 do not differ"):
        adjudicate(file, ReviewTarget(queue, 2, "cy", 5), "exact copy", "x")
    [one] = disagreements(file, queue)
    seen = get_item(file, queue, 1, "ann").judgement.revision
    judge(file, ReviewTarget(queue, 1, "ann", seen), "template copy")
    with pytest.raises(JudgedMeanwhile, match="1 row about item 1 came in since"):
        adjudicate(file, ReviewTarget(queue, 1, "cy", one.revision), "exact copy", "x")
    judge(file, ReviewTarget(queue, 1, "ann", 7), "not memorized")
    assert disagreements(file, queue) == []


def test_time_and_identification_are_in_the_log_and_travel(
    store: tuple[SqliteFile, str], tmp_path: Path
) -> None:
    file, queue = store
    [one] = disagreements(file, queue)
    adjudicate(file, ReviewTarget(queue, 1, "cy", one.revision), "exact copy", "x")
    assert {(row.identified, row.seconds) for row in log_rows(file, queue)[:6]} == {
        ("typed name", 2.5)
    }
    export_case(file, queue, tmp_path, tmp_path / "case.zip")
    there = open_queues(tmp_path / "there.sqlite")
    import_case(there, tmp_path / "case.zip", tmp_path / "runs")
    assert log_rows(there, queue) == log_rows(file, queue)
    assert get_item(there, queue, 2, "").item.more == (("row", "2"),)
    assert disagreements(there, queue) == disagreements(file, queue)
    assert queue_progress(there, queue, "cy").judged == 0


def test_a_mark_of_a_reviewer_takes_no_judgement_back(store: tuple[SqliteFile, str]) -> None:
    file, queue = store
    [before] = disagreements(file, queue)
    row = mark_region(file, ReviewTarget(queue, 1, "ann", 0), "training image 1", (0, 0, 1, 1))
    [after] = disagreements(file, queue)
    assert after.verdicts == before.verdicts and after.decision is None
    # Whoever adjudicates has to have seen it.
    assert (before.revision, after.revision) == (4, row.number)
