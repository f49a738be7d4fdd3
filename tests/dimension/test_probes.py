"""Probes are signs and normals, the same in a batch as in a loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmh_core.dimension.probes import (
    Randomness,
    gaussian,
    mean_and_error,
    rademacher,
)
from tests.dimension.closed_forms import seeded

Draw = Callable[[Tensor, int, Randomness], Tensor]


@pytest.mark.parametrize("draw", [rademacher, gaussian])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 3), (32,)])
def test_a_batch_draws_what_a_loop_draws(draw: Draw, shape: tuple[int, ...]) -> None:
    """Give equal numbers for sizes that torch fills in blocks and for those it does not."""
    x = torch.zeros(4, *shape)
    one_by_one = seeded()
    loop = torch.cat([draw(x[i : i + 1], 5, one_by_one) for i in range(4)])
    assert torch.equal(draw(x, 5, seeded()), loop)


@pytest.mark.parametrize("draw", [rademacher, gaussian])
def test_one_generator_per_sample_draws_what_it_draws_alone(draw: Draw) -> None:
    """Give each sample its own numbers, whatever the others draw; in parts as at once."""
    x = torch.zeros(3, 2, 5)
    found = draw(x, 6, [seeded(n) for n in (7, 8, 9)])
    for row, seed in enumerate((7, 8, 9)):
        assert torch.equal(found[row : row + 1], draw(x[:1], 6, seeded(seed)))
    with pytest.raises(ValueError):
        draw(x, 6, [seeded(), seeded()])


def test_signs_are_fair_and_of_unit_size() -> None:
    """Have square 1 everywhere and mean and correlation 0."""
    v = rademacher(torch.zeros(500, 4), 10, seeded()).flatten(0, 1)
    assert torch.equal(v.square(), torch.ones_like(v))
    # 5,000 draws: means and products have a standard deviation of .014; 4 of them.
    torch.testing.assert_close(v.T @ v / len(v), torch.eye(4), atol=0.057, rtol=0)
    assert v.mean(0).abs().max() < 0.057


def test_normals_have_unit_covariance() -> None:
    """Have mean 0 and the identity as covariance."""
    v = gaussian(torch.zeros(500, 4, dtype=torch.float64), 10, seeded()).flatten(0, 1)
    # The variance of 5,000 squares has a standard deviation of sqrt(2 / 5000) = .02; 4 of them.
    torch.testing.assert_close(v.T @ v / len(v), torch.eye(4).double(), atol=0.08, rtol=0)


def test_the_standard_error_is_that_of_the_mean() -> None:
    """Divide the sample deviation by the root of the count; one sample cannot tell."""
    mean, error = mean_and_error(torch.tensor([[1.0, 2.0, 3.0, 6.0]]))
    # Variance (4 + 1 + 0 + 9) / 3 over 4 samples.
    torch.testing.assert_close(mean, torch.tensor([3.0]))
    torch.testing.assert_close(error, torch.tensor([(14 / 3 / 4) ** 0.5]))
    assert mean_and_error(torch.ones(1, 1))[1].isnan().all()


@pytest.mark.parametrize("count", [0, -1])
def test_counts_below_one_are_refused(count: int) -> None:
    """Name the count."""
    with pytest.raises(ValueError, match=f"probes must be at least 1, got {count}"):
        rademacher(torch.zeros(1, 2), count, seeded())
    with pytest.raises(ValueError, match=f"draws must be at least 1, got {count}"):
        gaussian(torch.zeros(1, 2), count, seeded())
