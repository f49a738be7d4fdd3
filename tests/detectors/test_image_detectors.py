"""Representation spread, reconstruction cost and denoised spread against their closed forms."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from mmh_core.detectors.denoised_spread import DenoisedSpread
from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.detectors.measurement import measure
from mmh_core.detectors.reconstruction_cost import ReconstructionCost, ddim_step
from mmh_core.detectors.representation_spread import RepresentationSpread
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage
from tests.detectors.worlds import BROAD, DIM, SHAPE, eps_of, kernel, means, unet_of, variances


def factor(start: float, end: float, variance: torch.Tensor) -> torch.Tensor:
    """Return by what a step multiplies the distance to the mean along each axis."""
    (alpha, sigma), (later, noise) = kernel(start), kernel(end)
    return (later * alpha * variance + noise * sigma) / (alpha**2 * variance + sigma**2)


@pytest.mark.parametrize("t", [0.1, 0.4])
def test_the_spread_is_that_of_the_middle_of_the_network(
    model: TextToImage, generated: DetectorInputs, t: float
) -> None:
    detector, unet = RepresentationSpread(t), unet_of(model)
    found = measure(model, generated, [detector])[detector.name]
    assert (found.nfe, unet.rows) == (1.0, len(generated))
    alpha, sigma = kernel(t)
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).flatten().double()
    x_t = alpha * generated.generated().latents.flatten(1).double() + sigma * noise
    middle = eps_of(x_t, torch.zeros(DIM), torch.full((DIM,), BROAD), t)
    torch.testing.assert_close(found.values[:, 0].double(), middle.std(1), rtol=1e-4, atol=1e-4)
    assert torch.equal(detector.score(found.values), found.values[:, 0])
    assert not unet.mid_block._forward_hooks


def test_a_network_without_a_middle_is_refused(
    model: TextToImage, generated: DetectorInputs
) -> None:
    without = replace(model, unet=nn.Linear(1, 1))
    with pytest.raises(MMHError, match="has no middle block"):
        measure(without, generated, [RepresentationSpread()])


@pytest.mark.parametrize(("start", "end"), [(0.1, 0.2), (0.5, 0.1)])
def test_a_deterministic_step_is_the_closed_form(
    model: TextToImage, start: float, end: float
) -> None:
    x = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(4))
    found = ddim_step(model.score_model, x, start, end, torch.eye(4)[:, None])
    (alpha, _), (later, _) = kernel(start), kernel(end)
    gap = x.flatten(1).double() - alpha * means()
    expected = later * means() + factor(start, end, variances()) * gap
    torch.testing.assert_close(found.flatten(1).double(), expected, rtol=1e-3, atol=1e-3)


def test_the_cost_is_the_closed_form_and_nothing_at_a_point_mass(
    model: TextToImage, generated: DetectorInputs
) -> None:
    detector, unet = ReconstructionCost(t=0.4, step=0.1), unet_of(model)
    found = measure(model, generated, [detector])[detector.name]
    assert found.nfe == 6 and unet.rows == 6 * len(generated)
    times = [1e-3, 0.1, 0.2, 0.3, 0.4]
    mean, variance = means()[generated.prompt_index], variances()[generated.prompt_index]
    gap = generated.generated().latents.flatten(1).double() - kernel(1e-3)[0] * mean
    for start, end in pairwise(times):
        gap = factor(start, end, variance) * gap
    both = factor(0.4, 0.5, variance) * factor(0.5, 0.4, variance)
    expected = ((both - 1) * gap).norm(dim=1)
    torch.testing.assert_close(found.values[:, 0].double(), expected, rtol=2e-2, atol=2e-3)
    scores = detector.score(found.values)
    assert float(scores[generated.prompt_index == 0].min()) > float(
        scores[generated.prompt_index > 1].max()
    )


@pytest.mark.parametrize("delta", [0.34, 1.6])
def test_the_denoised_spread_is_the_closed_form_at_every_image(
    model: TextToImage, generated: DetectorInputs, delta: float
) -> None:
    """Along an axis of variance l noise is multiplied by l / (l + delta^2), wherever the image."""
    detector, unet = DenoisedSpread(math.log(delta)), unet_of(model)
    found = measure(model, generated, [detector])[detector.name]
    assert found.nfe == 24 and unet.rows == 24 * len(generated)
    noise = torch.randn((12, *SHAPE), generator=torch.Generator().manual_seed(0)).flatten(1)
    variance = variances()[generated.prompt_index]
    kept = variance / (variance + delta**2)
    expected = (kept.square() * noise.double().square().mean(0)).sum(1)
    torch.testing.assert_close(found.values[:, 0].double(), expected, rtol=1e-2, atol=1e-3)
    # The duplicate is a point: whatever the noise is, one image comes back.
    assert float(found.values[generated.prompt_index == 0].abs().max()) < 1e-3
    assert torch.equal(detector.score(found.values), -found.values[:, 0])


def test_many_draws_give_the_trace_of_the_squared_projector(
    model: TextToImage, generated: DetectorInputs
) -> None:
    rows = generated.rows(torch.arange(len(generated)))
    detector = DenoisedSpread(math.log(0.5), draws=400)
    found = measure(model, rows, [detector])[detector.name].values[:, 0].double()
    variance = variances()[rows.prompt_index]
    expected = (variance / (variance + 0.25)).square().sum(1)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.01)
    for draws in (0, 7):
        with pytest.raises(ValueError, match=f"even number of at least 2, got {draws}"):
            DenoisedSpread(draws=draws)
