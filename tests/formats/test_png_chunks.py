"""Chunks of PNG files: those that Pillow writes, and every way in which a file may be cut."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image, PngImagePlugin

from mmh_core.formats.png_chunks import SIGNATURE, png_chunks


def png(**texts: str) -> bytes:
    note = PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        note.add_itxt(keyword, text)
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (9, 8, 7)).save(file, "PNG", pnginfo=note)
    return file.getvalue()


def chunk(name: bytes, content: bytes = b"") -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I4s", len(content), name) + content + checksum


def test_the_chunks_of_an_image_join_to_the_file() -> None:
    data = png(one="first", two="second")
    chunks = list(png_chunks(data))
    assert [c.type for c in chunks] == [b"IHDR", b"iTXt", b"iTXt", b"IDAT", b"IEND"]
    assert SIGNATURE + b"".join(data[c.header : c.end] for c in chunks) == data
    assert data[chunks[0].start :][:8] == struct.pack(">II", 5, 4)
    assert all(c.complete for c in chunks)


def test_nothing_behind_the_end_is_a_chunk() -> None:
    data = png()
    assert list(png_chunks(data + chunk(b"iTXt", b"late"))) == list(png_chunks(data))


@pytest.mark.parametrize("data", [b"", b"\x89PNG", b"GIF89a" + bytes(40), SIGNATURE, png()[1:]])
def test_other_bytes_have_no_chunks(data: bytes) -> None:
    assert list(png_chunks(data)) == []


def test_a_cut_file_ends_with_a_chunk_that_is_not_complete() -> None:
    data = png(one="first")
    whole = list(png_chunks(data))
    for length in range(len(SIGNATURE), len(data)):
        chunks = list(png_chunks(data[:length]))
        assert [c for c in chunks if c.complete] == [c for c in whole if c.end <= length]
        assert len([c for c in chunks if not c.complete]) <= 1


def test_an_impossible_length_ends_the_walk() -> None:
    data = SIGNATURE + struct.pack(">I4s", 2**32 - 1, b"iTXt") + bytes(100)
    (only,) = png_chunks(data)
    assert only.length == 2**32 - 1 and not only.complete


def test_no_more_chunks_are_walked_than_asked_for() -> None:
    data = SIGNATURE + 50 * chunk(b"tEXt", b"a\0b") + chunk(b"IEND")
    assert len(list(png_chunks(data, most=10))) == 10
    assert len(list(png_chunks(data, most=None))) == 51
