"""The time of a large network, estimated from the speed of matrix products."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmh_core.text_to_image import duration_estimate
from mmh_core.text_to_image.catalogue import CATALOGUE
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.stable_diffusion import load


def test_speed_is_operations_per_median_second() -> None:
    # Each product takes two seconds by this clock, the first, which is not counted, a hundred.
    ticks = itertools.chain([0.0, 100.0], itertools.count(100.0, 2.0))
    assert duration_estimate.matrix_speed("cpu", clock=lambda: next(ticks)) == pytest.approx(
        2 * 1024**3 / 2 / 1e12
    )


def test_a_forward_takes_its_operations_at_the_speed_that_is_reached() -> None:
    assert duration_estimate.estimated_forward_seconds(0.6, 2.0) == pytest.approx(
        0.3 / duration_estimate.ACHIEVED
    )


@pytest.mark.parametrize(
    ("name", "weights", "side"), [("sd-1.5", 859_520_964, 512), ("sd-2.1", 865_910_724, 768)]
)
def test_the_guess_from_weights_is_near_what_torch_counts(
    name: str, weights: int, side: int
) -> None:
    # Attention grows faster than the rest, so no one factor fits both sizes.
    guess = duration_estimate.estimated_tflop(weights, side, side)
    assert guess == pytest.approx(CATALOGUE[name].forward_tflop, rel=0.15)


def test_the_catalogue_counts_the_operations_of_the_shipped_network() -> None:
    model: TextToImage = load("pocket-sd")
    latents = torch.zeros(1, *model.score_model.shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        model.score_model.eps(latents, torch.full((1,), 0.5), None)
    stated = CATALOGUE["pocket-sd"].forward_tflop
    # Stated with one digit.
    assert counted.get_total_flops() / 1e12 == pytest.approx(stated, rel=0.05)
