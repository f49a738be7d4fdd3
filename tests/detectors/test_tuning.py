"""The rule of free settings: known answers on made-up columns and on the analytic model."""

from __future__ import annotations

import math

import pytest
import torch

from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.detectors.guidance_norm import GuidanceNorm
from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.detectors.measurement import fit, measure
from mmh_core.detectors.region_map import RegionMap
from mmh_core.detectors.score_norm import ScoreNorm
from mmh_core.detectors.stability import Stability
from mmh_core.detectors.tuning import (
    TIMES,
    at_setting,
    best_setting,
    held_out_scores,
    signed,
    tuned_times,
    variants,
)
from mmh_core.statistics import area_under_curve
from mmh_core.text_to_image.model import TextToImage

MEMORIZED = torch.arange(20) % 2 == 0


def columns_of(gap: float, seed: int = 0) -> torch.Tensor:
    """Return one column of 20 prompts with two seeds; memorized ones are higher by `gap`."""
    noise = torch.randn(20, 2, generator=torch.Generator().manual_seed(seed))
    return (noise + gap * MEMORIZED[:, None]).reshape(-1, 1)


def test_the_setting_that_separates_best_wins_and_its_sign_with_it() -> None:
    at_times = variants(GuidanceNorm())
    assert [one.t for one in at_times if isinstance(one, GuidanceNorm)] == list(TIMES)
    columns = [columns_of(gap, i) for i, gap in enumerate((0.5, 1, 0, -9, 2, 0))]
    found = best_setting(at_times, columns, MEMORIZED)
    assert (found.t, found.sign, found.auc, found.choices) == (0.4, -1, 1.0, 12)
    assert "t = 0.4, sign reversed, best of 12" in found.words()
    detector = signed(at_setting(GuidanceNorm(), found), found)
    assert detector.name == "guidance_norm" and detector.estimates == (GuidanceNorm(0.4),)
    assert torch.equal(detector.score(columns[0]), -columns[0][:, 0])


@pytest.mark.parametrize("name", ["guidance_norm", "score_norm", "sharpness", "region_map"])
def test_of_equal_settings_the_published_one_wins(name: str) -> None:
    at_times = variants(DETECTORS[name])
    found = best_setting(at_times, [torch.ones(40, 1)] * len(at_times), MEMORIZED)
    assert (found.sign, found.auc) == (1, 0.5)
    published = getattr(DETECTORS[name], "t", math.nan)
    assert found.t == published or math.isnan(published)


def test_a_detector_with_a_sign_alone_has_two_choices() -> None:
    assert variants(RegionMap()) == (RegionMap(),)
    found = best_setting((RegionMap(),), [columns_of(-5)], MEMORIZED)
    assert (found.sign, found.choices) == (-1, 2) and found.auc > 0.95 and math.isnan(found.t)


def test_constants_are_fitted_without_the_fold_of_the_prompt_scored() -> None:
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    scores = held_out_scores(Stability(), values, MEMORIZED)
    # The first reference prompt (number 1) lies in the fold of the references 1, 11, and so on.
    rows = values.reshape(20, 2, 3)
    others = [i for n, i in enumerate(range(1, 20, 2)) if n % 5]
    ready = fit(Stability(), rows[others].flatten(0, 1))
    assert float(scores[1]) == pytest.approx(float(ready.score(rows[1]).mean()), rel=1e-5)
    whole = fit(Stability(), rows[1::2].flatten(0, 1))
    assert float(scores[1]) != pytest.approx(float(whole.score(rows[1]).mean()), rel=1e-5)


def test_prompts_without_a_score_are_left_out_and_no_score_at_all_keeps_the_published() -> None:
    columns = columns_of(9.0)
    columns[:4] = math.nan
    assert best_setting((GuidanceNorm(),), [columns], MEMORIZED).auc == 1
    nothing = best_setting((GuidanceNorm(),), [torch.full((40, 1), math.nan)], MEMORIZED)
    assert (nothing.t, nothing.sign) == (0.98, 1) and math.isnan(nothing.auc)


def test_a_time_chosen_on_the_analytic_model_separates_best_of_the_grid(
    model: TextToImage, early: DetectorInputs
) -> None:
    memorized = torch.tensor([True, True, False, False])
    detectors = {"score_norm": ScoreNorm(), "region_map": RegionMap()}
    (found,) = tuned_times(model, early, memorized, detectors)
    areas = {}
    for t in TIMES:
        values = measure(model, early, [ScoreNorm(t)])["score_norm"].values
        scores = values.reshape(4, -1).mean(1)
        area = float(area_under_curve(scores[memorized], scores[~memorized]))
        areas[t] = max(area, 1 - area)
    assert found.auc == max(areas.values()) == areas[found.t]
