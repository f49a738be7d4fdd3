"""The review page, as a person uses it, through Streamlit's own test harness."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from mmh_core.plots.marked_images import ImagePanel
from mmh_core.records import MMHError
from mmh_core.store.archive import save_record
from mmh_core.store.item_search import ItemFilter, get_item, items_page
from mmh_core.store.job_record import JobRecord
from mmh_core.store.log_chain import verify
from mmh_core.store.queues import add_items, create_queue
from mmh_core.store.remarks import generations, regions
from mmh_core.store.review_log import ReviewTarget, judge, log_rows
from mmh_core.store.review_plans import ReviewPlan
from mmh_core.store.review_records import QueueRecord, ReviewItem
from mmh_core.store.run_files import file_sha256
from mmh_core.studies.images.run import ImageConfig
from mmh_core.studies.review.items import run_item
from tests.drawn_runs import HOSTILE, drawn_run
from tests.views.pages import pages_html, sound
from views import kept_runs, session, subjects
from views.images import session as image_session
from views.review import generate, state
from views.review import session as review_session
from views.review.reviewer import digest
from views.review.zoom import drawn_region

PAGE = Path(__file__).parents[2] / "pages" / "review.py"
FIRST = "Reviewer 1"
RUN = "drawn.safetensors"


@pytest.fixture
def queue(tmp_path: Path, started_with: Callable[..., None]) -> Iterator[QueueRecord]:
    """Yield a queue of six items in an empty data folder: two of a run, four that only score.

    It stands for the demonstration, so that the page makes no other.
    """
    started_with("--data", tmp_path)
    yield filled()
    session.jobs().runner.shutdown()


def filled() -> QueueRecord:
    run = drawn_run()
    save_record(review_session.runs_folder() / RUN, run)
    items = [replace(run_item(run, i, file=RUN), score=9.0 - i) for i in range(2)]
    items += [
        # A list of prompts says which model, and not which weights.
        ReviewItem(f"plain prompt {i}", (0,), "pocket-sd", "", score=float(i), label="red")
        for i in range(4)
    ]
    return create_queue(
        review_session.queues(),
        f"Case {HOSTILE}"[:190],
        model="pocket-sd",
        model_sha256=run.sha256,
        settings={"demonstration": True},
        items=items,
    )


def opened(name: str = FIRST, **link: str | list[str]) -> AppTest:
    """Return the page in a new window of somebody who has said who they are, run once."""
    app = AppTest.from_file(str(PAGE), default_timeout=120)
    if name:
        app.session_state["rv_name"] = name
    for name, value in link.items():
        app.query_params[name] = value
    return sound(app.run())


def said(app: AppTest) -> str:
    return " ".join(m.value for m in (*app.error, *app.warning, *app.info, *app.success))


def captions(app: AppTest) -> str:
    return " ".join(c.value for c in app.caption).replace("\\", "")


def verdict_button(app: AppTest, letter: str) -> Button:
    [found] = [one for one in app.button if str(one.key).startswith(f"rv_give_{letter}_")]
    return found


def undo_button(app: AppTest) -> Button:
    [found] = [one for one in app.button if str(one.key).startswith("rv_undo_")]
    return found


def noted(app: AppTest, text: str = "seen elsewhere") -> AppTest:
    """Write a reason, which a verdict on an item without an image needs."""
    return sound(next(a for a in app.text_area if a.label == "Notes").set_value(text).run())


def give(app: AppTest, letter: str) -> AppTest:
    if verdict_button(app, letter).disabled:
        noted(app)
    return sound(verdict_button(app, letter).click().run())


def log(queue: QueueRecord) -> list[tuple[int, str | None, str | None, str]]:
    rows = log_rows(review_session.queues(), queue.id)
    return [
        (row.item, row.before, row.after, row.reviewer) for row in rows if row.action != "notes"
    ]


def test_one_key_is_verdict_and_next_and_undo_goes_back(queue: QueueRecord) -> None:
    app = opened()
    assert app.query_params["item"] == "1"
    give(app, "e")
    assert app.query_params["item"] == "2"
    give(app, "n")
    assert log(queue) == [(1, None, "exact copy", FIRST), (2, None, "not memorized", FIRST)]
    assert "Item 2: not memorized, recorded." in captions(app)
    sound(undo_button(app).click().run())
    assert app.query_params["item"] == "2"
    assert log(queue)[2] == (2, "not memorized", None, FIRST)
    # The keys that the buttons listen to are those that the page lists.
    for letter, words in zip("etnus", ("exact", "template", "not", "unsure", "skip"), strict=True):
        button = verdict_button(app, letter)
        assert button.proto.shortcut == letter
        assert button.label.lower().startswith(words)
        assert f"<span>{letter.upper()}</span>" in pages_html(app)


def test_the_last_verdict_ends_the_queue_and_arrows_step_without_one(queue: QueueRecord) -> None:
    app = opened()
    for _ in range(6):
        give(app, "s")
    assert "all are judged" in said(app)
    assert [row[0] for row in log(queue)] == [1, 2, 3, 4, 5, 6]
    again = opened(item="3")
    sound(again.button(key="rv_Next").click().run())
    assert again.query_params["item"] == "4"
    sound(again.button(key="rv_Previous").click().run())
    sound(again.button(key="rv_Previous").click().run())
    assert again.query_params["item"] == "2"
    assert len(log(queue)) == 6
    # Without an item in the link there is none left to show.
    assert "Every filtered item is judged" in said(opened())


def test_filters_say_what_comes_next(queue: QueueRecord) -> None:
    app = opened(tab="table")
    assert len(app.dataframe[0].value) == 6
    sound(app.text_input(key="rv_text").set_value("PLAIN").run())
    assert list(app.dataframe[0].value["item"]) == [3, 4, 5, 6]
    sound(app.number_input(key="rv_least").set_value(2.0).run())
    assert list(app.dataframe[0].value["item"]) == [5, 6]
    sound(app.text_input(key="rv_text").set_value("").run())
    sound(app.number_input(key="rv_least").set_value(None).run())
    sound(app.multiselect(key="rv_kinds").set_value(["exact copy"]).run())
    assert list(app.dataframe[0].value["item"]) == [1]
    sound(app.multiselect(key="rv_kinds").set_value([]).run())
    sound(app.selectbox(key="rv_order").set_value("score").run())
    sound(app.checkbox(key="rv_descending").check().run())
    assert list(app.dataframe[0].value["item"]) == [1, 2, 6, 5, 4, 3]
    judge(review_session.queues(), ReviewTarget(queue.id, 1, FIRST, 0), "unsure")
    sound(app.multiselect(key="rv_verdicts").set_value(["not judged yet"]).run())
    assert list(app.dataframe[0].value["item"]) == [2, 6, 5, 4, 3]
    sound(app.text_input(key="rv_text").set_value("nobody wrote this").run())
    assert "No item passes the filter" in said(app)


def test_blind_hides_the_figures_until_the_verdict(queue: QueueRecord) -> None:
    app = opened(item="1")
    assert "<span>0.970</span>" in pages_html(app) and "Similarity" in pages_html(app)
    sound(app.toggle(key="rv_blind").set_value(True).run())
    hidden = pages_html(app)
    assert "0.97" not in hidden and "Similarity" not in hidden and "LID" not in hidden
    # The images themselves stay.
    assert hidden.count("data:image/png;base64,") == 2
    give(app, "t")
    assert (
        "Measurements: early-scan score 9.00; highest similarity 0.970; mean LID 8.2"
        in captions(app)
    )
    # The next item is as blind as this one was.
    assert app.query_params["item"] == "2"
    assert "Similarity" not in pages_html(app)
    table = opened(tab="table")
    sound(table.toggle(key="rv_blind").set_value(True).run())
    known = table.dataframe[0].value.set_index("item")
    assert known.loc[1, "similarity"] == pytest.approx(0.97)
    assert known.loc[2:, "similarity"].isna().all() and known.loc[2:, "score"].isna().all()


def test_a_hostile_prompt_is_shown_and_never_obeyed(queue: QueueRecord) -> None:
    app = opened(item="2")
    assert get_item(review_session.queues(), queue.id, 2, FIRST).item.prompt == HOSTILE
    assert "&lt;img src=" in pages_html(app)
    assert '<img src="http' not in pages_html(app)
    everywhere = " ".join(
        m.value for m in (*app.markdown, *app.caption, *app.warning, *app.subheader)
    )
    assert "http://example.org" not in everywhere
    sound(app.toggle(key="rv_all").set_value(True).run())
    titles = [m.value for m in (*app.markdown, *app.subheader)]
    # The comparison stands once, among everything else that the images page shows.
    assert sum("Comparison with a training image" in one for one in titles) == 1
    assert any("nearest training images" in one for one in titles)
    assert '<img src="http' not in pages_html(app)


def test_two_windows_on_one_item_are_told_and_nothing_is_overwritten(queue: QueueRecord) -> None:
    one, other = opened(item="1"), opened(item="1")
    give(other, "e")
    give(one, "n")
    assert "was changed under the name" in said(one)
    assert log(queue) == [(1, None, "exact copy", FIRST)]
    # It looked at the item again, so now it counts.
    assert one.query_params["item"] == "1"
    give(one, "n")
    assert log(queue)[1] == (1, "exact copy", "not memorized", FIRST)


def test_notes_and_tags_are_recorded_with_or_without_a_verdict(queue: QueueRecord) -> None:
    app = opened(item="4")
    notes = next(area for area in app.text_area if area.label == "Notes")
    sound(notes.set_value("=cmd() looks like page 3").run())
    tags = next(field for field in app.text_input if field.label == "Tags")
    sound(tags.set_value("logo, seen before").run())
    give(app, "u")
    found = get_item(review_session.queues(), queue.id, 4, FIRST).judgement
    assert (found.verdict, found.notes) == ("unsure", "=cmd() looks like page 3")
    assert found.tags == ("logo", "seen before")
    assert verify(review_session.queues(), queue.id).whole
    # Another browser has them in the fields.
    again = opened(item="4")
    assert next(a for a in again.text_area if a.label == "Notes").value == found.notes


def test_a_field_that_says_its_text_again_is_no_entry_and_another_windows_text_stays(
    queue: QueueRecord,
) -> None:
    file = review_session.queues()
    app, other = opened(item="4"), opened(item="4")
    noted(app, "mine")
    before = len(log_rows(file, queue.id))
    # The browser of a run that was cut short sends a field's text once more.
    noted(app, "other text")
    noted(app, "mine")
    assert [row.notes for row in log_rows(file, queue.id)][before:] == ["other text", "mine"]
    noted(app, "mine")
    assert len(log_rows(file, queue.id)) == before + 2
    # Written from notes that are no longer the recorded ones: refused, and drawn anew.
    noted(other, "theirs")
    assert "was changed under the name" in said(other)
    assert next(a for a in other.text_area if a.label == "Notes").value == "mine"
    # A field beside them overwrites nothing.
    tags = next(field for field in other.text_input if field.label == "Tags")
    give(app, "u")
    sound(tags.set_value("a, b, a").run())
    found = get_item(file, queue.id, 4, FIRST).judgement
    assert (found.verdict, found.notes, found.tags) == ("unsure", "mine", ("a", "b"))


def test_without_a_name_nobody_judges(queue: QueueRecord) -> None:
    app = opened("")
    assert app.text_input(key="rv_reviewer").value == ""
    for written in ("", "  ", "a\x07b"):
        sound(app.text_input(key="rv_reviewer").set_value(written).run())
        assert "Enter your name in the sidebar" in said(app)
        assert all(verdict_button(app, letter).disabled for letter in "etnus")
        assert undo_button(app).disabled and "Enter your name" in verdict_button(app, "e").help
    assert log(queue) == [] and "by" not in app.query_params
    sound(app.text_input(key="rv_reviewer").set_value(" Ann ").run())
    give(app, "e")
    assert log(queue) == [(1, None, "exact copy", "Ann")]
    # The name stands beside the buttons, and its digest alone in the address.
    assert "as Ann" in [text.value for text in app.text]
    assert app.query_params["by"] == [digest("Ann")] or app.query_params["by"] == digest("Ann")
    # Whoever takes their name away judges no more.
    sound(app.text_input(key="rv_reviewer").set_value("").run())
    assert verdict_button(app, "s").disabled


def test_a_name_is_changed_only_after_a_question(queue: QueueRecord) -> None:
    app = opened("Ann")
    sound(app.text_input(key="rv_reviewer").set_value("Bob").run())
    assert verdict_button(app, "e").disabled and "Confirm your name" in plainly(app)
    sound(app.button(key="rv_name_no").click().run())
    assert app.text_input(key="rv_reviewer").value == "Ann"
    give(app, "e")
    sound(app.text_input(key="rv_reviewer").set_value("Bob").run())
    sound(app.button(key="rv_name_yes").click().run())
    assert app.query_params["item"] == "1"
    give(app, "n")
    assert [row[3] for row in log(queue)] == ["Ann", "Bob"]


def test_a_name_of_the_browser_is_asked_for_where_the_address_is_of_another(
    queue: QueueRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    import streamlit as st

    kept = {"mmh_reviewer": "%C3%84nn%20B"}
    monkeypatch.setattr(type(st.context), "cookies", property(lambda self: kept))
    for by in (None, digest("Änn B")):
        app = opened("", **({} if by is None else {"by": by}))
        assert app.text_input(key="rv_reviewer").value == "Änn B"
        assert "as Änn B" in [text.value for text in app.text]
    app = opened("", by=str(digest("Bob")))
    assert "Judge as 'Änn B' from now on?" in plainly(app)
    assert verdict_button(app, "e").disabled
    sound(app.button(key="rv_name_yes").click().run())
    give(app, "e")
    assert log(queue) == [(1, None, "exact copy", "Änn B")]
    for odd in ("%00", "x" * 5000, "%ff%fe", "%0a", ""):
        kept["mmh_reviewer"] = odd
        name = opened("").text_input(key="rv_reviewer").value
        assert name == "" or len(name) <= 200


def test_a_key_counts_only_for_the_item_that_was_on_the_screen(queue: QueueRecord) -> None:
    app = opened()
    old = verdict_button(app, "n")
    give(app, "e")
    # The frontend still shows the buttons of item 1 when the next key comes.
    state, mark = app.session_state, str(old.key).removeprefix("rv_give_n_")
    assert mark in str(old.key) and not str(verdict_button(app, "n").key).endswith(mark)
    assert state["rv_painted"] != mark and state["rv_painted"] in str(verdict_button(app, "n").key)
    assert log(queue) == [(1, None, "exact copy", FIRST)]
    again = opened(item="2")
    again.session_state["rv_painted"] = "something else"
    sound(verdict_button(again, "e").click().run())
    assert "A key was pressed before the next item was on the screen" in said(again)
    again.session_state["rv_painted"] = "something else"
    sound(undo_button(again).click().run())
    assert "it was ignored" in said(again) and "another window" not in said(again)
    assert log(queue) == [(1, None, "exact copy", FIRST)]


def test_without_an_image_a_verdict_needs_a_reason_and_a_run_made_here_comes_back(
    queue: QueueRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(item="3")
    assert [verdict_button(app, letter).disabled for letter in "etnus"] == [True] * 3 + [False] * 2
    assert "There is no image to judge" in captions(app)
    noted(app, "I know this photograph")
    assert not verdict_button(app, "e").disabled
    assert "Notes and tags are saved" in captions(app)
    run = drawn_run()
    made = replace(run, images=tuple(replace(p, prompt="plain prompt 1") for p in run.images))
    save_record(review_session.runs_folder() / "made.safetensors", made)
    record = JobRecord("1", "images", "x", "cpu", "done", result="made.safetensors")
    monkeypatch.setattr(kept_runs, "past_jobs", lambda kind, limit: [record])
    assert not verdict_button(opened(item="4"), "e").disabled
    assert verdict_button(opened(item="5"), "e").disabled


def test_skipped_items_are_counted_apart(queue: QueueRecord) -> None:
    app = opened()
    give(app, "e")
    give(app, "s")
    assert "1 of 6 judged by Reviewer 1 · 1 exact copy · 1 skipped, not counted" in progress(app)


def test_one_bad_queue_or_item_leaves_the_page_open(queue: QueueRecord) -> None:
    file = review_session.queues()
    with file.transaction() as connection:
        connection.execute("DROP TRIGGER items_stay")
        connection.execute("UPDATE items SET seeds = '[' WHERE position = 2")
        connection.execute(
            "INSERT INTO queues (id, name, model, model_sha256, settings, created, rows, head) "
            "VALUES ('bad', 'x', 'm', '', '[1]', 1e300, 0, 'x')"
        )
    app = opened()
    assert "queue 'bad' cannot be read" in plainly(app) and "./mmh review remove" in plainly(app)
    give(app, "e")
    assert app.query_params["item"] == "3"
    assert "Item 2 is damaged" in plainly(opened(item="2"))
    table = opened(tab="table")
    assert "left out: item 2" in plainly(table) and len(table.dataframe[0].value) == 5


def plainly(app: AppTest) -> str:
    return said(app).replace("\\", "").replace("\u2060", "")


def progress(app: AppTest) -> str:
    return " ".join(str(e.proto.text) for e in app.get("progress")).replace("\\", "")


def test_a_second_reviewer_judges_alone_and_their_agreement_is_kappa(queue: QueueRecord) -> None:
    app = opened(tab="agree")
    assert "A second reviewer writes another name" in said(app)
    app = opened()
    for letter in "eenn":
        give(app, letter)
    assert app.query_params["item"] == "5"
    sound(app.text_input(key="rv_reviewer").set_value("Reviewer 2").run())
    # Asked back first, and then at the first item that they have not judged.
    assert "Judge as 'Reviewer 2' from now on, and no longer as 'Reviewer 1'" in plainly(app)
    assert all(verdict_button(app, letter).disabled for letter in "etnus")
    sound(app.button(key="rv_name_yes").click().run())
    assert app.query_params["item"] == "1" and "0 of 6 judged by Reviewer 2" in progress(app)
    for item, letter in enumerate("enne", start=1):
        sound(app.run())
        other = opened("Reviewer 2", item=str(item))
        assert not [b for b in other.button if b.proto.type == "primary"]
        give(other, letter)
    app = opened(tab="agree")
    found = {metric.label: metric.value for metric in app.metric}
    # By hand: 2 of 4 agree, each says both verdicts twice, so chance gives one half as well.
    assert found == {"Kappa": "0.00", "Judged by both": "4", "Same judgement": "50%"} | {
        "Expected by chance": "50%"
    }
    crossed = app.table[0].value
    assert crossed.loc["exact copy", "not memorized"] == "1"
    assert crossed.loc["not memorized", "not memorized"] == "1"
    assert crossed.map(int).to_numpy().sum() == 4
    sound(app.button(key="rv_apart_2").click().run())
    assert app.query_params["item"] == "2" and "tab" not in app.query_params


def test_a_third_person_adjudicates_what_two_differ_on(queue: QueueRecord) -> None:
    file = review_session.queues()
    for name, verdict in (("ann", "exact copy"), ("bob", "not memorized")):
        judge(file, ReviewTarget(queue.id, 2, name, 0), verdict)  # type: ignore[arg-type]
    nobody = opened("", tab="agree")
    assert nobody.button(key="rv_adjudicate_2").disabled
    app = opened("cy", tab="agree")
    assert "ann: exact copy; bob: not memorized" in [text.value for text in app.text]
    sound(app.button(key="rv_adjudicate_2").click().run())
    assert "No judgement was chosen for item 2" in said(app)
    app.segmented_control(key="rv_decide_2").set_value("exact copy")
    sound(app.button(key="rv_adjudicate_2").click().run())
    assert "reason of the adjudication is empty" in said(app).replace("\\", "")
    app.segmented_control(key="rv_decide_2").set_value("exact copy")
    app.text_area(key="rv_reason_2").set_value("same face")
    sound(app.button(key="rv_adjudicate_2").click().run())
    assert any(
        text.value.startswith("Adjudicated by cy,") and text.value.endswith("Reason: same face")
        for text in app.text
    )
    row = log_rows(file, queue.id)[-1]
    assert (row.role, row.reviewer, row.after, row.identified) == (
        *("adjudicator", "cy", "exact copy"),
        "typed name",
    )


def test_a_verdict_keeps_how_long_its_item_was_shown_and_how_the_name_was_known(
    queue: QueueRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(state, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    app = opened()
    clock[0] += 7.0
    # Another look at the same item does not start its time anew.
    sound(app.run())
    clock[0] += 5.0
    give(app, "e")
    clock[0] += 3.0
    give(app, "n")
    rows = log_rows(review_session.queues(), queue.id)
    assert [(row.item, row.seconds, row.identified) for row in rows] == [
        *((1, 12.0, "typed name"), (2, 3.0, "typed name")),
    ]
    judge(review_session.queues(), ReviewTarget(queue.id, 1, "bob", 0), "unsure")
    assert "time on an item: 8 s (3 to 12 s, 2 verdicts)" in pages_html(opened(tab="agree"))


def test_a_region_is_marked_by_the_numbers_of_its_edges(queue: QueueRecord) -> None:
    app = opened()
    assert not [field for field in app.number_input if "edge" in field.label]
    sound(app.toggle(key="rv_zoom").set_value(True).run())
    edges = {field.label: field for field in app.number_input if "edge" in field.label}
    assert list(edges) == ["Left edge, %", "Top edge, %", "Right edge, %", "Bottom edge, %"]
    assert {(field.min, field.max, field.step) for field in edges.values()} == {(0, 100, 1)}
    images = next(choice for choice in app.radio if choice.label == "Image of the region")
    assert len(images.options) == 2
    sound(images.set_value(images.options[1]).run())
    sound(app.number_input(key="rv_edge_Left_1").set_value(80).run())
    assert "The right edge must lie beyond the left one" in said(app)
    assert app.button(key="rv_record_edges").disabled
    app.number_input(key="rv_edge_Left_1").set_value(10)
    sound(app.number_input(key="rv_edge_Bottom_1").set_value(33).run())
    shown = f"The {images.options[1]}, with an outline from 10% to 75% of its width and 25% to 33%"
    assert shown in pages_html(app) and "left: 10%; top: 25%; width: 65%; height: 8%" in (
        pages_html(app)
    )
    texts = [field for field in app.text_input if field.label == "Text of the region"]
    assert len(texts) == 1
    texts[0].set_value("a logo")
    sound(app.button(key="rv_record_edges").click().run())
    [row] = log_rows(review_session.queues(), queue.id)
    assert (row.role, row.region, row.notes) == ("mark", (0.1, 0.25, 0.75, 0.33), "a logo")
    assert row.image == images.options[1] and row.reviewer == FIRST
    # The edges stay for the next region, its text does not.
    assert app.number_input(key="rv_edge_Left_1").value == 10
    assert next(f for f in app.text_input if f.label == "Text of the region").value == ""
    # Who has given no name records nothing.
    nobody = opened("")
    sound(nobody.toggle(key="rv_zoom").set_value(True).run())
    assert nobody.button(key="rv_record_edges").disabled


def test_a_queue_has_labels_of_its_own_and_items_are_shared_out(queue: QueueRecord) -> None:
    app = opened()
    app.text_input(key=f"rv_plan_labels_{queue.id}").set_value("trademark, private person")
    app.text_input(key=f"rv_plan_names_{queue.id}").set_value(f"{FIRST}, bob")
    app.number_input(key=f"rv_plan_each_{queue.id}").set_value(1)
    sound(app.button(key="rv_save_plan").click().run())
    noted(app, "a face")
    tags = next(field for field in app.text_input if field.label == "Tags")
    sound(tags.set_value("later").run())
    labels = next(group for group in app.pills if group.label == "Labels")
    sound(labels.set_value(["trademark"]).run())
    judgement = get_item(review_session.queues(), queue.id, 1, FIRST).judgement
    assert (judgement.tags, judgement.notes) == (("later", "trademark"), "a face")
    tags = next(field for field in app.text_input if field.label == "Tags")
    assert tags.value == "later, trademark"
    sound(app.checkbox(key="rv_mine").check().run())
    assert app.query_params["mine"] == "1" and "1 of 3" in captions(app)
    give(app, "e")
    assert app.query_params["item"] == "3"
    # A second reviewer starts at the first open item of their own share.
    bob = opened("bob")
    assert bob.query_params["item"] == "1"
    sound(bob.checkbox(key="rv_mine").check().run())
    assert bob.query_params["item"] == "2"
    give(bob, "e")
    assert opened("bob", mine="1").query_params["item"] == "4"
    other = opened("cy", mine="1")
    assert other.checkbox(key="rv_mine").disabled and other.query_params["item"] == "1"
    assert "No items are assigned to cy: all are shown." in captions(other)


def test_a_box_is_taken_from_the_image_that_it_was_drawn_on() -> None:
    panels = [
        ImagePanel("generated image, seed 1", "", 2, 2),
        ImagePanel("training image 4", "", 2, 2),
    ]

    def taken(**box: object) -> object:
        return drawn_region({"selection": {"box": [{"xref": "x", "x": [0, 0]}, box]}}, panels)

    # Upward and to the left, past the edge: clipped, and from the top left again.
    box = {"x": [0.5, -0.2], "y": [0.75, 0.25], "yref": "y2"}
    assert taken(xref="x2", **box) == ("training image 4", (0.0, 0.25, 0.5, 0.75))
    assert taken(xref="x", **box) == ("generated image, seed 1", (0.0, 0.25, 0.5, 0.75))
    assert taken(xref="x3", **box) is None
    assert taken(xref="x", x=[0.5, 0.501], y=[0, 1]) is None
    assert drawn_region({}, panels) is None


def zoomed(app: AppTest) -> list[Any]:
    return [c for c in app.get("plotly_chart") if str(c.key).startswith("rv_zoom_")]


def test_a_region_is_marked_and_later_reviewers_see_it(queue: QueueRecord) -> None:
    app = opened()
    assert not zoomed(app)
    sound(app.toggle(key="rv_zoom").set_value(True).run())
    [figure] = zoomed(app)
    item = get_item(review_session.queues(), queue.id, 1, FIRST).item
    assert f"generated image of the item, seed {item.seeds[0]}" in figure.proto.spec
    app.session_state["rv_region"] = (
        (queue.id, 1, FIRST),
        "training image 4",
        (0.1, 0.2, 0.3, 0.5),
    )
    sound(app.run())
    assert "Drawn on the training image 4, from 10% to 30% of its width" in captions(app)
    next(f for f in app.text_input if f.label == "Text of the region").set_value("watermark")
    sound(app.button(key="rv_record_region").click().run())
    [row] = log_rows(review_session.queues(), queue.id)
    assert (row.role, row.region, row.notes) == ("mark", (0.1, 0.2, 0.3, 0.5), "watermark")
    assert row.reviewer == FIRST and row.identified == "typed name"
    assert "Drawn on" not in captions(app) and app.button(key="rv_remove_region_1")
    # Another reviewer sees it without asking, but not before their judgement in blind review.
    other = opened("bob")
    assert zoomed(other) and any(f"1 · {FIRST}, " in t.value for t in other.text)
    assert not [b for b in other.button if str(b.key).startswith("rv_remove_region")]
    blind = opened("bob", blind="1")
    assert not zoomed(blind) and not any("watermark" in t.value for t in blind.text)
    sound(app.button(key="rv_remove_region_1").click().run())
    assert regions(log_rows(review_session.queues(), queue.id)) == []
    assert not zoomed(opened("bob"))


def test_reviewers_comment_on_an_item(queue: QueueRecord) -> None:
    def written(app: AppTest) -> list[str]:
        return [text.value for text in app.text if ": " in text.value]

    app = opened()
    sound(app.button(key="rv_add_comment").click().run())
    assert "The comment is empty" in said(app)
    field = next(area for area in app.text_area if area.label == "Comment")
    field.set_value("is **this** a logo?")
    sound(app.button(key="rv_add_comment").click().run())
    assert next(area for area in app.text_area if area.label == "Comment").value == ""
    assert "Comments (1)" in [expander.label for expander in app.expander]
    other = opened("bob")
    [thread] = written(other)
    assert thread.startswith(f"{FIRST}, 20") and thread.endswith(": is **this** a logo?")
    next(area for area in other.text_area if area.label == "Comment").set_value("yes")
    sound(other.button(key="rv_add_comment").click().run())
    assert [text.rsplit(": ")[-1] for text in written(sound(app.run()))] == [
        *("is **this** a logo?", "yes")
    ]
    rows = log_rows(review_session.queues(), queue.id)
    assert [(row.role, row.reviewer) for row in rows] == [("comment", FIRST), ("comment", "bob")]
    # In blind review the words of others come after the judgement.
    blind = opened("cy", blind="1")
    assert not written(blind)
    give(blind, "e")
    assert len(written(opened("cy", blind="1", item="1"))) == 2
    assert all(area.disabled for area in opened("").text_area)


def test_an_item_without_images_has_the_same_layout_and_generates_in_place(
    queue: QueueRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ImageConfig] = []

    def submit(config: ImageConfig, also: object) -> str:
        asked.append(config)
        return "no-such-job"

    monkeypatch.setattr(image_session, "submit_images", submit)
    full, bare = opened(item="1"), opened(item="3")
    assert full.button(key="rv_generate_1").disabled
    assert not full.toggle(key="rv_all").disabled and bare.toggle(key="rv_all").disabled
    kept = [len(app.button_group) for app in (full, bare)]
    assert kept[0] >= kept[1] >= 1
    sound(bare.button(key="rv_generate_3").click().run())
    [config] = asked
    assert (config.model, config.prompts, config.seeds) == ("pocket-sd", ("plain prompt 0",), (0,))


def test_images_that_are_generated_in_an_item_are_named_in_the_log(queue: QueueRecord) -> None:
    assert opened("", item="3").button(key="rv_generate_3").disabled
    app = opened(item="3")
    sound(app.button(key="rv_generate_3").click().run())
    [job] = session.jobs().store.recent(5)
    assert session.jobs().runner.wait(job.id, timeout=300).state == "done"
    [row] = generations(log_rows(review_session.queues(), queue.id))
    [kept] = [p for p in review_session.runs_folder().glob("*.safetensors") if p.name != RUN]
    assert (row.item, row.reviewer, row.identified) == (3, FIRST, "typed name")
    assert row.image == file_sha256(kept)
    assert row.notes.startswith("1 image by pocket-sd, seed 0, 30 steps")
    shown = captions(opened("bob", item="3"))
    assert f"Generated here by {FIRST}" in shown and row.image[:12] in shown
    assert "Generated here" not in captions(opened("bob", item="4"))
    item = get_item(review_session.queues(), queue.id, 3, "").item
    shown_run = review_session.run_of(item)
    assert shown_run is not None and shown_run.config.prompts == (item.prompt,)
    assert review_session.run_of(replace(item, model="another")) is None
    assert review_session.run_of(replace(item, model_sha256="11" * 32)) is None
    assert verify(review_session.queues(), queue.id).whole


def test_images_of_other_weights_are_not_recorded(queue: QueueRecord) -> None:
    file = review_session.queues()
    item = get_item(file, queue.id, 3, "").item
    run = drawn_run()
    path = review_session.runs_folder() / RUN
    target = ReviewTarget(queue.id, 3, FIRST, 0, "typed name")
    other = replace(item, model_sha256="11" * 32)
    with pytest.raises(MMHError, match="has other weights here"):
        generate._recorder(file, target, other)(run, path)
    assert not generations(log_rows(file, queue.id))
    generate._recorder(file, target, item)(run, path)
    assert len(generations(log_rows(file, queue.id))) == 1


def test_what_is_exported_is_what_was_judged_and_opens_elsewhere(
    queue: QueueRecord, tmp_path: Path, started_with: Callable[..., None]
) -> None:
    app = opened()
    give(app, "e")
    # A link that somebody kept has the tab's earlier name.
    app = opened(tab="hand")
    sound(app.button(key="rv_verify").click().run())
    assert "All 1 rows are as they were recorded" in said(app).replace("\\", "")
    for seal, words in (
        (review_session.all_queues()[0].seal, "stood at row 1"),
        ("0" * 64, "never"),
        ("x", "is no seal"),
    ):
        sound(app.text_input(key="rv_kept_seal").set_value(seal).run())
        sound(app.button(key="rv_verify").click().run())
        assert words in said(app)
    plan = ReviewPlan(("trademark",), (FIRST, "bob"), 1)
    review_session.keep_plan(queue.id, plan)
    sound(app.button(key="rv_prepare").click().run())
    files = {name.rsplit(".", 1)[1]: data for name, data in kept_files(app).items()}
    table = pd.read_parquet(io.BytesIO(files["parquet"]))
    assert list(table[f"verdict of {FIRST}"]) == ["exact copy"] + [""] * 5
    assert table.prompt[1] == HOSTILE
    assert len(pd.read_csv(io.BytesIO(files["csv"]))) == 6
    page = files["html"].decode()
    assert "1 makes the model reproduce what it was trained on" in page
    assert "&lt;img src=" in page and '<img src="http' not in page and "<script" not in page
    with zipfile.ZipFile(io.BytesIO(files["zip"])) as archive:
        assert f"runs/{RUN}" in archive.namelist()
    # Here it is already; in another data folder it is new.
    sound(app.file_uploader(key="rv_case").upload("case.zip", files["zip"]).run())
    sound(app.button(key="rv_import").click().run())
    assert "is here already" in said(app).replace("\\", "")
    started_with("--data", tmp_path / "elsewhere")
    filled()
    app = opened(tab="export")
    assert app.query_params["queue"] != queue.id
    sound(app.file_uploader(key="rv_case").upload("case.zip", files["zip"]).run())
    sound(app.button(key="rv_import").click().run())
    assert app.query_params["queue"] == queue.id and app.query_params["item"] == "2"
    assert "6 items" in said(app)
    assert review_session.plan_of(queue.id) == plan
    assert app.text_input(key=f"rv_plan_labels_{queue.id}").value == "trademark"
    assert [row[2] for row in log(queue)] == ["exact copy"]
    assert review_session.run_of(get_item(review_session.queues(), queue.id, 1, "").item)


def kept_files(app: AppTest) -> dict[str, bytes]:
    return dict(app.session_state["rv_files"][1])


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.csv", b"name,age\na,1\n", "has no column prompt"),
        ("x.csv", b"prompt,prompt\na,b\n", "2 columns"),
        ("x.parquet", b"PAR1 no parquet PAR1", "x.parquet"),
        ("x.csv", "prompt\nä\n".encode("utf-16") + b"x", "looks like UTF-16"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_its_name(
    queue: QueueRecord, name: str, data: bytes, words: str
) -> None:
    app = opened(tab="scan")
    sound(app.file_uploader(key="rv_prompts").upload(name, data).run())
    assert words in app.error[0].value.replace("\\", "")
    assert name in app.error[0].value.replace("\\", "")
    assert not [button for button in app.button if button.key == "rv_scan"]


def test_rows_left_out_are_listed_and_a_model_without_calibration_is_told(
    queue: QueueRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subjects, "calibration_file", lambda name: None)
    app = opened(tab="scan")
    data = b"prompt,label\na fox,1\n,2\na fox,3\n\x00bad,4\n"
    sound(app.file_uploader(key="rv_prompts").upload("../../table.csv", data).run())
    texts = [text.value for text in app.text]
    assert "4 rows: 1 prompt to read, 1 repeats an earlier row, 2 left out" in " ".join(texts)
    assert any("Row 2 was left out" in text for text in texts)
    rows = app.dataframe[0].value
    assert rows["Row"].tolist() == [1, 2, 3, 4] and rows.columns[0] == "ID"
    assert rows["Import"][2] == "same prompt as row 1" and rows["Label"][2] == "3"
    sound(app.button(key="rv_scan").click().run())
    assert "has no calibration" in said(app).replace("\\", "")
    kept = [path.name for path in (session.data_folder() / "uploads").iterdir()]
    assert len(kept) == 1 and len(kept[0]) == 64 + len(".csv")


def test_links_to_what_is_not_there_are_refused_and_the_page_goes_on(queue: QueueRecord) -> None:
    app = opened(queue="f" * 32, item="999", tab="nowhere", job="x")
    words = " ".join(warning.value for warning in app.warning).replace("\\", "")
    assert "There is no queue" in words and "tab is" in words and "job is" in words
    assert "has no item 999" in words
    assert app.query_params["item"] == "1"


def test_an_item_names_a_run_of_its_own_prompt_and_model_only(queue: QueueRecord) -> None:
    item = get_item(review_session.queues(), queue.id, 1, "").item
    assert review_session.run_of(item) is not None
    assert review_session.run_of(replace(item, prompt="another")) is None
    assert review_session.run_of(replace(item, model_sha256="11" * 32)) is None
    assert review_session.run_of(replace(item, run="../../etc/passwd")) is None


def test_the_nearest_training_image_is_read_from_its_sheet(queue: QueueRecord) -> None:
    from PIL import Image

    from mmh_core.pocket.assets import read_world

    folder = PAGE.parents[1] / "assets" / "pocket-sd"
    world = read_world(folder)
    for number in (0, 241, len(world.images) - 1):
        item = ReviewItem("x", (), "pocket-sd", "", nearest=number)
        found = review_session.nearest_image(item)
        assert found is not None
        pixels = Image.open(io.BytesIO(found.png))
        assert bytes(pixels.tobytes()) == world.images[number].tobytes()
        assert found.caption == world.labels.captions[number][0]
    past = ReviewItem("x", (), "pocket-sd", "", nearest=len(world.images))
    assert review_session.nearest_image(past) is None


def test_the_demonstration_is_made_of_what_is_there(
    tmp_path: Path, started_with: Callable[..., None]
) -> None:
    started_with("--data", tmp_path)
    [made] = review_session.all_queues()
    assert review_session.is_demonstration(made) and made.items > 0
    page = items_page(review_session.queues(), made.id, ItemFilter(), "", limit=500)
    studied = 0
    for view in page.items:
        item = view.item
        assert item.thumbnail
        run = review_session.run_of(item)
        if run is None:  # Most of the shipped items have figures and thumbnails only.
            continue
        studied += 1
        assert item.run_sha256
        # The figures are those of the run, whatever stands beside them.
        found = run_item(
            run, run.config.prompts.index(item.prompt), file=item.run, sha256=item.run_sha256
        )
        assert replace(found, score=item.score, label=item.label) == item
    assert studied == 10
    assert len(review_session.all_queues()) == 1


def test_ten_thousand_items_are_filtered_and_judged_within_a_second(queue: QueueRecord) -> None:
    import time

    items = (
        ReviewItem(f"prompt number {i}", (0,), "pocket-sd", "", score=i / 7.0)
        for i in range(10_000)
    )
    assert add_items(review_session.queues(), queue.id, items) == 10_000
    app = opened(item="3")
    started = time.process_time()
    give(app, "n")
    # The processor's time, for the whole page: 300 ms on an idle machine are asked of the server.
    assert time.process_time() - started < 1.0
    assert app.query_params["item"] == "4"


def test_an_empty_queue_is_refused(queue: QueueRecord) -> None:
    with pytest.raises(MMHError, match="create a queue of all prompts"):
        review_session.queue_of_items("x", [], {})
