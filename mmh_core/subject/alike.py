"""Groups of texts with nearly the same words, so that a split does not separate them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

#: Share of the weight of letters that two texts of a group have in common.
_ALIKE = 0.5
_WORDS = re.compile(r"\w+")


def alike_groups(texts: Sequence[str]) -> list[list[int]]:
    """Return the places of texts in groups of near-equal ones, in order of first appearance.

    Near-equal are texts whose sets of three letters in a row, each weighing `log(1 + N / df)` (few
    texts have a name, many a phrase), have a weighted Jaccard index of at least a half; who is
    near-equal to one of a group belongs to it.
    """
    parts = [_letters(text) for text in texts]
    among = Counter(part for words in parts for part in words)
    weight = {part: math.log1p(len(texts) / count) for part, count in among.items()}
    home = list(range(len(texts)))
    for i, words in enumerate(parts):
        for k in range(i):
            if home[i] != home[k] and _common(words, parts[k], weight) >= _ALIKE:
                old, new = max(home[i], home[k]), min(home[i], home[k])
                home = [new if group == old else group for group in home]
    groups: dict[int, list[int]] = {}
    for i, group in enumerate(home):
        groups.setdefault(group, []).append(i)
    return list(groups.values())


def _letters(text: str) -> frozenset[str]:
    plain = f" {' '.join(_WORDS.findall(text.casefold()))} "
    return frozenset(plain[i : i + 3] for i in range(max(1, len(plain) - 2)))


def _common(first: frozenset[str], other: frozenset[str], weight: dict[str, float]) -> float:
    every = sum(weight[part] for part in first | other)
    return sum(weight[part] for part in first & other) / every
