"""The normal bundle's rank, with and without a bias of the score."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.normal_bundle import normal_bundle, normal_bundle_at
from tests.dimension.closed_forms import gaussian, rotation, seeded

DIM = 12


def with_rank(rank: int) -> ScoreModel:
    """Return a Gaussian of unit variance on a rotated subspace, as an eps-network."""
    variances = torch.zeros(DIM, dtype=torch.float64)
    variances[:rank] = 1
    return gaussian(variances, rotation(DIM), target="eps")


@pytest.mark.parametrize("rank", [0, 1, 3, 7, 11, 12])
def test_the_rank_is_found_with_a_biased_score(rank: int) -> None:
    """Answer d for every d from 0 to D, though a constant is added to the prediction."""
    model = with_rank(rank)

    def biased(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return model.net(x_t, t, cond) + 5

    for net in (model.net, biased):
        found = normal_bundle(
            replace(model, net=net), torch.zeros(3, DIM), -3.0, generator=seeded()
        )
        assert found.lid.tolist() == [float(rank)] * 3
        assert found.nfe == 64


def test_singular_values_are_those_of_the_noise_across() -> None:
    """Be near 1 across and near `delta^2 / (1 + delta^2)` along, the gap between them."""
    seen = normal_bundle_at(
        with_rank(4), torch.zeros(2, DIM), -2.0, draws=4000, generator=seeded()
    )
    # The singular values of 4,000 normals in 8 directions lie within 1 +- sqrt(8 / 4000) = .045.
    assert (seen.singular_values[:, :8] - 1).abs().max() < 0.08
    delta2 = torch.tensor(-4.0).exp()
    across = delta2 / (1 + delta2)
    assert (seen.singular_values[:, 8:] / across - 1).abs().max() < 0.08
    assert seen.gap.tolist() == pytest.approx([0.94] * 2, abs=0.06)
    assert seen.lid.tolist() == [4.0, 4.0]


def test_a_condition_reaches_every_draw() -> None:
    """Ask each point's scores under its own condition."""
    wide, thin = with_rank(9), with_rank(2)

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        assert cond is not None
        return torch.where(cond > 0, wide.net(x_t, t, None), thin.net(x_t, t, None))

    found = normal_bundle(
        replace(wide, net=net),
        torch.zeros(2, DIM),
        -3.0,
        cond=torch.tensor([[1.0], [0.0]]),
        generator=seeded(),
    )
    assert found.lid.tolist() == [9.0, 2.0]


def test_too_few_draws_and_too_large_a_dimension_are_refused() -> None:
    """Need more draws than dimensions, and a matrix that fits."""
    with pytest.raises(ValueError, match="draws must be at least 13, got 12"):
        normal_bundle(with_rank(3), torch.zeros(1, DIM), 0.0, draws=12, generator=seeded())
    with pytest.raises(ValueError, match="D = 4097; use soft_spectral_count"):
        normal_bundle(gaussian(torch.ones(4097)), torch.zeros(1, 4097), 0.0, generator=seeded())
