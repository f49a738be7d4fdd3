"""Tests of the shared draws and of the checks of arguments."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mmh_core.manifolds.checks import choice, real, whole
from mmh_core.manifolds.draws import Component, accepted, allocate, join, laplace, stratified


@pytest.mark.parametrize(
    ("count", "weights", "shares"),
    [
        (7, (4, 2, 1), (4, 2, 1)),
        (700, (4, 2, 1), (400, 200, 100)),
        (10, (1, 1, 1), (4, 3, 3)),
        (2, (4, 2, 1), (1, 1, 0)),
        (10, (0.1, 0.2, 0.7), (1, 2, 7)),
        (5, (0, 3), (0, 5)),
    ],
)
def test_shares_follow_the_weights(count, weights, shares):
    assert allocate(count, weights) == shares


@given(
    st.integers(2, 10_000),
    st.lists(st.floats(0.01, 100), min_size=1, max_size=8),
)
def test_shares_sum_to_the_count_and_round_the_quota(count, weights):
    shares = allocate(count, weights)
    assert sum(shares) == count
    for share, weight in zip(shares, weights, strict=True):
        # Largest remainders round a quota up or down; 1e-6 absorbs the rounding of the quota.
        assert abs(share - count * weight / sum(weights)) < 1 + 1e-6


@pytest.mark.parametrize("weights", [(1, -1), (0, 0), (math.nan, 1), (math.inf, 1), ()])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weight"):
        allocate(10, weights)


def test_laplace_has_scale_one(generator):
    draws = laplace((20_000,), generator=generator).numpy()
    # At a constant seed the test is deterministic; 1e-3 is a customary level.
    assert stats.kstest(draws, stats.laplace.cdf).pvalue > 1e-3


def test_stratified_draws_fall_one_into_each_cell(generator):
    values = stratified(50, low=-1.0, high=4.0, generator=generator)
    assert torch.equal(((values + 1) / 0.1).floor(), torch.arange(50.0, dtype=torch.float64))


def test_rejection_keeps_the_first_accepted_in_order():
    proposed = []

    def propose(n):
        values = torch.arange(float(n)) + 1000 * len(proposed)
        proposed.append(n)
        return values, values % 10 == 0

    assert accepted(4, propose).tolist() == [1000.0, 1010.0, 2000.0, 2010.0]


def test_join_keeps_label_and_lid_with_the_point_when_it_shuffles(generator):
    parts = [Component(f"p{k}", torch.full((30, 2), float(k)), 2.0 * k) for k in range(4)]
    samples = join("x", parts, shuffle=generator)
    assert torch.equal(samples.points[:, 0], samples.component.float())
    assert torch.equal(samples.lid, 2.0 * samples.component)
    assert samples.component.bincount().tolist() == [30, 30, 30, 30]
    # Unshuffled, the component would not decrease anywhere.
    assert bool((samples.component.diff() < 0).any())


@pytest.mark.parametrize("value", [3, np.int64(3), torch.tensor(3)])
def test_whole_numbers_pass(value):
    assert whole("n", value, least=2, most=5) == 3


@pytest.mark.parametrize("value", [1, 6, 3.0, math.nan, math.inf, True, "3", None])
def test_other_values_are_no_whole_numbers_in_range(value):
    with pytest.raises(ValueError, match=r"n is .*; it must be a whole number from 2 to 5\."):
        whole("n", value, least=2, most=5)


@pytest.mark.parametrize("value", [2, 2.5, np.float32(5)])
def test_real_numbers_pass(value):
    assert real("x", value, least=2, most=5) == float(value)


@pytest.mark.parametrize("value", [1.9, 5.1, math.nan, math.inf, -math.inf, True, "3", None])
def test_other_values_are_no_real_numbers_in_range(value):
    with pytest.raises(ValueError, match=r"x is .*; it must be a number from 2 to 5\."):
        real("x", value, least=2, most=5)


def test_a_bool_is_no_number_even_inside_the_range():
    with pytest.raises(ValueError, match="n is True"):
        whole("n", True, least=0, most=5)
    with pytest.raises(ValueError, match="x is False"):
        real("x", False, least=0, most=5)


def test_infinity_is_refused_even_under_an_infinite_bound():
    with pytest.raises(ValueError, match="x is inf"):
        real("x", math.inf, least=0, most=math.inf)


def test_a_wrong_choice_is_told_the_right_ones():
    assert choice("fruit", "pear", ["apple", "pear"]) == "pear"
    with pytest.raises(ValueError, match=r"fruit is 'fig'; the choices are apple, pear\."):
        choice("fruit", "fig", ["apple", "pear"])
