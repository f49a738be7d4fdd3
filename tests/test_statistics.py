"""Every statistic has answers known by hand, from published tables or from closed forms."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from mmh_core.statistics.agreement import (
    balanced_accuracy,
    balanced_accuracy_interval,
    cohen_kappa,
    correlation_interval,
    rank_correlation,
)
from mmh_core.statistics.areas import (
    area_interval,
    area_under_curve,
    roc_points,
    separation,
    true_positive_rate,
)
from mmh_core.statistics.cross_validation import folds_in_order, out_of_fold, shuffled_folds
from mmh_core.statistics.intervals import (
    half_width,
    mean_interval,
    mean_share_interval,
    paired_interval,
    paired_share_interval,
    percentile_interval,
    share_interval,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_area_counts_pairs_with_ties_one_half() -> None:
    yes, no = torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0, 2.0])
    # 3 beats all three; 1 beats 0, ties 1, loses to 2: (3 + 1.5) / 6.
    assert float(area_under_curve(yes, no)) == pytest.approx(0.75)
    assert area_under_curve(torch.stack([yes, -yes]), torch.stack([no, -no])).tolist() == [
        0.75,
        0.25,
    ]


@pytest.mark.parametrize("seed", range(3))
def test_area_and_curve_are_those_of_scikit_learn(seed: int) -> None:
    # Few distinct values, so that there are ties.
    scores = torch.randint(0, 9, (80,), generator=seeded(seed)).double()
    labels = torch.rand(80, generator=seeded(seed + 9)) < 0.4
    expected = roc_auc_score(labels.numpy(), scores.numpy())
    assert float(area_under_curve(scores[labels], scores[~labels])) == pytest.approx(
        expected, abs=1e-12
    )
    false, true = roc_points(scores, labels)
    theirs = roc_curve(labels.numpy(), scores.numpy(), drop_intermediate=False)
    assert false == pytest.approx(theirs[0].tolist())
    assert true == pytest.approx(theirs[1].tolist())


def test_the_rate_at_1_percent_lets_no_more_negatives_pass_than_it_says() -> None:
    no = torch.arange(200.0)
    # Two of 200 may pass: the threshold is the third largest, 197.
    assert float(true_positive_rate(torch.tensor([196.0, 197.0, 197.5, 300.0]), no)) == 0.5
    # Below 100 negatives none may.
    assert float(true_positive_rate(torch.tensor([49.0, 49.5]), torch.arange(50.0))) == 0.5


def test_intervals_hold_the_value_and_shrink_with_the_count() -> None:
    def found(count: int) -> tuple[float, float, float]:
        scores = torch.cat([torch.randn(count, generator=seeded()) + 1, torch.randn(count)])
        labels = torch.arange(2 * count) < count
        result = separation(scores, labels)
        assert result.auc_low <= result.auc <= result.auc_high
        assert (result.positives, result.negatives) == (count, count)
        return result.auc_low, result.auc, result.auc_high

    torch.manual_seed(3)
    narrow, wide = found(1600), found(100)
    assert narrow[2] - narrow[0] < 0.4 * (wide[2] - wide[0])
    # Two unit normals one apart: Phi(1 / sqrt(2)).
    assert narrow[1] == pytest.approx(0.7602, abs=0.02)


@pytest.mark.parametrize(("yes", "no"), [(1, 1), (1, 20), (20, 1)])
def test_a_group_of_one_has_no_interval(yes: int, no: int) -> None:
    labels = torch.arange(yes + no) < yes
    found = separation(labels.float(), labels)
    assert (found.auc, found.tpr) == (1.0, 1.0)
    ends = torch.tensor([found.auc_low, found.auc_high, found.tpr_low, found.tpr_high])
    assert bool(ends.isnan().all())


def test_perfect_scores_promise_what_their_number_allows() -> None:
    """36 of 36 in order: at least .05^(1/36) = .920, one-sided; 5 of 5: at least .549."""
    labels = torch.arange(149) < 36
    result = separation(labels.float(), labels)
    assert (result.auc, result.auc_high, result.tpr, result.tpr_high) == (1, 1, 1, 1)
    assert result.auc_low == pytest.approx(0.05 ** (1 / 36), abs=5e-4)
    # Clopper and Pearson's lower end of n of n is .025^(1 / n).
    assert result.tpr_low == pytest.approx(0.025 ** (1 / 36))
    few = torch.arange(10) < 5
    assert separation(few.float(), few).auc_low == pytest.approx(0.05 ** (1 / 5))
    worst = area_interval(-few[few].double(), -few[~few].double())
    assert (worst.value, worst.low) == (0, 0) and worst.high == pytest.approx(1 - 0.05 ** (1 / 5))


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        ([1.0, 2.0], [True, True]),
        ([1.0, 2.0], [False, False]),
        ([1.0, float("nan")], [True, False]),
    ],
)
def test_what_cannot_be_separated_is_refused(scores: list[float], labels: list[bool]) -> None:
    with pytest.raises(ValueError, match="needs both groups and finite scores"):
        separation(torch.tensor(scores), torch.tensor(labels))


def test_intervals_of_means_have_the_width_of_students_t() -> None:
    """Equal t's interval for values without skewness, and reach further on the skewed side."""
    values = torch.tensor([1.0, 2, 3, 4, 5])
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx((3 - 1.9632, 3 + 1.9632), abs=1e-4)
    skewed = mean_interval(torch.tensor([1.0, 1.1, 1.2, 1.3, 6]))
    assert skewed.high - skewed.value > skewed.value - skewed.low
    same = mean_interval(torch.full((4,), 2.5))
    assert (same.low, same.high) == (2.5, 2.5)


