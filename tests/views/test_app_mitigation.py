"""The mitigation page, as a person uses it, through Streamlit's own test harness."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

from mmh_core.mitigations.rewording_service import Endpoint
from mmh_core.mitigations.wording import Word
from mmh_core.records import MMHError
from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.store.archive import load_record, save_record
from mmh_core.studies.images.run import ImageConfig, ImageRun
from mmh_core.studies.mitigation.run import (
    MitigationConfig,
    MitigationRun,
    Robustness,
    Treatment,
)
from mmh_core.studies.mitigation.token_attribution import (
    ATTRIBUTION_SCORES,
    with_word,
    without_word,
    word_at,
)
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Sampling
from tests.mitigation_runs import HOSTILE, PROMPT, REFUSAL, REWRITE, STATIC, comparison, token_run
from tests.retrieval.drawings import drawings, of_all_colors, training_set_of
from tests.text_to_image.conftest import ModelOf, folder_of, model_of
from tests.training_mitigation_runs import training_mitigation_run
from tests.views.pages import finished, metrics, opened, pages_html, said, sound
from views import models as model_session
from views import session, subjects
from views.images import session as image_session
from views.mitigation import session as mitigation_session
from views.mitigation.settings import (
    OFFERED,
    MitigationSettings,
    form_of,
    parsed,
    query,
    read_treatments,
    same_request,
    write_treatments,
)

__all__ = ["folder_of", "model_of"]

SETTINGS = ImageConfig("pocket-sd", ("",), (0, 1, 2, 3), Sampling(3, 2.0, 32, 32))


@pytest.fixture
def app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started_with: Callable[..., None]
) -> Iterator[AppTest]:
    """Yield the page with one precomputed comparison and an empty data folder, not yet run."""
    started_with("--data", tmp_path)
    shelf = tmp_path / "examples"
    save_record(shelf / "fox.safetensors", comparison())
    save_record(shelf / "fox-tokens.safetensors", token_run())
    save_record(shelf / "training" / "pocket-sd.safetensors", training_mitigation_run())
    monkeypatch.setattr(mitigation_session, "EXAMPLES", shelf)
    yield opened("mitigation")
    session.jobs().runner.shutdown()


@pytest.fixture
def small(model_of: ModelOf, monkeypatch: pytest.MonkeyPatch) -> TextToImage:
    """Let the shipped model be a tiny random one with a training set of drawings."""
    model = replace(model_of("tiny"), steps=3, guidance=2.0)
    known = replace(
        training_set_of(of_all_colors(drawings(60, size=32))),
        log_delta=-0.5,
        alignment=lambda shown, texts: shown.mean((1, 2, 3))[:, None].expand(-1, len(texts)),
    )
    monkeypatch.setattr(subjects, "model", lambda name: model)
    monkeypatch.setattr(subjects, "training_set", lambda name, searched=None: known)
    monkeypatch.setattr(subjects, "reference_prompts", lambda name: None)
    monkeypatch.setattr(model_session, "default_settings", lambda name: SETTINGS)
    monkeypatch.setattr(mitigation_session, "example_names", lambda: [])
    return model


def open_tab(app: AppTest, name: str) -> AppTest:
    sound(app.run())
    app.session_state["mi_tab"] = name
    return sound(app.run())


def test_the_page_opens_on_the_precomputed_comparison(app: AppTest) -> None:
    sound(app.run())
    assert metrics(app) == {
        "Copy rate before": "100%",
        "Copy rate after": "0%",
        "Alignment": "0.42 → 0.39",
        "LID": "3.0 → 22.0",
        "Reference prompts": "No harm shown",
    }
    shown = pages_html(app)
    assert PROMPT in shown and "Static transition point" in shown and REFUSAL in shown
    # The training image that is copied stands beside both.
    assert (
        "copied training image no. 5; similarity without mitigation 0.980, with it 0.600" in shown
    )
    # The best treatment is in detail: figures before and after, and the digest of the noise.
    assert "0.980 → 0.600" in shown and "an exact copy → no copy" in shown
    assert any("same starting noise on both sides" in c.value for c in app.caption)
    assert any("abab" in c.help for c in app.caption)
    # The table: the difference to none with its interval.
    assert "-0.320 [-1.082, +0.442]" in shown
    # Both images of two are no copies any more, which two images promise to -100 at best.
    assert re.search(r"-100 \[-100, [+-]\d+\] points", shown)


def test_a_copy_in_disguise_is_told(app: AppTest) -> None:
    """No copy by the search, and the model's LID where it was: 2.0 and 4.0 before."""
    run = comparison()
    cells = [
        replace(cell, lid=torch.tensor([2.4, 24.0]), lid_error=torch.tensor([0.5, 0.5]))
        if cell.treatment == STATIC and cell.prompt == 0
        else cell
        for cell in run.cells
    ]
    save_record(mitigation_session.EXAMPLES / "fox.safetensors", replace(run, cells=tuple(cells)))
    sound(app.run())
    assert "LID has not risen" in said(app)
    app.segmented_control(key="mi_seed_compare").set_value(1)
    sound(app.run())
    assert "LID has not risen" not in said(app)


