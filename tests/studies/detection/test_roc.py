"""ROC figures against scikit-learn and by hand."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from mmh_core.studies.detection.roc import area, curve, separation, true_positive_rate


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_area_counts_pairs_with_ties_one_half() -> None:
    yes, no = torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0, 2.0])
    # 3 beats all three; 1 beats 0, ties 1, loses to 2: (3 + 1.5) / 6.
    assert float(area(yes, no)) == pytest.approx(0.75)
    assert area(torch.stack([yes, -yes]), torch.stack([no, -no])).tolist() == [0.75, 0.25]


@pytest.mark.parametrize("seed", range(3))
def test_area_and_curve_are_those_of_scikit_learn(seed: int) -> None:
    # Few distinct values, so that there are ties.
    scores = torch.randint(0, 9, (80,), generator=seeded(seed)).double()
    labels = torch.rand(80, generator=seeded(seed + 9)) < 0.4
    expected = roc_auc_score(labels.numpy(), scores.numpy())
    assert float(area(scores[labels], scores[~labels])) == pytest.approx(expected, abs=1e-12)
    false, true = curve(scores, labels)
    theirs = roc_curve(labels.numpy(), scores.numpy(), drop_intermediate=False)
    assert false == pytest.approx([*theirs[0], 1.0])
    assert true == pytest.approx([*theirs[1], 1.0])


def test_the_strict_rate_lets_no_more_negatives_pass_than_it_says() -> None:
    no = torch.arange(200.0)
    # Two of 200 may pass: the threshold is the third largest, 197.
    assert float(true_positive_rate(torch.tensor([196.0, 197.0, 197.5, 300.0]), no)) == 0.5
    # Below 100 negatives none may.
    assert float(true_positive_rate(torch.tensor([49.0, 49.5]), torch.arange(50.0))) == 0.5


def test_intervals_hold_the_value_and_shrink_with_the_count() -> None:
    def found(count: int) -> tuple[float, float, float]:
        scores = torch.cat([torch.randn(count, generator=seeded()) + 1, torch.randn(count)])
        labels = torch.arange(2 * count) < count
        result = separation(scores, labels, generator=seeded(1))
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
    found = separation(labels.float(), labels, generator=seeded())
    assert (found.auc, found.tpr) == (1.0, 1.0)
    ends = torch.tensor([found.auc_low, found.auc_high, found.tpr_low, found.tpr_high])
    assert bool(ends.isnan().all())


def test_perfect_scores_have_no_spread() -> None:
    labels = torch.tensor([True] * 5 + [False] * 5)
    result = separation(labels.float(), labels, generator=seeded())
    assert (result.auc, result.auc_low, result.tpr, result.tpr_low) == (1, 1, 1, 1)


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
        separation(torch.tensor(scores), torch.tensor(labels), generator=seeded())
