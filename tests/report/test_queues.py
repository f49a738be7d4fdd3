"""The report counts what reviewers agree on, and names where they or the figures disagree."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from mmh_core.report import queue_report, read_case
from mmh_core.report.queue_case import conflicts, summary_words
from mmh_core.report.queue_errors import error_sentences
from mmh_core.report.queue_people import identification, people
from mmh_core.store.adjudication import adjudicate, disagreements
from mmh_core.store.case_tables import queue_frame
from mmh_core.store.queues import add_items, create_queue
from mmh_core.store.remarks import add_comment, mark_region, record_generation
from mmh_core.store.review_log import ReviewTarget, judge
from mmh_core.store.review_records import ReviewItem, ReviewVerdict
from mmh_core.store.review_schema import open_queues
from mmh_core.store.sqlite_file import SqliteFile

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
    assert "At 1 person and measurement disagree: listed below." in words
    assert "1 is still open" in words
    listed = {title: [one.position for one in items] for title, items in conflicts(case)}
    assert listed == {"Person and measurement disagree": [3], "Reviewers disagree": [2]}
    page = queue_report(case, lambda item: None)
    assert "<h2>Person and measurement disagree</h2>" in page
    assert "ann: exact copy; bob: not memorized" in page and "template copy, similarity" in page
    assert "<b>2" not in page and "&lt;b&gt;2" in page and case.chain.seal in page


def test_a_person_who_sees_a_copy_that_was_not_measured_disagrees(tmp_path: Path) -> None:
    case = read_case(
        *judged(tmp_path, {"ann": {1: "not memorized", 2: "template copy", 4: "skip"}})
    )
    [(title, items)] = conflicts(case)
    assert title == "Person and measurement disagree" and [i.position for i in items] == [1, 2]
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


def test_an_adjudication_decides_and_is_told_with_its_reason(tmp_path: Path) -> None:
    file, queue = judged(tmp_path, SAID)
    [one] = disagreements(file, queue)
    assert read_case(file, queue).items[1].final_verdict is None
    assert "nobody has adjudicated yet" in queue_report(read_case(file, queue), lambda item: None)
    place = ReviewTarget(queue, 2, "cy & co", one.revision, "signed in")
    adjudicate(file, place, "template copy", "same <layout>")
    case = read_case(file, queue)
    assert case.items[1].final_verdict == case.items[1].verdict == "template copy"
    # Decided against the measurement, which had found no copy.
    assert case.items[1].contradicted and case.items[1].disputed
    words = summary_words(case)
    assert "2 make the model reproduce what it was trained on: 1 a whole image, 1 a" in words
    assert "1 of the contradictions was adjudicated, and counts as decided." in words
    page = queue_report(case, lambda item: None)
    assert "Adjudicated by cy &amp; co" in page and "same &lt;layout&gt;" in page
    assert "signed in with a password" in page and "1 adjudication" in page


def test_the_report_says_who_judged_how_they_were_known_and_for_how_long(tmp_path: Path) -> None:
    file, queue = judged(tmp_path, {"bob": {1: "exact copy"}})
    for item, seconds in ((1, 4.0), (2, 8.0), (3, 30.0)):
        place = ReviewTarget(queue, item, "ann", 0, "typed name", seconds)
        judge(file, place, "exact copy")
    case = read_case(file, queue)
    table = {row[0]: row for row in people(case.progress, case.rows)}
    assert table["ann"][1] == "typed the name, which nobody checked"
    assert table["ann"][5] == "8 s (4 to 30 s, 3 verdicts)"
    assert (table["bob"][1], table["bob"][5]) == ("not recorded", "not measured")
    judge(file, ReviewTarget(queue, 4, "ann", 0, "signed in", 4.0), "unsure")
    rows = read_case(file, queue).rows
    assert identification([row for row in rows if row.reviewer == "ann"]) == (
        "signed in with a password (1 row); typed the name, which nobody checked (3 rows)"
    )
    page = queue_report(read_case(file, queue), lambda item: None)
    assert "Identified by" in page and "8 s (4 to 30 s" not in page and "6 s (4 to 30 s" in page


def test_marked_regions_are_on_their_image_in_the_report_and_in_the_table(tmp_path: Path) -> None:
    file, queue = judged(tmp_path, {"ann": {2: "not memorized", 4: "not memorized"}})
    image = io.BytesIO()
    Image.new("RGB", (4, 4)).save(image, "PNG")
    item = ReviewItem("shown", (3,), "m", "", thumbnail=image.getvalue(), nearest=7)
    add_items(file, queue, [item])
    place = ReviewTarget(queue, 7, "bob", 0)
    mark_region(file, place, "generated image of the item, seed 3", (0.25, 0, 1, 0.5), "<i>logo")
    mark_region(file, place, "training image 7", (0, 0.1, 0.2, 0.4))
    # An item that everybody clears has a sheet all the same, where something is marked.
    mark_region(file, ReviewTarget(queue, 2, "ann", 0), "generated image, seed 5", (0, 0, 1, 1))
    case = read_case(file, queue)
    page = queue_report(
        case, lambda item: ("near", image.getvalue()) if item.nearest > 0 else None
    )
    first = 'style="left:25.00%;top:0.00%;width:75.00%;height:50.00%"><b>1</b>'
    second = 'style="left:0.00%;top:10.00%;width:20.00%;height:30.00%"><b>2</b>'
    generated, nearest = page.index('alt="Image generated'), page.index('alt="Nearest training')
    assert generated < page.index(first) < nearest < page.index(second)
    assert page.count("<h3>Marked regions</h3>") == 2 and "&lt;i&gt;logo" in page
    assert "seed 5, from 0% to 100% of its width" in page and "item 2</span>" in page
    assert ("bob", "none", "2 marked regions") in [
        (name, done, counts) for name, _, done, counts, *_ in people(case.progress, case.rows)
    ]
    cells = queue_frame(file, queue)["marked regions"]
    assert cells[6].startswith("bob: generated image of the item, seed 3, from 25% to 100%")
    assert cells[6].count(";") == 1 and "height: <i>logo" in cells[6] and cells[0] == ""


def test_comments_are_in_the_report_and_in_the_table(tmp_path: Path) -> None:
    file, queue = judged(tmp_path, {"ann": {2: "not memorized", 4: "not memorized"}})
    assert "comments" not in queue_frame(file, queue)
    add_comment(file, ReviewTarget(queue, 4, "bob", 0), "<i>sure?")
    add_comment(file, ReviewTarget(queue, 4, "ann", 0), "yes")
    case = read_case(file, queue)
    page = queue_report(case, lambda item: None)
    assert page.count("<h3>Comments of reviewers</h3>") == 1 and "item 4</span>" in page
    assert "item 2</span>" not in page
    assert page.index("&lt;i&gt;sure?") < page.index('<td class="text">yes</td>')
    assert ("bob", "none", "1 comment") in [
        (name, done, counts) for name, _, done, counts, *_ in people(case.progress, case.rows)
    ]
    [first, second] = queue_frame(file, queue)["comments"][3].split("\n")
    assert first.endswith("Z bob: <i>sure?") and second.endswith("Z ann: yes")


def test_images_generated_in_the_review_are_in_the_report_and_the_tables(tmp_path: Path) -> None:
    file, queue = judged(tmp_path, SAID)
    assert "generated during" not in queue_report(read_case(file, queue), lambda item: None)
    place = ReviewTarget(queue, 3, "cy", 0)
    record_generation(file, place, "ab" * 32, "2 images by <m>, seeds 0 and 1")
    case = read_case(file, queue)
    page = queue_report(case, lambda item: None)
    assert page.count("<h2>Images generated during the review</h2>") == 1
    assert "2 images by &lt;m&gt;, seeds 0 and 1" in page and "ab" * 32 in page
    assert ("cy", "none", "1 run of images") in [
        (name, done, counts) for name, _, done, counts, *_ in people(case.progress, case.rows)
    ]
    cells = queue_frame(file, queue)["generated in the review"]
    assert cells[2] == f"cy: 2 images by <m>, seeds 0 and 1; run {'ab' * 32}" and cells[0] == ""


def test_error_rates_are_those_of_the_threshold_and_of_decided_items(tmp_path: Path) -> None:
    file, queue = judged(tmp_path, SAID)
    words = error_sentences(read_case(file, queue))
    assert words[0].startswith("These items come from no scan") and words[1] == ""
    # Decided: items 1 and 3 were called copies, of which 3 is none; 4 agrees, 2 is disputed.
    assert (
        "called 2 decided items a copy; people judged 1 (50%, 95 % interval 1% to 99%)"
        in (words[2])
    )
    assert "found no copy at 1 decided item; people judged 0 (0%" in words[3]
    settings: dict[str, object] = {"share": 0.01, "flagged": True, "reach": "At most 1 % pass."}
    items = [ReviewItem(f"p {i}", (0,), "m", "") for i in range(4)]
    scanned = create_queue(
        file, "S", model="m", model_sha256="", settings=settings, items=items
    ).id
    for item, verdict in ((1, "not memorized"), (2, "exact copy"), (3, "unsure")):
        judge(file, ReviewTarget(scanned, item, "ann", 0), verdict)  # type: ignore[arg-type]
    words = error_sentences(read_case(file, scanned))
    assert words[0] == "At most 1 % pass."
    assert "Of 2 flagged prompts with a decided judgement, 1 (50%" in words[1]
    assert "copy; people judged none" in words[2]
    page = queue_report(read_case(file, scanned), lambda item: None)
    assert "Error rates at the threshold used" in page and "What this report cannot say" in page


def test_every_column_of_the_table_is_on_the_sheet_and_in_the_exports(tmp_path: Path) -> None:
    file = open_queues(tmp_path / "review.sqlite")
    item = ReviewItem("p", (0,), "m", "", name="P1", more=(("source", "crawl 7"), ("row", "3")))
    queue = create_queue(file, "Q", model="m", model_sha256="", items=[item]).id
    judge(file, ReviewTarget(queue, 1, "ann", 0, "typed name", 2.0), "exact copy")
    page = queue_report(read_case(file, queue), lambda item: None)
    assert "Table: source" in page and "crawl 7" in page
    [row] = queue_frame(file, queue).to_dict("records")
    assert (row["table source"], row["table row"]) == ("crawl 7", "3")
    assert (row["seconds of ann"], row["identification of ann"]) == (2.0, "typed name")
