"""Denoising error over Bayes error, of given errors."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from mmh_core.pocket.second.perfect import SCALES, fit_rows, items, ratio_interval


def tables_of(ratio: float, networks: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return Bayes errors and errors of networks that are so many times as large on average."""
    rng = np.random.default_rng(0)
    bayes, errors = [], []
    for delta in SCALES:
        for image in range(16):
            own = float(rng.uniform(5, 20))
            bayes.append((delta, image, 12, 11, own, 500.0))
            errors += [(n, delta, image, own * ratio * (1 + n / 10)) for n in range(networks)]
    return (
        pd.DataFrame(bayes, columns=["delta", "image", "lid_star", "wider", "bayes", "effective"]),
        pd.DataFrame(errors, columns=["network", "delta", "image", "error"]),
    )


@pytest.mark.parametrize(("ratio", "short"), [(1.0, False), (1.9, False), (2.1, True)])
def test_the_ratio_at_the_calibrated_scale_has_the_bar(ratio: float, short: bool) -> None:
    bayes, errors = tables_of(ratio)
    rows = fit_rows(bayes, errors, math.log(0.5), True)
    assert rows[0].value == pytest.approx(ratio)
    assert rows[0].short is short
    assert sum(row.bound == "most" for row in rows) == 1
    by_figure = {row.figure: row for row in rows}
    for delta in SCALES:
        row = by_figure[f"denoising error over the Bayes error at {delta:g}"]
        assert row.value == pytest.approx(ratio)


def test_images_with_too_few_effective_draws_are_left_out_and_counted() -> None:
    bayes, errors = tables_of(1.0)
    bayes.loc[(bayes.delta == 0.5) & (bayes.image < 3), ["effective", "bayes"]] = [10.0, 900.0]
    rows = fit_rows(bayes, errors, math.log(0.5), True)
    assert rows[0].value == pytest.approx(1.0)
    assert rows[0].count == 13
    assert any("(3 images with fewer than 50 effective draws" in row.figure for row in rows)


def test_networks_are_averaged_and_have_rows_of_their_own() -> None:
    rows = fit_rows(*tables_of(1.0, networks=3), math.log(0.34), True)
    assert rows[0].value == pytest.approx(1.1)
    own = [row.value for row in rows if row.figure == "of these, network 2"]
    assert own == pytest.approx([1.2] * len(SCALES))


def test_without_networks_or_scale_the_bar_is_not_met() -> None:
    bayes, errors = tables_of(1.0)
    assert fit_rows(bayes, errors.iloc[:0], math.nan, False)[0].short
    assert len(fit_rows(bayes, errors.iloc[:0], math.nan, False)) == 2 + 2 * len(SCALES)
    assert fit_rows(bayes, errors, math.nan, False)[0].short
    unfinished = fit_rows(bayes, errors, math.log(0.34), False)[0]
    assert math.isnan(unfinished.value)
    assert unfinished.count == 16
    assert [row.short for row in fit_rows(pd.DataFrame(), pd.DataFrame(), math.nan, False)] == [
        True
    ]


def test_the_interval_of_a_ratio_holds_the_true_one_often_enough() -> None:
    rng = np.random.default_rng(0)
    held, trials = 0, 400
    for _ in range(trials):
        under = rng.gamma(4, 3, 16)
        over = 1.5 * under * rng.gamma(8, 1 / 8, 16)
        interval = ratio_interval(over, under)
        held += interval.low <= 1.5 <= interval.high
    assert held / trials >= 0.93


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pairs_have_no_interval(count: int) -> None:
    interval = ratio_interval(np.full(count, 3.0), np.full(count, 2.0))
    assert math.isnan(interval.low)
    assert math.isnan(interval.value) is (count == 0)


def test_images_of_a_scale_come_first() -> None:
    assert items(2)[:3] == ("0.23-0", "0.23-1", "0.34-0")
    assert len(set(items(3))) == 3 * len(SCALES)