def test_what_only_moved_off_the_threshold_is_no_success_on_the_page(app: AppTest) -> None:
    """On the cards, in the table, in the headline: its own state, and never the best."""
    run = comparison()
    cells = [
        replace(cell, lid=torch.tensor([2.4, 4.1])) if cell.treatment == STATIC else cell
        for cell in run.cells
    ]
    save_record(mitigation_session.EXAMPLES / "fox.safetensors", replace(run, cells=tuple(cells)))
    sound(app.run())
    assert set(metrics(app)) == {"Copy rate before"}
    told = said(app).replace("\\", "")
    assert "None of these passes" in told
    assert (
        "Static transition point (50 %): failed criteria: LID does not rise; criteria not "
        "judged: robust (2 of 2: moved off "
        "the threshold, LID unchanged: not solved)" in told
    )
    assert "100% not solved" in pages_html(app)
    open_tab(app, "grid")
    shown = pages_html(app)
    assert shown.count('<figure class="mi-not-solved"') == 2
    assert "Seeds 0, 7: moved off the threshold, LID unchanged: not solved" in shown


def test_cards_show_alignment_per_seed_and_flag_another_subject(app: AppTest) -> None:
    run = comparison()
    cells = [
        replace(
            cell,
            contents=("landscape", "portrait"),
            content_asked="portrait",
            alignment=torch.tensor([0.58, 0.57]),
        )
        if cell.treatment == STATIC
        else cell
        for cell in run.cells
    ]
    save_record(mitigation_session.EXAMPLES / "fox.safetensors", replace(run, cells=tuple(cells)))
    open_tab(app, "grid")
    shown = pages_html(app)
    assert "other subject<br>0.58" in shown and "solved<br>0.57" in shown
    assert "Seed 0: shows another kind of image (landscape, not portrait)" in shown
    assert "None of these passes" in said(app)


def test_new_copies_of_reference_prompts_are_said_in_red(app: AppTest) -> None:
    run = comparison()
    copied: tuple[CopyKind, ...] = ("none", "exact")
    cells = [
        replace(cell, kinds=copied) if cell.treatment == STATIC and cell.prompt else cell
        for cell in run.cells
    ]
    save_record(mitigation_session.EXAMPLES / "fox.safetensors", replace(run, cells=tuple(cells)))
    sound(app.run())
    assert '<span class="mi-bad">harmed<small>1 of 2 images is a new copy' in pages_html(app)
    assert "harms reference prompts: 1 of 2 become copies" in said(app).replace("\\", "")
    open_tab(app, "normal")
    assert "Static transition point (50 %): harms reference prompts: 1 of 2" in said(app).replace(
        "\\", ""
    )
    assert '<span class="mi-red">Seed 7: a new copy</span>' in pages_html(app)


