"""The gate of fit: exact models pass, wrong and untrained ones do not, copies fool nobody."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from mmh_core.diffusion.schedule import VarianceExploding
from mmh_core.diffusion.training import denoiser
from mmh_core.dimension.fit import NEGLIGIBLE, FitCurve, _Affine, _LeaveOneOut, fit_curve
from tests.diffusion.exact_models import empirical_denoiser
from tests.dimension.closed_forms import gaussian, rotation, seeded

SCALES = torch.linspace(math.log(0.01), 0.0, 8)
VARIANCES = torch.tensor([2.0, 1.0, 0.25, 0.0, 0.0, 0.0])
FRAME = rotation(6).float()
SCHEDULE = VarianceExploding(1e-3, 40.0)


def draws(count: int, seed: int, variances: Tensor = VARIANCES) -> Tensor:
    """Draw from the Gaussian of these variances in the axes FRAME."""
    return (torch.randn(count, 6, generator=seeded(seed)) * variances.sqrt()) @ FRAME.T


def curve_of(ratio: Sequence[float], learned: list[bool] | None = None) -> FitCurve:
    """Return a curve with this ratio whose model beats shrinking everywhere, or where told."""
    scales = torch.arange(float(len(ratio)))
    trained = torch.tensor(ratio)
    told = torch.tensor([True] * len(ratio) if learned is None else learned)
    shrinking = torch.where(told, 10 * trained, trained)
    return FitCurve(scales, trained, trained, torch.ones(len(ratio)), shrinking)


def test_an_exact_model_of_a_gaussian_is_as_good_as_the_affine_baseline() -> None:
    """A Gaussian's posterior mean is affine: the ratio is 1, and the error is the LID.

    Both denoise the same noisy points; the baseline knows the covariance from 2,000 of them,
    which is worth d / N, about .002, of in-sample advantage. At scales below the Gaussian's widths
    the error is the median of 256 chi-squares of 12 degrees over 4: 5.5 % below the mean, 3, with
    a sampling error of 3.3 %, of which the tolerance is three.
    """
    model = gaussian(VARIANCES, FRAME.double(), schedule=SCHEDULE)
    found = fit_curve(model, draws(2_000, 1), draws(500, 2), SCALES, generator=seeded(3))
    torch.testing.assert_close(found.ratio, torch.ones(8), atol=0.02, rtol=0)
    expected = torch.full((4,), 0.945 * 3)
    torch.testing.assert_close(found.trained[:4], expected, atol=0, rtol=0.1)
    torch.testing.assert_close(found.held_out[:4], expected, atol=0, rtol=0.1)
    assert found.band() == (float(SCALES[0]), float(SCALES[-1]))


@pytest.mark.parametrize("wrong", ["wider", "elsewhere", "other axes"])
def test_a_wrong_model_does_not_fit(wrong: str) -> None:
    models = {
        "wider": gaussian(torch.full((6,), 2.0), schedule=SCHEDULE),
        "elsewhere": gaussian(VARIANCES, FRAME.double(), mean=3.0, schedule=SCHEDULE),
        "other axes": gaussian(VARIANCES, rotation(6, seed=9), schedule=SCHEDULE),
    }
    found = fit_curve(models[wrong], draws(500, 1), draws(200, 2), SCALES, generator=seeded(3))
    assert found.band() is None


@pytest.mark.parametrize("count", [30, 300, 2_000])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_untrained_model_does_not_fit(seed: int, count: int) -> None:
    """Also where the baselines know nothing: few points, or scales below their distances."""
    sphere = torch.randn(count, 3, generator=seeded(seed))
    sphere /= sphere.norm(dim=1, keepdim=True)
    model = denoiser(sphere, width=32, seed=seed)
    scales = math.log(model.data_scale) + torch.linspace(math.log(0.01), 0.0, 16)
    found = fit_curve(model, sphere, sphere[:10], scales, generator=seeded(5))
    # At the finest scale it keeps the baseline, and still it is not believed.
    assert float(found.ratio[0]) < 1.15
    assert found.band() is None


def test_a_model_that_has_only_memorized_fits_and_fails_on_held_out_points() -> None:
    """The empirical denoiser puts every training point back and knows no other.

    At scales below a third of the distances, about 2 here, the nearest training point has all the
    weight: the error is 0 on training points and the squared distance to it on held-out ones.
    """
    train, held_out = draws(40, 1), draws(300, 2)
    scales = SCALES[:4]
    found = fit_curve(
        empirical_denoiser(train, SCHEDULE), train, held_out, scales, generator=seeded(3)
    )
    assert float(found.trained.max()) < 0.01
    assert found.band() == (float(scales[0]), float(scales[-1]))
    nearest = torch.cdist(held_out[:256], train).amin(1).square().median()
    # The sample of 256 of 300 points is another one; their medians differ by some percent.
    expected = nearest / torch.exp(2 * scales[:2])
    torch.testing.assert_close(found.held_out[:2], expected, atol=0, rtol=0.25)


def test_held_out_rows_are_taken_from_everywhere() -> None:
    """A sample may come sorted: here the first 260 rows are training points, the others not."""
    train = draws(260, 1)
    held_out = torch.cat([train, draws(600, 2)])
    found = fit_curve(
        empirical_denoiser(train, SCHEDULE), train, held_out, SCALES[:1], generator=seeded(3)
    )
    assert float(found.trained[0]) < 0.01 < 1 < float(found.held_out[0])


def test_the_kernel_baseline_leaves_out_the_point_itself_but_not_its_copy() -> None:
    """By hand: two places a = 0 and b = 2 on a line, delta = 1, so a copy outweighs b by e^2."""
    two = _LeaveOneOut(torch.tensor([[0.0], [2.0]]), 2)
    torch.testing.assert_close(two(torch.zeros(2, 1), 1.0), torch.tensor([[2.0], [0.0]]))
    three = _LeaveOneOut(torch.tensor([[0.0], [2.0], [0.0]]), 3)
    # Seen from 0: row 0 has the copy (weight 1) and b (e^-2), row 1 both at a, row 2 as row 0.
    near = 2 * math.exp(-2) / (1 + math.exp(-2))
    torch.testing.assert_close(
        three(torch.zeros(3, 1), 1.0), torch.tensor([[near], [0.0], [near]])
    )


@pytest.mark.parametrize("count", [4, 50])
def test_the_affine_baseline_is_the_wiener_filter(count: int) -> None:
    """`mean + C (C + delta^2)^-1 (x - mean)`, for fewer and for more points than dimensions."""
    points, noisy, delta = draws(count, 1) + 1, draws(5, 2, torch.ones(6)), 0.3
    centered = (points - points.mean(0)).double()
    covariance = centered.T @ centered / count
    gain = covariance @ torch.linalg.inv(covariance + delta**2 * torch.eye(6).double())
    expected = points.mean(0) + ((noisy - points.mean(0)).double() @ gain.T).float()
    # float32 squares of the points, over delta^2 = .09.
    torch.testing.assert_close(_Affine(points)(noisy, delta), expected, atol=1e-5, rtol=0)
    share = covariance.trace() / 6
    shrunk = points.mean(0) + float(share / (share + delta**2)) * (noisy - points.mean(0))
    torch.testing.assert_close(_Affine(points).shrunk(noisy, delta), shrunk, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("ratio", "band"),
    [
        ([1, 1, 1, 1, 1], (0.0, 4.0)),
        ([2, 1, 1, 1, 2], (1.0, 3.0)),
        ([1, 1, 1, 2, 2], (0.0, 2.0)),
        ([2, 2, 1, 1, 1], (2.0, 4.0)),
        ([1, 1, 1, 2, 1, 1, 1], (4.0, 6.0)),
        ([1, 1, 1, 1, 2, 1, 1, 1], (0.0, 3.0)),
        ([1, 1, 2, 1, 1], None),
        ([2, 2, 2], None),
        ([1.15, 1.15, 1.15], (0.0, 2.0)),
        ([1.16, 1.15, 1.15, 1.15, 1.16], (1.0, 3.0)),
        ([1, 1, math.nan, 1, 1], None),
        ([math.inf, 1, 1, 1], (1.0, 3.0)),
    ],
)
def test_the_band_is_the_longest_run(ratio: list[float], band: tuple[float, float] | None) -> None:
    assert curve_of(ratio).band() == band


def test_a_shorter_run_may_do() -> None:
    assert curve_of([2, 1, 1, 2]).band(fewest=2) == (1.0, 2.0)
    assert curve_of([2, 1, 1, 2]).band(fewest=3) is None


def test_a_run_counts_only_where_the_model_has_learned_something() -> None:
    """The longer run knows no more than the spread of the data, so the shorter one is the band."""
    ratio = [1, 1, 1, 1, 2, 1, 1, 1]
    nowhere, late = [False] * 8, [False] * 6 + [True] * 2
    assert curve_of(ratio, nowhere).band() is None
    assert curve_of(ratio, late).band() == (5.0, 7.0)
    assert curve_of(ratio, [True] + [False] * 7).band() is None


def test_an_error_near_zero_needs_no_better_baseline() -> None:
    """Copies leave the kernel baseline without any error, which no network can match."""
    trained = torch.tensor([0.01, 0.05, 0.1, 0.12])
    found = FitCurve(torch.arange(4.0), trained, trained, torch.full((4,), 1e-9), torch.ones(4))
    torch.testing.assert_close(found.ratio, trained / NEGLIGIBLE)
    assert found.band() == (0.0, 2.0)


def test_a_majority_of_copies_does_not_close_the_gate() -> None:
    """Nine rows in ten are one place, the model is exact there up to a thousandth of delta."""
    train = torch.cat([draws(30, 1), draws(1, 4).expand(270, 6)])
    exact = empirical_denoiser(train, SCHEDULE)
    found = fit_curve(exact, train, draws(50, 2), SCALES[:5], generator=seeded(3))
    assert float(found.baseline[0]) < 1e-3
    assert found.band() == (float(SCALES[0]), float(SCALES[4]))


def test_equal_generators_measure_the_same_and_the_global_one_is_left_alone() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    train, model = draws(100, 1), gaussian(VARIANCES, FRAME.double(), schedule=SCHEDULE)
    runs = [fit_curve(model, train, train, SCALES, generator=seeded(3)) for _ in range(2)]
    other = fit_curve(model, train, train, SCALES, generator=seeded(4))
    assert torch.equal(runs[0].trained, runs[1].trained)
    assert torch.equal(runs[0].baseline, runs[1].baseline)
    assert not torch.equal(runs[0].trained, other.trained)
    assert torch.equal(torch.get_rng_state(), state)
