"""The images page, as a person uses it, through Streamlit's own test harness."""

from __future__ import annotations

import io
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import streamlit as st
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from streamlit.testing.v1 import AppTest

from mmh_core.cli.app import main
from mmh_core.records import MMHError, Progress
from mmh_core.report import image_command
from mmh_core.report.image_files import metadata_of, png_bytes, settings_of
from mmh_core.retrieval.copy_evidence import is_copy
from mmh_core.store.archive import save_record
from mmh_core.studies.images.run import ImageConfig, ImageRun
from mmh_core.subject.training_set import PromptTruth
from mmh_core.text_to_image.duration_estimate import ACHIEVED
from mmh_core.text_to_image.requests import Sampling
from tests.retrieval.drawings import drawings
from tests.text_to_image.pipelines import write_pipeline
from tests.views.pages import (
    APP,
    captions,
    finished,
    image_example,
    metrics,
    opened,
    pages_html,
    said,
    sound,
    unmarked,
)
from views import models as model_session
from views import session, subjects
from views.images import detail
from views.images import session as image_session
from views.images.phrases import percentile
from views.images.settings import ImageForm, ImageSettings, form_of, parsed, query
from views.models import POCKET
from views.widgets.layout import plain
from views.widgets.words import duration_words, number

#: A kind with a finished example that is not the first, whatever world is shipped.
OTHER = sorted(path.stem for path in (APP.parent / "assets/images").glob("*.safetensors"))[-2]
HOSTILE = "![x](http://example.org/p.png) <img src=http://example.org/q.png> **a** $b$ :red[c]"


@pytest.fixture
def app(fresh_page: Callable[[str], AppTest]) -> AppTest:
    return fresh_page("images")


def start(app: AppTest, **numbers: int) -> str:
    """Fill the form, press Generate and return the id of the job."""
    for name, value in numbers.items():
        app.number_input(key=f"im_{name}").set_value(value)
    sound(app.button(key="im_draw").click().run())
    return str(app.session_state["im_job"])


@pytest.mark.parametrize("kind", image_session.example_kinds())
def test_the_finished_example_of_each_kind_shows_the_figures_of_its_record(
    app: AppTest, kind: str
) -> None:
    run = image_example(kind)
    if kind != "duplicate":
        app.query_params["example"] = kind
    sound(app.run())
    copies = sum(one.copy is not None and is_copy(one.copy.kind) for one in run.images)
    lids = torch.tensor([one.lid.conditional for one in run.images if one.lid is not None])
    truth = run.images[0].truth
    # Images of a fresh caption are drawn anew without end: no index holds them.
    assert truth is None if kind == "fresh" else isinstance(truth, PromptTruth)
    assert truth is None or truth.kind == kind
    # The quantile is the mean of the middle two: an even number of images.
    assert metrics(app) == {
        "Copies": f"{copies} of {len(run.images)}",
        # No dimension is negative: what an estimate lacks to 0 is its own error.
        "Median LID": number(max(float(lids.quantile(0.5)), 0.0), 1),
        "Seed-to-seed similarity": number(run.seed_similarity[0]),
        **({} if truth is None else {"Ground truth of the prompt": kind}),
    }
    shown = pages_html(app)
    assert run.config.prompts[0] in shown
    for one in run.images:
        assert one.copy is not None and one.evidence_neighbor is not None
        assert one.evidence_neighbor.id == one.copy.nearest
        assert f"training image {one.evidence_neighbor.id:,}" in shown
        if one.copy.kind == "exact":
            assert f"A copy of training image {one.evidence_neighbor.id}:" in one.reason
        assert percentile(one.lid) in shown
    assert f"all {run.searched:,} training images were compared" in captions(app)
    assert not said(app)
    assert app.text_area(key="im_prompt").value == run.config.prompts[0]


def test_the_page_opens_under_the_app(app: AppTest) -> None:
    under = AppTest.from_file(str(APP), default_timeout=120).switch_page("pages/images.py")
    sound(under.run())
    assert under.title[0].value == "Images"
    assert metrics(under)["Ground truth of the prompt"] == "duplicate"


