"""Thumbnails of items, which other people's cases bring too: whole small images, or nothing."""

from __future__ import annotations

import io
import warnings
from functools import lru_cache

from mmh_core.store.review_records import ReviewItem

#: Kinds that a browser shows as what it is told that they are.
_KINDS = ("PNG", "JPEG", "WEBP", "GIF")
_LARGEST_SIDE = 2048


def shown_thumbnail(item: ReviewItem) -> bytes:
    """Return the thumbnail of an item, b"" for none and for bytes that are no whole image."""
    return item.thumbnail if item.thumbnail and _is_image(item.thumbnail) else b""


@lru_cache(maxsize=512)
def _is_image(data: bytes) -> bool:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of a file that is strange and whole all the same.
            with Image.open(io.BytesIO(data), formats=_KINDS) as image:
                # Before it is decoded: few bytes may stand for a very large image.
                if max(image.size) > _LARGEST_SIDE:
                    return False
                image.load()
    # Whatever a decoder raises on bytes that are no image.
    except Exception:
        return False
    return True
