"""Two kept runs side by side on the images page, from a link, the list and the other way round."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import escape, unescape
from urllib.parse import parse_qsl, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from mmh_core.store.archive import save_record
from mmh_core.store.job_record import JobRecord
from mmh_core.studies.images.comparison import compare_runs
from mmh_core.studies.images.run import ImageRun
from tests.views.pages import captions, image_example, opened, pages_html, said, sound, unmarked
from views import session
from views.images import phrases
from views.images import session as image_session

#: A kind of finished example beside the one that the page opens on.
OTHER = next(kind for kind in image_session.example_kinds() if kind != "duplicate")
HOSTILE = "![x](http://example.org/p.png) <img src=http://example.org/q.png>"


@pytest.fixture
def app(fresh_page: Callable[[str], AppTest]) -> AppTest:
    return fresh_page("images")


def kept(run: ImageRun, digit: str, label: str = "a run") -> str:
    """Keep a run as one of this server's jobs, and return the job."""
    file = session.data_folder() / "runs" / f"{digit * 32}.safetensors"
    save_record(file, run)
    record = JobRecord(digit * 32, "images", label, "cpu", "done", result=file.name)
    session.jobs().store.add(record)
    return record.id


def with_more_guidance(run: ImageRun) -> ImageRun:
    usual = run.config.sampling
    sampling = replace(usual, guidance=usual.guidance + 1)
    images = tuple(reversed(run.images))
    seeds = tuple(image.seed for image in images)
    return replace(run, images=images, config=replace(run.config, sampling=sampling, seeds=seeds))


def test_two_runs_stand_side_by_side_by_seed_with_the_finding_on_top(app: AppTest) -> None:
    first = image_example("duplicate")
    second = with_more_guidance(first)
    app.query_params.update(
        {"job": kept(first, "a"), "other": kept(second, "b"), "tab": "compare"}
    )
    sound(app.run())
    shown, drawn = pages_html(app), compare_runs(first, second).conclusion()
    assert escape(drawn.finding) in shown and escape(drawn.recommendation) in shown
    assert shown.index(escape(drawn.finding)) < shown.index("im-settings")
    assert "2 settings that differ" in [heading.value for heading in app.subheader]
    table = shown.split("<tbody>")[1].split("</tbody>")[0]
    assert table.index("Guidance") < table.index("Seeds") and "Steps" not in table
    for image in first.images:
        card = shown.split(f">Seed {image.seed}, the same image pixel for pixel<")[1]
        card = card.split('class="im-seed"')[0]
        assert card.count(f"generated, seed {image.seed}<") == 2
        assert card.count(phrases.nearest(image)) == card.count("copy threshold") == 2
        assert card.count(f"<b>{phrases.lid_with_error(image.lid)}</b>") == 2
        assert card.count(f">{image.verdict}<") == 2
    # The figures of one of the two runs alone do not stand above both.
    assert not app.metric


def test_the_address_on_the_page_opens_the_same_comparison(app: AppTest) -> None:
    first = image_example("duplicate")
    job = kept(first, "a", "the run shown")
    other = kept(with_more_guidance(first), "b", HOSTILE)
    app.query_params["job"] = job
    sound(app.run())
    sound(app.button(key="im_compare_open").click().run())
    assert "Choose the second run" in captions(app)
    sound(app.selectbox(key="im_other").set_value(other).run())
    [address] = [code.value for code in app.code if "/images?" in code.value]
    link = dict(parse_qsl(urlsplit(address).query))
    assert (link["job"], link["other"], link["tab"]) == (job, other, "compare")
    again = opened("images")
    again.query_params.update(link)
    sound(again.run())
    assert "2 settings that differ" in [heading.value for heading in again.subheader]
    assert again.selectbox(key="im_other").value == other
    # A run is not offered beside itself.
    options = app.selectbox(key="im_other").options
    assert any(HOSTILE in option for option in options)
    assert not any("the run shown" in option for option in options)
    assert "<img src=http" not in pages_html(again)


def test_the_finished_examples_can_be_compared_and_a_model_with_another(app: AppTest) -> None:
    run = replace(image_example(OTHER), model="another", sha256="1e" * 32)
    app.query_params.update({"tab": "compare", "other": kept(run, "c")})
    sound(app.run())
    assert "do not compare as numbers" in pages_html(app)
    assert ">another<" in pages_html(app)
    sound(app.selectbox(key="im_other").set_value(OTHER).run())
    assert dict(app.query_params)["other"] == OTHER
    assert ">another<" not in pages_html(app)


@pytest.mark.parametrize(
    ("other", "words"),
    [("0" * 32, "There is no job"), ("../x", "other is '../x'; it must be the id of a run")],
)
def test_a_run_that_is_not_there_is_said_to_be_missing(
    app: AppTest, other: str, words: str
) -> None:
    app.query_params.update({"tab": "compare", "other": other})
    sound(app.run())
    assert words in unmarked(said(app))


def test_a_run_without_images_is_not_compared(app: AppTest) -> None:
    empty = replace(image_example(OTHER), images=(), state="stopped")
    app.query_params.update({"tab": "compare", "other": kept(empty, "d")})
    sound(app.run())
    assert "stopped before its first image" in said(app)


def test_the_overview_leads_to_the_last_two_image_runs(app: AppTest) -> None:
    first = image_example("duplicate")
    jobs = [kept(first, "a"), kept(first, "b")]
    overview = sound(opened("overview").run())
    [address] = re.findall(r'href="(images[?][^"]*tab=compare[^"]*)"', pages_html(overview))
    link = dict(parse_qsl(urlsplit(unescape(address)).query))
    assert sorted((link["job"], link["other"])) == jobs