def test_another_kind_fills_the_form_and_a_paraphrase_takes_its_place(app: AppTest) -> None:
    sound(app.run())
    sound(app.selectbox(key="im_example").set_value(OTHER).run())
    assert metrics(app)["Ground truth of the prompt"] == OTHER
    assert app.query_params == {"model": "pocket-sd", "example": OTHER}
    known = image_session.prompt_examples("pocket-sd")
    assert {one.kind for one in known} == set(image_session.example_kinds())
    other = next(one for one in known if one.kind == OTHER and not one.trained)
    sound(app.selectbox(key="im_wording").set_value(other.caption).run())
    assert app.text_area(key="im_prompt").value == other.caption
    assert app.query_params["prompt"] == other.caption
    assert "The form in the sidebar differs" in captions(app)


def test_example_prompts_are_of_the_calibration_half_with_the_trained_wording_first() -> None:
    from mmh_core.pocket.assets import read_prompts

    table = read_prompts(APP.parent / "assets" / "pocket-sd")
    tested = set(table[table.split == "test"].caption)
    known = image_session.prompt_examples("pocket-sd")
    assert not tested & {one.caption for one in known}
    first = {}
    for one in known:
        first.setdefault(one.subject, one)
    assert all(one.trained for one in first.values())
    named = table[table.split == "calibration"]
    if "group" in named.columns:
        named = named[named.group.isin(("trained", "paraphrases"))]
    assert len(first) == named.subject.nunique() + len(
        {one.subject for one in known if one.kind == "open"}
    )


def test_an_image_beside_the_nearest_is_the_one_that_the_verdict_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    titles = list[str]()
    monkeypatch.setattr(detail.layout, "heading", lambda title, *_, **__: titles.append(title))
    monkeypatch.setattr(detail.image_html, "show", lambda _: None)
    run = image_example("duplicate")
    image, context = run.images[0], SimpleNamespace(searched=run.searched)
    more = (*image.neighbors, replace(image.neighbors[0], id=9_999))
    for neighbors in (image.neighbors, more):
        detail._neighbors(replace(image, neighbors=neighbors), context)  # type: ignore[arg-type]
    nearest = "The 12 nearest training images"
    assert titles == [nearest, f"{nearest}, and the one that the verdict names"]


def test_a_image_is_looked_at_more_closely_and_stepped(app: AppTest) -> None:
    sound(app.run())
    sound(app.button(key="im_look_2").click().run())
    assert "Image 2, seed 2" in [s.value for s in app.header]
    assert app.query_params["image"] == "2"
    one = image_example("duplicate").images[2]
    assert one.reason in [text.value for text in app.text]
    sound(app.button(key="im_Next").click().run())
    assert app.query_params["image"] == "3"
    sound(app.button(key="im_Next").click().run())
    assert app.query_params["image"] == "0"


def test_ways_to_compare_and_steps_follow_the_choice(app: AppTest) -> None:
    app.query_params["image"] = "1"
    sound(app.run())
    one = image_example("duplicate").images[1]
    assert one.index == 1
    sound(app.button_group(key="im_way_run_1").set_value("flicker").run())
    assert "im-flicker" in pages_html(app).split("<div", 1)[1]
    sound(app.button_group(key="im_way_run_1").set_value("difference").run())
    assert "Absolute difference" in pages_html(app)
    sound(app.selectbox(key="im_rank_run_1").set_value(3).run())
    sound(app.button_group(key="im_way_run_1").set_value("side by side").run())
    assert f"<figcaption>training image {one.neighbors[3].id:,}<" in pages_html(app)
    # Every step comes with the page, so that scrubbing asks nobody.
    for step in one.frame_steps.tolist():
        assert pages_html(app).count(f'alt="Predicted image after step {step}"') == 1
    sound(app.slider(key="im_opacity_run_1").set_value(20).run())
    assert "opacity: 0.20" in pages_html(app)


@pytest.mark.parametrize(
    ("tab", "words"),
    [
        ("normal", "reference prompts at 30 steps"),
        ("map", "Draw a lasso"),
        ("audit", "No image uploaded yet"),
        ("data", "The same command"),
    ],
)
def test_every_section_opens_from_a_link(app: AppTest, tab: str, words: str) -> None:
    app.query_params["tab"] = tab
    sound(app.run())
    assert not app.error
    assert words in captions(app)


def test_the_command_and_the_link_are_those_of_the_run(app: AppTest) -> None:
    app.query_params["tab"] = "data"
    sound(app.run())
    codes = [code.value for code in app.code]
    assert image_command(image_example("duplicate").config) in codes
    assert any(code.endswith("images?model=pocket-sd&tab=data") for code in codes)


