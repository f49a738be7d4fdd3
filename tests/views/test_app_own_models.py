"""A model of one's own is named by its path, checked, and offered in the window that named it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from mmh_core.records import MMHError
from mmh_core.studies.images.run import ImageRun
from tests.text_to_image.pipelines import write_pipeline
from tests.views.pages import captions, finished, opened, said, sound, unmarked
from views import models, session


@pytest.fixture
def app(tmp_path: Path, started_with: Callable[..., None]) -> Iterator[AppTest]:
    """Yield the images page of a server where nobody has named a model, and end its jobs."""
    st.cache_resource.clear()
    started_with("--data", tmp_path / "data")
    yield opened("images")
    session.jobs().runner.shutdown()


def take(app: AppTest, path: object, key: str = "im_model") -> AppTest:
    app.text_input(key=f"{key}_path").set_value(str(path))
    sound(app.run())
    return sound(app.button(key=f"{key}_take").click().run())


def test_a_folder_is_checked_chosen_and_generates(app: AppTest, tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path / "mine", "tiny", size=4).resolve()
    sound(app.run())
    take(app, f"  {folder} ")
    # What is still missing is a prompt, and nothing of the model.
    assert [unmarked(error.value)[:19] for error in app.error] == ["The prompt is empty"]
    assert app.selectbox(key="im_model").value == str(folder)
    assert "/".join(folder.parts[-2:]) in app.selectbox(key="im_model").options
    assert app.query_params["model"] == str(folder)
    app.text_area(key="im_prompt").set_value("a cat")
    for name, value in {"images": 1, "steps": 1}.items():
        app.number_input(key=f"im_{name}").set_value(value)
    sound(app.run())
    sound(app.button(key="im_draw").click().run())
    run = finished(app, str(app.session_state["im_job"]), ImageRun)
    assert run.config.model == str(folder) and run.state == "complete"
    # The same server opens a link to it; another window that has none does not list it.
    other = opened("mitigation")
    sound(other.run())
    assert "/".join(folder.parts[-2:]) not in other.selectbox(key="mi_model").options
    linked = opened("images")
    linked.query_params["model"] = str(folder)
    assert sound(linked.run()).selectbox(key="im_model").value == str(folder)
    # After a restart a name in an address opens nothing.
    st.cache_resource.clear()
    with pytest.raises(MMHError, match="There is no model"):
        models.source_of(str(folder))


def test_the_mitigation_page_takes_one_too(app: AppTest, tmp_path: Path) -> None:
    folder = write_pipeline(tmp_path / "mine", "tiny", size=4).resolve()
    page = sound(opened("mitigation").run())
    take(page, folder, "mi_model")
    assert page.selectbox(key="mi_model").value == str(folder)


def test_what_is_no_model_is_refused_in_a_sentence_and_not_offered(
    app: AppTest, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "weights.ckpt").write_bytes(b"PK")
    (tmp_path / "bad.safetensors").write_bytes(b"x")
    sound(app.run())
    before = app.selectbox(key="im_model").options
    for path, sentence in (
        (tmp_path / "nowhere", "There is no"),
        (tmp_path / "empty", "empty"),
        (tmp_path / "notes.txt", "'notes.txt' is no model"),
        (tmp_path / "weights.ckpt", "'weights.ckpt' is no model"),
        (tmp_path / "bad.safetensors", "bad.safetensors"),
        ("hub:owner/name", "no whole path"),
        ("", "Write the path"),
    ):
        take(app, path)
        assert sentence in unmarked(said(app)), path
        assert app.selectbox(key="im_model").value == "pocket-sd"
    assert app.selectbox(key="im_model").options == before
    with pytest.raises(MMHError, match="There is no model"):
        models.source_of(str(tmp_path / "empty"))


def test_a_shared_server_takes_models_below_the_folder_of_its_owner_alone(
    app: AppTest, tmp_path: Path, started_with: Callable[..., None]
) -> None:
    inside = write_pipeline(tmp_path / "allowed", "tiny", size=4).resolve()
    outside = write_pipeline(tmp_path / "other", "tiny", size=4).resolve()
    shared = ("--data", tmp_path / "data", "--users", tmp_path / "users.txt")
    started_with(*shared)
    sound(app.run())
    assert app.text_input(key="im_model_path").disabled
    assert app.button(key="im_model_take").disabled
    assert "its owner allows no file of it" in unmarked(captions(app))
    with pytest.raises(MMHError, match="its owner allows no file"):
        models.take_own(str(inside))
    started_with(*shared, "--server-files", tmp_path / "allowed")
    page = sound(opened("images").run())
    take(page, outside)
    assert "lies outside of" in unmarked(said(page))
    assert page.selectbox(key="im_model").value == "pocket-sd"
    take(page, "tiny" if inside.name == "tiny" else inside)
    assert page.selectbox(key="im_model").value == str(inside)