@pytest.mark.parametrize(("hits", "among"), [(0, 4), (4, 4), (1, 8), (0, 36), (7, 12)])
def test_a_mean_of_zeros_and_ones_has_clopper_and_pearsons_interval(hits: int, among: int) -> None:
    found = mean_share_interval((torch.arange(among) < hits).double())
    exact = share_interval(hits, among)
    assert found.value == exact.value
    # Quantiles of 4,000 drawn weights.
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.015)


def test_a_mean_share_stays_in_its_range_and_needs_one_value() -> None:
    found = mean_share_interval(torch.tensor([0.25, 0.5, math.nan, 0.25]))
    assert found.value == pytest.approx(1 / 3)
    assert 0 <= found.low < found.value < found.high <= 1
    changed = paired_share_interval(torch.zeros(4), torch.ones(4))
    assert changed.value == changed.low == -1 and changed.high == pytest.approx(0.2, abs=0.03)
    assert math.isnan(mean_share_interval(torch.tensor([math.nan])).low)
    with pytest.raises(ValueError, match="from 0 to 1"):
        mean_share_interval(torch.tensor([0.2, 1.2]))


def test_correlations_over_groups_use_students_t_of_their_number() -> None:
    """Equal Fisher's scale with the jackknife's error, worked out for three groups."""
    scale = torch.tensor([0.4, 0.5, 0.6], dtype=torch.float64)
    found = correlation_interval(math.tanh(0.5), scale.tanh())
    error = math.sqrt(2 / 3 * float((scale - 0.5).pow(2).sum()))
    ends = (math.tanh(0.5 - 4.302653 * error), math.tanh(0.5 + 4.302653 * error))
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-6)
    for value, others in ((0.5, [0.5, 0.4]), (0.5, [0.5, 1.0, 0.4]), (math.nan, [0.1] * 4)):
        assert math.isnan(correlation_interval(value, torch.tensor(others)).low)


def test_balanced_accuracies_put_two_shares_together() -> None:
    """Equal the half of the root of the squared distances to the ends of the shares."""
    true = torch.arange(24) < 12
    called = true.clone()
    called[:3] = False
    found = balanced_accuracy_interval(called == true, true.tolist())
    shares = share_interval(9, 12), share_interval(12, 12)
    assert found.value == pytest.approx(float(balanced_accuracy(called, true))) == 0.875
    low = math.hypot(*(one.value - one.low for one in shares)) / 2
    assert found.low == pytest.approx(0.875 - low) and found.high <= 1
    assert math.isnan(balanced_accuracy_interval(called[:0], []).value)


