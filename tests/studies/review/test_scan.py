"""Scanning tables of prompts with a tiny random model: batch = loop, resume, rows left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.detectors.inputs import encode, noise_inputs
from mmh_core.detectors.measurement import measure
from mmh_core.records import LabelledPrompt, MMHError
from mmh_core.retrieval.embedders import PixelEmbedder, embed_all
from mmh_core.retrieval.index import build_index
from mmh_core.store.archive import load_record
from mmh_core.store.shards import ScanRow, read_rows
from mmh_core.studies.images.run import ImageRun
from mmh_core.studies.review.items import scan_items
from mmh_core.studies.review.scan import ScanConfig, ScanState, scan
from mmh_core.studies.review.scan_rows import RUNS
from mmh_core.subject.calibration import Calibration
from mmh_core.subject.early_calibration import (
    EarlyCalibration,
    calibrate_early,
    early_calibration,
    score_prompts,
)
from mmh_core.subject.early_scan_rate import detection_rate_words
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.subject.reference_scores import Proportion
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Sampling
from tests.text_to_image.conftest import ModelOf

SEEDS = (0, 1)
NORMAL = tuple(f"{a} {b}" for a in ("the", "a", "cat", "x", "ab") for b in ("cat", "a", "b", "th"))
PROMPTS = tuple(f"prompt {i}" for i in range(60))
FEW = PROMPTS[:3] + NORMAL[:5]


@pytest.fixture(scope="module")
def model(model_of: ModelOf) -> TextToImage:
    return replace(model_of("tiny"), steps=2, guidance=2.0)


@pytest.fixture(scope="module")
def calibration(model: TextToImage) -> EarlyCalibration:
    found = None
    for progress in early_calibration(model, NORMAL, SEEDS):
        found = progress.partial
    assert found is not None
    return found


def normal_of(model: TextToImage) -> ReferencePrompts:
    """Return reference prompts beside which everything is memorized: it spares finding a scale."""
    empty = torch.empty(0)
    return ReferencePrompts(
        model.name,
        model.sha256,
        Sampling(steps=2, guidance=2.0, height=32, width=32, scheduler="ddim"),
        -0.5,
        empty,
        (),
        torch.full((60,), 1e9),
        empty,
        empty,
        empty,
    )


def last(table: Path, out: Path, subject: Subject, config: ScanConfig) -> ScanState:
    state = None
    for progress in scan(table, out, subject, config):
        state = progress.partial
    assert state is not None
    return state


def rows_of(out: Path) -> list[ScanRow]:
    return [row for batch in read_rows(out) for row in batch]


def test_scores_are_the_detectors_and_a_batch_equals_a_loop(
    model: TextToImage, calibration: EarlyCalibration
) -> None:
    found = score_prompts(model, calibration, PROMPTS[:5])
    inputs = noise_inputs(model, encode(model, PROMPTS[:5]), SEEDS)
    columns = measure(model, inputs, [EarlyScan(0.98, 0.04)])["early_scan"].values
    fitted = EarlyScan().fitted(calibration.columns.flatten(0, 1))
    expected = fitted.score(columns).reshape(5, 2).mean(1)
    torch.testing.assert_close(found.score, expected, rtol=1e-4, atol=1e-4)
    for i in range(5):
        alone = score_prompts(model, calibration, PROMPTS[i : i + 1])
        # Convolutions of another batch size round differently.
        torch.testing.assert_close(alone.score, found.score[i : i + 1], rtol=1e-3, atol=1e-3)
    # Two reads of the unconditional branch for 10 rows, and two conditional ones a row.
    assert found.nfe == pytest.approx((4 + 20) / 10)


def test_the_threshold_lets_its_share_of_normal_prompts_pass(
    calibration: EarlyCalibration,
) -> None:
    normal = calibration.reference_scores()
    assert int((normal > calibration.threshold(0.0)).sum()) == 0
    assert int((normal > calibration.threshold(0.1)).sum()) == 2
    with pytest.raises(ValueError, match="fpr must be"):
        calibration.threshold(1.0)


def test_a_calibration_is_refused_for_another_model(
    model: TextToImage, calibration: EarlyCalibration
) -> None:
    other = replace(model, sha256="0" * 64)
    with pytest.raises(MMHError, match="calibrate this model first"):
        score_prompts(other, calibration, PROMPTS[:1])
    with pytest.raises(MMHError, match="at least 20"):
        next(iter(early_calibration(model, NORMAL[:19], SEEDS)))


def test_every_prompt_gets_one_row_and_the_flagged_a_study(
    model: TextToImage, calibration: EarlyCalibration, tmp_path: Path
) -> None:
    table = tmp_path / "prompts.csv"
    lines = ["prompt,label,tags", *(f"{text},normal,a;b" for text in FEW)]
    table.write_text("\n".join([*lines, f"{FEW[3]},normal,", ",normal,", "bad\x07,x,"]))
    subject = Subject(model, None, Calibration(normal_of(model), calibration))
    config = ScanConfig("tiny", fpr=0.5)
    state = last(table, tmp_path / "out", subject, config)
    rows = rows_of(tmp_path / "out")
    assert sorted(row.prompt for row in rows) == sorted(FEW)
    assert (state.done, state.total, state.duplicates) == (8, 8, 1)
    assert [number for number, _ in state.problems] == [10, 11]
    scores = score_prompts(model, calibration, FEW).score
    by_prompt = {row.prompt: row.values for row in rows}
    for i, prompt in enumerate(FEW):
        values = by_prompt[prompt]
        assert values["score"] == pytest.approx(float(scores[i]), rel=1e-3, abs=1e-3)
        assert values["flagged"] == (values["score"] > state.threshold)  # type: ignore[operator]
        assert (values["row"], values["tags"]) == (i + 1, "a; b")
    flagged = [row for row in rows if row.values["flagged"]]
    assert 0 < len(flagged) == state.flagged < 8
    run = load_record(tmp_path / "out" / RUNS / str(flagged[0].values["run"]), ImageRun)
    assert run.config.prompts == (flagged[0].prompt,) and len(run.images) == 2
    assert flagged[0].values["verdict"] == "memorized, cause not identifiable"


def test_a_stopped_scan_goes_on_and_repeats_nothing(
    model: TextToImage, calibration: EarlyCalibration, tmp_path: Path
) -> None:
    table = tmp_path / "prompts.txt"
    table.write_text("\n".join(PROMPTS))
    subject, config = (
        Subject(model, None, Calibration(None, calibration)),
        ScanConfig("tiny", study=False),
    )
    steps = scan(table, tmp_path / "out", subject, config)
    for progress in steps:
        if progress.partial.done >= 40:
            break
    steps.close()  # type: ignore[attr-defined]
    before = len(rows_of(tmp_path / "out"))
    assert 40 <= before < 60
    state = last(table, tmp_path / "out", subject, config)
    assert (state.known, state.scored, state.done) == (before, 60 - before, 60)
    prompts = [row.prompt for row in rows_of(tmp_path / "out")]
    assert sorted(prompts) == sorted(PROMPTS)
    again = last(table, tmp_path / "out", subject, config)
    assert again.scored == 0
    assert again.flagged == sum(bool(r.values["flagged"]) for r in rows_of(tmp_path / "out"))


def test_a_folder_of_other_settings_is_refused(
    model: TextToImage, calibration: EarlyCalibration, tmp_path: Path
) -> None:
    table = tmp_path / "prompts.txt"
    table.write_text("one\ntwo\n")
    subject = Subject(model, None, Calibration(None, calibration))
    last(table, tmp_path / "out", subject, ScanConfig("tiny", study=False))
    with pytest.raises(MMHError, match="other settings"):
        last(table, tmp_path / "out", subject, ScanConfig("tiny", fpr=0.2, study=False))
    # Rows of another sampling, or searched in another training set, do not compare either.
    config = ScanConfig("tiny", study=False)
    wide = replace(calibration, windows=2)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    embedder = PixelEmbedder()
    rows = pd.DataFrame({"id": range(3), "caption": "a", "file": "a.png"})
    index = build_index(embed_all(embedder, images), rows, embedder)
    training_set = TrainingSet("three", index, embedder, lambda row: images[row])
    for other in (
        Subject(model.in_windows(2), None, Calibration(None, wide)),
        Subject(replace(model, steps=model.steps + 1), None, Calibration(None, calibration)),
        Subject(model, training_set, Calibration(None, calibration)),
    ):
        with pytest.raises(MMHError, match="other settings"):
            last(table, tmp_path / "out", other, config)
    empty = tmp_path / "empty.csv"
    empty.write_text("prompt\n")
    with pytest.raises(MMHError, match="holds no prompt"):
        last(empty, tmp_path / "other", subject, ScanConfig("tiny"))


def test_what_the_scan_finds_is_counted_on_prompts_that_it_was_not_fitted_on(
    model: TextToImage, calibration: EarlyCalibration
) -> None:
    """Of labelled memorized prompts every second one chooses the times, the others are counted."""
    memorized = ["apples", "bonfire", "candle", "dragon", "engine"]
    memorized += ["forest", "guitar", "harbor", "igloo", "jungle"]
    labelled = [
        *(LabelledPrompt(text, False, "normal", "calibration") for text in NORMAL),
        *(LabelledPrompt(text, True, "memorized", "calibration") for text in memorized),
    ]
    found = list(calibrate_early(model, labelled, SEEDS))[-1].partial
    assert found.memorized is not None and len(found.memorized) == 5
    alone = score_prompts(model, found, memorized[1::2]).score
    for share in (0.0, 0.1, 0.5):
        counted = found.flagged_memorized(share)
        assert counted == Proportion(int((alone > found.threshold(share)).sum()), 5)
        said = detection_rate_words(found, share)
        assert f"detects {counted.count} of 5 memorized prompts" in said
        assert (
            "worded as they were given" in said
            and f"(at most {share:.1%} of reference prompts flagged)" in said
        )
        assert f"threshold of {found.threshold(share):.2f}" in said
    # Near-equal prompts go together: five pairs are too few to spare any of them.
    twice = [LabelledPrompt(f"{one}s", True, "memorized", "calibration") for one in memorized[:5]]
    pairs = list(calibrate_early(model, [*labelled[:25], *twice], SEEDS))[-1].partial
    assert pairs.memorized is None
    both = list(calibrate_early(model, [*labelled, *twice], SEEDS))[-1].partial
    # Of ten groups every second one is kept, and with it what is near-equal: two pairs, three.
    assert both.memorized is not None and len(both.memorized) == 7
    few = [*labelled[:20], *labelled[20:27]]
    assert list(calibrate_early(model, few, SEEDS))[-1].partial.memorized is None
    assert calibration.flagged_memorized(0.01) is None
    assert "is not known" in detection_rate_words(calibration, 0.01)


def test_paraphrases_are_counted_beside_captions_as_trained_with(model: TextToImage) -> None:
    found = list(
        early_calibration(
            model, NORMAL, SEEDS, memorized=["apple boat", "candle"], paraphrases=["a", "b", "th"]
        )
    )[-1].partial
    assert found.memorized is not None and found.paraphrases is not None
    assert (len(found.memorized), len(found.paraphrases)) == (2, 3)
    counted, other = found.flagged_memorized(0.1), found.flagged_paraphrases(0.1)
    assert counted is not None and other is not None
    assert f"{counted.count} of 2 memorized captions as trained with" in detection_rate_words(
        found, 0.1
    )
    assert f"{other.count} of 3 paraphrases of such captions" in detection_rate_words(found, 0.1)


def test_a_prompt_that_changes_nothing_has_no_score_and_is_counted(
    model: TextToImage, calibration: EarlyCalibration, tmp_path: Path
) -> None:
    """A model that takes one of the prompts for the empty one; the network gives no NaN."""
    known = model.encode_text(["the cat"])
    silent = replace(model, unconditional=known)
    found = score_prompts(silent, calibration, ["the cat", "x b"])
    assert found.score.isnan().tolist() == [True, False]
    assert found.percentile.isnan().tolist() == [True, False]
    table = tmp_path / "prompts.csv"
    table.write_text("prompt\nthe cat\nx b\n")
    scanner = Subject(silent, None, Calibration(None, calibration))
    for _ in range(2):  # Anew, and read again from the folder.
        state = last(table, tmp_path / "out", scanner, ScanConfig("tiny", study=False))
        assert state.silent == 1 and "1 prompt is without a score" in state.truncations()[-1]
    assert not any(row.values["flagged"] for row in rows_of(tmp_path / "out")[:1])


@pytest.mark.parametrize(
    ("found", "among", "low", "high"),
    [
        (36, 36, 0.9026, 1.0),  # Two-sided: (alpha / 2) ** (1 / 36).
        (0, 36, 0.0, 0.0974),
        (30, 36, 0.6719, 0.9363),  # Clopper & Pearson 1934, from tables of the beta distribution.
    ],
)
def test_the_share_found_has_the_exact_interval(
    found: int, among: int, low: float, high: float
) -> None:
    assert Proportion(found, among).interval == pytest.approx((low, high), abs=5e-4)


class Broken(torch.nn.Module):
    """A network all of whose numbers are NaN."""

    def forward(self, x: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        return torch.full_like(x, torch.nan)


def test_a_network_that_gives_nan_stops_and_flags_nobody(
    model: TextToImage, calibration: EarlyCalibration, tmp_path: Path
) -> None:
    broken = replace(model, score_model=replace(model.score_model, net=Broken()))
    with pytest.raises(MMHError, match="not finite"):
        score_prompts(broken, calibration, PROMPTS[:1])
    table = tmp_path / "prompts.txt"
    table.write_text("\n".join(FEW))
    subject = Subject(broken, None, Calibration(None, calibration))
    with pytest.raises(MMHError, match="not finite"):
        last(table, tmp_path / "out", subject, ScanConfig("tiny"))
    assert rows_of(tmp_path / "out") == []
    with pytest.raises(MMHError, match="not finite"):
        list(early_calibration(broken, NORMAL, SEEDS))


def test_what_is_not_read_of_a_prompt_stands_in_its_row_and_is_counted(
    model: TextToImage, calibration: EarlyCalibration, tmp_path: Path
) -> None:
    """The tiny encoder reads 14 tokens, and its tokenizer knows no letter beyond ASCII."""
    table = tmp_path / "prompts.txt"
    table.write_text("\n".join(["the cat", "the " * 20, "the ñandú", "кот", "“the” cat — a"]))
    subject, config = (
        Subject(model, None, Calibration(None, calibration)),
        ScanConfig("tiny", study=False),
    )
    state = last(table, tmp_path / "out", subject, config)
    said = {
        row.prompt: (row.values["cut"], row.values["unread"]) for row in rows_of(tmp_path / "out")
    }
    assert said["the cat"] == said["“the” cat — a"] == ("", "")
    assert str(said[("the " * 20).strip()][0]).split() == ["the"] * 6
    assert said["the ñandú"] == ("", "ñú")
    assert said["кот"] == ("", "кот")
    assert (state.cut, state.unread) == (1, 2)
    assert [sentence.split(" prompt")[0] for sentence in state.truncations()] == [
        "1",
        "2",
    ]
    # A scan that goes on counts what was there as well.
    again = last(table, tmp_path / "out", subject, config)
    assert (again.cut, again.unread, again.scored) == (1, 2, 0)
    items = list(scan_items(tmp_path / "out", flagged=False))
    tags = {item.prompt: item.tags for item in items}
    assert tags[("the " * 20).strip()] == ("not read to the end",)
    assert tags["кот"] == ("letters unknown to the model",)
    assert tags["the cat"] == ()


def test_a_scan_can_be_stopped_inside_a_study(
    model: TextToImage, calibration: EarlyCalibration, tmp_path: Path
) -> None:
    table = tmp_path / "prompts.txt"
    table.write_text("\n".join(PROMPTS[:4]))
    subject = Subject(model, None, Calibration(normal_of(model), calibration))
    steps = list(scan(table, tmp_path / "out", subject, ScanConfig("tiny", fpr=0.99)))
    # Beside one progress for the table, the batch and each prompt there are those of the studies.
    assert len(steps) > 2 + 4 + 4
    # Stopped within the first study: nothing half done is kept, and it goes on afterwards.
    folder = tmp_path / "again"
    running = scan(table, folder, subject, ScanConfig("tiny", fpr=0.99))
    for _ in range(4):
        next(running)
    running.close()  # type: ignore[attr-defined]
    assert all(row.values["run"] or not row.values["flagged"] for row in rows_of(folder))
    state = last(table, folder, subject, ScanConfig("tiny", fpr=0.99))
    assert sorted(row.prompt for row in rows_of(folder)) == sorted(PROMPTS[:4])
    assert state.done == 4


def test_a_folder_of_other_code_is_refused(
    model: TextToImage,
    calibration: EarlyCalibration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = tmp_path / "prompts.txt"
    table.write_text("\n".join(PROMPTS[:2]))
    subject, config = (
        Subject(model, None, Calibration(None, calibration)),
        ScanConfig("tiny", study=False),
    )
    last(table, tmp_path / "out", subject, config)
    monkeypatch.setattr("mmh_core.studies.review.scan.code_version", lambda *folders: "another")
    with pytest.raises(MMHError, match="scan"):
        last(table, tmp_path / "out", subject, config)
    assert len(rows_of(tmp_path / "out")) == 2
