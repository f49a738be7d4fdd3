"""Sharing of estimates, fits, detectors that read a trace, and the table of detectors."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace

import pytest
import torch

from mmh_core.detectors.catalogue import DETECTORS, adapted
from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.detectors.guidance_norm import GuidanceNorm, GuidanceTrace
from mmh_core.detectors.inputs import DetectorInputs, per_prompt
from mmh_core.detectors.measurement import (
    Measurement,
    fit,
    joined_measurements,
    measure,
)
from mmh_core.detectors.region_map import RegionMap
from mmh_core.detectors.seed_similarity import SeedSimilarity
from mmh_core.detectors.stability import Stability
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage
from tests.detectors.worlds import kernel, unet_of


def test_equal_readings_are_taken_once_and_charged_to_each(
    model: TextToImage, generated: DetectorInputs
) -> None:
    names = ("lid_conditional_flipd", "lid_unconditional_flipd", "lid_difference_flipd")
    unet = unet_of(model)
    together = measure(model, generated, [DETECTORS[name] for name in names])
    # One forward and eight reverse passes for each of the two branches.
    assert unet.rows + unet.reversed == 18 * len(generated)
    assert [together[name].nfe for name in names] == [9, 9, 18]
    pair = torch.cat([together[name].values for name in names[:2]], dim=1)
    assert torch.equal(together[names[2]].values, pair)


def test_another_setting_is_another_reading(model: TextToImage, early: DetectorInputs) -> None:
    unet = unet_of(model)
    measure(model, early, [GuidanceNorm(0.98), EarlyScan(high=0.98, low=0.5)])
    shared = unet.rows
    unet.rows = 0
    measure(model, early, [GuidanceNorm(0.9), EarlyScan(high=0.98, low=0.5)])
    assert unet.rows == shared + 15 == 45


def test_measurements_of_parts_are_that_of_the_whole(
    model: TextToImage, generated: DetectorInputs
) -> None:
    parts = [generated.rows(torch.arange(3)), generated.rows(torch.arange(3, 12))]
    detectors = [DETECTORS["early_scan"], DETECTORS["lid_conditional_dsm"]]
    whole = measure(model, generated, detectors)
    each = [measure(model, part, detectors) for part in parts]
    for name, expected in whole.items():
        joined = joined_measurements([found[name] for found in each])
        torch.testing.assert_close(joined.values, expected.values, rtol=1e-4, atol=1e-4)
        assert joined.generation == expected.generation
    # The unconditional branch, shared within a part only: 3 rows in each of two parts.
    scan = joined_measurements([found["early_scan"] for found in each])
    assert scan.nfe == pytest.approx(2 * (12 + 6) / 12)


def test_stability_is_the_largest_standard_deviation() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(50, 6, generator=generator) * torch.arange(1.0, 7.0) + 20
    detector = fit(Stability(), normal)
    odd = normal.mean(0).repeat(2, 1)
    odd[0, 3] += 4 * normal[:, 3].std()
    odd[1, 1] -= 5 * normal[:, 1].std()
    odd[1, 5] += 2 * normal[:, 5].std()
    torch.testing.assert_close(detector.score(odd), torch.tensor([4.0, 5.0]), rtol=1e-3, atol=1e-3)


def test_stability_is_fitted_for_its_own_steps() -> None:
    with pytest.raises(MMHError, match="Stability compares with reference prompts"):
        Stability().score(torch.zeros(2, 6))
    detector = fit(Stability(), torch.randn(9, 6))
    with pytest.raises(ValueError, match="fitted for 6 steps, got 7"):
        detector.score(torch.zeros(2, 7))


def test_the_region_map_is_the_last_guidance(
    model: TextToImage, generated: DetectorInputs
) -> None:
    """Its mean is the squared norm over sigma^2 and the 16 places."""
    trace = generated.generated()
    _, sigma = kernel(trace.times[-1].item())
    expected = trace.guidance_norm[:, -1].square() / (sigma**2 * 16)
    found = measure(model, generated, [RegionMap()])["region_map"].values[:, 0]
    # Sigma at the last step is about .04: rounding of eps is enlarged 600 times.
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "detector",
    [GuidanceTrace(10), GuidanceTrace(), Stability(), RegionMap()],
    ids=lambda each: each.name,
)
def test_the_duplicate_ranks_above_ordinary_prompts(
    model: TextToImage, generated: DetectorInputs, detector: GuidanceTrace
) -> None:
    unet = unet_of(model)
    found = measure(model, generated, [detector])[detector.name]
    assert (unet.rows, found.nfe, found.generation) == (0, 0.0, 24.0)
    score = fit(detector, found.values[generated.prompt_index >= 2]).score(found.values)
    by_prompt = per_prompt(score, generated)
    assert by_prompt[0] > by_prompt[2:].max()


def test_the_table_is_literal_and_named(generated: DetectorInputs) -> None:
    assert all(name == each.name for name, each in DETECTORS.items())
    assert len({each.label for each in DETECTORS.values()}) == len(DETECTORS)
    for each in DETECTORS.values():
        assert is_dataclass(each) and each.citation and each.estimates
        assert hash(each) == hash(replace(each))  # type: ignore[type-var]
        assert (type(each).__doc__ or "").startswith(("The ", "Minus "))
        assert re.fullmatch(r"[A-Z][^.]{20,110}\.", each.summary), each.summary


def test_detectors_are_set_to_a_model() -> None:
    found = adapted(DETECTORS, log_delta=-0.5, embedder="pocket", early=(0.5, 0.7))
    assert list(found) == list(DETECTORS)
    for name, each in found.items():
        settings = {field.name: getattr(each, field.name) for field in fields(each)}  # type: ignore[arg-type]
        # Spread and return distance are at a coarse scale of their own.
        coarse = ("denoised_spread", "return_distance")
        own = settings.get("log_delta") if name in coarse else -0.5
        assert settings.get("log_delta", -0.5) == own, name
    assert found["seed_agreement"] == SeedSimilarity("pocket")
    assert found["early_scan"] == EarlyScan(high=0.5, low=0.7)
    assert found["guidance_norm"] == DETECTORS["guidance_norm"]
    left = adapted(DETECTORS, log_delta=-0.5, embedder="pocket")
    assert left["early_scan"] == EarlyScan()


def test_a_fit_leaves_alone_what_needs_none() -> None:
    detector = GuidanceNorm()
    assert fit(detector, torch.zeros(0, 1)) is detector


def test_joining_weighs_costs_by_rows() -> None:
    parts = [Measurement(torch.zeros(1, 2), 4.0, 8.0), Measurement(torch.ones(3, 2), 2.0, 4.0)]
    whole = joined_measurements(parts)
    assert (whole.nfe, whole.generation) == (2.5, 5.0)
    assert whole.values[:, 0].tolist() == [0.0, 1.0, 1.0, 1.0]
