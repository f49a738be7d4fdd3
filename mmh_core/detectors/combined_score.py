"""The combined score: a logistic regression over detectors, fitted on labelled prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.statistics.agreement import balanced_accuracy
from mmh_core.statistics.areas import area_under_curve
from mmh_core.statistics.cross_validation import FOLDS, out_of_fold, shuffled_folds

NAME, LABEL = "combined", "Combined (logistic regression)"
#: Detectors that the combined score is made of: one of each family.
COMBINED = (
    "early_scan",
    "guidance_norm_all",
    "lid_conditional_count",
    "lid_unconditional_count",
    "region_map",
    "seed_agreement",
    "denoised_spread",
    "return_distance",
)


@dataclass(frozen=True)
class CombinedScore:
    """A logistic regression over the scores of F detectors.

    `weights`, `mean` and `spread` (F,) of standardized scores, in the order of `names`. `cv_auc`
    is the area under the ROC curve of scores that cross-validation within the labelled prompts
    gives (times of the early scan and standardization are chosen before its folds), `cv_error` the
    share of these prompts on the wrong side of even odds, the two labels weighing the same.
    """

    names: tuple[str, ...]
    weights: Tensor
    bias: float
    mean: Tensor
    spread: Tensor
    cv_auc: float
    cv_error: float

    def score(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Return the log odds (P,) of memorized from scores (P,) of the detectors by name."""
        columns = torch.stack([scores[name] for name in self.names], dim=1).double()
        return ((columns - self.mean) / self.spread) @ self.weights + self.bias


def fit_combined(scores: Mapping[str, Tensor], memorized: Tensor) -> CombinedScore:
    """Fit the regression on scores (P,) by detector, with labels `memorized` (P,) bool.

    Scores are standardized by those of the reference prompts; prompts that lack one are left out.
    Errors: MMHError for fewer than five prompts of a label, too few to cross-validate, and
    ValueError where no detector can be used.
    """
    from sklearn.linear_model import LogisticRegression

    names = tuple(name for name in COMBINED if name in scores)
    if not names:
        raise ValueError(f"The combined score is made of {', '.join(COMBINED)}; none was run.")
    features = torch.stack([scores[name] for name in names], dim=1).double()
    finite = features.isfinite().all(1)
    features, memorized = features[finite], memorized[finite]
    check_labels(memorized)
    mean = features[~memorized].mean(0)
    spread = features[~memorized].std(0).clamp(min=1e-12)
    x, y = ((features - mean) / spread).numpy(), memorized.numpy()
    model = LogisticRegression(max_iter=10_000)

    def log_odds(fitted: np.ndarray, left_out: np.ndarray) -> np.ndarray:
        odds: np.ndarray = model.fit(x[fitted], y[fitted]).decision_function(x[left_out])
        return odds

    odds = torch.from_numpy(out_of_fold(shuffled_folds(y, 0), log_odds))
    model.fit(x, y)
    return CombinedScore(
        names,
        torch.from_numpy(model.coef_[0].copy()),
        float(model.intercept_[0]),
        mean,
        spread,
        float(area_under_curve(odds[memorized], odds[~memorized])),
        1 - float(balanced_accuracy(odds > 0, memorized)),
    )


def check_labels(memorized: Tensor) -> None:
    """Raise MMHError for labels (P,) bool with too few of either to cross-validate."""
    yes, no = int(memorized.sum()), int((~memorized).sum())
    if min(yes, no) < FOLDS:
        raise MMHError(
            f"The combined score is fitted on at least {FOLDS} memorized and {FOLDS} reference "
            f"prompts, and there are {yes} and {no}: label more prompts."
        )
