"""What words alone tell: classifiers of captions that see no image and no model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from mmh_core.statistics.areas import area_interval, area_under_curve
from mmh_core.statistics.cross_validation import FOLDS, out_of_fold, shuffled_folds
from mmh_core.statistics.intervals import percentile_interval

#: Words and pairs that the trees choose from.
_COMMONEST = 400
Features = Literal["words", "characters", "trees"]
FEATURES: Mapping[Features, str] = {
    "words": "words and pairs of words, logistic regression",
    "characters": "characters 3 to 5, logistic regression",
    "trees": "words and pairs of words, gradient-boosted trees",
}


@dataclass(frozen=True)
class TextBaseline:
    """How well words alone separate two groups of captions.

    `auc` with its 95 % interval (`statistics.area_interval` over the captions), of scores that
    each caption gets from classifiers fitted on the other folds. `permuted` (2) are the 2.5
    and 97.5 % quantiles of the same figure with labels shuffled, NaN where none were.
    """

    features: Features
    auc: float
    low: float
    high: float
    permuted: tuple[float, float]
    positives: int
    negatives: int


def text_baseline(
    texts: Sequence[str],
    positive: np.ndarray,
    features: Features,
    *,
    seed: int = 0,
    permutations: int = 0,
) -> TextBaseline:
    """Return how well a classifier of words alone separates captions; higher = positive."""
    positive = np.asarray(positive, bool)
    rng = np.random.default_rng([seed, 8])
    scores = _centered_probabilities(texts, positive, features, rng)
    area = area_interval(*_sides(scores, positive))
    shuffled = []
    for _ in range(permutations):
        labels = positive[rng.permutation(len(positive))]
        chance = _centered_probabilities(texts, labels, features, rng)
        shuffled.append(float(area_under_curve(*_sides(chance, labels))))
    null = percentile_interval(shuffled) if shuffled else (math.nan, math.nan)
    counts = int(positive.sum()), int((~positive).sum())
    return TextBaseline(features, area.value, area.low, area.high, null, *counts)


@dataclass(frozen=True)
class TextScores:
    """Log odds by words alone: of texts that a classifier was fitted on, and of others.

    `out_of_fold` (N,) are those of the fitted texts, each from a classifier of the other folds;
    `others` (M,) come from the classifier of all N.
    """

    out_of_fold: torch.Tensor
    others: torch.Tensor


def text_scores(
    texts: Sequence[str], positive: Sequence[bool], others: Sequence[str], features: Features
) -> TextScores:
    """Return the log odds of texts by a logistic regression fitted on labelled ones alone.

    Errors: ValueError for fewer than five texts of a label, and for features without log odds.
    """
    labels = np.asarray(positive, bool)
    if features == "trees":
        raise ValueError("Log odds come from a logistic regression: words or characters.")
    if min(labels.sum(), (~labels).sum()) < FOLDS:
        raise ValueError(f"A text classifier needs {FOLDS} texts of each label.")

    def log_odds(fitted: np.ndarray, scored: Sequence[str]) -> np.ndarray:
        model = _classifier(features, 0).fit([texts[i] for i in fitted], labels[fitted])
        odds: np.ndarray = model.decision_function(list(scored))
        return odds

    odds = out_of_fold(
        shuffled_folds(labels, 0),
        lambda fitted, left_out: log_odds(fitted, [texts[i] for i in left_out]),
    )
    return TextScores(
        torch.from_numpy(odds).float(),
        torch.from_numpy(log_odds(np.arange(len(texts)), others)).float(),
    )


def _centered_probabilities(
    texts: Sequence[str], positive: np.ndarray, features: Features, rng: np.random.Generator
) -> np.ndarray:
    """Return for each caption the probability by the other folds, centered within its fold."""

    def centered(fitted: np.ndarray, left_out: np.ndarray) -> np.ndarray:
        model = _classifier(features, int(rng.integers(2**31)))
        model.fit([texts[i] for i in fitted], positive[fitted])
        # The mean of a fold's probabilities depends on its labels, which pooling would show.
        probabilities = model.predict_proba([texts[i] for i in left_out])[:, 1]
        around: np.ndarray = probabilities - probabilities.mean()
        return around

    return out_of_fold(shuffled_folds(positive, int(rng.integers(2**31))), centered)


def _classifier(features: Features, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    if features == "characters":
        read = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
        return make_pipeline(read, LogisticRegression(C=10.0, max_iter=1_000))
    most = _COMMONEST if features == "trees" else None
    words = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", min_df=2, max_features=most)
    if features == "words":
        return make_pipeline(words, LogisticRegression(max_iter=1_000))
    trees = HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=8, random_state=seed
    )
    return make_pipeline(words, FunctionTransformer(_dense), trees)


def _dense(counts: Any) -> np.ndarray:
    dense: np.ndarray = counts.toarray()
    return dense


def _sides(scores: np.ndarray, positive: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(scores[positive]), torch.from_numpy(scores[~positive])
