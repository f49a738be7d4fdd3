"""Counts of eigenvalues: exact, soft and by quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import pytest
import torch
from torch import Tensor

from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension import jacobian, spectral
from mmh_core.dimension.lanczos import Effort
from mmh_core.dimension.probes import Randomness, rademacher
from mmh_core.dimension.spectral import (
    joined_probes,
    lhsd,
    lhsd_step,
    soft_spectral_count,
    soft_spectral_count_exact,
    soft_spectral_probes,
    soft_step,
    spectral_count,
    spectrum,
)
from mmh_core.records import LidEstimate
from mmh_core.statistics.intervals import half_width
from tests.dimension.closed_forms import SCHEDULE, gaussian, projector_spectrum, rotation, seeded

VARIANCES = torch.tensor([4.0, 1.0, 0.25, 0.25, 0.04, 0.01, 0.0, 0.0, 0.0, 0.0]).double()
FRAME = rotation(10)

Step = Callable[[Tensor], Tensor]
by_quadrature = pytest.mark.parametrize(
    ("estimator", "step"), [(soft_spectral_count, soft_step), (lhsd, lhsd_step)]
)


class ByQuadrature(Protocol):
    """Estimate with a given effort."""

    def __call__(
        self,
        model: ScoreModel,
        x: Tensor,
        log_delta: float,
        *,
        effort: Effort,
        generator: Randomness,
    ) -> LidEstimate:
        """Return the estimate."""


def twisted(strength: float) -> tuple[ScoreModel, Tensor, Tensor]:
    """Return a model whose P is a Gaussian's plus `strength` times an antisymmetric matrix."""
    delta = 0.3
    even = FRAME @ torch.diag(projector_spectrum(VARIANCES, delta)) @ FRAME.T
    square = torch.randn(10, 10, generator=seeded(1), dtype=torch.float64)
    odd = strength * (square - square.T)
    slope = torch.eye(10, dtype=torch.float64) - even - odd
    sigma = SCHEDULE.sigma(SCHEDULE.time_at(torch.tensor(math.log(delta))))
    return ScoreModel(lambda x, t, c: x @ slope.to(x).T / sigma, SCHEDULE, "eps", (10,)), even, odd


@pytest.mark.parametrize("delta", [0.05, 0.15, 0.3, 0.45, 0.55, 1.5, 3.0])
def test_the_count_is_that_of_directions_wider_than_delta(delta: float) -> None:
    """Equal the number of l above delta^2, with the eigenvalues in closed form."""
    x = torch.randn(3, 10, generator=seeded())
    found = spectral_count(gaussian(VARIANCES, FRAME), x, math.log(delta))
    wider = float((VARIANCES.sqrt() > delta).sum())
    assert found.lid.tolist() == [wider] * 3
    assert found.standard_error.tolist() == [0.0] * 3
    seen = spectrum(gaussian(VARIANCES, FRAME), x, math.log(delta))
    expected = projector_spectrum(VARIANCES, delta).sort().values.float().expand(3, 10)
    # Products and eigenvalues of a 10 x 10 matrix in float32.
    torch.testing.assert_close(seen.eigenvalues, expected, atol=1e-5, rtol=0)


def test_asymmetry_is_zero_for_a_score_and_known_for_a_twist() -> None:
    """Measure `|P - P'| / |P + P'|`, and count the symmetric part alone."""
    x = torch.randn(2, 10, generator=seeded())
    true = spectral_count(gaussian(VARIANCES, FRAME), x, math.log(0.3)).asymmetry
    assert true is not None
    assert true.max() < 1e-6
    model, even, odd = twisted(0.05)
    found = spectral_count(model, x, math.log(0.3))
    assert found.asymmetry is not None
    expected = (2 * odd).norm() / (2 * even).norm()
    assert expected > 0.1
    torch.testing.assert_close(found.asymmetry.double(), expected.expand(2), rtol=1e-5, atol=0)
    assert found.lid.tolist() == [float((VARIANCES > 0.3**2).sum())] * 2


def test_a_point_mass_has_no_asymmetry_and_no_dimension() -> None:
    """Divide zero by zero without NaN."""
    found = spectral_count(gaussian(torch.zeros(4)), torch.zeros(1, 4), -1.0)
    assert found.lid.item() == 0
    assert found.asymmetry is not None
    assert found.asymmetry.item() == 0


