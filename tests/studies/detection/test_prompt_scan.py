"""The early scan beside an image run: the numbers of the scan, and a sentence that is true."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmh_core.records import Progress
from mmh_core.studies.detection.prompt_scan import FPR, scan_words, scanned
from mmh_core.studies.images.run import ImageRun, PromptScan
from mmh_core.subject.early_calibration import (
    EarlyCalibration,
    early_calibration,
    score_prompts,
)
from mmh_core.text_to_image.model import TextToImage
from tests.drawn_runs import drawn_run
from tests.studies.review.test_scan import NORMAL, SEEDS
from tests.text_to_image.conftest import ModelOf


@pytest.fixture(scope="module")
def model(model_of: ModelOf) -> TextToImage:
    return replace(model_of("tiny"), steps=2, guidance=2.0)


@pytest.fixture(scope="module")
def calibration(model: TextToImage) -> EarlyCalibration:
    return list(early_calibration(model, NORMAL, SEEDS, memorized=["a cat", "x b"]))[-1].partial


def test_a_finished_run_has_the_scan_of_its_prompts(
    model: TextToImage, calibration: EarlyCalibration
) -> None:
    run = drawn_run()
    steps = [Progress(0.5, "half", run), Progress(1.0, "all", run)]
    found = list(scanned(iter(steps), model, calibration))
    assert found[:2] == steps and len(found) == 3
    assert len(found[-1].partial.scans) == len(run.config.prompts)
    scan = found[-1].partial.scans[0]
    expected = score_prompts(model, calibration, run.config.prompts)
    assert scan.score == pytest.approx(float(expected.score[0]))
    assert scan.threshold == calibration.threshold(FPR)
    counted = calibration.flagged_memorized(FPR)
    assert counted is not None
    assert (scan.flagged_memorized, scan.memorized) == (counted.count, counted.total)


def test_a_run_of_another_model_or_without_calibration_stays_as_it_is(
    model: TextToImage, calibration: EarlyCalibration
) -> None:
    steps: list[Progress[ImageRun]] = [Progress(1.0, "all", drawn_run())]
    other = replace(calibration, sha256="0" * 64)
    assert list(scanned(iter(steps), model, other)) == steps
    assert list(scanned(iter(steps), model, None)) == steps
    assert list(scanned(iter([]), model, calibration)) == []
    run = drawn_run()
    wide = replace(
        run,
        config=replace(
            run.config,
            sampling=replace(run.config.sampling, windows=2),
        ),
    )
    steps = [Progress(1.0, "all", wide)]
    assert list(scanned(iter(steps), model, calibration)) == steps


@pytest.mark.parametrize(
    ("score", "among", "copied", "sentence"),
    [
        (2.5, 36, True, "image: flagged. The score 2.50 is above the threshold 1.89; 88%"),
        (1.1, 36, False, "not flagged. The score 1.10 is not above the threshold 1.89"),
        (
            1.1,
            36,
            True,
            "3 of its 4 images are copies. This threshold flags 30 of 36 memorized prompts.",
        ),
        (1.1, 0, True, "How many memorized prompts it misses is not known."),
    ],
)
def test_a_copy_that_the_scan_misses_is_said_to_be_missed(
    score: float, among: int, copied: bool, sentence: str
) -> None:
    scan = PromptScan(score, 0.875, 1.89, 0.01, 30 if among else -1, among)
    said = scan_words(scan, copies=(3 if copied else 0, 4))
    assert sentence in said
    assert ("It missed" in said) == (copied and score < 1.89)
    with_others = scan_words(PromptScan(1.1, 0.5, 1.89, 0.01, 30, 36, 22, 36), copies=(3, 4))
    assert "30 of 36 memorized training captions and 22 of 36 paraphrases of them." in with_others
    nothing = PromptScan(float("nan"), float("nan"), 1.89, 0.01, 30, 36)
    assert "cannot be read" in scan_words(nothing, copies=(3, 4)) and not nothing.flagged
