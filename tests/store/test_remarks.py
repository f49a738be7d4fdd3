"""Marks and comments on an item are sealed in the log, and change nobody's judgement."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from mmh_core.records import MMHError
from mmh_core.store.case_export import export_case
from mmh_core.store.case_import import import_case
from mmh_core.store.item_search import get_item
from mmh_core.store.log_chain import verify
from mmh_core.store.queues import create_queue, queue_progress, reviewers
from mmh_core.store.remarks import (
    add_comment,
    comments,
    generations,
    mark_region,
    record_generation,
    region_words,
    regions,
    remove_region,
    rows_by_item,
)
from mmh_core.store.review_checks import checked_row
from mmh_core.store.review_log import ReviewTarget, annotate, judge, log_rows, undo
from mmh_core.store.review_records import ReviewItem
from mmh_core.store.review_schema import open_queues
from mmh_core.store.sqlite_file import SqliteFile
from tests.store.test_review_tampering import tamper

IMAGE = "generated image of the item, seed 3"
REGION = (0.1, 0.25, 0.33333, 1.0)


@pytest.fixture
def store(tmp_path: Path) -> tuple[SqliteFile, str]:
    """Two items, of which one reviewer judged and annotated the first."""
    file = open_queues(tmp_path / "review.sqlite")
    items = [ReviewItem(f"prompt {i}", (3,), "m", "") for i in range(2)]
    queue = create_queue(file, "q", model="m", model_sha256="", items=items).id
    judge(file, ReviewTarget(queue, 1, "ann", 0), "exact copy")
    annotate(file, ReviewTarget(queue, 1, "ann", 1), "a face", ("later",))
    return file, queue


def at(queue: str, reviewer: str) -> ReviewTarget:
    return ReviewTarget(queue, 1, reviewer, 0, "typed name")


def test_rows_are_grouped_by_item_in_the_order_of_the_log(store: tuple[SqliteFile, str]) -> None:
    file, queue = store
    first, second = ReviewTarget(queue, 1, "ann", 0), ReviewTarget(queue, 2, "ann", 0)
    for target, text in ((second, "a"), (first, "b"), (second, "c")):
        add_comment(file, target, text)
    grouped = rows_by_item(comments(log_rows(file, queue)))
    notes = {item: [row.notes for row in rows] for item, rows in grouped.items()}
    assert notes == {1: ["b"], 2: ["a", "c"]}


def test_a_region_is_a_row_that_changes_no_judgement(store: tuple[SqliteFile, str]) -> None:
    file, queue = store
    before = get_item(file, queue, 1, "ann").judgement
    row = mark_region(file, at(queue, "ann"), IMAGE, REGION, " watermark ")
    assert (row.role, row.image, row.region) == ("mark", IMAGE, (0.1, 0.25, 0.3333, 1.0))
    assert (row.notes, row.tags, row.before, row.after) == ("watermark", (), None, None)
    assert row.identified == "typed name" and log_rows(file, queue)[-1] == row
    other = mark_region(file, at(queue, "bob"), IMAGE, (0, 0, 1, 1))
    assert get_item(file, queue, 1, "ann").judgement == before
    assert get_item(file, queue, 1, "bob").judgement.revision == 0
    # Who only marks is no reviewer, and what was judged can be judged again and undone.
    assert reviewers(file, queue) == ["ann"] and queue_progress(file, queue, "bob").judged == 0
    judge(file, ReviewTarget(queue, 1, "ann", before.revision), "unsure")
    undone = undo(file, queue, "ann")
    assert undone is not None and undone.after == "exact copy"
    assert regions(log_rows(file, queue)) == [row, other]
    assert verify(file, queue).whole
    words = "seed 3, from 10% to 33% of its width and 25% to 100% of its height"
    assert words in region_words(row.image, row.region)


def test_a_region_is_removed_by_who_marked_it_and_stays_in_the_log(
    store: tuple[SqliteFile, str],
) -> None:
    file, queue = store
    row = mark_region(file, at(queue, "ann"), IMAGE, REGION)
    for reviewer, number in (("bob", row.number), ("ann", 1)):
        with pytest.raises(MMHError, match="no region of yours"):
            remove_region(file, at(queue, reviewer), number)
    gone = remove_region(file, at(queue, "ann"), row.number)
    assert (gone.undoes, gone.region, gone.image) == (row.number, (), IMAGE)
    rows = log_rows(file, queue)
    assert regions(rows) == [] and row in rows and verify(file, queue).whole
    with pytest.raises(MMHError, match="no region of yours"):
        remove_region(file, at(queue, "ann"), row.number)


@pytest.mark.parametrize(
    "region", [(0.5, 0, 0.5, 1), (0, 0.7, 1, 0.2), (-0.1, 0, 1, 1), (0, 0, 1.1, 1), (0, 0, 1)]
)
def test_what_is_no_region_is_refused(
    store: tuple[SqliteFile, str], region: tuple[float, ...]
) -> None:
    file, queue = store
    with pytest.raises(ValueError, match="is no region of an image"):
        mark_region(file, at(queue, "ann"), IMAGE, region)
    assert len(log_rows(file, queue)) == 2


@pytest.mark.parametrize(
    "change",
    [
        "region = '[0.1, 0.25, 0.3333, 0.9]'",
        "region = 'nothing'",
        "image = 'training image 4'",
        "role = 'comment'",
        "notes = 'x'",
        "after = 'unsure'",
    ],
)
def test_a_changed_mark_is_found(store: tuple[SqliteFile, str], change: str) -> None:
    file, queue = store
    row = mark_region(file, at(queue, "ann"), IMAGE, REGION)
    assert verify(file, queue).whole
    tamper(file, f"UPDATE verdicts SET {change} WHERE number = {row.number}")
    assert verify(file, queue).bad_row == row.number


def test_comments_are_a_thread_that_travels_and_changes_no_judgement(
    store: tuple[SqliteFile, str], tmp_path: Path
) -> None:
    file, queue = store
    before = get_item(file, queue, 1, "ann").judgement
    first = add_comment(file, at(queue, "bob"), " is this\na logo? ")
    second = add_comment(file, at(queue, "ann"), "yes")
    assert (first.role, first.notes, first.reviewer) == ("comment", "is this\na logo?", "bob")
    assert (second.tags, second.before, second.after) == ((), None, None)
    assert get_item(file, queue, 1, "ann").judgement == before and reviewers(file, queue) == [
        "ann"
    ]
    with pytest.raises(MMHError, match="The comment is empty"):
        add_comment(file, at(queue, "ann"), " \n")
    rows = log_rows(file, queue, 1)
    assert comments(rows) == [first, second] and regions(rows) == []
    assert verify(file, queue).whole
    export_case(file, queue, tmp_path, tmp_path / "case.zip")
    elsewhere = open_queues(tmp_path / "other" / "review.sqlite")
    import_case(elsewhere, tmp_path / "case.zip", tmp_path / "other" / "runs")
    assert comments(log_rows(elsewhere, queue)) == [first, second]
    tamper(file, f"UPDATE verdicts SET notes = 'no' WHERE number = {second.number}")
    assert verify(file, queue).bad_row == second.number


def test_images_that_were_generated_later_are_rows_with_the_digest_of_their_run(
    store: tuple[SqliteFile, str], tmp_path: Path
) -> None:
    file, queue = store
    before, sealed = get_item(file, queue, 1, "ann"), verify(file, queue).seal
    row = record_generation(file, at(queue, "bob"), "ab" * 32, "2 images by m, seeds 0 and 1")
    assert (row.role, row.image, row.reviewer) == ("generation", "ab" * 32, "bob")
    # The item is as it was sealed; that more was to be seen from here on is in the log.
    assert get_item(file, queue, 1, "ann") == before and reviewers(file, queue) == ["ann"]
    now = verify(file, queue)
    assert now.whole and now.seal != sealed
    assert generations(log_rows(file, queue, 1)) == [checked_row(row)]
    assert comments([row]) == regions([row]) == []
    for wrong in ({"image": ""}, {"image": "run 5"}, {"notes": ""}, {"region": REGION}):
        with pytest.raises((ValueError, MMHError)):
            checked_row(replace(row, **wrong))
    export_case(file, queue, tmp_path, tmp_path / "case.zip")
    with zipfile.ZipFile(tmp_path / "case.zip") as case:
        assert json.loads(case.read("case.json"))["format"] == "mmh-case-3"
    elsewhere = open_queues(tmp_path / "other" / "review.sqlite")
    import_case(elsewhere, tmp_path / "case.zip", tmp_path / "other" / "runs")
    assert generations(log_rows(elsewhere, queue)) == [row]
    tamper(file, f"UPDATE verdicts SET image = '{'cd' * 32}' WHERE number = {row.number}")
    assert verify(file, queue).bad_row == row.number


def test_rows_of_older_versions_keep_their_digests(tmp_path: Path) -> None:
    file = open_queues(tmp_path / "review.sqlite")
    queue = create_queue(
        file, "q", model="m", model_sha256="", items=[ReviewItem("prompt", (3,), "m", "")]
    ).id
    judge(file, ReviewTarget(queue, 1, "ann", 0), "unsure")
    [row] = log_rows(file, queue)
    with file.transaction() as connection:
        for column in ("image", "region"):
            connection.execute(f"ALTER TABLE verdicts DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 4")
    again = open_queues(file.path)
    assert log_rows(again, queue) == [row] and verify(again, queue).whole
    assert (tmp_path / "review.sqlite.version-4").is_file()
    mark_region(again, at(queue, "bob"), IMAGE, REGION)
    assert verify(again, queue).whole


def test_a_case_carries_regions_and_stays_readable_without_any(
    store: tuple[SqliteFile, str], tmp_path: Path
) -> None:
    file, queue = store

    def exported() -> tuple[str, str]:
        export_case(file, queue, tmp_path, tmp_path / "case.zip")
        with zipfile.ZipFile(tmp_path / "case.zip") as case:
            form = json.loads(case.read("case.json"))["format"]
            return str(form), case.read("verdicts.jsonl").decode()

    form, rows = exported()
    assert form == "mmh-case-2" and "region" not in rows
    row = mark_region(file, at(queue, "ann"), IMAGE, REGION, "watermark")
    form, rows = exported()
    assert form == "mmh-case-3" and '"region": [0.1, 0.25, 0.3333, 1.0]' in rows
    elsewhere = open_queues(tmp_path / "other" / "review.sqlite")
    import_case(elsewhere, tmp_path / "case.zip", tmp_path / "other" / "runs")
    assert regions(log_rows(elsewhere, queue)) == [row] and verify(elsewhere, queue).whole


def test_rows_from_elsewhere_hold_what_a_mark_holds(store: tuple[SqliteFile, str]) -> None:
    file, queue = store
    row = checked_row(mark_region(file, at(queue, "ann"), IMAGE, REGION))
    checked_row(remove_region(file, at(queue, "ann"), row.number))
    comment = checked_row(add_comment(file, at(queue, "ann"), "why"))
    for empty in ({"notes": ""}, {"image": IMAGE}, {"region": (*REGION[:2], 0.5, 0.5)}):
        with pytest.raises((ValueError, MMHError)):
            checked_row(replace(comment, **empty))
    for change in (
        {"region": ()},
        {"region": (0.0, 0.0, 2.0, 1.0)},
        {"undoes": 1},
        {"image": ""},
        {"role": ""},
        {"after": "unsure"},
        {"tags": ("x",)},
        {"action": "verdict"},
    ):
        with pytest.raises((ValueError, MMHError)):
            checked_row(replace(row, **change))