def test_pairing_takes_out_what_pairs_share() -> None:
    generator = torch.Generator().manual_seed(2)
    before = torch.randn(50, generator=generator) * 10
    after = before + 1 + 0.1 * torch.randn(50, generator=generator)
    found = paired_interval(after, before)
    assert found.value == pytest.approx(1, abs=0.1) and found.high - found.low < 0.1


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    one = mean_interval(torch.tensor([2.0]))
    assert one.value == 2 and math.isnan(one.low) and math.isnan(one.high)
    assert math.isnan(mean_interval(torch.tensor([math.nan])).value)


def test_rank_correlation_is_spearmans_with_ties() -> None:
    one = torch.tensor([1.0, 2.0, 2.0, 5.0, 9.0, math.nan])
    other = torch.tensor([0.1, 0.4, 0.3, 0.3, 0.9, 0.2])
    expected = spearmanr(one[:5].numpy(), other[:5].numpy()).statistic
    assert rank_correlation(one, other) == pytest.approx(float(expected))
    assert math.isnan(rank_correlation(torch.ones(5), other[:5]))


@pytest.mark.parametrize(
    ("draws", "t"), [(2, 12.7062), (4, 3.1824), (8, 2.3646), (16, 2.1314), (400, 1.9659)]
)
def test_half_widths_are_students(draws: int, t: float) -> None:
    """Equal the tables' quantile of t at n - 1 degrees of freedom times the error."""
    assert half_width(0.5, draws) == pytest.approx(0.5 * t, rel=1e-4)


@pytest.mark.parametrize("draws", [None, 0, 1])
def test_too_few_values_have_no_interval(draws: int | None) -> None:
    """Say that nobody knows."""
    assert math.isnan(half_width(1.0, draws))


@pytest.mark.parametrize(
    ("count", "among", "low", "high"),
    [
        # The closed forms of none and all, `(alpha / 2)^(1 / N)`, and printed tables.
        (0, 10, 0.0, 1 - 0.025**0.1),
        (10, 10, 0.025**0.1, 1.0),
        (0, 1, 0.0, 0.975),
        (5, 10, 0.1871, 0.8129),
        (1, 20, 0.0013, 0.2487),
        (8, 10, 0.4439, 0.9748),
    ],
)
def test_exact_intervals_are_those_of_clopper_and_pearson(
    count: int, among: int, low: float, high: float
) -> None:
    found = share_interval(count, among)
    assert found.value == count / among
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_a_share_of_nothing_is_unknown_and_a_share_beyond_all_is_refused() -> None:
    nothing = share_interval(0, 0)
    assert all(math.isnan(each) for each in (nothing.value, nothing.low, nothing.high))
    for count in (-1, 4):
        with pytest.raises(ValueError, match="from 0 to the 3 cases"):
            share_interval(count, 3)


def test_percentiles_are_interpolated_and_leave_out_nan() -> None:
    values = [*torch.linspace(0, 1, 1001).tolist(), math.nan]
    assert percentile_interval(values) == pytest.approx((0.025, 0.975))
    # Of four values the 2.5 % point lies 0.075 of the way from the first to the second.
    assert percentile_interval([4.0, 1.0, 3.0, 2.0]) == pytest.approx((1.075, 3.925))
    assert all(math.isnan(end) for end in percentile_interval([math.nan]))


@pytest.mark.parametrize(
    ("yes", "no", "expected"),
    [
        ([2.0], [1.0], 1.0),
        ([1.0], [2.0], 0.0),
        ([1.0, 1.0], [1.0], 0.5),
        ([math.inf], [0.0], 1.0),
        ([-math.inf, 3.0], [-math.inf, 3.0], 0.5),
    ],
)
def test_areas_by_hand(yes: list[float], no: list[float], expected: float) -> None:
    found = area_under_curve(torch.tensor(yes), torch.tensor(no))
    assert float(found) == expected
    # What the positives gain the negatives lose.
    assert float(area_under_curve(torch.tensor(no), torch.tensor(yes))) == 1 - expected


