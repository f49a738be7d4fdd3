"""A build is fitted to a time by one factor for all stages, kept for the next start."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmh_core.pocket.build import STAGES, TINY, BuildConfig, fitting_of
from mmh_core.pocket.plan import ASIDE, TIMED, fitted_to, step_seconds, timed
from mmh_core.records import MMHError

CPU = torch.device("cpu")
MEASURED = {"autoencoder": 0.1, "clip": 0.5, "descriptor": 0.25, "denoiser": 0.4}


@dataclass
class Table:
    """A table in place of a measurement, which counts how often it is asked for."""

    asked: int = 0

    def __call__(self, config: BuildConfig, device: torch.device) -> dict[str, float]:
        self.asked += 1
        return dict(MEASURED)


@pytest.mark.parametrize("minutes", [2.0, 600.0])
def test_all_stages_are_scaled_by_one_factor_to_the_time(minutes: float, tmp_path: Path) -> None:
    table = Table()
    config = BuildConfig()
    found = fitted_to(minutes, config, CPU, tmp_path, measure=table)
    full = {stage: fitting_of(config, stage).steps for stage in STAGES}
    factor = minutes * 60 * (1 - ASIDE) / sum(full[s] * MEASURED[s] for s in STAGES)
    steps = {stage: fitting_of(found, stage).steps for stage in STAGES}
    for stage in STAGES:
        assert abs(steps[stage] - full[stage] * factor) <= 0.5
    taken = sum(steps[stage] * MEASURED[stage] for stage in STAGES)
    # Each stage is rounded to whole steps.
    assert taken == pytest.approx(minutes * 60 * 0.92, abs=sum(MEASURED.values()) / 2)
    # But for the rounding of warm-ups, nothing else has changed.
    for stage in STAGES:
        before, after = fitting_of(config, stage), fitting_of(found, stage)
        assert abs(after.warm_up / after.steps - before.warm_up / before.steps) <= 1 / after.steps
        assert replace(after, steps=before.steps, warm_up=before.warm_up) == before


def test_a_plan_is_kept_for_the_same_time_and_settings_only(tmp_path: Path) -> None:
    table = Table()
    one = fitted_to(5, BuildConfig(), CPU, tmp_path, measure=table)
    kept = json.loads((tmp_path / "plan.json").read_text())
    assert kept["step_seconds"] == MEASURED
    assert kept["steps"] == {stage: fitting_of(one, stage).steps for stage in STAGES}
    changed = json.dumps({**kept, "steps": {**kept["steps"], "clip": 77}})
    (tmp_path / "plan.json").write_text(changed)
    again = fitted_to(5, BuildConfig(), CPU, tmp_path, measure=table)
    assert (fitting_of(again, "clip").steps, table.asked) == (77, 1)
    fitted_to(6, BuildConfig(), CPU, tmp_path, measure=table)
    fitted_to(6, BuildConfig(seed=1), CPU, tmp_path, measure=table)
    assert table.asked == 3


def test_no_stage_has_less_than_a_step(tmp_path: Path) -> None:
    table = Table()
    found = fitted_to(1e-6, BuildConfig(), CPU, tmp_path, measure=table)
    assert [fitting_of(found, stage).steps for stage in STAGES] == [1] * len(STAGES)


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_none_is_refused_before_anything_is_measured(
    minutes: float, tmp_path: Path
) -> None:
    table = Table()
    with pytest.raises(ValueError, match="minutes must be a number above 0"):
        fitted_to(minutes, BuildConfig(), CPU, tmp_path, measure=table)
    assert not table.asked


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"steps": {"clip": 3}}', '{"steps": null}'])
def test_a_damaged_plan_is_named(text: str, tmp_path: Path) -> None:
    table = Table()
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(MMHError, match=r"plan\.json cannot be read: remove it"):
        fitted_to(5, BuildConfig(), CPU, tmp_path, measure=table)


def test_the_first_steps_are_not_timed() -> None:
    clock = [0.0]

    def run() -> Iterator[Any]:
        for step in range(100):
            clock[0] += 50.0 if step < TIMED else 2.0
            yield step

    assert timed(run(), lambda: clock[0]) == 2.0


def test_stages_shorter_than_the_timing_are_timed_too() -> None:
    found = step_seconds(TINY, CPU, lambda run: len(list(run)))
    assert found == dict.fromkeys(STAGES, 2 * TIMED)
