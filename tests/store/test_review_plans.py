"""A plan gives a queue labels of its own and shares its items out, so that each is judged."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mmh_core.records import MMHError
from mmh_core.store.item_search import ItemFilter, Share, item_places, next_item
from mmh_core.store.queues import create_queue
from mmh_core.store.review_plans import (
    ReviewPlan,
    checked_plan,
    read_plan,
    remove_plan,
    write_plan,
)
from mmh_core.store.review_records import ReviewItem
from mmh_core.store.review_schema import open_queues


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