def test_a_stopped_run_shows_what_stood_on_the_screen(app: AppTest) -> None:
    run = comparison()
    preview = run.cells[0].images
    stopped = replace(
        run,
        state="stopped",
        cells=run.cells[:2],
        preview=preview,
        preview_of="Static transition point",
    )
    save_record(mitigation_session.EXAMPLES / "fox.safetensors", stopped)
    sound(app.run())
    assert "2 of 10 combinations of prompt and mitigation are kept" in said(app)
    captions = " ".join(c.value for c in app.caption).replace("\\", "")
    assert "Unfinished when it was stopped: Static transition point" in captions
    assert pages_html(app).count('alt="Unfinished image, seed') == 2


def test_the_form_says_what_the_precomputed_comparison_asked(app: AppTest) -> None:
    sound(app.run())
    assert app.text_area(key="mi_prompt").value == PROMPT
    on = [name for name in OFFERED if app.toggle(key=f"mi_on_{name}").value]
    assert on == [n for n in OFFERED if n in ("rewrite", "raise_lid", "static_guidance")]
    assert app.text_area(key="mi_normal").value == "a blue bird"
    assert "press Compare to run that" not in " ".join(c.value for c in app.caption)


@pytest.mark.parametrize(
    ("preset", "off"),
    [
        # At most as many NFE on top as half of a generation takes, two for each of its steps.
        (
            "Quick",
            {"rewrite", "raise_lid", "noise_optimization", "sparse_repellency",
             "anti_memorization_guidance", "automatic_chain"},
        ),
        ("No training images", {"anti_memorization_guidance"}),
        ("All", set()),
    ],
)  # fmt: skip
def test_a_preset_switches_on_its_mitigations_and_no_others(
    app: AppTest, preset: str, off: set[str]
) -> None:
    sound(app.run())
    app.number_input(key="mi_steps").set_value(30)
    strengths = app.session_state["mi_at_rewrite"]
    sound(app.button(key=f"mi_preset_{preset}").click().run())
    on = [name for name in OFFERED if app.toggle(key=f"mi_on_{name}").value]
    assert on == [name for name in OFFERED if name not in off]
    assert app.session_state["mi_at_rewrite"] == strengths


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        # Held and not asked for.
        ({"with_normal": False, "normal": ("a", "b")}, True),
        ({"with_normal": False, "normal": ()}, True),
        ({"with_normal": True, "normal": ()}, True),
        ({"with_normal": True, "normal": ("a",)}, False),
        ({"treatments": (STATIC, REWRITE)}, True),
        ({"treatments": (STATIC,)}, False),
        ({"images": 3}, False),
        ({"seed": 1}, False),
        ({"guidance": 2.5}, False),
        ({"steps": 6}, False),
        ({"prompt": "a red fox"}, False),
    ],
)
def test_the_form_differs_where_it_asks_for_something_else(
    changed: dict[str, object], same: bool
) -> None:
    config = MitigationConfig(
        "pocket-sd", (PROMPT,), (0, 1), (REWRITE, STATIC), Sampling(5, 2.0, 16, 16)
    )
    asked = replace(form_of(config), normal=("a blue bird",), with_normal=False)
    assert same_request(replace(asked, **changed), config) is same


def test_a_cell_is_opened_from_the_grid_and_is_in_the_link(app: AppTest) -> None:
    open_tab(app, "grid")
    app.button(key="mi_look_3").click()
    sound(app.run())
    assert app.session_state["mi_cell"] == REWRITE
    assert dict(app.query_params)["cell"] == "rewrite:4"
    shown = pages_html(app)
    assert "<del>red</del>" in shown and "<ins>crimson</ins>" in shown
    app.button(key="mi_look_4").click()
    sound(app.run())
    assert REFUSAL.rstrip(".").split(":")[0] in said(app).replace("\\", "")


def test_a_click_on_a_mark_chooses_its_treatment(app: AppTest) -> None:
    from views.mitigation import table

    sound(app.run())
    assert app.session_state["mi_rows"][2] == STATIC
    # Streamlit's harness cannot click a chart: the callback reads what a click leaves.
    state: dict[str, object] = {
        "mi_frontier": {"selection": {"points": [{"customdata": [2]}]}},
        "mi_rows": app.session_state["mi_rows"],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table.st, "session_state", state)
        table._take_mark()
    assert state["mi_cell"] == STATIC


