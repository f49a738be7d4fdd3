"""Detectors that are measured on many prompts go on where they were killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmh_core.detectors.catalogue import DETECTORS, adapted
from mmh_core.store.archive import load_record, save_record
from mmh_core.studies.detection.measured import MeasuredPart, measured
from mmh_core.studies.detection.reference_prompts import reference_study
from mmh_core.studies.images.run import ImageConfig
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Sampling
from tests.text_to_image.conftest import ModelOf

PROMPTS = tuple(f"{first} {last}" for first in ("a cat", "the dog", "cats") for last in "abcdefg")
SEEDS = (1, 2)


@pytest.fixture(scope="module")
def model(model_of: ModelOf) -> TextToImage:
    return replace(model_of("tiny"), steps=2, guidance=2.0)


def test_finished_prompts_are_measured_once(model: TextToImage, tmp_path: Path) -> None:
    every = adapted(DETECTORS, log_delta=-0.5, embedder="pixels")
    detectors = {name: every[name] for name in ("stability", "lid_conditional_count")}
    *_, whole = measured(model, PROMPTS, detectors, SEEDS)
    steps = measured(model, PROMPTS, detectors, SEEDS, kept=tmp_path)
    first = next(steps)
    steps.close()
    count = len(first.prompts)
    [path] = tmp_path.glob("*.safetensors")
    part = load_record(path, MeasuredPart)
    marked = replace(part, copies=torch.full_like(part.copies, 0.5))
    save_record(path, marked)
    *_, again = measured(model, PROMPTS, detectors, SEEDS, kept=tmp_path)
    assert again.prompts == PROMPTS
    # What was kept is used, and what was not is measured.
    assert bool((again.copies[:count] == 0.5).all())
    assert bool(again.copies[count:].isnan().all())
    assert 0 < count < len(PROMPTS)
    for name in detectors:
        torch.testing.assert_close(
            again.found[name].values, whole.found[name].values, rtol=1e-3, atol=1e-3
        )
        assert again.found[name].nfe == pytest.approx(whole.found[name].nfe)
    # Another scale, other seeds and other prompts are other work.
    kept = len(list(tmp_path.glob("*")))
    other = adapted(DETECTORS, log_delta=-0.4, embedder="pixels")
    scaled = {name: other[name] for name in detectors}
    list(measured(model, PROMPTS[:2], scaled, SEEDS, kept=tmp_path))
    list(measured(model, PROMPTS[:2], detectors, (3, 4), kept=tmp_path))
    assert len(list(tmp_path.glob("*"))) == kept + 2


def test_finished_reference_prompts_are_run_once(model: TextToImage, tmp_path: Path) -> None:
    config = ImageConfig("tiny", PROMPTS[:2], (1,), Sampling(2, 2.0, 32, 32))
    *_, first = reference_study(config, model, -0.5, kept=tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*")}
    assert len(times) == 2
    *_, second = reference_study(config, model, -0.5, kept=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*")} == times
    assert first.partial is not None and second.partial is not None
    assert torch.equal(first.partial.conditional, second.partial.conditional)
    assert torch.equal(first.partial.curve, second.partial.curve)
    assert first.partial.prompts == second.partial.prompts
    list(reference_study(config, model, -0.4, kept=tmp_path))
    assert len(list(tmp_path.glob("*"))) == 4
