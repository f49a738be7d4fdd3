"""Queues hold what they were given, and a search finds what a plain loop finds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmh_core.records import MMHError
from mmh_core.store.agreement import agreement, agreement_of
from mmh_core.store.item_search import (
    FoundItem,
    ItemFilter,
    filter_choices,
    get_item,
    items_of_all_queues,
    items_page,
    next_item,
)
from mmh_core.store.queues import add_items, create_queue, get_queue, list_queues
from mmh_core.store.review_log import ReviewTarget, annotate, judge
from mmh_core.store.review_records import (
    REVIEW_VERDICTS,
    ItemView,
    Judgement,
    ReviewItem,
    ReviewVerdict,
)
from mmh_core.store.review_schema import open_queues
from mmh_core.store.sqlite_file import SqliteFile

PLAIN = ReviewItem("a fox", (0,), "pocket", "ab" * 32)
FULL = ReviewItem(
    *("Ünïcode ' \" \n=1", (3, 2**62), "pocket", "cd" * 32, 0.1, 12.625, 0.01, -0.5, 7),
    *("OD-Mem", "exact", (("norm", 1.5), ("other", 0.1)), "animal", "row 7"),
    *(("a", "b,c"), bytes(range(256)), "run-1.safetensors"),
)


def same(one: ReviewItem, other: ReviewItem) -> bool:
    """Compare items; NaN, which is not equal to itself, stands for nothing."""
    return repr(one) == repr(other)


@pytest.fixture
def file(tmp_path: Path) -> SqliteFile:
    return open_queues(tmp_path / "data" / "review.sqlite")


def make(file: SqliteFile, items: list[ReviewItem]) -> str:
    return create_queue(file, "q", model="pocket", model_sha256="ab" * 32, items=items).id


def test_items_of_all_queues_are_found_newest_queue_first_with_their_total(
    file: SqliteFile,
) -> None:
    first, second = make(file, [PLAIN, FULL]), make(file, [FULL, replace(PLAIN, prompt="no 100%")])
    found, total = items_of_all_queues(file, "FOX", 5)
    assert (found, total) == ([FoundItem(first, "q", 1, "a fox")], 1)
    # In label, name and tags too.
    for text in ("animal", "row 7", "b,c"):
        found, total = items_of_all_queues(file, text, 1)
        assert total == 2 and [(one.queue, one.position) for one in found] == [(second, 1)]
    assert (
        items_of_all_queues(file, "0%", 5)[1] == 1 and items_of_all_queues(file, "1_0", 5)[1] == 0
    )


def test_items_come_back_as_they_were_given(file: SqliteFile) -> None:
    queue = make(file, [PLAIN, FULL])
    views = items_page(file, queue, ItemFilter(), "ann").items
    assert same(views[0].item, PLAIN)
    assert same(views[1].item, FULL)
    assert [view.item.sha256() for view in views] == [PLAIN.sha256(), FULL.sha256()]
    assert [view.position for view in views] == [1, 2]
    assert views[0].judgement == Judgement(time=views[0].judgement.time)


def test_digests_tell_items_apart_in_every_field() -> None:
    others = [
        replace(FULL, **{name: value})
        for name, value in {
            **{"prompt": "x", "seeds": (3,), "model": "x", "model_sha256": "x", "score": 0.2},
            **{"lid": 1.0, "lid_percentile": 0.5, "similarity": math.nan, "nearest": 8},
            **{"cause": "x", "kind": "x", "scores": (("norm", 1.5),), "label": "x", "name": "x"},
            **{"tags": ("a", "b", "c"), "thumbnail": b"x", "run": "x"},
        }.items()
    ]
    digests = {item.sha256() for item in [FULL, *others]}
    assert len(digests) == 1 + len(others) == 18


def test_numbers_that_a_file_cannot_hold_become_unknown_or_plain(file: SqliteFile) -> None:
    odd = replace(PLAIN, score=math.inf, lid=-0.0, similarity=1, scores=(("a", -math.inf),))
    queue = make(file, [odd])
    item = get_item(file, queue, 1, "ann").item
    expected = replace(PLAIN, lid=0.0, similarity=1.0, scores=(("a", math.nan),))
    assert same(item, expected)
    judge(file, ReviewTarget(queue, 1, "ann", 0), "unsure")
    from mmh_core.store.log_chain import verify

    assert verify(file, queue).whole


def test_adding_again_adds_nothing_and_a_failure_leaves_nothing(file: SqliteFile) -> None:
    queue = make(file, [PLAIN])
    assert add_items(file, queue, [PLAIN, FULL, FULL]) == 1
    assert get_queue(file, queue).items == 2
    with pytest.raises(MMHError, match="longer than 10,000"):
        add_items(file, queue, [replace(PLAIN, label="new"), replace(PLAIN, prompt="x" * 10_001)])
    assert get_queue(file, queue).items == 2
    with pytest.raises(MMHError, match="prompt is empty"):
        make(file, [replace(PLAIN, prompt=" ")])
    assert [entry.id for entry in list_queues(file)] == [queue]
    with pytest.raises(MMHError, match="A thumbnail has"):
        add_items(file, queue, [replace(PLAIN, thumbnail=bytes(2**17 + 1))])


def test_a_queue_that_is_too_long_is_refused(file: SqliteFile) -> None:
    items = [replace(PLAIN, prompt=str(i)) for i in range(4)]
    queue = make(file, [])
    with pytest.raises(MMHError, match="holds 3 items at most"):
        add_items(file, queue, items, most=3)
    # All or none.
    assert get_queue(file, queue).items == 0
    assert add_items(file, queue, items[:3], most=3) == 3


def test_unknown_queues_and_items_are_sentences(file: SqliteFile) -> None:
    with pytest.raises(MMHError, match="no queue 'x' here"):
        get_queue(file, "x")
    with pytest.raises(MMHError, match="no queue 'x' here"):
        items_page(file, "x", ItemFilter(), "ann")
    with pytest.raises(MMHError, match="no item 2"):
        get_item(file, make(file, [PLAIN]), 2, "ann")
    with pytest.raises(ValueError, match="A page of 501 items"):
        items_page(file, "x", ItemFilter(), "ann", limit=501)


WORDS = ["100% fox", "a_b", "fo!x", "FOX", "b"]
ITEMS = st.lists(
    st.builds(
        ReviewItem,
        st.sampled_from(WORDS),
        st.just((0,)),
        st.just("pocket"),
        st.just("ab" * 32),
        score=st.sampled_from([math.nan, 0.0, 0.25, 0.5, -1.0]),
        cause=st.sampled_from(["", "OD-Mem", "DD-Mem"]),
        kind=st.sampled_from(["exact", "template", "none"]),
        label=st.sampled_from(["", "fox_", "%"]),
    ),
    max_size=12,
)
FILTERS = st.builds(
    ItemFilter,
    least=st.sampled_from([-math.inf, 0.0, 0.25]),
    most=st.sampled_from([math.inf, 0.25]),
    causes=st.sampled_from([(), ("",), ("OD-Mem", "DD-Mem")]),
    kinds=st.sampled_from([(), ("exact", "none")]),
    verdicts=st.sampled_from([(), (None,), ("unsure", "skip"), (None, "unsure")]),
    text=st.sampled_from(["", "fox", "%", "_", "!", "'", "note", "tag"]),
    order=st.sampled_from(["position", "score"]),
    descending=st.booleans(),
)


def passes(view: ItemView, chosen: ItemFilter) -> bool:
    item, judgement = view.item, view.judgement
    texts = (item.prompt, item.label, item.name, *item.tags, judgement.notes, *judgement.tags)
    bounded = chosen.least > -math.inf or chosen.most < math.inf
    return (
        (not bounded or chosen.least <= item.score <= chosen.most)
        and (not chosen.causes or item.cause in chosen.causes)
        and (not chosen.kinds or item.kind in chosen.kinds)
        and (not chosen.verdicts or judgement.verdict in chosen.verdicts)
        and any(chosen.text.lower() in text.lower() for text in texts)
    )


def sort_key(view: ItemView, chosen: ItemFilter) -> tuple[bool, float, int]:
    value = view.item.score if chosen.order == "score" else float(view.position)
    unknown = math.isnan(value)
    return unknown, 0.0 if unknown else (-value if chosen.descending else value), view.position


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SqliteFile:
    return open_queues(tmp_path_factory.mktemp("search") / "review.sqlite")


@given(ITEMS, FILTERS, st.lists(st.sampled_from(REVIEW_VERDICTS), max_size=6), st.integers(0, 13))
@settings(max_examples=25, deadline=None)
def test_a_search_finds_what_a_plain_loop_finds(
    shared: SqliteFile,
    items: list[ReviewItem],
    chosen: ItemFilter,
    verdicts: list[ReviewVerdict],
    after: int,
) -> None:
    queue = make(shared, items)
    count = get_queue(shared, queue).items
    for position, verdict in zip(range(1, count + 1, 2), verdicts, strict=False):
        row = judge(shared, ReviewTarget(queue, position, "ann", 0), verdict)
        annotate(shared, ReviewTarget(queue, position, "ann", row.number), "a note", ["tag"])
        judge(shared, ReviewTarget(queue, position, "bob", 0), "exact copy")
    everything = [get_item(shared, queue, i + 1, "ann") for i in range(count)]
    ordered = sorted(everything, key=lambda view: sort_key(view, chosen))
    expected = [view.position for view in ordered if passes(view, chosen)]
    page = items_page(shared, queue, chosen, "ann", offset=1, limit=4)
    assert [view.position for view in page.items] == expected[1:5]
    assert page.total == len(expected)
    # The next one to judge: round the order, starting behind `after`.
    places = [view.position for view in ordered]
    turned = places
    if after in places:
        turned = places[places.index(after) + 1 :] + places[: places.index(after) + 1]
    judged = {view.position for view in everything if view.judgement.verdict}
    left = [place for place in turned if place in expected and place not in judged]
    found = next_item(shared, queue, chosen, "ann", after=after)
    assert (found and found.position) == (left[0] if left else None)


def test_the_next_item_is_looked_for_round_the_queue_until_all_are_judged(
    file: SqliteFile,
) -> None:
    queue = make(file, [replace(PLAIN, prompt=str(i), score=s) for i, s in enumerate((0.5, 1, 0))])
    by_score = ItemFilter(order="score", descending=True)

    def following(after: int) -> int | None:
        found = next_item(file, queue, by_score, "ann", after=after)
        return None if found is None else found.position

    assert [following(after) for after in (0, 2, 1, 3, 99)] == [2, 1, 3, 2, 2]
    judge(file, ReviewTarget(queue, 2, "ann", 0), "unsure")
    assert [following(after) for after in (0, 2, 1, 3)] == [1, 1, 3, 1]
    for position in (1, 3):
        judge(file, ReviewTarget(queue, position, "ann", 0), "skip")
    assert following(3) is None


def test_per_cent_signs_and_underscores_are_looked_for_as_they_are(file: SqliteFile) -> None:
    queue = make(file, [replace(PLAIN, prompt=text) for text in ("100% fox", "a_b", "a!b", "axb")])
    found = {
        text: [v.position for v in items_page(file, queue, ItemFilter(text=text), "a").items]
        for text in ("%", "_", "!", "a_b", "FOX", "x")
    }
    assert found == {"%": [1], "_": [2], "!": [3], "a_b": [2], "FOX": [1], "x": [1, 4]}


def test_the_choices_of_a_filter_are_those_in_the_queue(file: SqliteFile) -> None:
    queue = make(file, [PLAIN, FULL, replace(FULL, cause="DD-Mem")])
    assert filter_choices(file, queue) == (("", "DD-Mem", "OD-Mem"), ("", "exact"))


E, T, N, U = REVIEW_VERDICTS[:4]


@pytest.mark.parametrize(
    ("first", "second", "observed", "expected", "kappa"),
    [
        ([E, T, N, U], [E, T, N, U], 1.0, 0.25, 1.0),  # Perfect.
        # Independent: every pair of verdicts once, so agreement is as by chance.
        ([E, E, N, N], [E, N, E, N], 0.5, 0.5, 0.0),
        ([E, N], [N, E], 0.0, 0.5, -1.0),  # Always contrary.
        # Cohen's form by hand: p_o = 35/50, p_e = (25 * 30 + 25 * 20) / 2500 = 0.5.
        ([E] * 25 + [N] * 25, [E] * 20 + [N] * 5 + [E] * 10 + [N] * 15, 0.7, 0.5, 0.4),
    ],
)
def test_kappa_has_its_closed_forms(
    first: list[ReviewVerdict],
    second: list[ReviewVerdict],
    observed: float,
    expected: float,
    kappa: float,
) -> None:
    found = agreement_of(first, second)
    # A few roundings of quotients of small whole numbers.
    assert found.kappa == pytest.approx(kappa, abs=1e-12)
    assert (found.items, found.observed) == (len(first), observed)
    assert found.expected == pytest.approx(expected, abs=1e-15)
    assert sum(count for _, _, count in found.counts) == len(first)
    assert agreement_of(second, first).kappa == pytest.approx(found.kappa, abs=1e-12)


def test_kappa_is_undefined_without_items_and_without_variety() -> None:
    assert math.isnan(agreement_of([], []).kappa)
    same = agreement_of([E, E, E], [E, E, E])
    assert (same.observed, same.expected) == (1.0, 1.0)
    assert math.isnan(same.kappa)
    with pytest.raises(ValueError, match="argument 2"):
        agreement_of([E], [])


def test_agreement_is_over_what_both_judged_and_neither_skipped(file: SqliteFile) -> None:
    queue = make(file, [replace(PLAIN, prompt=str(i)) for i in range(6)])
    said: dict[str, list[ReviewVerdict]] = {
        "ann": [E, N, E, "skip", T],
        "bob": [E, N, N, E, "skip", U],
    }
    for reviewer, verdicts in said.items():
        for position, verdict in enumerate(verdicts, start=1):
            judge(file, ReviewTarget(queue, position, reviewer, 0), verdict)
    found = agreement(file, queue, "ann", "bob")
    assert found == agreement_of([E, N, E], [E, N, N])
    assert found.counts == ((E, E, 1), (E, N, 1), (N, N, 1))
    assert math.isnan(agreement(file, queue, "ann", "nobody").kappa)