def test_what_is_selected_on_the_map_becomes_a_table_with_images(app: AppTest) -> None:
    app.query_params["tab"] = "map"
    sound(app.run())
    run = image_example("duplicate")
    near = run.images[0].neighbors[0]
    app.session_state["im_many"] = [-1, near.id, 10**9]
    sound(app.run())
    table = app.dataframe[0].value
    assert table["Generated or training"].tolist() == ["generated", "training"]
    assert table["Image"].tolist() == [0, near.id]
    assert table["Occurrences in the training set"].tolist() == [0, near.multiplicity]
    assert table["Caption"].tolist()[1] == near.caption
    assert all(uri.startswith("data:image/png;base64,") for uri in table.iloc[:, 0])
    sound(app.button(key="im_clear").click().run())
    assert not app.dataframe


WRONG = {
    "model": ("no-such-model", "model is 'no-such-model'; choose from pocket-sd"),
    "example": ("<b>x</b>", "choose from duplicate, "),
    "images": ("999", "images is '999'; it must be a whole number from 1 to 16"),
    "seed": ("-1", "seed is '-1'"),
    "steps": ("1e9", "steps is '1e9'; it must be a whole number from 1 to 1,000"),
    "guidance": ("nan", "guidance is 'nan'; it must be a number from 0 to 30"),
    "height": ("100000", "height is '100000'"),
    "scheduler": ("magic", "scheduler is 'magic'; choose from ddim"),
    "estimators": ("lhsd,![x](http://e.org/a.png)", "estimators has '![x](http://e.org/a.png)'"),
    "tab": ("x", "choose from images, normal"),
    "image": ("99", "this run has the images 0 to 3"),
    "job": ("../../etc/passwd", "must be the id of a run"),
}


def test_the_map_by_umap_is_a_job_that_can_be_stopped(app: AppTest) -> None:
    app.query_params["tab"] = "map"
    sound(app.run())
    sound(app.button(key="im_umap").click().run())
    runner = session.jobs().runner
    (record,) = runner.active()
    assert record.kind == "map" and record.label.startswith("Map of ")
    sound(app.run())
    assert "im_umap" not in [button.key for button in app.button]
    sound(app.button(key="im_map_cancel").click().run())
    assert runner.wait(record.id, timeout=60).state == "cancelled"
    # The map of before is still there, and the way to try again.
    sound(app.run())
    assert app.button(key="im_umap")


def test_a_map_that_is_being_made_is_found_again_after_a_reload(app: AppTest) -> None:
    app.query_params["tab"] = "map"
    sound(app.run())
    sound(app.button(key="im_umap").click().run())
    runner = session.jobs().runner
    (record,) = runner.active()
    again = opened("images")
    again.query_params.update(dict(app.query_params))
    sound(again.run())
    assert "im_umap" not in [button.key for button in again.button]
    sound(again.button(key="im_map_cancel").click().run())
    assert runner.wait(record.id, timeout=60).state == "cancelled"


@pytest.mark.parametrize(("tab", "name"), [("audit", "audit"), ("map", "plane")])
def test_a_link_to_a_job_that_is_not_there_is_said_to_be(
    app: AppTest, tab: str, name: str
) -> None:
    app.query_params.update({"tab": tab, name: "0" * 32})
    sound(app.run())
    assert "There is no job" in said(app)
    other = session.jobs().runner.submit("benchmark", "b", lambda: iter([Progress(1.0, "", 3)]))
    session.jobs().runner.wait(other, 60)
    app = opened("images")
    app.query_params.update({"tab": tab, name: other})
    sound(app.run())
    assert "job of another page" in said(app)


def test_an_audit_is_found_again_after_a_reload_and_gone_after_a_restart(app: AppTest) -> None:
    run = image_example(OTHER)
    data = png_bytes(run.images[1].image, metadata_of(run, run.images[1]))
    app.query_params["tab"] = "audit"
    sound(app.run())
    sound(app.file_uploader(key="im_file").upload("x.png", data).run())
    job = app.session_state["im_audit"]
    link = dict(app.query_params)
    assert link["audit"] == job
    runner = session.jobs().runner
    again = opened("images")
    again.query_params.update(link)
    sound(again.run())
    assert "its file is not kept" in captions(again)
    assert runner.wait(job, timeout=120).state == "done"
    sound(again.run())
    found = image_session.audit_job(job).run
    assert found is not None and found.reason in [text.value for text in again.text]
    sound(again.button(key="im_audit_close").click().run())
    assert "No image uploaded yet" in captions(again)
    assert "audit" not in dict(again.query_params)
    # Another server on the same folder remembers that there was one, and nothing of it.
    runner.shutdown()
    st.cache_resource.clear()
    later = opened("images")
    later.query_params.update(link)
    sound(later.run())
    assert "upload the image again" in said(later)


