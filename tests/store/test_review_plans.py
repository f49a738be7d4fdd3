"""A plan gives a queue labels of its own and shares its items out, so that each is judged."""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import pytest

from mmh_core.installation import assets
from mmh_core.records import MMHError
from mmh_core.store import case_import
from mmh_core.store.case_export import export_case
from mmh_core.store.case_import import import_case
from mmh_core.store.item_search import ItemFilter, Share, item_places, next_item
from mmh_core.store.queues import create_queue, list_queues
from mmh_core.store.review_plans import (
    MOST_REVIEWERS,
    ReviewPlan,
    checked_plan,
    plans_folder,
    read_plan,
    remove_plan,
    write_plan,
)
from mmh_core.store.review_records import ReviewItem
from mmh_core.store.review_schema import open_queues
from mmh_core.store.sqlite_file import SqliteFile

DEMONSTRATION = assets() / "review" / "demonstration.zip"


@pytest.mark.parametrize("each", [1, 2])
def test_every_item_is_for_as_many_reviewers_as_wanted(tmp_path: Path, each: int) -> None:
    file = open_queues(tmp_path / "review.sqlite")
    items = [ReviewItem(f"prompt {i}", (0,), "m", "") for i in range(7)]
    queue = create_queue(file, "q", model="m", model_sha256="", items=items).id
    plan = ReviewPlan((), ("ann", "bob", "cy"), each)
    of = {
        name: item_places(file, queue, ItemFilter(share=plan.share_of(name)), name)
        for name in plan.reviewers
    }
    assert Counter(place for places in of.values() for place in places) == dict.fromkeys(
        range(1, 8), each
    )
    if each == 1:
        assert of == {"ann": [1, 4, 7], "bob": [2, 5], "cy": [3, 6]}
    found = next_item(file, queue, ItemFilter(share=plan.share_of("cy")), "cy")
    assert found is not None and found.position == of["cy"][0]


def test_who_is_not_named_or_judges_all_has_no_share() -> None:
    plan = ReviewPlan((), ("ann", "bob"), 1)
    assert plan.share_of("bob") == Share(1, 2, 1) and plan.share_of("cy") is None
    assert ReviewPlan((), ("ann", "bob"), 2).share_of("bob") is None
    assert ReviewPlan().share_of("ann") is None


def test_a_plan_comes_back_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    assert read_plan(tmp_path, "q1") == ReviewPlan()
    plan = checked_plan(["trademark", "private person", "trademark"], ["Änn", "bob"], 1)
    assert plan == ReviewPlan(("trademark", "private person"), ("Änn", "bob"), 1)
    write_plan(tmp_path / "new", "q1", plan)
    assert read_plan(tmp_path / "new", "q1") == plan
    assert read_plan(tmp_path / "new", "q2") == ReviewPlan()
    (tmp_path / "new" / "q1.json").write_text('{"labels": 3}')
    assert read_plan(tmp_path / "new", "q1") == ReviewPlan()
    remove_plan(tmp_path / "new", "q1")
    remove_plan(tmp_path / "new", "../q1")
    assert not list((tmp_path / "new").iterdir())
    with pytest.raises(ValueError, match="no id"):
        read_plan(tmp_path, "../away")
    with pytest.raises(MMHError, match="at most 30 labels"):
        checked_plan([str(number) for number in range(31)], [], 0)


PLAN = ReviewPlan(("trademark", "Größe"), ("ann", "bob"), 1)


def queue_in(folder: Path) -> tuple[SqliteFile, str]:
    file = open_queues(folder / "review.sqlite")
    items = [ReviewItem("a fox", (0,), "m", "")]
    return file, create_queue(file, "q", model="m", model_sha256="", items=items).id


def exported(folder: Path, plan: ReviewPlan) -> tuple[str, Path]:
    """Return the id of a queue with this plan, and its case."""
    file, queue = queue_in(folder)
    write_plan(plans_folder(folder), queue, plan)
    export_case(file, queue, folder / "runs", folder / "case.zip", plans=plans_folder(folder))
    return queue, folder / "case.zip"


def imported(folder: Path, case: Path) -> ReviewPlan:
    """Import a case into a new data folder and return the plan of its queue."""
    file = open_queues(folder / "review.sqlite")
    record = import_case(file, case, folder / "runs", plans=plans_folder(folder))
    return read_plan(plans_folder(folder), record.id)


