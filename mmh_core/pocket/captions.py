"""What a caption of an embedded world speaks of: the kind of image, by the grammars of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mmh_core.pocket.grammar import painter_of
from mmh_core.pocket.second.parsing import parsed

#: Nearest training images that vote on what an image shows: farther ones of a poor image are any.
VOTES = 4


def content_of(captions: Iterable[str]) -> str:
    """Return the kind that more than half of some captions speak of, "" where there is none.

    The captions are those of an image's nearest training images, or a prompt alone. None fits a
    grammar for any training set but that of an embedded world. Caveat: it tells a portrait from a
    landscape, and not one person from another.
    """
    counts = Counter(map(_kind, captions))
    kind, votes = counts.most_common(1)[0] if counts else ("", 0)
    return kind if 2 * votes > counts.total() else ""


def _kind(caption: str) -> str:
    read = parsed(caption)
    return painter_of(caption) if read is None else read.painter
