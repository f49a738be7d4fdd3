"""What words alone tell: classifiers of captions that see no image and no model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from mmh_core.statistics import area_under_curve, percentile_interval

FOLDS = 5
_RESAMPLINGS = 1_000
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

    `auc` with a 95 % interval (percentile bootstrap over the captions of both groups), of scores
    that each caption gets from classifiers fitted on the other folds. `permuted` (2) are the 2.5
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
    scores = _held_out_scores(texts, positive, features, rng)
    auc = _auc(scores, positive)
    yes, no = np.flatnonzero(positive), np.flatnonzero(~positive)
    resampled = []
    for _ in range(_RESAMPLINGS):
        rows = np.concatenate([rng.choice(yes, len(yes)), rng.choice(no, len(no))])
        resampled.append(_auc(scores[rows], positive[rows]))
    low, high = percentile_interval(resampled)
    shuffled = []
    for _ in range(permutations):
        labels = positive[rng.permutation(len(positive))]
        shuffled.append(_auc(_held_out_scores(texts, labels, features, rng), labels))
    null = percentile_interval(shuffled) if shuffled else (math.nan, math.nan)
    return TextBaseline(features, auc, low, high, null, len(yes), len(no))


def _held_out_scores(
    texts: Sequence[str], positive: np.ndarray, features: Features, rng: np.random.Generator
) -> np.ndarray:
    """Return for each caption the score of a classifier fitted without its fold."""
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=int(rng.integers(2**31)))
    scores = np.empty(len(texts))
    for fitted, left in splitter.split(np.zeros(len(texts)), positive):
        model = _classifier(features, int(rng.integers(2**31)))
        model.fit([texts[i] for i in fitted], positive[fitted])
        # Log odds within a fold: their center depends on the fold's labels, which pooling shows.
        probabilities = model.predict_proba([texts[i] for i in left])[:, 1]
        scores[left] = probabilities - probabilities.mean()
    return scores


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


def _auc(scores: np.ndarray, positive: np.ndarray) -> float:
    sides = (torch.from_numpy(scores[side]) for side in (positive, ~positive))
    return float(area_under_curve(*sides))