@pytest.mark.parametrize("way", ["flicker", "difference"])
def test_every_way_of_comparing_is_drawn(app: AppTest, way: str) -> None:
    sound(app.run())
    app.segmented_control(key="mi_way_compare").set_value(way)
    sound(app.run())
    shown = pages_html(app)
    wanted = {"flicker": '<div class="im-stack im-flicker">', "difference": "Absolute difference"}
    assert wanted[way] in shown


def test_normal_prompts_have_their_images_and_the_data_their_command(app: AppTest) -> None:
    open_tab(app, "normal")
    assert any(t.value == "a blue bird" for t in app.text)
    assert any("Over 1 reference prompt with 2 seeds each" in c.value for c in app.caption)
    open_tab(app, "data")
    codes = [c.value for c in app.code]
    assert codes[1].startswith("http://") and "tab=data" in codes[1]
    assert codes[0].startswith("./mmh mitigate --model pocket-sd --prompt 'a red fox")
    assert "--reference-prompt 'a blue bird'" in codes[0] and "static_guidance:0.5" in codes[0]


def test_training_time_mitigations_are_switched_on_and_off(app: AppTest) -> None:
    open_tab(app, "training")

    def table() -> dict[str, list[str]]:
        frame = app.dataframe[0].value
        return {str(row.iloc[0]): [str(v) for v in row.iloc[1:]] for _, row in frame.iterrows()}

    # Both at first: without duplicates no earlier step is better, and the page says so.
    assert list(app.dataframe[0].value.columns)[1:] == ["as trained", "deduplicated"]
    assert table()["Overfit captions: LID, median"] == ["4.0", "22.0"]
    assert any("early stopping does not help here" in c.value for c in app.caption)
    app.toggle(key="mi_deduplicated").set_value(False)
    sound(app.run())
    assert table()["Training step"] == ["400", "200"]
    assert table()["Duplicated captions: LID, median"] == ["2.0", "12.0"]
    app.toggle(key="mi_stopped_early").set_value(False)
    sound(app.run())
    found = table()
    assert found["Duplicated captions: copy rate"] == ["100%"]
    assert found["Duplicated captions: LID, median"] == ["2.0"]
    assert "a copy, LID 2.0" in pages_html(app)
    assert dict(app.query_params)["tab"] == "training"


def test_without_a_training_to_show_the_page_says_so(app: AppTest) -> None:
    (mitigation_session.EXAMPLES / "training" / "pocket-sd.safetensors").unlink()
    open_tab(app, "training")
    assert "no training run" in said(app)


def test_words_are_scored_and_a_word_can_be_chosen(app: AppTest) -> None:
    open_tab(app, "words")
    assert "No word stands out from the random control" in pages_html(app)
    assert app.selectbox(key="mi_token").options[1] == "2. red"
    app.selectbox(key="mi_token").set_value(1)
    sound(app.run())
    assert app.text_input(key="mi_new").value  # The table of synonyms knows colors.


def test_a_link_restores_everything_and_names_what_it_cannot_use(app: AppTest) -> None:
    app.query_params["treatments"] = "static_guidance:0.3,padding_fix,magic:2"
    app.query_params["images"] = "99"
    app.query_params["prompt"] = HOSTILE
    app.query_params["job"] = "no"
    sound(app.run())
    assert app.text_area(key="mi_prompt").value == HOSTILE
    assert app.pills(key="mi_at_static_guidance").value == [0.3]
    assert app.toggle(key="mi_on_padding_fix").value
    warnings = said(app).replace("\\", "")
    for name in ("mitigation is 'magic'", "images is '99'", "job is 'no'"):
        assert name in warnings
    assert "![p](http" not in said(app)


