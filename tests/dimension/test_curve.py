"""Curves over the noise scale, and the plateau chosen on synthetic ones."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from mmh_core.dimension.curve import Estimator, lid_curve, plateau
from mmh_core.dimension.dsm import dsm_lid
from mmh_core.dimension.flipd import flipd, flipd_exact
from mmh_core.dimension.spectral import spectral_count
from mmh_core.records import LidCurve
from tests.dimension.closed_forms import gaussian, projector_spectrum, rotation, seeded

GRID = torch.linspace(-5, 1, 31)


def as_curve(lid: Tensor, scales: Tensor = GRID) -> LidCurve:
    """Return a curve of (K,) or (B, K) values."""
    values = lid if lid.dim() == 2 else lid[None]
    return LidCurve(scales, values, torch.zeros_like(values), 1.0)


def steps(*widths: float, scales: Tensor = GRID) -> Tensor:
    """Return the smooth curve of a Gaussian with these standard deviations."""
    squares = torch.tensor(widths)[:, None] ** 2
    return (squares / (squares + (2 * scales).exp())).sum(0)


def test_a_curve_is_the_closed_form_at_every_scale() -> None:
    """Equal `sum l / (l + delta^2)` along the axis, for each point."""
    variances = torch.tensor([2.0, 0.3, 0.0], dtype=torch.float64)
    scales = torch.tensor([-4.0, -1.0, 0.5])
    curve = lid_curve(
        flipd_exact, gaussian(variances), torch.zeros(2, 3), scales, generator=seeded()
    )
    expected = torch.stack(
        [projector_spectrum(variances, math.exp(s)).sum() for s in scales.tolist()]
    )
    torch.testing.assert_close(curve.lid, expected.float().expand(2, 3), atol=1e-4, rtol=0)
    assert torch.equal(curve.log_delta, scales)
    # One pass with three copies of each point and one reverse pass of all: 6, at three scales.
    assert curve.nfe == 18


def test_all_scales_share_their_draws_and_the_generator_moves_on() -> None:
    """Equal single estimates from the same state; leave the generator as one estimate would."""
    model = gaussian(torch.tensor([2.0, 0.3, 0.0, 0.0]).double(), rotation(4))
    x = torch.zeros(3, 4)
    scales = torch.tensor([-1.0, -0.5, 0.0])
    one = partial(flipd, probes=2)
    generator = seeded(5)
    curve = lid_curve(one, model, x, scales, generator=generator)
    for k in range(3):
        single = one(model, x, scales[k].item(), generator=seeded(5))
        torch.testing.assert_close(curve.lid[:, k], single.lid)
        torch.testing.assert_close(curve.standard_error[:, k], single.standard_error)
    after = seeded(5)
    one(model, x, 0.0, generator=after)
    assert torch.equal(generator.get_state(), after.get_state())
    # Different draws for the next curve.
    assert not torch.equal(lid_curve(one, model, x, scales, generator=generator).lid, curve.lid)


@pytest.mark.parametrize("estimator", [flipd, partial(dsm_lid, draws=100), spectral_count])
def test_the_plateau_of_a_model_is_its_rank(estimator: Estimator) -> None:
    """Find d = 4 of D = 9 without being told, within the estimator's noise."""
    variances = torch.tensor([1.0] * 4 + [0.0] * 5, dtype=torch.float64)
    curve = lid_curve(
        estimator, gaussian(variances, rotation(9)), torch.zeros(3, 9), GRID, generator=seeded()
    )
    found = plateau(curve, (-4.5, 0.5))
    assert found.status == ("plateau",) * 3
    error = curve.standard_error[:, 5]
    assert ((found.lid - 4).abs() <= 4 * error + 0.05).all()
    assert (found.width > 2).all()
    assert (found.log_delta < -1).all()


def test_a_flat_curve_is_all_plateau() -> None:
    """Report its value, its middle and its width."""
    found = plateau(as_curve(torch.full((31,), 7.0)), (-4.0, 0.0))
    assert found.lid.item() == 7
    assert found.log_delta.item() == pytest.approx(-2, abs=1e-6)
    assert found.width.item() == pytest.approx(4, abs=1e-6)
    assert found.status == ("plateau",)