@pytest.mark.parametrize(("yes", "no"), [([], [1.0]), ([1.0], []), ([math.nan], [1.0])])
def test_no_area_without_two_groups_of_scores(yes: list[float], no: list[float]) -> None:
    with pytest.raises(ValueError, match="scores of both groups, none of them NaN"):
        area_under_curve(torch.tensor(yes), torch.tensor(no))


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.07, 0.29, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_true_positive_rates_are_the_best_of_the_curve_within_the_rate(
    rate: float, seed: int
) -> None:
    # Ties, and rates whose product with 100 misses a whole number by rounding (0.29, 0.07).
    scores = torch.randint(0, 40, (180,), generator=seeded(seed)).double()
    labels = torch.arange(180) >= 100
    false, true, _ = roc_curve(labels.numpy(), scores.numpy(), drop_intermediate=False)
    expected = true[false <= rate + 1e-9].max()
    found = true_positive_rate(scores[labels], scores[~labels], rate)
    assert float(found) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # 1 - 6 sum d^2 / (n (n^2 - 1)): d = (1, 1, 0), (2, 0, 2), none, and five with d^2 = 4.
        ([1.0, 2.0, 3.0], [2.0, 1.0, 3.0], 0.5),
        ([1.0, 2.0, 3.0], [9.0, 4.0, 1.0], -1.0),
        ([1.0, 10.0, 100.0], [-3.0, -2.0, 50.0], 1.0),
        ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0], 0.8),
        ([1.0, 2.0], [1.0, 2.0], math.nan),
        ([], [], math.nan),
        ([1.0, 2.0, 3.0], [5.0, 5.0, 5.0], math.nan),
        ([math.nan, 2.0, 3.0], [1.0, 2.0, 3.0], math.nan),
    ],
)
def test_rank_correlations_by_hand(one: list[float], other: list[float], expected: float) -> None:
    found = rank_correlation(torch.tensor(one), torch.tensor(other))
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # Cohen's own form: observed .7, expected .5.
        ("e" * 25 + "n" * 25, "e" * 20 + "n" * 5 + "e" * 10 + "n" * 15, 0.4),
        ("ab", "ab", 1.0),
        ("ab", "ba", -1.0),
        ("aabb", "abab", 0.0),
        ((None, "a"), (None, "a"), 1.0),
        ("a", "b", 0.0),
        ("aaa", "aaa", math.nan),
        ("", "", math.nan),
    ],
)
def test_kappas_by_hand(
    first: Sequence[str | None], second: Sequence[str | None], expected: float
) -> None:
    assert cohen_kappa(first, second) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert cohen_kappa(second, first) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_kappa_needs_lists_of_one_length() -> None:
    with pytest.raises(ValueError, match="1 ratings cannot be compared with 2"):
        cohen_kappa("a", "ab")


def test_balanced_accuracy_is_the_mean_over_both_groups() -> None:
    true = torch.tensor([True, True, True, True, False])
    called = torch.tensor([True, True, True, False, True])
    assert float(balanced_accuracy(called, true)) == pytest.approx(0.375)
    assert math.isnan(float(balanced_accuracy(called[:4], true[:4])))


def test_scores_out_of_fold_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    labels = x[:, 0] + rng.normal(size=40) > 0
    model = LogisticRegression()
    scores = out_of_fold(
        shuffled_folds(labels, 7),
        lambda fitted, left_out: model.fit(x[fitted], labels[fitted]).decision_function(
            x[left_out]
        ),
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=7)
    expected = cross_val_predict(model, x, labels, cv=folds, method="decision_function")
    # The same fits of the same library in the same order of rows.
    np.testing.assert_allclose(scores, expected, rtol=1e-12)


def test_nothing_is_scored_by_what_it_was_fitted_on() -> None:
    labels = np.arange(12) < 7
    folds = folds_in_order(labels)
    assert folds.tolist() == [0, 1, 2, 3, 4, 0, 1, *(0, 1, 2, 3, 4)]
    shared = out_of_fold(folds, lambda fitted, left_out: np.isin(left_out, fitted))
    counts = out_of_fold(folds, lambda fitted, left_out: np.full(len(left_out), len(fitted)))
    assert not shared.any()
    assert counts.tolist() == [12 - int((folds == fold).sum()) for fold in folds]


CORE = Path(__file__).parents[1] / "mmh_core"


def test_statistics_are_computed_in_one_package() -> None:
    own = {
        path
        for path in CORE.rglob("*.py")
        if re.search(
            r"scipy\.stats|stdtr|sklearn\.(metrics|model_selection)|\.975\b",
            path.read_text(encoding="utf-8"),
        )
    }
    assert own == set((CORE / "statistics").glob("*.py")) - {CORE / "statistics" / "__init__.py"}
