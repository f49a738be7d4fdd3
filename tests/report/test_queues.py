"""The report counts what reviewers agree on, and names where they or the figures disagree."""

from __future__ import annotations

from pathlib import Path

from mmh_core.report import queue_report, read_case
from mmh_core.report.queue_case import conflicts, summary_words
from mmh_core.store.queues import create_queue
from mmh_core.store.review_records import ReviewItem, ReviewVerdict
from mmh_core.store.review_schema import open_queues
from mmh_core.store.sqlite_file import SqliteFile
from mmh_core.store.verdicts import ReviewTarget, judge

KINDS = ("exact copy", "no copy found", "template copy", "no copy found", "likely copy", "")
SAID: dict[str, dict[int, ReviewVerdict]] = {
    "ann": {1: "exact copy", 2: "exact copy", 3: "not memorized", 4: "not memorized", 5: "skip"},
    "bob": {1: "exact copy", 2: "not memorized", 3: "not memorized", 6: "unsure"},
}


def judged(path: Path, said: dict[str, dict[int, ReviewVerdict]]) -> tuple[SqliteFile, str]:
    file = open_queues(path / "review.sqlite")
    items = [
        ReviewItem(f"<b>{i}", (0,), "m", "", kind=kind, similarity=0.998)
        for i, kind in enumerate(KINDS)
    ]
    queue = create_queue(file, "Q", model="m", model_sha256="", items=items).id
    for name, verdicts in said.items():
        for item, verdict in verdicts.items():
            judge(file, ReviewTarget(queue, item, name, 0), verdict)
    return file, queue


def test_the_summary_counts_agreed_verdicts_and_conflicts(tmp_path: Path) -> None:
    case = read_case(*judged(tmp_path, SAID))
    words = summary_words(case)
    # Item 1 by both; item 2 is disputed; 3 agreed against the measurement; 4 and 6 by one.
    assert "1 makes the model reproduce what it was trained on: 1 a whole image, 0 a" in words
    assert "5 were judged. Of these, 2 by one reviewer only" in words
    assert "At 1 nobody was sure." in words
    assert "At 1 the reviewers contradict one another: listed below." in words
    assert "At 1 judgement and measurement disagree: listed below." in words
    assert "1 is still open" in words
    listed = {title: [one.position for one in items] for title, items in conflicts(case)}
    assert listed == {"Judgement and measurement disagree": [3], "Reviewers disagree": [2]}
    page = queue_report(case, lambda item: None)
    assert "<h2>Judgement and measurement disagree</h2>" in page
    assert "ann: exact copy; bob: not memorized" in page and "template copy, similarity" in page
    assert "<b>2" not in page and "&lt;b&gt;2" in page and case.chain.seal in page


def test_a_person_who_sees_a_copy_that_was_not_measured_disagrees(tmp_path: Path) -> None:
    case = read_case(
        *judged(tmp_path, {"ann": {1: "not memorized", 2: "template copy", 4: "skip"}})
    )
    [(title, items)] = conflicts(case)
    assert title == "Judgement and measurement disagree" and [i.position for i in items] == [1, 2]
    words = summary_words(case)
    assert "put before a person. 2 were judged. 1 makes" in words and "4 are still open" in words
    assert "reviewers contradict" not in words and "by one reviewer only" not in words


def test_without_conflicts_nothing_is_listed(tmp_path: Path) -> None:
    file, queue = judged(tmp_path, {"ann": {1: "exact copy", 2: "not memorized"}})
    case = read_case(file, queue)
    assert conflicts(case) == ()
    assert "Reviewers disagree" not in queue_report(case, lambda item: None)
    empty = judged(tmp_path / "empty", {})
    assert "Nobody has judged any of them yet" in summary_words(read_case(*empty))


def test_damaged_items_are_counted_and_the_rest_is_reported(tmp_path: Path) -> None:
    file, queue = judged(tmp_path, SAID)
    with file.transaction() as connection:
        connection.execute("DROP TRIGGER items_stay")
        connection.execute("UPDATE items SET seeds = '[' WHERE position = 1")
    case = read_case(file, queue)
    assert case.damaged == (1,) and len(case.items) == 5 and not case.chain.whole
    assert "1 more item cannot be read" in summary_words(case)
    assert "none, since the log is not whole" in queue_report(case, lambda item: None)
