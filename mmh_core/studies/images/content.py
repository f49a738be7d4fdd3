"""The kind of image that a prompt asks for and an image shows, by the caption grammar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mmh_core.pocket.grammar import painter_of

#: Nearest training images that vote on what an image shows: farther ones of a poor image are any.
VOTES = 4


def content_of(captions: Iterable[str]) -> str:
    """Return the kind that more than half of some captions speak of, "" where there is none.

    The captions are those of an image's nearest training images, or a prompt alone. None fits the
    grammar for any training set but the embedded world's. Caveat: it tells a portrait from a
    landscape, and not one person from another.
    """
    found = Counter(painter_of(caption) for caption in captions)
    kind, votes = found.most_common(1)[0] if found else ("", 0)
    return kind if 2 * votes > found.total() else ""
