"""A training set of one's own: uploaded or named, indexed as a job, searched at once, removed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from mmh_core.counting import plural
from mmh_core.records import MMHError
from mmh_core.report.image_files import png_bytes
from mmh_core.retrieval.kept_indexes import IndexRequest
from mmh_core.studies.images.run import ImageRun
from mmh_core.studies.mitigation.run import MitigationRun
from mmh_core.subject.subject import IndexedFolder, Subject
from tests.retrieval.drawings import drawings
from tests.views.pages import captions, finished, opened, pages_html, said, sound, unmarked
from views import own_indexes, session, subjects
from views.access import server_files
from views.access.server_files import ServerFiles
from views.images import session as image_session
from views.mitigation import session as mitigation_session
from views.mitigation.settings import OFFERED


@pytest.fixture
def app(tmp_path: Path, started_with: Callable[..., None]) -> Iterator[AppTest]:
    """Yield the training sets of the images page, with an empty data folder; end its jobs."""
    started_with("--data", tmp_path / "data")
    page = opened("images")
    page.query_params["tab"] = "sets"
    yield page
    session.jobs().runner.shutdown()


def zipped(count: int = 3) -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for row, image in enumerate(drawings(count, size=64)):
            archive.writestr(f"photos/{row}.png", png_bytes(image, None))
        archive.writestr("photos/metadata.csv", "file_name,text\n0.png,a zero\n")
        archive.writestr("photos/notes.txt", "no image")
    return file.getvalue()


def ended(app: AppTest) -> str:
    """Wait for the job that the page shows, and run the page until it has taken notice."""
    job = str(app.session_state["im_made"])
    record = session.jobs().runner.wait(job, timeout=120)
    assert not record.is_active
    sound(app.run())
    return record.state


def test_an_uploaded_zip_is_indexed_and_searched_by_the_next_run_and_audit(app: AppTest) -> None:
    sound(app.run())
    assert "No training set is kept here yet" in captions(app)
    assert app.button(key="im_set_make").disabled
    sound(app.file_uploader(key="im_set_zip").upload("holiday.zip", zipped()).run())
    sound(app.button(key="im_set_make").click().run())
    assert app.query_params["made"] == app.session_state["im_made"]
    assert ended(app) == "done"
    [entry] = own_indexes.kept()
    assert (entry.about.name, entry.about.count) == ("holiday", 3)
    shown = unmarked(captions(app))
    assert (
        "3 of 5 files are indexed. Not indexed: 1 caption file" in shown and "notes.txt" in shown
    )
    assert "1 of 3 images have a caption" in shown or "1 of 3 images has a caption" in shown
    # Chosen at once, and in the link.
    assert app.selectbox(key="im_index").value == entry.id
    assert app.query_params["index"] == entry.id
    assert app.button(key=f"im_set_use_{entry.id}").disabled
    for name, value in {"images": 1, "steps": 2}.items():
        app.number_input(key=f"im_{name}").set_value(value)
    sound(app.button(key="im_draw").click().run())
    run = finished(app, str(app.session_state["im_job"]), ImageRun)
    assert (run.searched, run.embedder) == (3, "pixels")
    training = drawings(3, size=64)
    near = run.images[0].evidence_neighbor
    assert near is not None and torch.equal(near.image, training[near.id])
    app.session_state["im_tab"] = "data"
    sound(app.run())
    command = app.code[0].value
    assert f"--index {entry.index} --index-images {entry.images}" in command
    # An audit of one of its images finds that image.
    job = image_session.submit_audit(png_bytes(training[1], None), "", "pocket-sd")
    assert not session.jobs().runner.wait(job, timeout=120).is_active
    assert image_session.audit_job(job).run is not None
    again = opened("images")
    again.query_params.update({"tab": "audit", "index": entry.id})
    sound(again.run())
    data = png_bytes(training[1], None)
    sound(again.file_uploader(key="im_file").upload("x.png", data).run())
    audit = str(again.session_state["im_audit"])
    assert not session.jobs().runner.wait(audit, timeout=120).is_active
    result = image_session.audit_job(audit).run
    assert result is not None and result.copy is not None
    assert result.copy.kind == "exact" and result.copy.file == "1.png"


def test_the_models_own_set_comes_back_and_a_set_is_removed(app: AppTest) -> None:
    job = own_indexes.submit(IndexRequest("mine", zipped(2)))
    session.jobs().runner.wait(job, timeout=60)
    [entry] = own_indexes.kept()
    sound(app.run())
    assert app.selectbox(key="im_index").value is None
    sound(app.button(key=f"im_set_use_{entry.id}").click().run())
    assert app.selectbox(key="im_index").value == entry.id
    sound(app.selectbox(key="im_index").set_value(None).run())
    assert "index" not in app.query_params
    assert image_session.chosen_index() is None
    sound(app.button(key=f"im_set_use_{entry.id}").click().run())
    sound(app.button(key=f"im_set_remove_{entry.id}").click().run())
    assert not own_indexes.kept() and not list(own_indexes.folder().iterdir())
    assert "No training set is kept here yet" in captions(app)
    assert "index" not in app.query_params
    # A link that names it says so, and shows the page all the same.
    later = opened("images")
    later.query_params["index"] = entry.id
    sound(later.run())
    assert "this training set is not kept here" in unmarked(said(later))
    assert len(later.metric) == 4


def test_a_comparison_of_mitigations_and_all_that_follows_it_search_the_set_chosen(
    app: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound(app.run())  # Starts the jobs of this data folder.
    page = opened("mitigation")
    sound(page.run())
    assert not [box for box in page.selectbox if box.key == "mi_index"]
    session.jobs().runner.wait(own_indexes.submit(IndexRequest("mine", zipped(3))), timeout=60)
    [entry] = own_indexes.kept()
    sound(page.run())
    box = page.selectbox(key="mi_index")
    assert (box.label, box.options, box.value) == ("Training set", ["mine"], None)
    assert box.placeholder == app.run().selectbox(key="im_index").placeholder
    sound(box.set_value(entry.id).run())
    assert page.query_params["index"] == entry.id
    assert session.data_folder() in entry.index.parents

    searched, real = list[IndexedFolder | None](), subjects.subject

    def subject(name: str, index: IndexedFolder | None = None) -> Subject:
        searched.append(index)
        return real(name, index)

    monkeypatch.setattr(subjects, "subject", subject)
    for name in OFFERED:
        page.session_state[f"mi_on_{name}"] = False
    for name, value in {"images": 1, "steps": 2}.items():
        page.number_input(key=f"mi_{name}").set_value(value)
    page.toggle(key="mi_with_normal").set_value(False)
    sound(page.run())
    sound(page.button(key="mi_compare").click().run())
    run = finished(page, str(page.session_state["mi_job"]), MitigationRun)
    assert (run.training_images, run.embedder) == (3, "pixels")
    training, near = drawings(3, size=64), dict(run.nearest_images)
    assert near and all(torch.equal(image, training[id]) for id, image in near.items())
    assert "searched among 3 training images by pixels" in unmarked(captions(page))
    page.session_state["mi_tab"] = "data"
    command = sound(page.run()).code[0].value
    assert f"--index {entry.index} --index-images {entry.images}" in command

    # What is asked further of the comparison searches what it searched, by the page's choice.
    expected = IndexedFolder(entry.index, entry.images, "pixels")
    runner = session.jobs().runner
    with monkeypatch.context() as patched:
        patched.setattr(st, "session_state", {"mi_index": entry.id})
        for job in (
            mitigation_session.submit_robustness(run),
            mitigation_session.submit_tokens(run),
            mitigation_session.submit_trial(run, "a fox"),
        ):
            runner.cancel(job)
            runner.wait(job, timeout=120)
        assert mitigation_session.index_of(run) == expected
        assert searched and set(searched) == {expected}
        # An earlier comparison searched the model's own set, whatever is chosen now.
        earlier = replace(run, training_images=None, embedder="")
        assert mitigation_session.index_of(earlier) is None
        patched.setattr(st, "session_state", {"mi_index": None})
        for ask in (mitigation_session.submit_robustness, mitigation_session.submit_tokens):
            with pytest.raises(MMHError, match="searched 3 training images by pixels: choose"):
                ask(run)

    # Where it is not chosen any more, the page says so beside the command.
    sound(page.selectbox(key="mi_index").set_value(None).run())
    assert "choose that training set in the sidebar" in unmarked(said(page))
    assert "index" not in page.query_params and "--index" not in page.code[0].value


def test_a_link_to_a_comparison_with_a_set_that_is_gone_says_so(app: AppTest) -> None:
    sound(app.run())
    page = opened("mitigation")
    page.query_params["index"] = "0" * 32
    sound(page.run())
    assert "this training set is not kept here" in unmarked(said(page))
    assert "index" not in page.query_params and len(page.metric) == 5
    # The way to another set: the part of the images page where sets are made.
    links = {one.proto.label: one.proto.url for one in page.get("link_button")}
    assert links == {"Add a training set": "images?tab=sets"}


def test_a_set_in_use_by_a_waiting_job_is_not_removed(app: AppTest) -> None:
    job = own_indexes.submit(IndexRequest("mine", zipped(2)))
    session.jobs().runner.wait(job, timeout=60)
    [entry] = own_indexes.kept()

    def endless() -> Iterator[object]:
        from mmh_core.records import Progress

        while True:
            yield Progress(0.5, "still", None)

    busy = session.jobs().runner.submit("images", "A long run", endless)  # type: ignore[arg-type]
    sound(app.run())
    sound(app.button(key=f"im_set_remove_{entry.id}").click().run())
    assert "A long run still runs or waits" in unmarked(said(app))
    assert own_indexes.kept() == [entry]
    session.jobs().runner.cancel(busy)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"PK no zip", "'bad' is no zip file of images"), (b"", "no zip file")],
)
def test_what_is_no_zip_is_refused_in_a_sentence(app: AppTest, data: bytes, sentence: str) -> None:
    sound(app.run())
    sound(app.file_uploader(key="im_set_zip").upload("bad.zip", data or b"\0").run())
    sound(app.button(key="im_set_make").click().run())
    assert ended(app) == "failed"
    assert sentence in unmarked(said(app))
    assert list(own_indexes.folder().iterdir()) == []
    # The form is there to try again.
    assert app.button(key="im_set_make")


def test_a_folder_of_the_server_is_named_where_its_owner_allows_it(
    app: AppTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for row, image in enumerate(drawings(2, size=32)):
        (folder / f"{row}.png").write_bytes(png_bytes(image, None))
    sound(app.run())
    sound(app.button_group(key="im_set_source").set_value("folder").run())
    app.text_input(key="im_set_folder").set_value(str(tmp_path / "nowhere"))
    sound(app.run())
    sound(app.button(key="im_set_make").click().run())
    assert "There is no" in unmarked(said(app)) and app.session_state["im_made"] is None
    app.text_input(key="im_set_folder").set_value(str(folder))
    app.selectbox(key="im_set_descriptor").set_value("pocket")
    sound(app.run())
    sound(app.button(key="im_set_make").click().run())
    assert ended(app) == "done"
    [entry] = own_indexes.kept()
    assert entry.images == folder.resolve() and entry.about.embedder == "pocket"
    assert plural(2, "image") in unmarked(captions(app))
    monkeypatch.setattr(server_files, "server_files", lambda: ServerFiles(False))
    monkeypatch.setattr("views.images.training_sets.server_files", lambda: ServerFiles(False))
    refused = opened("images")
    refused.query_params["tab"] = "sets"
    sound(refused.run())
    sound(refused.button_group(key="im_set_source").set_value("folder").run())
    assert refused.text_input(key="im_set_folder").disabled
    assert "its owner allows no file of it" in unmarked(captions(refused))
    # Weights are files of the server, too.
    assert refused.selectbox(key="im_set_descriptor").options == [*own_indexes.SHIPPED.values()]
    with pytest.raises(Exception, match="its owner allows no file"):
        own_indexes.submit(IndexRequest("x", folder))
    with pytest.raises(Exception, match="its owner allows no file"):
        own_indexes.embedder_name("sscd", str(folder))


def test_hostile_names_are_shown_letter_by_letter(app: AppTest) -> None:
    name = "![x](http://example.org/p.png) <img src=http://e.org/q.png>"
    job = own_indexes.submit(IndexRequest(name, zipped(1)))
    session.jobs().runner.wait(job, timeout=60)
    app.query_params["made"] = job
    sound(app.run())
    assert name in [text.value for text in app.text]
    written = [*app.markdown, *app.caption, *app.success, *app.subheader, *app.header]
    assert not any("](http" in element.value for element in written)
    assert "<img src=http" not in pages_html(app)
