"""Bytes that are no image are no evidence."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from mmh_core.store.review_records import ReviewItem
from mmh_core.store.thumbnails import shown_thumbnail


def written(kind: str, size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 60).save(file, kind)
    return file.getvalue()


def claimed(width: int, height: int) -> bytes:
    """Return the start of a PNG that claims to be that large."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    )


def item(data: bytes) -> ReviewItem:
    return ReviewItem("a fox", (0,), "pocket", "", thumbnail=data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_small_image_is_shown(kind: str) -> None:
    data = written(kind)
    assert shown_thumbnail(item(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"p",
        b"no image",
        bytes(range(256)),
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<html>",
        b"\x89PNG\r\n\x1a\n",
        claimed(8, 8),
        claimed(2**31 - 1, 2**31 - 1),
        written("PNG")[:-30],
        written("PNG", (64, 64))[:200],
        written("JPEG")[:40],
        written("BMP"),
        written("TIFF"),
        written("PNG", (3000, 1)),
        b"GIF89a",
    ],
)
def test_what_is_no_whole_small_image_is_not(data: bytes) -> None:
    assert shown_thumbnail(item(data)) == b""