def test_the_longer_of_two_plateaus_wins_and_the_finer_of_equal_ones() -> None:
    """Choose by width, then by the smaller delta; each point on its own."""
    # Ten directions narrower than exp(-3) and two of unit width.
    fine = steps(*[math.exp(-3)] * 10, 30, 30)
    coarse = steps(*[math.exp(-4)] * 10, 30, 30)
    index = torch.arange(31)
    tied = torch.where(index < 15, 9.0, 5.0)
    tied[15] = 7
    found = plateau(as_curve(torch.stack([fine, coarse, tied])), (-5.0, 1.0))
    # Within 5 % of 12 until delta^2 = .06 l, and within .25 of 2 from delta^2 = 39 l on.
    assert found.lid.tolist() == pytest.approx([2, 2, 9], abs=0.2)
    narrow = plateau(as_curve(torch.stack([fine, coarse])), (-5.0, -3.4))
    assert narrow.status == ("edge of the band", "no plateau")
    # The twelve of the first are seen over half a plateau only, which is not enough.
    assert found.status == ("plateau",) * 3
    assert found.log_delta[2].item() < -2


@pytest.mark.parametrize("estimator", [flipd_exact, spectral_count])
@pytest.mark.parametrize(
    ("widths", "low", "longest", "finest"),
    [
        ((1, 0.03), -5.45, 1, 2),
        ((3, 3, 0.05, 0.04), -5.45, 2, 4),
        ((6, 0.03, 0.03, 0.03), -6.0, 1, 4),
    ],
)
def test_a_thin_direction_is_a_plateau_of_its_own(
    estimator: Estimator, widths: tuple[float, ...], low: float, longest: int, finest: int
) -> None:
    """Say so, and give the dimension with it or without it: a perfect model has not lost it."""
    variances = torch.tensor([w**2 for w in widths] + [0.0] * (6 - len(widths))).double()
    scales = torch.linspace(-7, 0, 36)
    curve = lid_curve(
        estimator, gaussian(variances, rotation(6)), torch.zeros(2, 6), scales, generator=seeded()
    )
    noise = float(4 * curve.standard_error.max()) + 0.15
    for prefer, dimension in (("longest", longest), ("finest", finest)):
        chosen = plateau(curve, (low, -0.2), prefer=prefer)
        assert chosen.status == ("several plateaus",) * 2
        assert chosen.lid.tolist() == pytest.approx([dimension] * 2, abs=noise)
    assert (chosen.log_delta < math.log(0.03)).all()
    assert (chosen.width >= 1).all()


def test_each_finer_plateau_is_found_and_a_lower_one_is_none() -> None:
    """Step from plateau to finer plateau; a curve that falls towards small noise has one."""
    index = torch.arange(31)
    stairs = torch.where(index < 7, 9.0, torch.where(index < 15, 6.0, 2.0))
    dip = torch.where(index < 12, 1.0, 4.0)
    step = torch.where(index < 12, 4.4, 4.0)
    bump = torch.where((index > 3) & (index < 8), 9.0, 4.0)
    curves = as_curve(torch.stack([stairs, dip, step, bump]))
    finest, longest = plateau(curves, prefer="finest"), plateau(curves)
    assert finest.status == ("several plateaus", "plateau", "plateau", "plateau")
    assert finest.status == longest.status
    assert finest.lid.tolist() == pytest.approx([9, 4, 4, 4])
    assert longest.lid.tolist() == pytest.approx([2, 4, 4, 4])
    for row, lid in enumerate(finest.lid.tolist()):
        alone = plateau(as_curve(curves.lid[row]), prefer="finest")
        assert alone.lid.item() == pytest.approx(lid)


@pytest.mark.parametrize("fine_first", [True, False])
def test_the_grid_does_not_decide_between_equal_plateaus(fine_first: bool) -> None:
    """Prefer the smaller delta though one plateau holds more points of the grid."""
    fine, coarse = torch.linspace(0, 2, 21), torch.linspace(0, 2, 5)
    first, second = (fine, coarse) if fine_first else (coarse, fine)
    scales = torch.cat([first - 3, second])
    lid = torch.cat([torch.full_like(first, 9.0), torch.full_like(second, 5.0)])
    found = plateau(as_curve(lid, scales))
    assert found.lid.item() == 9
    assert found.log_delta.item() == pytest.approx(-2, abs=1e-5)


def test_a_slope_has_no_plateau_but_a_flattest_point() -> None:
    """Give the value where the slope is smallest, width 0, and say so."""
    slope = 30 - 4 * GRID - 1.5 * (GRID + 2).pow(3)
    found = plateau(as_curve(slope))
    assert found.status == ("no plateau",)
    assert found.width.item() == 0
    # The cubic is flat at -2, where the line's slope of -4 remains.
    assert found.log_delta.item() == pytest.approx(-2, abs=0.21)
    assert found.lid.item() == pytest.approx(38, abs=1.5)