def test_wrong_values_in_the_link_are_named_and_the_example_is_shown(app: AppTest) -> None:
    for name, (value, _) in WRONG.items():
        app.query_params[name] = value
    sound(app.run())
    for _, expected in WRONG.values():
        assert expected in unmarked(said(app))
    assert "![x](" not in said(app)
    assert len(app.metric) == 4
    assert app.query_params == {"model": "pocket-sd", "estimators": "lhsd"}


def test_values_put_past_the_widgets_are_named_and_replaced(app: AppTest) -> None:
    # The harness checks what it sends for a widget, so this is there before there are any.
    app.session_state["im_kept"] = {}
    injected = {"steps": 10**9, "seed": 2**70, "height": "x", "scheduler": 3, "image": "q"}
    for name, value in injected.items():
        app.session_state[f"im_{name}"] = value
    app.session_state["im_estimators"] = ["rm -rf"]
    sound(app.run())
    for name in injected:
        assert f"{name} is " in unmarked(said(app))
    assert "estimators has 'rm -rf'" in unmarked(said(app))
    assert app.number_input(key="im_steps").value == 30
    assert len(app.metric) == 4
    base = ImageSettings("pocket-sd", ImageForm("a", 4, 0, 30, 2.0, 64, 64))
    settings, refused = parsed({"images": True, "guidance": True, "seed": 1.5}, base)
    assert settings == base
    assert [sentence.split(" is ")[0] for sentence in refused] == ["images", "seed", "guidance"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("prompt", "  ", "The prompt is empty"),
        ("prompt", "a\x00b", "control character U+0000"),
        ("prompt", "x" * 10_001, "shorten it to 10,000."),
        ("negative", "a\x07", "The negative prompt holds the control character U+0007"),
        ("negative", "x" * 10_001, "negative prompt is too long"),
        ("height", 60, "choose multiples of 8"),
        ("width", 1001, "choose multiples of 8"),
    ],
)
def test_what_the_study_refuses_is_said_beside_the_button(
    app: AppTest, name: str, value: str | int, expected: str
) -> None:
    sound(app.run())
    app.session_state[f"im_{name}"] = value
    sound(app.run())
    assert expected in unmarked(said(app))
    assert app.button(key="im_draw").disabled


def test_more_than_a_run_may_draw_is_refused(app: AppTest) -> None:
    sound(app.run())
    for name, value in {"steps": 1000, "height": 1024, "width": 1024}.items():
        app.session_state[f"im_{name}"] = value
    sound(app.run())
    assert "more than one request may ask for" in unmarked(said(app))
    assert app.button(key="im_draw").disabled


def test_a_model_that_is_not_ready_says_what_is_missing(
    app: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mmh_core.text_to_image.stable_diffusion.on_this_disk", lambda source: False
    )
    app.query_params["model"] = "sd-1.5"
    sound(app.run())
    assert "Its files are not on this machine" in unmarked(said(app))
    assert app.button(key="im_draw").disabled
    assert app.number_input(key="im_height").value == 512
    assert "There is no run of this model yet" in said(app)


def test_a_model_that_never_ran_here_is_guessed_by_the_speed_of_the_machine(
    app: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mmh_core.text_to_image.stable_diffusion.on_this_disk", lambda source: True
    )
    monkeypatch.setattr("mmh_core.text_to_image.weights.free_memory", lambda place: 64 * 10**9)
    monkeypatch.setattr(model_session, "_speed", lambda place: 0.1)
    app.query_params["model"] = "sd-1.5"
    app.query_params["prompt"] = "a cat"
    sound(app.run())
    run = image_example(image_session.example_kinds()[0])
    whole = (run.seconds_generating + run.seconds_estimating) / run.seconds_generating
    # Four images in fifty steps, with the prompt and without it.
    seconds = 0.8 / (ACHIEVED * 0.1) * 4 * 50 * 2 * whole
    words = f"About {duration_words(seconds)} (estimated from this machine's speed"
    assert words in captions(app) and " h" in duration_words(seconds)


