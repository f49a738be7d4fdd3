"""What a threshold among reference prompts promises, and which texts are near-equal."""

from __future__ import annotations

import pytest
import torch

from mmh_core.records import MMHError
from mmh_core.subject.near_duplicate_prompts import near_duplicate_groups
from mmh_core.subject.reference_scores import (
    share_below,
    threshold_among,
    threshold_words,
    usable,
)


@pytest.mark.parametrize(("count", "share"), [(20, 0.01), (53, 0.01), (200, 0.01), (40, 0.1)])
def test_a_new_score_exceeds_the_threshold_as_often_as_is_said(count: int, share: float) -> None:
    """Of N exchangeable scores and one more, the k-th highest is exceeded k times in N + 1."""
    generator = torch.Generator().manual_seed(count)
    draws = torch.rand(20_000, count + 1, generator=generator)
    above = int(share * count)
    ordered = draws[:, :-1].sort(1).values
    assert threshold_among(ordered[0], share) == float(ordered[0, count - 1 - above])
    exceeded = (draws[:, -1] > ordered[:, count - 1 - above]).double().mean()
    every = (count + 1) / (above + 1)
    assert float(exceeded) == pytest.approx(1 / every, rel=0.15)
    words = threshold_words(share, count)
    assert f"about 1 in {every:.0f} new" in words
    assert ("above all" in words) == (count < 1 / share)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_no_normal_score(bad: float) -> None:
    scores = torch.tensor([3.0, bad, 1.0, 2.0])
    assert usable(scores, "LID").tolist() == [1.0, 2.0, 3.0]
    assert share_below(usable(scores, "LID"), torch.tensor([2.5]))[0] == pytest.approx(2 / 3)
    for lost in (torch.full((4,), bad), torch.tensor([bad, bad, bad, 1.0]), torch.empty(0)):
        with pytest.raises(MMHError, match="LID gave no number"):
            usable(lost, "LID")


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("portrait of Jonas Okonjo", "Portrait of Jonas Okonjo.", True),
        ("portrait of Jonas Okonjo", "a portrait of Jonas Okonjo", True),
        ("portrait of Jonas Okonjo", "portrait of Mira Halloran", False),
        ("the great wave off Kanagawa", "Great Wave off Kanagawa, print", True),
        ("the great wave off Kanagawa", "a small boat in the harbor", False),
        ("a", "a", True),
        ("", "x", False),
    ],
)
def test_near_equal_texts_are_one_group(one: str, other: str, *, alike: bool) -> None:
    others = ["portrait of Ada Lim", "portrait of Bo Quist", "portrait of Cy Tran", "the the"]
    groups = near_duplicate_groups([one, *others, other])
    assert any(0 in group and 5 in group for group in groups) == alike
    assert sorted(place for group in groups for place in group) == list(range(6))
    assert near_duplicate_groups([]) == []