def test_the_fall_of_one_direction_is_no_plateau() -> None:
    """Refuse the slope between 1 and 0, though it stays near 1/2 for a while."""
    curve = as_curve(steps(math.exp(-2)))
    for low in (-3.0, -2.8, -2.6):
        assert plateau(curve, (low, -4 - low)).status != ("plateau",)
    # On either side there is one: the direction seen whole, and the point seen from afar.
    assert plateau(curve, (-5.0, -2.0)).lid.item() == pytest.approx(1, abs=0.1)
    assert plateau(curve, (-2.0, 1.0)).lid.item() == pytest.approx(0, abs=0.1)


def test_a_short_stretch_at_the_end_of_the_band_is_called_that() -> None:
    """Warn that the plateau may go on, or may only begin, outside."""
    curve = as_curve(torch.where(GRID < -4.05, 6.0, 5 - 4 * (GRID + 4)))
    low = plateau(curve)
    assert low.status == ("edge of the band",)
    assert low.lid.item() == 6
    assert low.width.item() == pytest.approx(0.8, abs=1e-5)
    assert plateau(as_curve(curve.lid.flip(1))).status == ("edge of the band",)
    wide = plateau(curve, min_width=0.8)
    assert wide.status == ("plateau",)


def test_stairs_of_a_count_keep_their_longest_step() -> None:
    """Take the longest constant run of a count, a single stray value in it forgiven."""
    stairs = torch.tensor([19.0, 17, 15, 12, 10, 9, 9, 9, 9, 10, 9, 9, 9, 9, 7, 6, 4, 2, 1, 0, 0])
    grid = torch.linspace(-4, 0, 21)
    found = plateau(as_curve(stairs, grid))
    assert found.lid.item() == 9
    assert found.status == ("plateau",)
    assert found.width.item() == pytest.approx(1.8, abs=0.21)


def test_small_noise_does_not_hide_a_plateau_nor_shift_it() -> None:
    """Find it under noise of .07, and give the median over it, for 20 curves at once."""
    clean = steps(1, 1, 1)
    noisy = clean + 0.07 * torch.randn(20, 31, generator=seeded())
    found = plateau(as_curve(noisy), (-5.0, 0.8))
    assert found.status == ("plateau",) * 20
    # The median of some 15 values with noise .07.
    assert (found.lid - 3).abs().max() < 0.12
    wild = 20 + 10 * torch.randn(20, 31, generator=seeded())
    # Noise of half the value stays within 5 % over seven scales once in some twenty curves.
    assert plateau(as_curve(wild)).status.count("plateau") <= 2


def test_a_batch_is_a_loop() -> None:
    """Choose for each curve what it would get alone."""
    curves = 5 * steps(0.3, 1, 1) + torch.randn(10, 31, generator=seeded()).cumsum(1) * 0.2
    together = plateau(as_curve(curves))
    for i in range(10):
        alone = plateau(as_curve(curves[i]))
        for name in ("lid", "log_delta", "width"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(together, name)[i])
        assert alone.status[0] == together.status[i]


def test_values_that_are_missing_interrupt_a_plateau() -> None:
    """Never bridge NaN, and never choose it while there is a number."""
    lid = torch.full((31,), 4.0)
    lid[10:12] = torch.nan
    found = plateau(as_curve(lid))
    assert found.lid.item() == 4
    # From the second number after the gap, whose median has no NaN, to the end.
    assert found.width.item() == pytest.approx(0.2 * (30 - 13), abs=1e-5)
    assert plateau(as_curve(torch.full((31,), torch.nan))).status == ("no plateau",)


def test_bad_bands_and_scales_are_refused() -> None:
    """Name the band and the range of the curve."""
    curve = as_curve(torch.zeros(31))
    with pytest.raises(ValueError, match=r"band \(2.0, 3.0\).*runs from -5 to 1"):
        plateau(curve, (2.0, 3.0))
    with pytest.raises(ValueError, match="absolute must be finite and above 0"):
        plateau(curve, absolute=0.0)
    with pytest.raises(ValueError, match="relative must be finite and above 0"):
        plateau(curve, relative=-1.0)
    with pytest.raises(ValueError, match="min_width must be finite and above 0"):
        plateau(curve, min_width=math.nan)
    model = gaussian(torch.ones(2))
    for scales in (torch.tensor([]), torch.tensor([0.0, 0.0]), torch.zeros(1, 1)):
        with pytest.raises(ValueError, match="increasing scales"):
            lid_curve(flipd_exact, model, torch.zeros(1, 2), scales, generator=seeded())