def test_a_short_run_with_a_hostile_prompt_ends_as_a_result_that_is_kept(app: AppTest) -> None:
    sound(app.run())
    app.text_area(key="im_prompt").set_value(HOSTILE)
    job = start(app, images=2, steps=2, seed=5)
    assert app.query_params["job"] == job
    run = finished(app, job, ImageRun)
    assert run.state == "complete"
    assert run.config.prompts == (HOSTILE,) and run.config.seeds == (5, 6)
    assert metrics(app)["Seed-to-seed similarity"] == number(run.seed_similarity[0])
    # Text is shown letter by letter: escaped as HTML, and nowhere as Markdown.
    shown = pages_html(app)
    assert "&lt;img src=http://example.org/q.png&gt;" in shown
    assert "<img src=http" not in shown
    written = [*app.markdown, *app.caption, *app.error, *app.warning, *app.info, *app.subheader,
               *app.header]  # fmt: skip
    assert not any("](http" in element.value for element in written)
    assert not any("](http" in button.label for button in app.button)
    # Nothing is normal at two steps, and the page says so.
    assert all(one.lid is not None and one.lid.percentile != one.lid.percentile
               for one in run.images)  # fmt: skip
    assert "not calibrated for these settings" in shown
    # Without that no verdict is green.
    assert not {"not memorized"} & {one.verdict for one in run.images}
    # Another browser finds the run through the link alone, with its settings in the form.
    other = opened("images")
    other.query_params["job"] = job
    sound(other.run())
    assert other.number_input(key="im_seed").value == 5
    assert other.text_area(key="im_prompt").value == HOSTILE
    assert metrics(other) == metrics(app)
    # A third one that opens the page without it sees the example, and finds it among past runs.
    third = sound(opened("images").run())
    assert "Finished example" in captions(third)
    sound(third.selectbox(key="im_past").set_value(job).run())
    assert "Your run" in captions(third)
    (kept,) = (session.data_folder() / "runs").glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-100])
    sound(app.run())
    assert "damaged" in said(app) and len(app.metric) == 4


def test_opening_the_page_loads_the_shipped_model_once_and_beside_it(app: AppTest) -> None:
    sound(app.run())
    loading = subjects.prepare()
    loading.join(timeout=120)
    assert not loading.is_alive()
    # In memory now: nothing is read again, and whoever opens the page later starts no thread.
    assert subjects.model(POCKET).name == POCKET
    sound(opened("images").run())
    assert subjects.prepare() is loading


def test_what_the_text_encoder_will_not_read_is_said_before_the_click(app: AppTest) -> None:
    sound(app.run())
    subjects.prepare().join(timeout=120)
    words = "a red dog sleeping on a green sofa " * 4
    app.text_area(key="im_prompt").set_value(words)
    sound(app.run())
    sentence = subjects.unread_words(POCKET, words)
    assert "--windows" in sentence and sentence in unmarked(said(app))
    assert not app.button(key="im_draw").disabled
    app.text_area(key="im_prompt").set_value("a red dog")
    assert "not read" not in said(sound(app.run()))
    # The run says the same of itself.
    app.text_area(key="im_prompt").set_value(words)
    run = finished(app, start(app, images=1, steps=1), ImageRun)
    assert words.strip().endswith(run.cut[0]) and run.unread()[0] in unmarked(said(app))


def test_words_in_any_script_are_drawn_and_shown_as_they_are(app: AppTest) -> None:
    sound(app.run())
    words = "日本の猫 🐈 кошка عربي e\u0301\u200d"
    app.text_area(key="im_prompt").set_value(words)
    run = finished(app, start(app, images=1, steps=1), ImageRun)
    assert run.config.prompts == (words,) and run.state == "complete"
    assert words in pages_html(app)


def test_a_cancelled_run_keeps_its_finished_images(app: AppTest) -> None:
    sound(app.run())
    # Sixteen images are two parts: the first is there while the second is not.
    job = start(app, images=16, steps=2)
    runner = session.jobs().runner
    while (latest := runner.latest(job)) is None or not latest.partial.images:
        assert runner.record(job).is_active
        time.sleep(0.05)  # The worker needs this process, too.
    sound(app.run())
    sound(app.button(key="im_cancel").click().run())
    run = finished(app, job, ImageRun)
    assert run.state == "stopped"
    assert len(run.images) in (8, 16)
    assert f"Stopped before the end; {len(run.images)} images kept" in said(app)