def test_a_comparison_is_drawn_kept_and_opened_again(app: AppTest, small: TextToImage) -> None:
    sound(app.run())
    assert "no comparison of this model yet" in said(app)
    app.text_area(key="mi_prompt").set_value("the cat")
    app.toggle(key="mi_with_normal").set_value(False)
    for name in OFFERED:
        app.toggle(key=f"mi_on_{name}").set_value(name == "static_guidance")
    sound(app.run())
    sound(app.button(key="mi_compare").click().run())
    job = str(app.session_state["mi_job"])
    run = finished(app, job, MitigationRun)
    assert [c.treatment for c in run.cells] == [
        Treatment("none", 0.0),
        Treatment("random_tokens", 2.0),
        STATIC,
    ]
    assert run.state == "complete" and run.config.prompts == ("the cat",)
    # Drawings are no training set of the cat's: nothing is copied, so nothing can be solved.
    assert "the cat" in pages_html(app) and metrics(app) == {"Copy rate before": "0%"}
    assert "there is nothing to solve" in said(app)
    later = opened("mitigation")
    later.query_params["job"] = job
    sound(later.run())
    assert later.text_area(key="mi_prompt").value == "the cat"
    assert job in mitigation_session_past()

    # The words of this very run, then another wording of it.
    open_tab(later, "words")
    sound(later.button(key="mi_score").click().run())
    scored = str(later.session_state["mi_tokens"])
    assert session.jobs().runner.wait(scored, timeout=110).error is None
    found = mitigation_session.token_job(scored).run
    assert found is not None and [each.by for each in found.attributions] == list(
        ATTRIBUTION_SCORES
    )
    sound(later.run())
    later.selectbox(key="mi_token").set_value(0)
    sound(later.run())
    sound(later.button(key="mi_drop").click().run())
    trial = str(later.session_state["mi_trial"])
    drawn = finished(later, trial, MitigationRun)
    assert drawn.config.prompts == ("the cat", "cat") and len(drawn.cells) == 2
    assert drawn.cells[0].noise_sha256 == drawn.cells[1].noise_sha256
    assert "<del>the</del>" in pages_html(later)
    assert trial not in mitigation_session_past()


def test_robustness_is_not_run_until_it_is_tried_and_then_counted(app: AppTest) -> None:
    sound(app.run())
    assert "Robustness: copies that come back" in pages_html(app)
    assert "not run" in pages_html(app) and "not judged: robust" in pages_html(app)
    assert app.button(key="mi_robustness").label == "Try whether copies come back"
    assert any("1 reference prompt as the control: about" in c.value for c in app.caption)
    run = comparison()
    count = len(run.config.treatments)
    column = torch.tensor([[1.0, 0.0]]).expand(count, -1).clone()
    none = torch.zeros(count, 2)
    empty = torch.empty(count, 0)
    tried = (
        Robustness(run.config.treatments, ("a crimson fox",), 5, none, none, column),
        Robustness(run.config.treatments, (), 3, empty, empty, none),
    )
    path = mitigation_session.EXAMPLES / "fox.safetensors"
    save_record(path, replace(run, robustness=tried))
    again = opened("mitigation")
    sound(again.run())
    shown = pages_html(again)
    assert "re-trigger attack: 1 of 2 (0.01 to 0.99)" in shown
    assert (
        "attack on reference prompts: 0 of 2" in shown
        and "failed criteria: copies come back" in shown
    )
    assert "Copy rate after" not in metrics(again) and "None of these passes" in said(again)
    assert not [button for button in again.button if button.key == "mi_robustness"]


def test_robustness_is_tried_from_the_page_and_kept_with_the_comparison(
    app: AppTest, small: TextToImage
) -> None:
    sound(app.run())
    config = replace(comparison().config, treatments=(STATIC,), sampling=Sampling(3, 2.0, 32, 32))
    first = session.jobs().runner.wait(mitigation_session.submit_mitigation(config), timeout=110)
    run = load_record(session.data_folder() / "runs" / str(first.result), MitigationRun)
    second = session.jobs().runner.wait(mitigation_session.submit_robustness(run), timeout=110)
    assert second.error is None and second.id in mitigation_session_past()
    kept = load_record(session.data_folder() / "runs" / str(second.result), MitigationRun)
    assert kept.state == "complete" and len(kept.robustness) == len(config.prompts)
    assert kept.robustness[0].treatments == run.config.treatments
    assert len(kept.cells) == len(run.cells)


