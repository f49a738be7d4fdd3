"""Cures at training time, on the precomputed runs: each helps against its own cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmh_core.records import MMHError
from mmh_core.store.archive import load_record
from mmh_core.studies.manifolds.run import ManifoldRun
from mmh_core.studies.manifolds.training_mitigation import deduplicated, early_stop, effect

PRESETS = Path(__file__).parents[3] / "assets" / "manifolds"


def preset(name: str) -> ManifoldRun:
    return load_record(PRESETS / f"{name}.safetensors", ManifoldRun)


def test_stopping_early_cures_what_the_model_causes() -> None:
    run = preset("circle")
    stopped = early_stop(run)
    assert stopped is not None and stopped.step < run.snapshots[-1].step
    before, after = effect(run.snapshots[-1]), effect(stopped)
    assert before.memorized_generated > 0.1 and after.memorized_generated == 0
    # The latest of the equally good steps: the one after it is worse.
    later = next(s for s in run.snapshots if s.step > stopped.step)
    assert effect(later).memorized_generated > 0


def test_stopping_early_does_not_cure_what_the_data_causes() -> None:
    run = preset("circle-duplicates")
    stopped = early_stop(run)
    found = run.snapshots[-1] if stopped is None else stopped
    # A circle's samples near a point that stands there thirty times stay points at every step.
    assert effect(found).memorized_generated > 0.5 * effect(run.snapshots[-1]).memorized_generated


def test_duplicates_are_removed_and_nothing_else() -> None:
    config = preset("circle-duplicates").config
    found = deduplicated(config)
    assert found.duplicates == 0 and (found.points, found.epochs) == (config.points, config.epochs)
    with pytest.raises(MMHError, match="no duplicates"):
        deduplicated(found)
