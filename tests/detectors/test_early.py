"""Detectors on pure noise against their closed forms for Gaussians."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmh_core.detectors.anisotropy import Anisotropy
from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.detectors.early_times import choose_times
from mmh_core.detectors.guidance_norm import GuidanceNorm
from mmh_core.detectors.inputs import DetectorInputs, encode, noise_inputs, per_prompt
from mmh_core.detectors.measurement import Detector, fit, measure
from mmh_core.detectors.score_norm import ScoreNorm
from mmh_core.detectors.sharpness import Sharpness
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage
from tests.detectors.worlds import BROAD, PROMPTS, eps_of, kernel, means, unet_of, variances, world

MEMORIZED = torch.tensor([True, True, False, False])
#: Float32 through the solve of eps, which near t = 1 divides by an alpha of .07.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
NOISE_ONLY = [
    each
    for name, each in DETECTORS.items()
    if each.needs == "noise" and name != "attention_entropy"
]


def branches(inputs: DetectorInputs, t: float) -> tuple[Tensor, Tensor]:
    """Return eps with and without the prompt, (B, D), by formula."""
    x = inputs.noise[inputs.noise_index].flatten(1).double()
    eps_c = eps_of(x, means()[inputs.prompt_index], variances()[inputs.prompt_index], t)
    return eps_c, eps_of(x, torch.zeros(1).double(), torch.full((1,), BROAD).double(), t)


def scores(model: TextToImage, inputs: DetectorInputs, detector: Detector) -> Tensor:
    values = measure(model, inputs, [detector])[detector.name].values
    normal = ~MEMORIZED[inputs.prompt_index]
    return fit(detector, values[normal]).score(values)


@pytest.mark.parametrize("t", [0.98, 0.5])
def test_guidance_norm_is_the_length_of_the_difference(
    model: TextToImage, early: DetectorInputs, t: float
) -> None:
    eps_c, eps_u = branches(early, t)
    expected = (eps_c - eps_u).norm(dim=1).float()
    torch.testing.assert_close(scores(model, early, GuidanceNorm(t)), expected, **CLOSE)


@pytest.mark.parametrize("t", [0.04, 0.5])
def test_anisotropy_is_the_mean_cosine_of_the_channels(
    model: TextToImage, early: DetectorInputs, t: float
) -> None:
    eps_c, eps_u = (each.unflatten(1, (2, 16)) for each in branches(early, t))
    delta = eps_c - eps_u
    cosine = (eps_u * delta).sum(2) / eps_u.norm(dim=2) / delta.norm(dim=2)
    found = scores(model, early, Anisotropy(t))
    torch.testing.assert_close(found, cosine.mean(1).float(), **CLOSE)


@pytest.mark.parametrize("t", [0.5, 0.98])
def test_score_norm_is_the_length_of_the_prediction(
    model: TextToImage, early: DetectorInputs, t: float
) -> None:
    expected = branches(early, t)[0].norm(dim=1).float()
    torch.testing.assert_close(scores(model, early, ScoreNorm(t)), expected, **CLOSE)


def test_score_norm_tends_to_its_expectation(model: TextToImage) -> None:
    """The formula of its docstring: over many noises, at the template, plus the mean's part."""
    many = noise_inputs(model, encode(model, ["template"]), range(2000))
    alpha, sigma = kernel(0.6)
    factor = sigma / (alpha**2 * variances()[1] + sigma**2)
    expected = (factor.square() * (1 + alpha**2 * means()[1].square())).sum()
    mean = scores(model, many, ScoreNorm(0.6)).square().mean()
    # The squared length varies by about 15 % from noise to noise, its mean over 2,000 by .4 %.
    assert abs(mean / expected - 1) < 0.02


@pytest.mark.parametrize("t", [0.5, 0.98])
def test_sharpness_is_the_bend_along_the_pull(
    model: TextToImage, early: DetectorInputs, t: float
) -> None:
    alpha, sigma = kernel(t)
    eps_c, eps_u = branches(early, t)
    d = (eps_u - eps_c) / sigma
    h_c = -1 / (alpha**2 * variances()[early.prompt_index] + sigma**2)
    h_u = -1 / (alpha**2 * BROAD + sigma**2)
    expected = ((h_c - h_u) * d).norm(dim=1).float()
    # P_c - P_u is a small difference near t = 1, divided by sigma^2.
    torch.testing.assert_close(
        scores(model, early, Sharpness(t)), expected, rtol=1e-3, atol=1e-6 / sigma**2
    )


