"""The denoising loss against its closed form on a Gaussian."""

from __future__ import annotations

import math

import pytest
import torch

from mmh_core.dimension.dsm import dsm_lid
from mmh_core.dimension.probes import gaussian as normals
from tests.dimension.closed_forms import gaussian, projector_spectrum, rotation, seeded

VARIANCES = torch.tensor([2.0, 0.7, 0.2, 0.0, 0.0], dtype=torch.float64)
FRAME = rotation(5)


@pytest.mark.parametrize("delta", [0.1, 0.5, 2.0])
def test_the_mean_is_the_closed_form_on_and_off_the_mean(delta: float) -> None:
    """Equal `sum p^2 + |delta c / (l + delta^2)|^2`, within 4 errors of 500 repetitions."""
    local = torch.tensor([0.5, -1.0, 0.2, 0.0, 0.0], dtype=torch.float64)
    x = (local @ FRAME.T + 0.3).float().expand(500, 5)
    found = dsm_lid(gaussian(VARIANCES, FRAME, 0.3), x, math.log(delta), generator=seeded())
    pull = (delta * local / (VARIANCES + delta**2)).square().sum()
    expected = float(projector_spectrum(VARIANCES, delta).square().sum() + pull)
    error = found.lid.std().item() / math.sqrt(500)
    assert abs(found.lid.mean().item() - expected) < 4 * error
    # The reported error is that of one point: four pairs tell it to 40 %, 500 points to 2 %.
    reported = found.standard_error.square().mean().sqrt().item()
    assert reported == pytest.approx(found.lid.std().item(), rel=0.15)
    assert found.nfe == 8


def test_pairs_cancel_the_odd_term() -> None:
    """Equal `|P eps|^2 + |pull|^2` draw by draw: without pairs a cross term would remain."""
    delta = 0.5
    local = torch.tensor([[0.5, -1.0, 0.2, 0.0, 0.0]])
    model, variances = gaussian(VARIANCES), VARIANCES.float()
    found = dsm_lid(model, local, math.log(delta), draws=4, generator=seeded())
    eps = normals(local, 2, seeded())[0]
    pull = (delta * local / (variances + delta**2)).square().sum()
    pairs = (projector_spectrum(variances, delta) * eps).square().sum(1) + pull
    # float32 differences of numbers of order 10 over sigma.
    torch.testing.assert_close(found.lid, pairs.mean()[None], atol=1e-4, rtol=0)
    error = pairs.std()[None] / math.sqrt(2)
    torch.testing.assert_close(found.standard_error, error, atol=1e-4, rtol=0)


def test_it_counts_the_rank_of_a_thin_subspace_and_nothing_at_a_point_mass() -> None:
    """Tend to d for small delta, within its own noise, and be 0 where there is one point."""
    found = dsm_lid(gaussian(VARIANCES), torch.zeros(500, 5), -4.0, generator=seeded())
    assert abs(found.lid.mean().item() - 3) < 4 * found.lid.std().item() / math.sqrt(500)
    point = dsm_lid(gaussian(torch.zeros(5)), torch.zeros(2, 5), -2.0, generator=seeded())
    assert point.lid.max().item() < 1e-6


@pytest.mark.parametrize("draws", [0, 1, 7, -2])
def test_draws_come_in_pairs(draws: int) -> None:
    """Refuse odd numbers and none."""
    with pytest.raises(ValueError, match=f"even number of at least 2, got {draws}"):
        dsm_lid(gaussian(VARIANCES), torch.zeros(1, 5), 0.0, draws=draws, generator=seeded())
