"""Cross-validation: each item is scored by what was fitted on the other folds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

#: Folds everywhere, so that a label needs at least so many items.
FOLDS = 5
Array = np.ndarray[Any, np.dtype[Any]]


def shuffled_folds(labels: Array, seed: int) -> Array:
    """Return a fold (N,) for each item, stratified by `labels` (N,) and drawn from `seed`.

    Errors: ValueError where each label has fewer items than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    folds = np.empty(len(labels), dtype=np.int64)
    for number, (_, left_out) in enumerate(splitter.split(np.zeros(len(labels)), labels)):
        folds[left_out] = number
    return folds


def folds_in_order(labels: Array) -> Array:
    """Return a fold (N,) for each item: those of a label take turns, without a random draw."""
    folds = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        of_label = labels == label
        folds[of_label] = np.arange(int(of_label.sum())) % FOLDS
    return folds


def out_of_fold(folds: Array, score: Callable[[Array, Array], Array]) -> Array:
    """Return the score (N,) of each item by what is fitted on all folds (N,) but its own.

    `score(fitted, left_out)` gets the indices of both, fits on the first and returns the scores of
    the second.
    """
    scores = np.empty(len(folds))
    for number in np.unique(folds):
        left_out = np.flatnonzero(folds == number)
        scores[left_out] = score(np.flatnonzero(folds != number), left_out)
    return scores