def test_a_image_of_ours_is_audited_and_restores_its_settings(app: AppTest) -> None:
    run = image_example(OTHER)
    config = replace(
        run.config,
        sampling=replace(
            run.config.sampling, steps=7, guidance=3.5, scheduler="euler", negative="fog"
        ),
    )
    about = metadata_of(replace(run, config=config), run.images[1])
    data = png_bytes(run.images[1].image, about)
    app.query_params["tab"] = "audit"
    sound(app.run())
    sound(app.file_uploader(key="im_file").upload("../../<b>x</b>.png", data).run())
    job = app.session_state["im_audit"]
    runner = session.jobs().runner
    assert runner.record(job).kind == "audit" and runner.wait(job, timeout=120).state == "done"
    sound(app.run())
    # The same image as the one drawn: its own nearest training image, the same verdict.
    found = image_session.audit_job(job).run
    assert found is not None
    assert found.verdict == run.images[1].verdict
    assert found.neighbors[0].id == run.images[1].neighbors[0].id
    # Judged by the prompt in the file; a caption that somebody writes replaces it.
    assert found.prompt == run.images[1].prompt
    sound(app.text_input(key="im_caption").set_value("a dog").run())
    other = app.session_state["im_audit"]
    assert other != job and runner.wait(other, timeout=120).state == "done"
    replaced = image_session.audit_job(other).run
    assert replaced is not None and replaced.prompt == "a dog"
    sound(app.text_input(key="im_caption").set_value("").run())
    assert found.reason in [text.value for text in app.text]
    sound(app.button(key="im_restore").click().run())
    assert app.text_area(key="im_prompt").value == run.config.prompts[0]
    assert app.number_input(key="im_seed").value == run.images[1].seed
    assert app.number_input(key="im_steps").value == 7
    assert app.number_input(key="im_guidance").value == 3.5
    assert app.selectbox(key="im_scheduler").value == "euler"
    assert app.text_area(key="im_negative").value == "fog"
    form = ImageForm(run.config.prompts[0], 1, 1, 7, 3.5, 64, 64, "euler", "fog")
    assert form_of(settings_of(about)) == form


def test_several_images_are_audited_into_one_table(app: AppTest) -> None:
    run = image_example(OTHER)
    files = [
        (f"{number} {HOSTILE}", png_bytes(image.image, metadata_of(run, image)))
        for number, image in enumerate(run.images[:2])
    ]
    job = image_session.submit_audits([*files, ("notes.txt", b"no image")], run.config.model)
    assert session.jobs().runner.wait(job, timeout=240).state == "done"
    batch = image_session.audits_job(job).run
    assert batch is not None and [name for name, _ in batch.left_out] == ["notes.txt"]
    assert [one.verdict for one in batch.results] == [one.verdict for one in run.images[:2]]
    app.query_params.update({"tab": "audit", "audits": job})
    sound(app.run())
    assert app.toggle(key="im_several").value and dict(app.query_params)["audits"] == job
    assert "2 images audited" in pages_html(app) and "1 file was left out" in pages_html(app)
    assert "Left out, notes.txt" in unmarked(captions(app))
    [table] = [one.value for one in app.dataframe if "Verdict" in one.value]
    assert table["File"].tolist() == [name for name, _ in files]
    assert app.selectbox(key="im_audits_chosen").value == 0
    # Audits of single images are remembered apart.
    sound(app.toggle(key="im_several").set_value(False).run())
    data = files[1][1]
    sound(app.file_uploader(key="im_file").upload("x.png", data).run())
    single = app.session_state["im_audit"]
    assert image_session.audit_job(single).record.kind == "audit"
    sound(app.toggle(key="im_several").set_value(True).run())
    assert "2 images audited" in pages_html(app)
    assert session.jobs().runner.wait(single, timeout=240).state == "done"