def test_the_steps_have_their_known_values() -> None:
    """Be 0, 1/2 and 1 at 0, 1/2 and 1; LHSD 1/2 at 1 - c and 1/17 at 1 - 2 c."""
    at = torch.tensor([0.0, 0.5, 1.0, 0.57])
    one_width = (1 / (1 + math.exp(-1)) - 7.9e-4) / (1 - 2 * 7.9e-4)
    torch.testing.assert_close(
        soft_step(at), torch.tensor([0, 0.5, 1, one_width]), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        lhsd_step(torch.tensor([1.0, 0.9, 1.1, 0.8])), torch.tensor([1, 0.5, 0.5, 1 / 17])
    )


def test_the_exact_soft_count_is_the_sum_over_the_known_spectrum() -> None:
    """Sum the step over `l / (l + delta^2)`."""
    for delta in (0.1, 0.5, 2.0):
        expected = soft_step(projector_spectrum(VARIANCES, delta)).sum().item()
        found = soft_spectral_count_exact(
            gaussian(VARIANCES, FRAME), torch.zeros(1, 10), math.log(delta)
        )
        # The step's steepest slope is 1 / (4 * .07) = 3.6 per unit of a float32 eigenvalue.
        assert found.lid.item() == pytest.approx(expected, abs=1e-4)


@by_quadrature
def test_quadrature_with_all_steps_is_the_mean_over_its_probes(
    estimator: ByQuadrature, step: Step
) -> None:
    """Equal `v' f(P) v` with f(P) from the known eigenvectors, and the error of their moments."""
    delta, effort = 0.3, Effort(probes=5, steps=10)
    x = torch.zeros(3, 10)
    found = estimator(
        gaussian(VARIANCES, FRAME), x, math.log(delta), effort=effort, generator=seeded()
    )
    signs = rademacher(x, 5, seeded()).double() @ FRAME
    eigenvalues = step(projector_spectrum(VARIANCES, delta))
    samples = (signs.square() * eigenvalues).sum(2)
    torch.testing.assert_close(found.lid.double(), samples.mean(1), atol=1e-3, rtol=0)
    squares = (signs.square() * eigenvalues.square()).sum(2).mean(1)
    # 2 (tr F^2 - (tr F)^2 / D) over five probes.
    error = (2 * (squares - samples.mean(1).square() / 10) / 5).sqrt()
    torch.testing.assert_close(found.standard_error.double(), error, atol=1e-3, rtol=0)


@by_quadrature
def test_quadrature_is_exact_on_the_axes(estimator: ByQuadrature, step: Step) -> None:
    """Equal the trace for any signs where P is diagonal."""
    delta = 0.3
    found = estimator(
        gaussian(VARIANCES),
        torch.zeros(2, 10),
        math.log(delta),
        effort=Effort(2, 10),
        generator=seeded(),
    )
    expected = step(projector_spectrum(VARIANCES, delta)).sum().item()
    assert found.lid.tolist() == pytest.approx([expected] * 2, abs=1e-3)


def test_a_twist_is_seen_as_symmetric_by_quadrature_too() -> None:
    """Average to the exact soft count of an asymmetric P."""
    model, _, _ = twisted(0.05)
    x = torch.zeros(400, 10)
    found = soft_spectral_count(model, x, math.log(0.3), effort=Effort(4, 10), generator=seeded())
    exact = soft_spectral_count_exact(model, x[:1], math.log(0.3)).lid.item()
    spread = found.lid.std().item() / math.sqrt(400)
    assert abs(found.lid.mean().item() - exact) < 4 * spread
    assert spread < 0.05


def test_five_steps_suffice_for_a_spectrum_with_a_gap() -> None:
    """Differ from the whole spectrum by less than the error reported, on average over points."""
    variances = torch.cat([torch.linspace(0.5, 2, 12), torch.linspace(0, 2e-3, 52)]).double()
    model = gaussian(variances, rotation(64))
    x = torch.zeros(50, 64)
    found = soft_spectral_count(model, x, math.log(0.15), generator=seeded())
    exact = soft_spectral_count_exact(model, x[:1], math.log(0.15)).lid.item()
    assert exact == pytest.approx(12, abs=0.1)
    # 50 points: the mean has a seventh of one point's error; 4 of those.
    error = found.standard_error.mean().item()
    assert abs(found.lid.mean().item() - exact) < 4 * error / math.sqrt(50)
    assert error < 2


