"""Scanning tables of prompts with a tiny random model: batch = loop, resume, rows left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.detectors.evidence import early_evidence, encode
from mmh_core.detectors.measurement import measure
from mmh_core.records import MMHError
from mmh_core.store.archive import load_record
from mmh_core.store.shards import ScanRow, read_rows
from mmh_core.studies.early_scan import (
    EarlyCalibration,
    early_calibration,
    read_early,
    score_prompts,
    write_early,
)
from mmh_core.studies.image_run import ImageRun, NormalPrompts
from mmh_core.studies.scan import ScanConfig, Scanner, ScanState, scan
from mmh_core.studies.scan_rows import RUNS
from mmh_core.text_to_image.model import TextToImage
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


def normal_of(model: TextToImage) -> NormalPrompts:
    """Return normal prompts beside which everything is memorized: it spares finding a scale."""
    empty = torch.empty(0)
    return NormalPrompts(
        model.name,
        model.sha256,
        "ddim",
        2,
        2.0,
        32,
        32,
        -0.5,
        empty,
        (),
        torch.tensor([1e9]),
        empty,
        empty,
        empty,
    )


def last(table: Path, out: Path, scanner: Scanner, config: ScanConfig) -> ScanState:
    state = None
    for progress in scan(table, out, scanner, config):
        state = progress.partial
    assert state is not None
    return state


def rows_of(out: Path) -> list[ScanRow]:
    return [row for batch in read_rows(out) for row in batch]


def test_scores_are_the_detectors_and_a_batch_equals_a_loop(
    model: TextToImage, calibration: EarlyCalibration
) -> None:
    found = score_prompts(model, calibration, PROMPTS[:5])
    evidence = early_evidence(model, encode(model, PROMPTS[:5]), SEEDS)
    columns = measure(model, evidence, [EarlyScan(0.98, 0.04)])["early_scan"].values
    fitted = EarlyScan().fitted(calibration.columns.flatten(0, 1))
    expected = fitted.score(columns).reshape(5, 2).mean(1)
    torch.testing.assert_close(found.score, expected, rtol=1e-4, atol=1e-4)
    for i in range(5):
        alone = score_prompts(model, calibration, PROMPTS[i : i + 1])
        # Convolutions of another batch size round differently.
        torch.testing.assert_close(alone.score, found.score[i : i + 1], rtol=1e-3, atol=1e-3)
    # Two reads of the unconditional branch for 10 rows, and two conditional ones a row.
    assert found.forwards == pytest.approx((4 + 20) / 10)


def test_the_threshold_lets_its_share_of_normal_prompts_pass(
    calibration: EarlyCalibration,
) -> None:
    normal = calibration.normal()
    assert int((normal > calibration.threshold(0.0)).sum()) == 0
    assert int((normal > calibration.threshold(0.1)).sum()) == 2
    with pytest.raises(ValueError, match="share must be"):
        calibration.threshold(1.0)


def test_a_calibration_is_kept_and_refused_for_another_model(
    model: TextToImage, calibration: EarlyCalibration, tmp_path: Path
) -> None:
    assert read_early(tmp_path) is None
    write_early(tmp_path, calibration)
    again = read_early(tmp_path)
    assert again is not None and torch.equal(again.columns, calibration.columns)
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
    scanner = Scanner(model, calibration, None, normal_of(model))
    config = ScanConfig("tiny", share=0.5)
    state = last(table, tmp_path / "out", scanner, config)
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
    assert run.config.prompts == (flagged[0].prompt,) and len(run.pictures) == 2
    assert flagged[0].values["verdict"] == "memorized, cause not identifiable"


def test_a_stopped_scan_goes_on_and_repeats_nothing(
    model: TextToImage, calibration: EarlyCalibration, tmp_path: Path
) -> None:
    table = tmp_path / "prompts.txt"
    table.write_text("\n".join(PROMPTS))
    scanner, config = Scanner(model, calibration, None, None), ScanConfig("tiny", study=False)
    steps = scan(table, tmp_path / "out", scanner, config)
    for progress in steps:
        if progress.partial.done >= 40:
            break
    steps.close()  # type: ignore[attr-defined]
    before = len(rows_of(tmp_path / "out"))
    assert 40 <= before < 60
    state = last(table, tmp_path / "out", scanner, config)
    assert (state.known, state.scored, state.done) == (before, 60 - before, 60)
    prompts = [row.prompt for row in rows_of(tmp_path / "out")]
    assert sorted(prompts) == sorted(PROMPTS)
    again = last(table, tmp_path / "out", scanner, config)
    assert again.scored == 0
    assert again.flagged == sum(bool(r.values["flagged"]) for r in rows_of(tmp_path / "out"))


def test_a_folder_of_other_settings_is_refused(
    model: TextToImage, calibration: EarlyCalibration, tmp_path: Path
) -> None:
    table = tmp_path / "prompts.txt"
    table.write_text("one\ntwo\n")
    scanner = Scanner(model, calibration, None, None)
    last(table, tmp_path / "out", scanner, ScanConfig("tiny", study=False))
    with pytest.raises(MMHError, match="other settings"):
        last(table, tmp_path / "out", scanner, ScanConfig("tiny", share=0.2, study=False))
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    with pytest.raises(MMHError, match="holds no prompt"):
        last(empty, tmp_path / "other", scanner, ScanConfig("tiny"))