def test_without_mitigation_both_pages_draw_the_same_bits(
    app: AppTest, small: TextToImage
) -> None:
    """Through both sessions, their jobs and their files, for two prompts and two seeds."""
    sound(app.run())
    images = replace(SETTINGS, prompts=("the cat", "a dog"), seeds=(3, 4))
    wanted = MitigationConfig(
        "pocket-sd", images.prompts, images.seeds, (STATIC,), Sampling(3, 2.0, 32, 32)
    )
    runner, runs = session.jobs().runner, session.data_folder() / "runs"
    one = runner.wait(image_session.submit_images(images), timeout=110)
    other = runner.wait(mitigation_session.submit_mitigation(wanted), timeout=110)
    drawn = load_record(runs / str(one.result), ImageRun)
    compared = load_record(runs / str(other.result), MitigationRun)
    for number in (0, 1):
        cell = compared.cell(number, Treatment("none", 0.0))
        treated = compared.cell(number, STATIC)
        assert cell is not None and treated is not None
        assert cell.noise_sha256 == drawn.noise_sha256
        for i, image in enumerate(drawn.images[2 * number : 2 * number + 2]):
            assert torch.equal(cell.latents[i], image.latents)
            assert torch.equal(cell.images[i], image.image)
            assert not torch.equal(treated.images[i], image.image)


def mitigation_session_past() -> set[str]:
    return {record.id for record in mitigation_session.past_mitigations()}


def test_what_cannot_be_run_is_said_before_the_button(app: AppTest) -> None:
    sound(app.run())
    app.text_area(key="mi_prompt").set_value("  ")
    sound(app.run())
    assert app.button(key="mi_compare").disabled
    assert "prompt is empty" in said(app)


def test_links_carry_settings_and_give_them_back() -> None:
    base = MitigationSettings("pocket-sd", form_of(comparison().config), "fox")
    changed = replace(
        base,
        form=replace(
            base.form,
            prompt="a boat",
            images=4,
            guidance=3.5,
            treatments=(Treatment("raise_lid", 0.9), STATIC),
            with_normal=False,
            normal=("a bird", "a house"),
        ),
        tab="grid",
        cell=STATIC,
        job="0" * 32,
    )
    found, refused = parsed(query(changed, base), base)
    assert found == changed and not refused
    assert query(base, base) == {"model": "pocket-sd", "example": "fox"}


def test_treatments_survive_writing() -> None:
    chosen = (Treatment("padding_fix", 0.35), Treatment("rewrite", 8.0))
    assert read_treatments(write_treatments(chosen), []) == chosen
    said: list[str] = []
    assert read_treatments("rewrite:x,rewrite", said) == (Treatment("rewrite", 4.0),)
    assert "strength is 'x'" in said[0]


def test_words_are_dropped_and_replaced_in_the_prompt() -> None:
    found = token_run().attributions[0]
    word = word_at(found, 1)
    assert word == Word("red", 2, 5, False)
    assert without_word(PROMPT, word) == "a fox in the snow"
    assert with_word(PROMPT, word, " orange ") == "an orange fox in the snow"
    with pytest.raises(MMHError, match="write a word"):
        with_word(PROMPT, word, " ")
    with pytest.raises(MMHError, match="only word"):
        without_word("red", Word("red", 0, 3, False))
    with pytest.raises(ValueError, match="no token 9"):
        word_at(found, 9)


