"""Tests of the handwritten digits."""

import math

import pytest
import torch
from sklearn.datasets import load_digits

from mmh_core.manifolds.digits import digits, split_digits


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_all_images_are_the_set_itself_in_another_order(generator):
    samples = digits(generator=generator)
    data = load_digits()
    pixels = torch.from_numpy(data.images).float().flatten(1)
    assert samples.points.shape == (1797, 1, 8, 8)
    # Multiples of 1/8 are exact in float32, so the pixels come back without rounding.
    back = (samples.points.flatten(1) + 1) * 8
    assert samples.points.min() == -1 and samples.points.max() == 1
    rows = {(*row, int(k)) for row, k in zip(pixels.tolist(), data.target, strict=True)}
    found = {(*row, k) for row, k in zip(back.tolist(), samples.component.tolist(), strict=True)}
    assert found == rows
    assert not torch.equal(back, pixels)
    assert samples.component_names[7] == "7"
    assert bool(samples.lid.isnan().all())


def test_a_smaller_count_gives_the_first_rows():
    few, many = digits(20, generator=seeded(3)), digits(500, generator=seeded(3))
    assert torch.equal(few.points, many.points[:20])
    assert torch.equal(few.component, many.component[:20])
    assert not torch.equal(few.points, digits(20, generator=seeded(4)).points)


def test_the_split_shares_no_row_and_loses_none():
    split = split_digits(1000, generator=seeded(3))
    everything = digits(generator=seeded(3))
    assert torch.equal(split.train.points, digits(1000, generator=seeded(3)).points)
    assert torch.equal(torch.cat([split.train.points, split.held_out.points]), everything.points)
    assert torch.equal(
        torch.cat([split.train.component, split.held_out.component]), everything.component
    )
    assert len(split.held_out.points) == len(split.held_out.lid) == 797


@pytest.mark.parametrize("count", [1, 1798, 10.0, math.nan, True])
def test_impossible_counts_are_refused(count, generator):
    with pytest.raises(ValueError, match=r"count is .* from 2 to 1797"):
        digits(count, generator=generator)


@pytest.mark.parametrize("train", [1, 1796, 10.0])
def test_impossible_splits_are_refused(train, generator):
    with pytest.raises(ValueError, match=r"train is .* from 2 to 1795"):
        split_digits(train, generator=generator)
