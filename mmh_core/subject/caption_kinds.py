"""The kinds of captions of the shipped data sets, in words that need no table."""

from __future__ import annotations

_WORDS = {
    "duplicate": "duplicated training image",
    "near-duplicate": "near-duplicated training image",
    "overfit": "overfitted training image",
    "template": "images of one layout",
    "varied": "named subject, many images",
    "open": "unnamed subject, many images",
    "unique": "training image that occurs once",
    "fresh": "new image at every training step",
}


def kind_words(kind: str) -> str:
    """Return a kind of captions in words, kinds of other data sets as they are."""
    return _WORDS.get(kind, kind)
