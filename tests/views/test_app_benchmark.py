"""The benchmark page through Streamlit's own test harness, on a made-up comparison."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from streamlit.testing.v1 import AppTest

from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.plots import benchmark as plots
from mmh_core.plots import detection, theme
from mmh_core.records import LabelledPrompt, MMHError
from mmh_core.statistics.areas import separation
from mmh_core.store.archive import load_record, save_record
from mmh_core.studies.detection.benchmark_run import (
    BenchmarkRun,
    CauseResults,
    CombinedRow,
    DetectorRow,
)
from mmh_core.studies.detection.doses import COPY_RATE, EXACT
from mmh_core.studies.detection.figures import group_figures, row_figures
from mmh_core.studies.detection.networks import NetworkRun, over_networks
from mmh_core.subject.calibration import read_calibration
from mmh_core.text_to_image.requests import Sampling
from tests.detectors.worlds import numbered_world
from tests.text_to_image.conftest import FolderOf, folder_of
from tests.views.pages import metrics
from views import session, subjects
from views.benchmark import session as benchmark_session

__all__ = ["folder_of"]

REPOSITORY = Path(__file__).parents[2]
KINDS = ("duplicate", "overfit", "paraphrase", "open")


def made_up() -> BenchmarkRun:
    """Return a comparison of 40 prompts, whose detectors separate better and better."""
    generator = torch.Generator().manual_seed(0)
    prompts = tuple(
        LabelledPrompt(f"<b>prompt</b> {i}", i % 4 < 3, KINDS[i % 4], "test") for i in range(40)
    )
    memorized = torch.tensor([one.memorized for one in prompts])
    plain = torch.tensor([one.kind != "paraphrase" for one in prompts])
    rows = []
    for number, name in enumerate(("early_scan", "lid_unconditional_count", "stability")):
        detector = DETECTORS[name]
        scores = torch.randn(40, generator=generator) + memorized * (1.0 + number)
        duplicates = torch.tensor([one.kind == "duplicate" for one in prompts])
        kept = duplicates | ~memorized
        parts = (("duplicate", separation(scores[kept], duplicates[kept])),)
        rows.append(
            DetectorRow(
                name,
                detector.label,
                detector.citation,
                4.0,
                0.0,
                scores,
                torch.randn(200, generator=generator).sort().values,
                separation(scores[plain], memorized[plain]),
                parts,
            )
        )
    best = replace(rows[2], name="combined", label="Combined (logistic regression)")
    one = torch.ones(1)
    return BenchmarkRun(
        model="pocket-sd",
        sha256="0" * 64,
        sampling=Sampling(30, 2.0, 64, 64),
        seeds=(0, 1),
        state="complete",
        prompts=prompts,
        copied=torch.rand(40, generator=generator),
        lid=torch.rand(40, generator=generator),
        data_lid=torch.arange(40.0),
        detectors=tuple(rows),
        combined=CombinedRow(("early_scan",), one, 0.0, one, one, 0.9, best),
        cause=CauseResults(
            (0, 1, 4, 5),
            ("OD-Mem", "DD-Mem", "DD-Mem", "OD-Mem"),
            ("OD-Mem", "OD-Mem", "DD-Mem", "OD-Mem"),
            torch.tensor([7.0, 2.0, 0.0, 6.0]),
            torch.zeros(4),
            4.0,
            5 / 6,
            0.5,
            1.0,
        ),
        seconds=1.0,
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchmarkRun:
    found = made_up()
    save_record(tmp_path / "made-up.safetensors", found)
    monkeypatch.setattr(benchmark_session, "PRECOMPUTED", tmp_path / "made-up.safetensors")
    return found


@pytest.fixture
def app(fresh_page: Callable[[str], AppTest]) -> AppTest:
    return fresh_page("benchmark")


def test_the_page_opens_on_the_figures_of_the_record(app: AppTest, run: BenchmarkRun) -> None:
    app.run()
    assert not app.exception and not app.error
    shown = metrics(app)
    best = max(run.rows, key=lambda row: (row.all.auc, row.all.tpr))
    by_name = {row.name: row for row in run.rows}
    assert shown["Best detector (AUC)"] == f"{best.all.auc:.3f}"
    assert shown["Early scan (AUC)"] == f"{by_name['early_scan'].all.auc:.3f}"
    assert shown["LID, unconditional (AUC)"] == f"{by_name['lid_unconditional_count'].all.auc:.3f}"
    assert shown["Cause, balanced accuracy"] == "83%"


def test_the_threshold_comes_from_normal_prompts_of_the_other_half(
    app: AppTest, run: BenchmarkRun
) -> None:
    app.run()
    app.selectbox(key="bm_detector").set_value("early_scan").run()
    app.slider(key="bm_share").set_value(10.0).run()
    assert not app.exception
    row = run.detectors[0]
    # 20 of the 200 normal scores may pass: the threshold is number 21 from above.
    value = row.reference_scores.sort(descending=True).values[20]
    flagged = row.scores > value
    memorized = torch.tensor([one.memorized for one in run.prompts])
    shown = metrics(app)
    assert shown["Flagged"] == f"{int(flagged.sum())} of 40"
    rephrased = torch.tensor([one.kind == "paraphrase" for one in run.prompts])
    for label, among in (
        ("Detected, training captions", memorized & ~rephrased),
        ("Detected, paraphrases", rephrased),
        ("False positives", ~memorized),
    ):
        assert shown[label] == f"{int(flagged[among].sum())} of {int(among.sum())}"


def test_a_link_opens_on_its_detector(app: AppTest, run: BenchmarkRun) -> None:
    app.query_params["detector"] = "stability"
    app.run()
    assert app.selectbox(key="bm_detector").value == "stability"


def test_a_link_with_an_unknown_detector_opens_on_the_first(
    app: AppTest, run: BenchmarkRun
) -> None:
    app.query_params["detector"] = "magic"
    app.run()
    assert not app.exception
    assert app.selectbox(key="bm_detector").value == "combined"


def test_without_a_result_the_page_says_what_to_do(
    app: AppTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_session, "PRECOMPUTED", tmp_path / "none.safetensors")
    app.run()
    assert not app.exception
    assert "no precomputed comparison" in app.info[0].value
    assert "./mmh benchmark" in app.code[0].value


def test_an_unknown_job_leaves_the_precomputed_result(app: AppTest, run: BenchmarkRun) -> None:
    app.query_params["job"] = "0" * 32
    app.run()
    assert not app.exception
    assert "precomputed result" in app.error[0].value
    assert len(app.metric) == 9


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.xlsx", b"prompt\n", "must end in one of .csv, .*parquet"),
        ("a.csv", b"prompt,label\ncat,perhaps\n", "memorized or reference"),
        ("a.csv", b"text1,label\ncat,normal\n", "prompt"),
        ("a.csv", b"prompt,label\ncat,normal\ncat,memorized\n", "Rows 1 and 2 .* the same prompt"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_a_sentence(
    name: str, data: bytes, said: str, tmp_path: Path, started_with: Callable[..., None]
) -> None:
    started_with("--data", tmp_path)
    with pytest.raises(MMHError, match=said):
        benchmark_session.labelled(data, name)
    assert not list((tmp_path / "uploads").glob("*"))


def test_the_sentence_on_a_row_names_the_persons_own_file(
    tmp_path: Path, started_with: Callable[..., None]
) -> None:
    started_with("--data", tmp_path)
    with pytest.raises(MMHError, match="Row 1 of mine\\.csv has the label 'perhaps'"):
        benchmark_session.labelled(b"prompt,label\ncat,perhaps\n", "../secret/mine.csv")
    few = "".join(f"p{i},{'memorized' if i < 9 else 'normal'}\n" for i in range(30))
    with pytest.raises(MMHError, match="test half has 4 and 10: label at least 10"):
        benchmark_session.labelled(f"prompt,label\n{few}".encode(), "mine.csv")


def table(count: int = 10) -> bytes:
    """Return a table with so many memorized and reference prompts."""
    rows = "".join(f"the cat {i},memorized\na {i} cat,normal\n" for i in range(count))
    return f"prompt,label\n{rows}".encode()


def number_of(text: str) -> int:
    """Return a number of its own for each prompt of `table`."""
    row = next((int(word) for word in text.split() if word.isdigit()), 10)
    return 4 * row + (0 if text.startswith("the") else 2) + row % 2


def test_a_table_runs_as_a_job_that_calibrates_another_model(
    app: AppTest,
    run: BenchmarkRun,
    tmp_path: Path,
    folder_of: FolderOf,
    monkeypatch: pytest.MonkeyPatch,
    started_with: Callable[..., None],
) -> None:
    models = tmp_path / "models"
    shutil.copytree(folder_of("tiny"), models / "tiny")
    started_with("--data", tmp_path, "--models", models)
    # Of the folder only the name is used: Gaussians compute in a hundredth of the time.
    quick = replace(numbered_world(number_of), name="tiny", steps=2, guidance=2.0)
    monkeypatch.setattr(subjects, "model", lambda name: quick)
    app.run()
    app.file_uploader(key="bm_table").upload("mine.csv", table()).run()
    assert not app.exception and not app.error
    app.selectbox(key="bm_model").set_value("tiny").run()
    app.button(key="bm_start").click().run()
    job = str(app.session_state["bm_job"])
    record = session.jobs().runner.wait(job, timeout=110)
    assert record.state == "done", record.error
    app.run()
    assert not app.exception and not app.error
    found = benchmark_session.benchmark_job(job).run
    assert found is not None and found.sha256 == quick.sha256 and found.cause is None
    shown = metrics(app)
    assert shown["Flagged"].endswith("of 10")
    assert shown["Cause, balanced accuracy"] == "not identifiable"
    # Too few steps for the first, and no attention for the second.
    left_out = {"guidance_norm_10", "attention_entropy"}
    assert {row.name for row in found.detectors} == set(DETECTORS) - left_out
    # What is normal for the model is kept; too little to scan with, and never that of pocket-sd.
    kept = subjects.kept_calibration_file("tiny")
    known = read_calibration(kept).detectors
    assert known is not None and len(known.prompts) == 5
    known.check(quick)
    for row in found.of_model:
        assert torch.equal(known.reference_scores(row.name), row.reference_scores)
    assert subjects.calibration_file("tiny") is None
    enough = tuple(replace(each, columns=each.columns.repeat(4, 1, 1)) for each in known.estimates)
    many = replace(known, prompts=("p",) * 20, estimates=enough)
    benchmark_session.keep_calibration("tiny", many)
    assert subjects.calibration_file("tiny") == kept
    # Fewer do not take their place.
    benchmark_session.keep_calibration("tiny", known)
    early = subjects.calibration("tiny")
    assert early is not None and len(early.prompts) == 20
    benchmark_session.keep_calibration("pocket-sd", known)
    assert not subjects.kept_calibration_file("pocket-sd").exists()


def test_a_link_in_a_row_holds_model_and_prompt(app: AppTest, run: BenchmarkRun) -> None:
    app.run()
    rows = next(each.value for each in app.dataframe if "Open" in each.value.columns)
    asked = [parse_qs(urlsplit(link).query) for link in rows.Open]
    assert [each["prompt"][0] for each in asked] == list(rows.Prompt)
    assert {each["model"][0] for each in asked} == {"pocket-sd"}
    scores = run.rows[0].scores
    best = int(scores.argmax())
    assert rows.Prompt[0] == run.prompts[best].prompt


def test_the_parts_of_the_combined_score_are_told(app: AppTest, run: BenchmarkRun) -> None:
    app.run()
    weights = next(each.value for each in app.dataframe if "Weight" in each.value.columns)
    assert list(weights.Detector) == ["Early scan"] and list(weights.Weight) == [1.0]
    assert any("gives an AUC of 0.900" in each.value for each in app.caption)


def test_figures_say_in_words_what_they_show_and_hold_the_values() -> None:
    run = made_up()
    bars = plots.separations(run.rows)
    best = max(run.rows, key=lambda row: (row.all.auc, row.all.tpr))
    assert f"{best.all.auc:.3f}" in bars.layout.meta["alt"]
    assert bars.data[1].x[-1] == pytest.approx(best.all.auc)
    roc = plots.roc(run, ["early_scan"])
    assert (roc.data[0].x[-1], roc.data[0].y[-1]) == (1.0, 1.0)
    marks = plots.scores(run, run.detectors[0], 0.5)
    assert sum(len(trace.x) for trace in marks.data) == 40
    assert run.cause is not None
    assert [list(row) for row in plots.causes(run.cause).data[0].z] == [[2, 1], [0, 1]]


def with_confidence() -> BenchmarkRun:
    """Return a run with three causes and a confidence, as the present rule gives it."""
    run = made_up()
    assert run.cause is not None
    cause = replace(
        run.cause,
        predicted=("OD-Mem", "both", "DD-Mem", "not identifiable"),
        true=("OD-Mem", "both", "both", "OD-Mem"),
        threshold=math.nan,
        confidence=torch.tensor([0.9, 0.8, 0.6, math.nan]),
        multiplicity=torch.tensor([1.0, 32.0, 64.0, 1.0]),
    )
    return replace(run, cause=cause)


def test_three_causes_and_their_reliability_are_drawn() -> None:
    cause = with_confidence().cause
    assert cause is not None and cause.causes == ("OD-Mem", "DD-Mem", "both")
    matrix = plots.causes(cause).data[0]
    assert list(matrix.x) == ["OD-Mem", "DD-Mem", "both", "not identifiable"]
    assert [list(row) for row in matrix.z] == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]]
    assert cause.confidence is not None
    drawn = plots.reliability(cause.confidence, cause.right)
    # One of three answers with a confidence is wrong: .6 off, the others .2 and .1.
    assert drawn.data[0].x == pytest.approx([0.6, 0.8, 0.9])
    assert list(drawn.data[0].y) == [0.0, 1.0, 1.0]
    assert "expected calibration error 0.300" in drawn.layout.meta["alt"]


def titles(app: AppTest) -> list[str]:
    return [each.value for each in (*app.markdown, *app.subheader)]


def test_the_page_shows_the_reliability_of_a_run_that_has_a_confidence(
    app: AppTest, tmp_path: Path, run: BenchmarkRun
) -> None:
    assert run.cause is not None and run.cause.confidence is None
    assert not app.run().exception
    assert not any("Reliability" in text for text in titles(app))
    save_record(tmp_path / "made-up.safetensors", with_confidence())
    assert not app.run().exception
    assert any("Reliability" in text for text in titles(app))


def test_the_shipped_result_is_of_the_shipped_model_and_reaches_its_figures() -> None:
    run = load_record(REPOSITORY / "assets" / "benchmark" / "pocket-sd.safetensors", BenchmarkRun)
    from mmh_core.text_to_image.stable_diffusion import load

    assert run.sha256 == load("pocket-sd").sha256
    assert run.state == "complete" and run.cause is not None
    assert max(row.all.auc for row in run.rows) >= 0.95
    assert run.cause.accuracy >= 0.85


def with_doses() -> BenchmarkRun:
    """Return the made-up run with doses, copies by image, text alone, and two networks."""
    run = made_up()
    prompts = tuple(
        replace(
            one, multiplicity=2 ** (i % 4), near="crop" if i % 8 == 1 else "", group=f"k {i % 4}"
        )
        for i, one in enumerate(run.prompts)
    )
    text = replace(run.detectors[0], name="text_words", label="Text alone")
    copies = torch.arange(80).reshape(40, 2).remainder(3).eq(0).float()
    dosed = replace(
        run, prompts=prompts, text_baselines=(text,), copies=copies, copied=copies.mean(1),
        guidance_norm=run.lid + 1,
    )  # fmt: skip
    other = replace(dosed, sha256="1" * 64)
    return over_networks([NetworkRun("one.json", dosed), NetworkRun("two.json", other)])


def test_the_page_begins_with_what_the_file_shows_and_does_not(
    app: AppTest, tmp_path: Path, run: BenchmarkRun
) -> None:
    assert not app.run().exception
    (text,) = (text.replace("\\", "") for text in titles(app) if text.startswith("1. "))
    assert text.splitlines()[4].startswith("5. All this is of one network")
    assert "No text baseline was measured" in text
    assert any("Not measured: no prompt of this file" in each.value for each in app.caption)
    merged = with_doses()
    save_record(tmp_path / "made-up.safetensors", merged)
    assert not app.run().exception
    (text,) = (text.replace("\\", "") for text in titles(app) if text.startswith("1. "))
    assert "over 2 networks" in text
    assert "best text baseline, which sees the words and no model" in text
    assert any("Spread over 2 networks" in each for each in titles(app))
    app.selectbox(key="bm_roc_group").set_value("k 1").run()
    assert not app.exception


def test_doses_are_drawn_with_their_intervals_and_the_other_networks() -> None:
    run = with_doses()
    figure = detection.dose_response(run, COPY_RATE)
    pale, exact, *others = figure.data
    assert (pale.name, exact.name) == ("other networks", "exact copies")
    levels = next(curve for curve in run.doses if curve.series == EXACT).levels
    assert list(exact.y) == [level.response.value for level in levels]
    assert list(exact.error_y.array) == [
        pytest.approx(level.response.high - level.response.value) for level in levels
    ]
    assert {trace.name for trace in others} == {"near-duplicates by crop", "paraphrases"}
    assert "not measured" in detection.dose_response(made_up(), COPY_RATE).layout.meta["alt"]


@pytest.mark.parametrize("memorized", [True, False])
def test_rates_are_drawn_beside_the_stated_one(memorized: bool) -> None:
    run = made_up()
    figures = row_figures(run)
    drawn = detection.fixed_thresholds(run, figures, 0.05, memorized=memorized)
    (trace,) = drawn.data
    rates = {row.name: row.realized[1] for row in figures}
    counts = {(rate.tpr if memorized else rate.fpr).count for rate in rates.values()}
    assert {int(text.split(" of ")[0]) for text in trace.text} == counts
    lines = [shape.x0 for shape in drawn.layout.shapes]
    assert lines == ([] if memorized else [0.05])


def test_a_group_is_drawn_beside_text_alone() -> None:
    run = with_doses()
    drawn = detection.group_areas(run, run.detectors[2], run.text_baselines[0])
    assert [trace.name for trace in drawn.data] == ["Text alone", run.detectors[2].label]
    expected = [group.area.value for group in group_figures(run, run.detectors[2])][::-1]
    assert list(drawn.data[1].x) == pytest.approx(expected)
    curves = plots.roc(run, ["stability"], "k 2", "text_words")
    assert [trace.name for trace in curves.data] == ["Text alone", run.detectors[2].label]
    # A kind has a look of its own, whatever it is called, and keeps it.
    styles = theme.styles([f"kind {i}" for i in range(8)])
    assert len({(look.color, look.symbol) for look in styles.values()}) == 8
