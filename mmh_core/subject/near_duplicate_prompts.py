"""Groups of near-duplicate prompts, so that a split does not separate them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

#: Weighted Jaccard index from which two texts are near-duplicates.
_NEAR_DUPLICATE = 0.5
_WORDS = re.compile(r"\w+")


def near_duplicate_groups(texts: Sequence[str]) -> list[list[int]]:
    """Return the indices of texts in groups of near-duplicates, in order of first appearance.

    Near-duplicates are texts whose sets of letter trigrams, each weighing `log(1 + N / df)` (few
    texts have a name, many a phrase), have a weighted Jaccard index of at least a half, or are
    joined by a chain of such texts (single linkage).
    """
    trigrams = [_trigrams(text) for text in texts]
    frequency = Counter(trigram for own in trigrams for trigram in own)
    weight = {trigram: math.log1p(len(texts) / df) for trigram, df in frequency.items()}
    group_of = list(range(len(texts)))
    for i, own in enumerate(trigrams):
        for k in range(i):
            if (
                group_of[i] != group_of[k]
                and _weighted_jaccard(own, trigrams[k], weight) >= _NEAR_DUPLICATE
            ):
                old, new = max(group_of[i], group_of[k]), min(group_of[i], group_of[k])
                group_of = [new if group == old else group for group in group_of]
    groups: dict[int, list[int]] = {}
    for i, group in enumerate(group_of):
        groups.setdefault(group, []).append(i)
    return list(groups.values())


def _trigrams(text: str) -> frozenset[str]:
    plain = f" {' '.join(_WORDS.findall(text.casefold()))} "
    return frozenset(plain[i : i + 3] for i in range(max(1, len(plain) - 2)))


def _weighted_jaccard(
    first: frozenset[str], other: frozenset[str], weight: dict[str, float]
) -> float:
    union = sum(weight[trigram] for trigram in first | other)
    return sum(weight[trigram] for trigram in first & other) / union
