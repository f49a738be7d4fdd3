"""The page of synthetic manifolds, as a person uses it, through Streamlit's own test harness."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from mmh_core.formats.export import csv_bytes, csv_text, frame_csv
from mmh_core.memorization.hypothesis import VERDICTS
from mmh_core.store.archive import load_record
from mmh_core.studies.manifolds.conclusion import conclusion
from mmh_core.studies.manifolds.config import default_config
from mmh_core.studies.manifolds.run import ManifoldConfig, ManifoldRun
from tests.views.pages import captions, finished, metrics, said, sound, unmarked
from views import kept_runs, session
from views.manifolds import session as manifold_session
from views.manifolds.points import selected_ids
from views.manifolds.settings import ManifoldSettings, command, parsed, query
from views.widgets.words import duration_words, number, percent

APP = Path(__file__).parents[2] / "app.py"
PAGE = APP.parent / "pages" / "manifolds.py"
CIRCLE = APP.parent / "assets" / "manifolds" / "circle.safetensors"


@pytest.fixture
def app(fresh_page: Callable[[str], AppTest]) -> AppTest:
    return fresh_page("manifolds")


@pytest.fixture(scope="module")
def circle() -> ManifoldRun:
    return load_record(CIRCLE, ManifoldRun)


def start(app: AppTest, **numbers: int) -> str:
    """Fill the form, press Train and return the id of the job."""
    for name, value in numbers.items():
        app.number_input(key=f"mf_{name}").set_value(value)
    sound(app.button(key="mf_train").click().run())
    return str(app.session_state["mf_job"])


def test_the_page_opens_on_the_finished_circle_with_the_figures_of_its_record(
    app: AppTest, circle: ManifoldRun
) -> None:
    sound(app.run())
    last = circle.snapshots[-1]
    shown = metrics(app)
    memorized = float(last.generated.memorized.float().mean())
    assert shown == {
        "Distance ratio below ⅓": percent(last.low_ratio_share),
        "Model LID": f"{float(last.generated.lid.nanmedian()):.2f}",
        "True LID": f"{circle.typical_lid:.2f}",
        "Memorized by LID": percent(memorized),
        "Fit": "good",
    }
    # 54 % of 500 samples against 49 % of 512 fresh points: within 1.96 standard errors of 3.1.
    beside = f"not distinguishable from fresh data ({percent(circle.chance_memorized)})"
    assert beside in [m.delta for m in app.metric]
    drawn = conclusion(circle, last)
    page = " ".join(element.value for element in app.get("html"))
    assert page.index(drawn.finding) < page.index(drawn.recommendation)
    exact = int((last.generated.verdict == VERDICTS.index("OD-Mem, exact")).sum())
    assert f"{exact} overfitting-driven (OD-Mem), exact copy" in captions(app)
    assert app.title[0].value == "Synthetic manifolds"
    assert not unmarked(said(app))


def test_an_earlier_snapshot_and_another_color_change_the_page_and_its_link(
    app: AppTest, circle: ManifoldRun
) -> None:
    sound(app.run())
    early = circle.snapshots[0]
    sound(app.select_slider(key="mf_scrubber").set_value(early.step).run())
    shown = metrics(app)
    assert shown["Distance ratio below ⅓"] == percent(early.low_ratio_share)
    sound(app.button_group(key="mf_color").set_value("verdict").run())
    assert "as a verdict" in captions(app)
    assert app.query_params["step"] == str(early.step)
    assert app.query_params["color"] == "verdict"


def test_a_selected_point_stays_when_the_snapshot_changes_and_can_be_stepped(
    app: AppTest, circle: ManifoldRun
) -> None:
    app.query_params["point"] = "3"
    sound(app.run())
    assert "Training point 3" in [s.value for s in app.header]
    sound(app.select_slider(key="mf_scrubber").set_value(circle.snapshots[2].step).run())
    assert "Training point 3" in [s.value for s in app.header]
    sound(app.button(key="mf_Next").click().run())
    assert "Training point 4" in [s.value for s in app.header]
    assert app.query_params["point"] == "4"


def test_a_point_that_is_memorized_is_shown_when_none_was_chosen(app: AppTest) -> None:
    sound(app.run())
    # The reason is that of the verdict "OD-Mem, exact" in mmh_core.memorization.hypothesis.
    assert any("reproduces this training point" in text.value for text in app.text)


@pytest.mark.parametrize("tab", ["training", "estimators", "fit", "data"])
def test_every_section_opens_from_a_link(app: AppTest, tab: str) -> None:
    app.query_params["tab"] = tab
    sound(app.run())
    assert not app.error
    words = {
        "training": "The loss should level off",
        "estimators": "Each chooses its own noise scale",
        "fit": "denoisers without a network",
        "data": "The same command",
    }
    assert words[tab] in captions(app)


def test_the_estimators_conclusion_names_the_one_with_the_smallest_error(
    app: AppTest, circle: ManifoldRun
) -> None:
    app.query_params["tab"] = "estimators"
    sound(app.run())
    best = min((r for r in circle.estimators if r.side == "model"), key=lambda r: r.mean_abs_error)
    assert app.text[0].value.startswith(f"{best.label} comes closest")
    table = app.dataframe[0].value
    assert table["Mean absolute error"].tolist() == pytest.approx(
        [row.mean_abs_error for row in circle.estimators]
    )


WRONG = {
    "points": ("-5", "points is '-5'; it must be a whole number from 2 to 20,000"),
    "duplicates": ("many", "duplicates is 'many'"),
    "width": ("100000", "from 8 to 1,024"),
    "seed": ("1e3", "seed is '1e3'"),
    "ambient_dim": ("1", "from 2 to 10,000"),
    "color": ("<img src=x>", "choose from learned, true, verdict"),
    "tab": ("x", "choose from image, training"),
    "step": ("7", "this run has the steps 37"),
    "point": ("99999", "this run has the points 0 to"),
    "job": ("../../etc/passwd", "must be the id of a run"),
}


def test_wrong_values_in_the_link_are_named_and_the_page_still_shows_a_run(app: AppTest) -> None:
    for name, (value, _) in WRONG.items():
        app.query_params[name] = value
    sound(app.run())
    for _, expected in WRONG.values():
        assert expected in unmarked(said(app))
    assert len(app.metric) == 5
    assert app.query_params == {"manifold": "circle"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("manifold", "klein-bottle", "manifold is 'klein-bottle'; choose from circle"),
        ("epochs", "9999999", "at most 200,000"),
        ("job", "0" * 32, "There is no job"),
    ],
)
def test_a_link_that_leads_nowhere_says_so_and_shows_the_circle(
    app: AppTest, name: str, value: str, expected: str
) -> None:
    app.query_params[name] = value
    sound(app.run())
    assert expected in unmarked(said(app))
    assert len(app.metric) == 5


def test_a_value_put_past_the_widgets_is_named_and_replaced(app: AppTest) -> None:
    sound(app.run())
    app.session_state["mf_tab"] = 3
    app.session_state["mf_point"] = "x"
    app.session_state["mf_job"] = 1.5
    sound(app.run())
    for sentence in ("tab is '3'", "point is 'x'", "job is '1.5'"):
        assert sentence in unmarked(said(app))
    assert len(app.metric) == 5
    settings, refused = parsed({"points": -5, "seed": True, "width": 12})
    assert settings.config == replace(default_config("circle"), width=12)
    assert len(refused) == 2 and "from 2 to 20,000" in refused[0]


def test_a_box_in_the_image_becomes_a_table_that_can_be_cleared(
    app: AppTest, circle: ManifoldRun
) -> None:
    sound(app.run())
    # Points 2 and 110, as Plotly reports them; the truth behind them carries no id.
    chosen = [{"customdata": 2}, {"customdata": [110]}, {"point_index": 5}]
    event = {"selection": {"points": chosen}}
    app.session_state["mf_many"] = selected_ids(event)
    sound(app.run())
    table = app.dataframe[0].value
    last = circle.snapshots[-1]
    # Samples first, under names that a person reads.
    assert table["Number in links"].tolist() == [110, 2]
    assert table["Kind"].tolist() == ["generated sample", "training point"]
    assert table["Model LID"].tolist() == pytest.approx(
        [float(last.generated.lid[110 - len(circle.shown)]), float(last.trained.lid[2])]
    )
    assert not {"x0", "true_lid", "log_delta"} & set(table.columns)
    sound(app.button(key="mf_clear").click().run())
    assert not app.dataframe


def test_another_manifold_without_a_run_says_what_to_do(app: AppTest) -> None:
    sound(app.run())
    sound(app.radio(key="mf_group").set_value("Manifolds with known LID").run())
    sound(app.selectbox(key="mf_manifold").set_value("affine-800").run())
    assert "Press **Train**" in unmarked(said(app))
    assert app.number_input(key="mf_points").value == 2_000
    assert app.number_input(key="mf_width").value == default_config("affine-800").width
    assert app.query_params["manifold"] == "affine-800"


def test_a_short_training_ends_as_a_result_that_is_kept(app: AppTest) -> None:
    sound(app.run())
    job = start(app, points=40, epochs=40, width=16, seed=3)
    assert app.query_params["job"] == job
    run = finished(app, job, ManifoldRun)
    assert run.state == "complete"
    assert run.config == ManifoldConfig("circle", 40, 0, 16, 40, 3)
    shown = metrics(app)
    assert shown["Distance ratio below ⅓"] == percent(run.snapshots[-1].low_ratio_share)
    assert "Your run: 40 training points, width 16, 7 training steps, seed 3" in captions(app)
    assert "earlier runs here" in captions(app)
    # Another browser finds the run through the link alone, with its settings in the form.
    other = AppTest.from_file(str(PAGE), default_timeout=60)
    other.query_params["job"] = job
    sound(other.run())
    assert other.number_input(key="mf_seed").value == 3
    assert metrics(other) == shown
    # A third one that opens the page without it sees nothing of it.
    third = sound(AppTest.from_file(str(PAGE), default_timeout=60).run())
    assert "Precomputed run" in captions(third)
    # From there the list of past runs leads to it.
    sound(third.selectbox(key="mf_past").set_value(job).run())
    assert "Your run: 40 training points" in captions(third)
    _damage(session.data_folder() / "runs")
    sound(app.run())
    assert len(app.error) == 1 and "damaged" in app.error[0].value
    assert len(app.metric) == 5


def _damage(folder: Path) -> None:
    (kept,) = folder.glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-100])


def test_a_cancelled_run_keeps_what_it_has_and_says_so(app: AppTest) -> None:
    sound(app.run())
    job = start(app, points=40, epochs=100_000, width=16)
    runner = session.jobs().runner
    assert "Cancel" in [button.label for button in app.button]
    while (latest := runner.latest(job)) is None or not len(latest.partial.losses):
        assert runner.record(job).is_active
        # Without a pause this thread would hold the interpreter that the training needs.
        time.sleep(0.05)
    sound(app.button(key="mf_cancel").click().run())
    run = finished(app, job, ManifoldRun)
    assert run.state == "stopped"
    step = int(run.losses[-1, 0])
    assert 0 < step < run.config.steps
    assert f"Stopped at step {step:,} of {run.config.steps:,}" in unmarked(said(app))


def test_what_the_study_refuses_is_said_beside_the_form(app: AppTest) -> None:
    sound(app.run())
    sound(app.number_input(key="mf_epochs").set_value(10_000_000).run())
    assert "at most 200,000" in unmarked(said(app))
    assert app.button(key="mf_train").disabled


def test_an_unexpected_failure_is_one_sentence(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(run: ManifoldRun, asked: ManifoldConfig, *, precomputed: bool) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("views.manifolds.results._headline", broken)
    assert not app.run().exception
    assert "Something unexpected" in unmarked(said(app)) and "secret" not in unmarked(said(app))
    assert "secret detail" in caplog.text


def test_settings_survive_the_way_through_a_link() -> None:
    config = ManifoldConfig("torus", 500, 4, 32, 60, 9, 12)
    before = ManifoldSettings(config, "verdict", "fit", 60, 7, "a" * 32)
    assert parsed(dict(query(before))) == (before, [])
    assert query(ManifoldSettings(default_config("circle"))) == {"manifold": "circle"}


def test_the_command_names_every_number() -> None:
    config = ManifoldConfig("torus", 500, 4, 32, 60, 9, 12)
    assert command(config) == (
        "./mmh manifold torus --points 500 --duplicates 4 --width 32 --epochs 60 --seed 9 "
        "--ambient-dim 12"
    )


def test_downloads_hold_the_config(app: AppTest, circle: ManifoldRun) -> None:
    app.query_params["tab"] = "data"
    sound(app.run())
    assert command(circle.config) in [code.value for code in app.code]
    assert any(code.value.endswith("?manifold=circle&tab=data") for code in app.code)


def test_a_run_comes_back_from_its_bytes(circle: ManifoldRun, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    path.write_bytes(kept_runs.run_bytes(circle))
    assert load_record(path, ManifoldRun).config == circle.config


@pytest.mark.parametrize("start_", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(start_: str) -> None:
    text = f"{start_}cmd|' /C calc'!A0"
    rows = list(csv.reader(io.StringIO(csv_text([text], [[text], [-1.5], [None]]), newline="")))
    assert rows == [["'" + text], ["'" + text], ["-1.5"], [""]]


def test_a_table_becomes_csv_with_numbers_as_numbers() -> None:
    table = pd.DataFrame({"point": [1, 2], "lid": [-0.5, float("nan")], "note": ["=1+1", "a,b"]})
    text = 'point,lid,note\r\n1,-0.5,\'=1+1\r\n2,,"a,b"\r\n'
    assert frame_csv(table) == b"\xef\xbb\xbf" + text.encode()


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="Row 2 has 1 cells; the header has 2"):
        csv_text(["a", "b"], [[1, 2], [3]])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (7.4, "7 s"), (42, "40 s"), (100, "2 min"), (9000, "2.5 h")],
)
def test_durations_are_rounded_as_people_do(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


def test_the_data_folder_is_named_after_the_dashes(
    started_with: Callable[..., None], tmp_path: Path
) -> None:
    started_with("--data", tmp_path)
    assert session.data_folder() == tmp_path
    started_with("--dat", tmp_path)
    assert session.data_folder() == APP.parent / ".mmh"


def test_numbers_are_said_without_a_negative_zero() -> None:
    assert (number(-0.001), number(float("nan")), number(1234.5)) == ("0.00", "n/a", "1,234.50")


def test_digits_are_expected_to_take_as_long_as_the_shipped_digits() -> None:
    found = manifold_session.expected_seconds(default_config("digits"), past=())
    shipped = manifold_session.preset_run("digits-100")
    # The same steps at the same width, to a step that rounding to whole epochs adds or takes.
    assert found is not None and shipped is not None
    assert found == (pytest.approx(shipped.seconds, rel=0.01), False)


def test_one_run_on_a_busy_machine_does_not_tell_the_next(circle: ManifoldRun) -> None:
    busy, quick = replace(circle, seconds=900.0), replace(circle, seconds=10.0)
    other = replace(circle, config=default_config("sphere"), seconds=1.0)
    for past in ([busy, quick, other], [other, quick, busy]):
        found = manifold_session.expected_seconds(circle.config, past=past)
        # The other shape counts only where this one has no run.
        assert found == (pytest.approx(10.0), True)
    assert manifold_session.expected_seconds(circle.config, past=[]) != found


def test_a_link_that_holds_an_image_is_told_without_loading_it(app: AppTest) -> None:
    app.query_params["color"] = "![a](//example.org/x.png) <img src=//example.org/y.png>"
    sound(app.run())
    shown = app.warning[0].value
    assert "color is " in shown
    # Markdown sees neither an image nor a tag behind a backslash.
    bare = re.sub(r"\\.", "", shown)
    assert not set("![]()<>") & set(bare)


def test_every_csv_file_goes_through_the_one_that_marks_its_encoding() -> None:
    places = [APP.parent / "mmh_core", APP.parent / "views", APP.parent / "pages"]
    for path in (path for place in places for path in place.rglob("*.py")):
        text = path.read_text()
        if path.name != "export.py":
            assert "csv_text" not in text and "to_csv" not in text, path
            assert "csv.writer" not in text and "DictWriter" not in text, path
            assert not re.search(r"csv(_bytes)?\([^\n]*\)\.encode", text), path


@pytest.mark.parametrize(
    "text", ["Café Müller ® 15\u2032", "日本語", "🦊", "=ä", "\ud800half", ""]
)
def test_a_csv_file_says_that_it_is_utf_8(text: str) -> None:
    data = csv_bytes([text], [[text]])
    assert data.startswith(b"\xef\xbb\xbf") and data.count(b"\xef\xbb\xbf") == 1
    shown = text.replace("\ud800", "?")
    shown = "'" + shown if shown.startswith("=") else shown
    assert list(csv.reader(io.StringIO(data.decode("utf-8-sig")))) == [[shown], [shown]]
