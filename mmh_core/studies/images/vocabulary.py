"""The words of a model's training captions, and the words of a prompt that are not among them.

Only for a model whose whole training set is known: of a checkpoint of the web's images nobody
knows which words it never met.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
#: Shorter words, such as "of", carry no subject.
_SHORTEST = 3


def words_in(text: str) -> list[str]:
    """Return the words of a text in lower case, in order."""
    return _WORD.findall(text.casefold())


def caption_words(captions: Iterable[str]) -> tuple[str, ...]:
    """Return the words of captions that may name something, those of most captions first."""
    counts = Counter(word for caption in captions for word in dict.fromkeys(words_in(caption)))
    return tuple(word for word, _ in counts.most_common() if len(word) >= _SHORTEST)


def training_words(folder: Path) -> tuple[str, ...]:
    """Return the words of the captions that a model of a synthetic data set was trained with.

    () for a folder whose training set is not known.
    """
    file = folder / "training.parquet"
    if not (folder / "world.json").is_file() or not file.is_file():
        return ()
    table = pd.read_parquet(file, columns=["captions"])
    return caption_words(str(caption) for captions in table.captions for caption in captions)


def unfamiliar_words(prompt: str, vocabulary: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a prompt that no training caption has, in order, each once.

    () where the vocabulary is unknown.
    """
    if not vocabulary:
        return ()
    familiar = frozenset(vocabulary)
    words = dict.fromkeys(word for word in words_in(prompt) if len(word) >= _SHORTEST)
    return tuple(word for word in words if word not in familiar)