def test_large_matrices_are_held_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the same answer in groups of two points as in one."""
    x = torch.randn(5, 10, generator=seeded())
    scale = torch.linspace(-3, 1, 5)
    whole = spectrum(gaussian(VARIANCES, FRAME), x, scale)
    monkeypatch.setattr(spectral, "matrices_at_once", lambda dim: 2)
    parts = spectrum(gaussian(VARIANCES, FRAME), x, scale)
    torch.testing.assert_close(parts.eigenvalues, whole.eigenvalues, atol=1e-5, rtol=0)


def test_a_large_dimension_is_refused_with_the_way_out() -> None:
    """Send the user to the soft count."""
    model = gaussian(torch.ones(4097))
    for exact in (spectral_count, soft_spectral_count_exact):
        with pytest.raises(ValueError, match="D = 4097; use soft_spectral_count"):
            exact(model, torch.zeros(1, 4097), 0.0)


def projector(dim: int, rank: int, seed: int) -> ScoreModel:
    """Return the model of a flat Gaussian of width 1 in `rank` random directions."""
    return gaussian(torch.cat([torch.ones(rank), torch.zeros(dim - rank)]), rotation(dim, seed))


@pytest.mark.parametrize("probes", [4, 8])
@pytest.mark.parametrize(("dim", "rank"), [(64, 1), (64, 2), (64, 5), (64, 12), (64, 30), (9, 3)])
def test_intervals_by_students_t_hold_the_truth(dim: int, rank: int, probes: int) -> None:
    """Cover the truth in 93 % of 600 runs at least, however few directions there are.

    The scatter of eight values of chi-square with one degree of freedom gives 86 %.
    """
    model, runs = projector(dim, rank, rank), 600
    x = torch.zeros(runs, dim)
    found = soft_spectral_count(
        model, x, math.log(0.05), effort=Effort(probes, 3), generator=seeded(3)
    )
    assert found.probes == probes
    covered = [
        abs(lid - rank) <= half_width(error, found.probes)
        for lid, error in zip(found.lid.tolist(), found.standard_error.tolist(), strict=True)
    ]
    assert sum(covered) / runs >= 0.93
    # An upper bound, but no wild one.
    spread = float(found.lid.std())
    assert 0.9 * spread < float(found.standard_error.square().mean().sqrt()) < 1.6 * spread


@by_quadrature
def test_one_generator_per_point_makes_a_point_independent_of_its_company(
    estimator: ByQuadrature, step: Step
) -> None:
    """Read a point alike alone, first, last and beside other points, here bit for bit."""
    model, effort = gaussian(VARIANCES, FRAME), Effort(probes=5, steps=4)
    x = torch.randn(3, 10, generator=seeded(5))

    def found(*rows: int) -> dict[int, float]:
        generators = [seeded(100 + row) for row in rows]
        lid = estimator(model, x[list(rows)], -1.0, effort=effort, generator=generators).lid
        return dict(zip(rows, lid.tolist(), strict=True))

    together = found(0, 1, 2)
    for rows in ((0,), (1,), (2,), (2, 0), (1, 2)):
        for row, lid in found(*rows).items():
            assert lid == pytest.approx(together[row], abs=1e-4)


def test_probes_come_in_parts_of_one_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Yield the same probes as the whole estimate, and count the forward pass once."""
    monkeypatch.setattr(jacobian, "_IN_FLIGHT", 20)
    model, x, effort = gaussian(VARIANCES, FRAME), torch.zeros(1, 10), Effort(6, 3)
    parts = list(soft_spectral_probes(model, x, -1.0, effort=effort, generator=seeded()))
    assert [part.counts.shape for part in parts] == [(1, 2)] * 3
    whole = soft_spectral_count(model, x, -1.0, effort=effort, generator=seeded())
    joined = joined_probes(parts).estimate(10)
    torch.testing.assert_close(joined.lid, whole.lid)
    assert joined.nfe == whole.nfe == 2 + 2 * 3 * 3
