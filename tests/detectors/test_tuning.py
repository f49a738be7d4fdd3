"""The rule of free settings: known answers on made-up columns and on the analytic model."""

from __future__ import annotations

import math

import pytest
import torch

from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.detectors.grids import LOG_DELTAS, TIMES
from mmh_core.detectors.guidance_norm import GuidanceNorm
from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.detectors.lid import Lid
from mmh_core.detectors.measurement import fit, measure, measure_by_key
from mmh_core.detectors.region_map import RegionMap
from mmh_core.detectors.stability import Stability
from mmh_core.detectors.tuning import (
    at_setting,
    best_setting,
    grid_settings,
    keyed,
    out_of_fold_scores,
    signed,
    tuned,
)
from mmh_core.statistics.areas import area_under_curve
from mmh_core.text_to_image.model import TextToImage
from tests.detectors.worlds import unet_of

MEMORIZED = torch.arange(20) % 2 == 0


def columns_of(gap: float, seed: int = 0) -> torch.Tensor:
    """Return one column of 20 prompts with two seeds; memorized ones are higher by `gap`."""
    noise = torch.randn(20, 2, generator=torch.Generator().manual_seed(seed))
    return (noise + gap * MEMORIZED[:, None]).reshape(-1, 1)


def test_the_setting_that_separates_best_wins_and_its_sign_with_it() -> None:
    at_times = grid_settings(GuidanceNorm())
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
    at_times = grid_settings(DETECTORS[name])
    found = best_setting(at_times, [torch.ones(40, 1)] * len(at_times), MEMORIZED)
    assert (found.sign, found.auc) == (1, 0.5)
    published = getattr(DETECTORS[name], "t", math.nan)
    assert found.t == published or math.isnan(published)


def test_a_detector_with_a_sign_alone_has_two_choices() -> None:
    assert grid_settings(RegionMap()) == (RegionMap(),)
    found = best_setting((RegionMap(),), [columns_of(-5)], MEMORIZED)
    assert (found.sign, found.choices) == (-1, 2) and found.auc > 0.95 and math.isnan(found.t)


def test_constants_are_fitted_without_the_fold_of_the_prompt_scored() -> None:
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    scores = out_of_fold_scores(Stability(), values, MEMORIZED)
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


GRIDS = {
    "early_scan": 36,
    "guidance_norm": 6,
    "anisotropy": 6,
    "score_norm": 6,
    "sharpness": 6,
    "attention_entropy": 6,
    "representation_spread": 4,
    "reconstruction_cost": 4,
    "denoised_spread": 6,
    "return_distance": 4,
    "lid_conditional_count": 6,
    "lid_difference_flipd": 6,
    "lid_corrected_dsm": 6,
}


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_every_free_setting_has_a_grid_that_begins_with_the_detectors_own(name: str) -> None:
    settings = grid_settings(DETECTORS[name])
    assert settings[0] == DETECTORS[name] and len(set(settings)) == len(settings)
    lids = {one: 6 for one in DETECTORS if one.startswith("lid_")}
    assert len(settings) == (lids | GRIDS).get(name, 1)
    for number, setting in enumerate(settings):
        # Columns that separate for this setting alone choose it, and it is found again.
        width = len(setting.estimates) if name != "stability" else 3
        columns = [torch.randn(40, width, generator=_seeded(i)) for i in range(len(settings))]
        columns[number][:, 0] += 50 * MEMORIZED.repeat_interleave(2)
        if number > 4:
            break
        found = best_setting(settings, columns, MEMORIZED)
        assert at_setting(DETECTORS[name], found) == setting
        assert found.choices == 2 * len(settings)


def _seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def test_a_scale_of_its_own_outside_the_grid_comes_first() -> None:
    own = Lid("flipd", "unconditional", math.log(0.6))
    scales = [one.log_delta for one in grid_settings(own) if isinstance(one, Lid)]
    assert scales == [math.log(0.6), *LOG_DELTAS]
    found = best_setting(
        grid_settings(own), [columns_of(9.0 * (i == 2)) for i in range(7)], MEMORIZED
    )
    assert (found.log_delta, found.sign) == (math.log(0.34), -1)
    assert found.words().startswith("noise scale 0.34, sign reversed, best of 14")
    assert math.isnan(found.t) and math.isnan(found.low)


def test_the_words_of_the_early_scan_name_both_times() -> None:
    settings = grid_settings(EarlyScan(0.98, 0.04))
    # Settings that cannot be fitted, since nothing varies, have no area.
    columns = [torch.zeros(40, 2) for _ in settings]
    columns[7] = columns_of(9.0).expand(-1, 2)
    chosen = settings[7]
    found = best_setting(settings, columns, MEMORIZED)
    assert isinstance(chosen, EarlyScan) and (found.t, found.low) == (chosen.high, chosen.low)
    assert found.words().startswith(f"t = {chosen.high:g} and {chosen.low:g}, sign as published")


def test_one_pass_measures_every_time_once(model: TextToImage, early: DetectorInputs) -> None:
    """Norm, cosine, score norm and both times of the early scan share the branches of a time."""
    names = ("guidance_norm", "anisotropy", "score_norm", "early_scan")
    grids = {name: grid_settings(DETECTORS[name]) for name in names}
    unet = unet_of(model)
    together = measure_by_key(model, early, keyed(grids))
    # Twelve rows with three noises, at each of six times.
    assert unet.rows == 6 * (12 + 3)
    for name, settings in grids.items():
        for number in (0, len(settings) - 1):
            [alone] = measure(model, early, [settings[number]]).values()
            shared = together[f"{name} {number}"]
            assert torch.equal(shared.values, alone.values)
            assert shared.nfe == pytest.approx(alone.nfe)


def test_settings_chosen_on_the_analytic_model_separate_best_of_the_grid(
    model: TextToImage, generated: DetectorInputs
) -> None:
    memorized = torch.tensor([True, True, False, False])
    names = ("score_norm", "lid_conditional_dsm", "reconstruction_cost", "region_map")
    grids = {name: grid_settings(DETECTORS[name]) for name in names}
    measurements = measure_by_key(model, generated, keyed(grids))
    settings, at_settings = tuned(measurements, memorized, grids)
    for name, setting in zip(names, settings, strict=True):
        areas = []
        for number, detector in enumerate(grids[name]):
            values = measurements[f"{name} {number}"].values
            scores = detector.score(values).reshape(4, -1).mean(1)
            area = float(area_under_curve(scores[memorized], scores[~memorized]))
            areas.append(max(area, 1 - area))
        chosen = at_setting(DETECTORS[name], setting)
        assert setting.auc == max(areas) == areas[grids[name].index(chosen)]
        expected = measure(model, generated, [chosen])[name].values
        torch.testing.assert_close(at_settings[name].values, expected)