def edited(case: Path, text: str) -> None:
    """Put another plan into a case, with a list of contents that fits it."""
    with ZipFile(case) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    data = entries["plan.json"] = f"{text}\n".encode()
    listed = json.loads(entries["contents.json"])
    listed["plan.json"] = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    entries["contents.json"] = f"{json.dumps(listed)}\n".encode()
    with ZipFile(case, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def form_of(case: Path) -> str:
    with ZipFile(case) as archive:
        return str(json.loads(archive.read("case.json"))["format"])


def test_a_plan_travels_with_its_case(tmp_path: Path) -> None:
    queue, case = exported(tmp_path / "here", PLAN)
    assert form_of(case) == "mmh-case-4"
    assert imported(tmp_path / "there", case) == PLAN
    # And from there as the same bytes.
    again = tmp_path / "again.zip"
    there = open_queues(tmp_path / "there" / "review.sqlite")
    plans = plans_folder(tmp_path / "there")
    export_case(there, queue, tmp_path, again, plans=plans)
    assert again.read_bytes() == case.read_bytes()
    # A case for others may leave it out, with the names in it.
    export_case(there, queue, tmp_path, again)
    assert b"Gr" not in again.read_bytes() and form_of(again) == "mmh-case-2"


def test_a_case_without_a_plan_opens_in_earlier_versions_and_theirs_in_this_one(
    tmp_path: Path,
) -> None:
    queue, case = exported(tmp_path / "here", ReviewPlan())
    assert form_of(case) == "mmh-case-2"
    with ZipFile(case) as archive:
        assert "plan.json" not in archive.namelist()
    # What a queue of this id left behind is not its plan.
    write_plan(plans_folder(tmp_path / "there"), queue, PLAN)
    assert imported(tmp_path / "there", case) == ReviewPlan()
    # The shipped case is of an earlier version.
    assert imported(tmp_path / "shipped", DEMONSTRATION) == ReviewPlan()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "a line that is no record"),
        ('{"labels": 3, "reviewers": [], "each": 0}', "labels"),
        ('{"labels": ["a,b"], "reviewers": [], "each": 0}', "holds a comma"),
        ('{"labels": ["\\u0007"], "reviewers": [], "each": 0}', "U+0007"),
        ('{"labels": [], "reviewers": [""], "each": 0}', "name of a reviewer is empty"),
        (json.dumps({"labels": [], "reviewers": [*map(str, range(51))], "each": 0}), "at most"),
        ('{"labels": [], "reviewers": [], "each": 0.5}', "each"),
        ('{"labels": [], "reviewers": [], "each": 0, "shift": 1}', "newer version of the app"),
        ("[" * 3000, "nested"),
        (" " * 2**21, "too large"),
    ],
)
def test_a_case_with_a_damaged_or_hostile_plan_leaves_nothing(
    tmp_path: Path, text: str, sentence: str
) -> None:
    _, case = exported(tmp_path / "here", PLAN)
    edited(case, text)
    file, plans = open_queues(tmp_path / "review.sqlite"), plans_folder(tmp_path)
    with pytest.raises(MMHError) as caught:
        import_case(file, case, tmp_path / "runs", plans=plans)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert list_queues(file) == [] and not plans.exists()


def test_a_number_of_reviewers_that_no_field_can_show_is_kept_within_bounds(
    tmp_path: Path,
) -> None:
    _, case = exported(tmp_path / "here", PLAN)
    edited(case, '{"labels": [], "reviewers": ["ann"], "each": 4611686018427387904}')
    assert imported(tmp_path / "there", case) == ReviewPlan((), ("ann",), MOST_REVIEWERS)


def test_an_import_that_fails_takes_the_plan_back_and_never_that_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, case = exported(tmp_path / "here", PLAN)
    file, plans = open_queues(tmp_path / "review.sqlite"), plans_folder(tmp_path)

    def fail(folder: Path) -> None:
        assert read_plan(plans, queue) == PLAN
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(case_import, "flush_folder", fail)
        with pytest.raises(MMHError, match="could not be written"):
            import_case(file, case, tmp_path / "runs", plans=plans)
    assert list_queues(file) == [] and list(plans.iterdir()) == []
    import_case(file, case, tmp_path / "runs", plans=plans)
    # A second import that began before the first one had ended.
    with monkeypatch.context() as patched:
        patched.setattr(case_import, "_has", lambda file, queue: False)
        with pytest.raises(MMHError):
            import_case(file, case, tmp_path / "runs", plans=plans)
    assert read_plan(plans, queue) == PLAN