def test_sharpness_agrees_with_differences_of_scores(
    model: TextToImage, early: DetectorInputs
) -> None:
    """Read along d by shifting the noise, the way that needs no derivative."""
    t, step = 0.5, 1e-2
    score_model = model.score_model
    x = early.noise[early.noise_index]
    cond = early.embeddings[early.prompt_index]
    d = score_model.score(x, t, cond) - score_model.score(x, t)
    unit = d / d.flatten(1).norm(dim=1)[:, None, None, None]
    ahead, behind = (
        score_model.score(x + sign * step * unit, t, cond)
        - score_model.score(x + sign * step * unit, t)
        for sign in (1, -1)
    )
    slope = (ahead - behind) / (2 * step) * d.flatten(1).norm(dim=1)[:, None, None, None]
    found = scores(model, early, Sharpness(t))
    # Scores of about 10 in float32, differences over .02.
    torch.testing.assert_close(found, slope.flatten(1).norm(dim=1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("detector", NOISE_ONLY, ids=lambda each: each.name)
def test_the_duplicate_ranks_above_ordinary_prompts(
    model: TextToImage, early: DetectorInputs, detector: Detector
) -> None:
    found = per_prompt(scores(model, early, detector), early)
    assert found[0] > found[2:].max()


@pytest.mark.parametrize("detector", NOISE_ONLY, ids=lambda each: each.name)
def test_a_network_of_v_is_scored_alike(early: DetectorInputs, detector: Detector) -> None:
    """One model in two parameterisations: the same scores but for rounding in the solve."""
    eps, v = (scores(world(target), early, detector) for target in ("eps", "v"))
    torch.testing.assert_close(v, eps, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("detector", NOISE_ONLY, ids=lambda each: each.name)
def test_a_batch_is_its_rows_one_by_one(
    model: TextToImage, early: DetectorInputs, detector: Detector
) -> None:
    whole = measure(model, early, [detector])[detector.name].values
    order = torch.tensor([7, 0, 11, 4])
    for row in order:
        alone = measure(model, early.rows(row[None]), [detector])[detector.name].values[0]
        torch.testing.assert_close(alone, whole[row], **CLOSE)


def test_many_rows_are_read_in_parts(model: TextToImage, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = noise_inputs(model, encode(model, PROMPTS), range(5))
    detectors = list(NOISE_ONLY)
    whole = measure(model, inputs, detectors)
    monkeypatch.setattr("mmh_core.detectors.inputs._ROWS", 3)
    for name, part in measure(model, inputs, detectors).items():
        torch.testing.assert_close(part.values, whole[name].values, **CLOSE)
        assert part.nfe == whole[name].nfe


@pytest.mark.parametrize(
    "detector, nfe",
    # Twelve rows, three noises: the unconditional branch is read three times per time.
    [
        (GuidanceNorm(), (12 + 3) / 12),
        (Anisotropy(), (12 + 3) / 12),
        (EarlyScan(), 2 * (12 + 3) / 12),
        (ScoreNorm(), 1.0),
        (Sharpness(), 4.0),
    ],
    ids=lambda each: each.name if not isinstance(each, float) else "",
)
def test_the_cost_is_what_the_network_did(
    model: TextToImage, early: DetectorInputs, detector: Detector, nfe: float
) -> None:
    unet = unet_of(model)
    found = measure(model, early, [detector])[detector.name]
    assert found.nfe == pytest.approx((unet.rows + unet.reversed) / len(early))
    assert found.nfe == pytest.approx(nfe)
    assert found.generation == 0


def test_one_prompt_with_one_seed_costs_the_early_scan_four_nfe(
    model: TextToImage, early: DetectorInputs
) -> None:
    unet = unet_of(model)
    found = measure(model, early.rows(torch.tensor([5])), [EarlyScan()])["early_scan"]
    assert found.nfe == unet.rows == 4


def test_the_early_scan_adds_standard_scores(model: TextToImage, early: DetectorInputs) -> None:
    scan = EarlyScan(high=0.7, low=0.3, weight=0.5)
    values = measure(model, early, [scan])["early_scan"].values
    normal = values[early.prompt_index >= 2]
    found = fit(scan, normal).score(values)
    standard = (values - normal.mean(0)) / normal.std(0)
    torch.testing.assert_close(found, standard @ torch.tensor([1.0, 0.5]), **CLOSE)
    assert fit(scan, normal).score(normal).mean().abs() < 1e-5


def test_the_early_scan_is_refused_before_its_fit() -> None:
    with pytest.raises(MMHError, match="Early scan compares with reference prompts"):
        EarlyScan().score(torch.zeros(2, 2))
    for values in (torch.zeros(1, 2), torch.ones(5, 2)):
        with pytest.raises(MMHError, match="too few or too much alike"):
            fit(EarlyScan(), values)


def test_chosen_times_tell_best(model: TextToImage) -> None:
    """No pair of the grid does better, measured pair by pair; equal ones leave the noisiest.

    The labels are wrong ones, with which no pair of times tells perfectly.
    """
    labels = torch.tensor([False, True, True, False])
    inputs = noise_inputs(model, encode(model, PROMPTS), (5,))
    grid = (0.04, 0.5, 0.98)
    chosen = choose_times(model, inputs, labels, grid)

    def area(high: float, low: float) -> float:
        scan = EarlyScan(high, low)
        values = measure(model, inputs, [scan])["early_scan"].values
        found = per_prompt(fit(scan, values[~labels[inputs.prompt_index]]).score(values), inputs)
        wins = (found[labels][:, None] > found[~labels]).double()
        return wins.mean().item()

    areas = {(high, low): area(high, low) for high in grid for low in grid}
    best = max(areas.values())
    assert min(areas.values()) < best
    assert chosen == max(pair for pair, value in areas.items() if math.isclose(value, best))


@pytest.mark.parametrize("label", [True, False])
def test_times_need_both_kinds(model: TextToImage, early: DetectorInputs, label: bool) -> None:
    with pytest.raises(MMHError, match="label some of both"):
        choose_times(model, early, torch.full((4,), label))


def test_a_network_that_fails_is_not_scored(early: DetectorInputs) -> None:
    broken = world()
    broken.unet.forward = lambda x_t, *rest, **settings: (x_t * math.nan,)  # type: ignore[method-assign]
    for detector in (GuidanceNorm(), Anisotropy(), ScoreNorm(), Sharpness()):
        with pytest.raises(MMHError, match="not finite"):
            measure(broken, early, [detector])
