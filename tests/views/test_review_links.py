"""Links to a filtered queue: what was chosen comes back, and a link is not believed."""

from __future__ import annotations

import math
from urllib.parse import parse_qs, urlencode

from hypothesis import given
from hypothesis import strategies as st

from mmh_core.store.item_search import ItemFilter
from mmh_core.store.review_records import REVIEW_VERDICTS
from tests.views.pages import captions, pages_html, said, sound
from tests.views.test_app_review import opened
from tests.views.test_app_review import queue as queue
from views.review.links import DEFAULTS, ORDERS, UNJUDGED, filter_link, item_filter, read_filter

CAUSES = ("", "DD-Mem", "a, b & c=d")
KINDS = ("exact copy", "no copy found", "ä ~ #")
#: Texts as the field gives them: without halves of characters, which no browser sends.
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


def some(known: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(known), unique=True)


VALUES = st.fixed_dictionaries(
    {
        "text": TEXTS,
        "verdicts": some((UNJUDGED, *REVIEW_VERDICTS)),
        "kinds": some(KINDS),
        "causes": some(CAUSES),
        "least": st.none() | st.integers(-(10**6), 10**6).map(lambda n: n / 8),
        "most": st.none() | st.integers(-(10**6), 10**6).map(lambda n: n / 8),
        "order": st.sampled_from(list(ORDERS)),
        "descending": st.booleans(),
        "mine": st.booleans(),
    }
)


@given(VALUES)
def test_a_link_restores_every_filter(values: dict[str, object]) -> None:
    address = urlencode(filter_link(values), doseq=True)
    refused: list[str] = []
    again = read_filter(parse_qs(address, keep_blank_values=True), CAUSES, KINDS, refused)
    assert refused == []
    assert again == values
    assert item_filter(again) == item_filter(values)


@given(
    st.dictionaries(
        st.sampled_from(
            ["text", "verdict", "kind", "cause", "from", "to", "order", "descending", "mine"]
        ),
        st.lists(TEXTS, max_size=3),
    )
)
def test_any_link_is_a_filter_or_a_sentence(link: dict[str, list[str]]) -> None:
    refused: list[str] = []
    found = item_filter(read_filter(link, CAUSES, KINDS, refused))
    assert set(found.causes) <= set(CAUSES) and set(found.kinds) <= set(KINDS)
    assert not math.isnan(found.least) and not math.isnan(found.most)
    strange = [one for one in dict.fromkeys(link.get("cause", [])) if one not in CAUSES]
    assert sum("has the cause" in one for one in refused) == len(strange)


def test_without_a_filter_the_link_says_nothing() -> None:
    assert filter_link(DEFAULTS) == {}
    assert item_filter(read_filter({}, CAUSES, KINDS, [])) == ItemFilter()


def test_a_filter_is_in_the_link_and_the_link_opens_it_again(queue: object) -> None:
    app = opened(tab="table")
    sound(app.text_input(key="rv_text").set_value("plain").run())
    sound(app.number_input(key="rv_least").set_value(1.5).run())
    sound(app.multiselect(key="rv_verdicts").set_value([UNJUDGED, "unsure"]).run())
    sound(app.selectbox(key="rv_order").set_value("score").run())
    sound(app.checkbox(key="rv_descending").check().run())
    assert list(app.dataframe[0].value["item"]) == [6, 5]
    link = {name: app.query_params[name] for name in app.query_params}
    assert link["verdict"] == [UNJUDGED, "unsure"] and link["from"] == "1.5"
    again = opened(**link)
    assert list(again.dataframe[0].value["item"]) == [6, 5]
    assert again.text_input(key="rv_text").value == "plain"
    assert again.multiselect(key="rv_verdicts").value == [UNJUDGED, "unsure"]
    # What the link said first does not come back once the filter is loosened.
    sound(again.text_input(key="rv_text").set_value("").run())
    sound(again.number_input(key="rv_least").set_value(None).run())
    assert len(again.dataframe[0].value) == 6
    assert "text" not in again.query_params and "from" not in again.query_params


def test_a_link_may_open_blind_and_a_wrong_one_is_told(queue: object) -> None:
    app = opened(blind="1", item="1")
    assert "Similarity" not in pages_html(app) and app.query_params["blind"] == "1"
    app = opened(tab="table", kind="![x](http://x)", to="many", order="color", verdict="unsure")
    words = said(app).replace("\\", "").replace("\u2060", "")
    assert "No item here has the kind '![x](http://x)'" in words
    assert "to is 'many'" in words and "order is 'color'" in words
    assert "No item passes the filter" in words
    assert "http://x" not in captions(app)