@pytest.mark.parametrize(("name", "form"), [("x.png", "PNG"), ("a.jfif", "JPEG"), ("b", "WEBP")])
def test_the_prompt_of_another_program_is_offered_as_caption(
    app: AppTest, name: str, form: str
) -> None:
    prompt = "a *cat*, [x](http://example.org) <b>$1</b>"
    text = f"{prompt}\nNegative prompt: dog\nSteps: 20, Sampler: Euler a"
    file, note, exif = io.BytesIO(), PngInfo(), Image.Exif()
    note.add_text("parameters", text)
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode("utf-16-be")
    options = {"pnginfo": note} if form == "PNG" else {"exif": exif.tobytes()}
    Image.new("RGB", (64, 64), (9, 99, 199)).save(file, form, **options)
    app.query_params["tab"] = "audit"
    sound(app.run())
    sound(app.file_uploader(key="im_file").upload(name, file.getvalue()).run())
    assert any("a prompt of AUTOMATIC1111" in one.value for one in app.markdown)
    # As plain text: no markdown, no formula, no link.
    assert prompt in [one.value for one in app.text]
    assert not any(prompt in one.value for one in app.markdown)
    assert app.text_input(key="im_caption").value == ""
    sound(app.button(key="im_take_foreign_0").click().run())
    assert app.text_input(key="im_caption").value == prompt
    assert not app.error


def test_what_is_no_image_is_refused_in_a_sentence(app: AppTest) -> None:
    app.query_params["tab"] = "audit"
    sound(app.run())
    sound(app.file_uploader(key="im_file").upload("x.png", b"<svg onload=alert(1)>").run())
    assert len(app.error) == 1
    assert "is an SVG drawing" in app.error[0].value
    # The figures of another run do not stand above an image that somebody brings.
    assert not app.metric


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("a cat on the moon eating pizza", "cat, moon, eating, pizza"),
        ("Jonas Okonjo in a red coat, head and shoulders", ""),
    ],
)
def test_words_that_the_small_model_never_met_are_named_before_the_click(
    app: AppTest, prompt: str, named: str
) -> None:
    sound(app.run())
    app.text_area(key="im_prompt").set_value(prompt)
    sentence = unmarked(said(sound(app.run())))
    assert ("No training caption" in sentence) == bool(named) and named in sentence
    assert any("Words that this model knows" in box.label for box in app.expander)


def test_a_seed_is_reused_from_a_image(app: AppTest) -> None:
    sound(app.run())
    sound(app.button(key="im_reuse_3").click().run())
    assert app.number_input(key="im_seed").value == 3
    assert app.number_input(key="im_images").value == 1


def test_another_seed_and_a_random_one_ask_for_all_else_equal(
    app: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ImageConfig] = []

    def submitted(config: ImageConfig) -> str:
        asked.append(config)
        raise MMHError("The queue for cpu is full: ![x](http://example.org/p.png)")

    monkeypatch.setattr(image_session, "submit_images", submitted)
    sound(app.run())
    run = image_example("duplicate")
    sound(app.button(key="im_another").click().run())
    assert asked[0] == replace(run.config, seeds=asked[0].seeds)
    assert len(asked[0].seeds) == 1 and asked[0].seeds != (0,)
    assert "The queue for cpu is full: ![x](" in unmarked(said(app))
    sound(app.button_group(key="im_seeding").set_value("random").run())
    sound(app.button(key="im_draw").click().run())
    sound(app.button(key="im_draw").click().run())
    first, second = asked[1:]
    assert replace(first, seeds=()) == replace(run.config, seeds=())
    assert len(first.seeds) == 4 and not set(first.seeds) & set(second.seeds)


def test_without_training_images_the_cause_is_not_identifiable(app: AppTest) -> None:
    run = image_example("duplicate")
    bare = tuple(
        replace(
            one,
            copy=None,
            neighbors=(),
            truth=None,
            verdict="memorized, cause not identifiable",
        )
        for one in run.images
    )
    kept = session.data_folder() / "runs" / "bare.safetensors"
    save_record(kept, replace(run, searched=0, images=bare))
    from mmh_core.store.job_record import JobRecord

    record = JobRecord("a" * 32, "images", "bare", "cpu", "done", result=kept.name)
    session.jobs().store.add(record)
    app.query_params["job"] = record.id
    sound(app.run())
    assert metrics(app)["Copies"] == "unknown"
    assert "Ground truth of the prompt" not in metrics(app)
    assert "Cause not identifiable" in said(app)
    assert "./mmh index FOLDER --out INDEX" in said(app)
    assert "no training images to search" in pages_html(app)