def test_a_service_rewords_once_for_each_consent(
    app: AppTest,
    small: TextToImage,
    monkeypatch: pytest.MonkeyPatch,
    started_with: Callable[..., None],
    tmp_path: Path,
) -> None:
    """From the checkbox to the trial: one question, the key nowhere, the consent taken back."""
    monkeypatch.setenv(mitigation_session.KEY, "top-secret")
    started_with(*sys.argv[1:], "--endpoint", "http://127.0.0.1:9/v1")
    asked: list[tuple[str, str, bool]] = []

    def post(endpoint: Endpoint, question: str) -> str:
        asked.append((endpoint.url, endpoint.key, endpoint.consent))
        return "the dog"

    monkeypatch.setattr("mmh_core.mitigations.rewording_service._post", post)
    monkeypatch.setattr(mitigation_session, "example_names", lambda: ["fox"])
    # The example is of a size that the training set of drawings does not have.
    monkeypatch.setattr(subjects, "training_set", lambda name, searched=None: None)
    open_tab(app, "words")
    app.selectbox(key="mi_token").set_value(1)
    sound(app.run())
    app.text_input(key="mi_service_model").set_value("small")
    sound(app.run())
    # Without the tick there is nothing to press.
    assert app.button(key="mi_service_ask").disabled and not asked
    app.checkbox(key="mi_service_consent").set_value(True)
    sound(app.run())
    sound(app.button(key="mi_service_ask").click().run())
    assert asked == [("http://127.0.0.1:9/v1", "top-secret", True)]
    assert not app.checkbox(key="mi_service_consent").value
    assert app.button(key="mi_service_ask").disabled
    trial = str(app.session_state["mi_trial"])
    run = finished(app, trial, MitigationRun)
    assert run.config.prompts == (PROMPT, "the dog")
    assert "<ins>dog</ins>" in pages_html(app)
    # Neither the link nor any file of the data folder holds the key.
    assert "top-secret" not in str(dict(app.query_params))
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.parent.name == "reworded" for path in kept)
    assert not any(b"top-secret" in path.read_bytes() for path in kept)


def test_a_service_that_fails_says_so_and_nothing_is_drawn(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, started_with: Callable[..., None]
) -> None:
    monkeypatch.setenv(mitigation_session.KEY, "top-secret")
    # Nothing listens at port 9 of this machine.
    started_with(*sys.argv[1:], "--endpoint", "http://127.0.0.1:9/v1")
    open_tab(app, "words")
    app.selectbox(key="mi_token").set_value(1)
    sound(app.run())
    app.text_input(key="mi_service_model").set_value("small")
    app.checkbox(key="mi_service_consent").set_value(True)
    sound(app.run())
    sound(app.button(key="mi_service_ask").click().run())
    assert "did not answer" in said(app) and "top-secret" not in said(app)
    assert app.session_state["mi_trial"] is None


def test_a_service_is_asked_only_with_consent(
    app: AppTest, tmp_path: Path, started_with: Callable[..., None]
) -> None:
    sound(app.run())
    with pytest.raises(MMHError, match="started without a service"):
        mitigation_session.reword("m", PROMPT, ("red",), consent=True)
    started_with(*sys.argv[1:], "--endpoint", "http://127.0.0.1:9/v1")
    with pytest.raises(MMHError, match="consent"):
        mitigation_session.reword("m", PROMPT, ("red",), consent=False)
    assert not (tmp_path / "reworded").exists()


def test_a_page_names_no_address_that_the_key_could_go_to(
    app: AppTest, started_with: Callable[..., None]
) -> None:
    """Without a service there is no field and no button; with one its address is only shown."""
    open_tab(app, "words")
    app.selectbox(key="mi_token").set_value(1)
    sound(app.run())
    assert "mi_service_ask" not in [one.key for one in app.button]
    started_with(*sys.argv[1:], "--endpoint", "http://127.0.0.1:9/v1")
    sound(app.run())
    assert "http://127.0.0.1:9/v1" in pages_html(app)
    assert "mi_service_url" not in [one.key for one in app.text_input]


def test_the_expected_time_follows_the_nfe(app: AppTest) -> None:
    sound(app.run())
    run = comparison()
    # 16 images of 10 network evaluations took 30 s; the new one asks 2 treatments of 2 x 5 steps,
    # 2 seeds.
    config: MitigationConfig = replace(
        run.config, prompts=(PROMPT,), treatments=run.config.treatments[:1]
    )
    found = mitigation_session.expected_seconds(replace(config, treatments=(STATIC,)))
    assert found == (pytest.approx(30 / 160 * 40), False)
    assert mitigation_session.expected_seconds(replace(config, model="sd-1.4")) is None