def test_settings_survive_the_way_through_a_link() -> None:
    base = ImageSettings("pocket-sd", ImageForm("a", 4, 0, 30, 2.0, 64, 64))
    form = ImageForm("b & c", 2, 9, 12, 4.5, 72, 80, "euler", "fog", ("flipd", "lhsd"))
    before = replace(base, form=form, tab="map", image=1, job="a" * 32)
    assert parsed(dict(query(before, base)), base) == (before, [])
    assert query(base, base) == {"model": "pocket-sd"}
    assert before.form.config("m") == ImageConfig(
        "m", ("b & c",), (9, 10), Sampling(12, 4.5, 72, 80, "euler", "fog"), ("flipd", "lhsd")
    )


def test_plain_text_holds_nothing_that_markdown_obeys() -> None:
    assert unmarked(plain(HOSTILE)) == HOSTILE
    assert not re.search(r"(?<!\\)[\[\]<>*$`_:]", plain(HOSTILE))


def test_a_model_of_the_folder_is_compared_with_the_index_the_app_was_started_with(
    tmp_path: Path, started_with: Callable[..., None]
) -> None:
    models, images = tmp_path / "models", tmp_path / "images"
    models.mkdir()
    images.mkdir()
    write_pipeline(models, "tiny", size=4)
    outside = write_pipeline(tmp_path / "elsewhere", "tiny", size=4)
    (models / "linked").symlink_to(outside, target_is_directory=True)
    # One with its weights as a pickle is listed, and says why it is refused.
    (models / "old.ckpt").write_bytes(b"PK")
    (models / "single.safetensors").write_bytes(b"")
    broken = shutil.copytree(models / "tiny", models / "pickled")
    (broken / "unet" / "diffusion_pytorch_model.safetensors").rename(
        broken / "unet" / "diffusion_pytorch_model.bin"
    )
    training = drawings(5, size=32)
    for row, image in enumerate(training):
        (images / f"{row}.png").write_bytes(png_bytes(image, None))
    with pytest.raises(SystemExit):
        main(["index", str(images), "--out", str(tmp_path / "index")])
    options = ["--models", str(models), "--index", str(tmp_path / "index")]
    options += ["--index-images", str(images), "--data", str(tmp_path / "data")]
    started_with(*options)
    page = opened("images")
    page.query_params["model"] = "tiny"
    page.query_params["prompt"] = "a cat"
    sound(page.run())
    listed = ["linked", "pickled (not ready)", "single.safetensors (not ready)", "tiny"]
    assert page.selectbox(key="im_model").options[-4:] == listed
    for left in ("1 tokenizer (words;", "1 pickle (old.ckpt; it can run code"):
        assert left in unmarked(captions(page))
    # Names come from addresses: what is not listed is not opened, wherever it lies.
    for name in ("../elsewhere/tiny", str(outside), "old.ckpt", "."):
        with pytest.raises(MMHError, match="There is no model"):
            model_session.source_of(name)
    refused = opened("images")
    refused.query_params["model"] = "pickled"
    sound(refused.run())
    assert "holds its weights as a pickle" in unmarked(said(refused))
    assert refused.button(key="im_draw").disabled
    # Before the first run its time is guessed, and its memory is that of its weights.
    assert "estimated from this machine's speed" in captions(page)
    assert "Needs about 0.1 GB of memory on the CPU" in unmarked(captions(page))
    run = finished(page, start(page, images=2, steps=2), ImageRun)
    assert run.searched == 5 and run.embedder == "pixels"
    # Nobody calibrated a threshold here, and the page says what is known all the same.
    for one in run.images:
        assert one.evidence_neighbor is not None and one.copy is not None
        assert torch.equal(one.evidence_neighbor.image, training[one.copy.nearest])
        assert one.evidence_neighbor.file == one.copy.file == f"{one.copy.nearest}.png"
        assert f"{one.copy.nearest} ({one.copy.file})" in one.reason
        assert "has no calibrated threshold here" in one.reason
        assert one.verdict == "cannot be judged"
    assert metrics(page)["Copies"] == "unknown"
    page.session_state["im_tab"] = "data"
    shown = sound(page.run())
    assert f"--index {tmp_path / 'index'}" in shown.code[0].value
    session.jobs().runner.shutdown()
