"""Latents in a PNG: round trips, and chunks that are cut, changed or made up."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from torch import Tensor

from mmh_core.formats.png_latents import CHUNK, packed_latents, png_latents


def png(content: bytes | None) -> bytes:
    """Return a PNG of one pixel with a chunk."""
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    if content is not None:
        info.add(CHUNK, content)
    Image.new("RGB", (1, 1)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def latents(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 8, 8), (16, 3, 5), (4, 64, 64)])
def test_latents_come_back_to_the_bit_and_the_image_opens(shape: tuple[int, ...]) -> None:
    data = png(packed_latents(latents(*shape)))
    read = png_latents(data)
    assert read is not None and torch.equal(read, latents(*shape))
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.size == (1, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_other_types_are_stored_as_float32(dtype: torch.dtype) -> None:
    values = latents(4, 8, 8).to(dtype)
    read = png_latents(png(packed_latents(values)))
    assert read is not None and torch.equal(read, values.float())


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\1\0\1\0",
        struct.pack("<3H", 0, 8, 8),
        struct.pack("<3H", 1, 1, 2) + bytes(4),
        struct.pack("<3H", 1, 1, 1) + bytes(8),
        struct.pack("<3Hf", 1, 1, 1, float("nan")),
        struct.pack("<3Hf", 1, 1, 1, float("inf")),
        struct.pack("<3H", 65535, 65535, 65535) + bytes(400),
    ],
)
def test_what_is_no_latents_is_none(content: bytes | None) -> None:
    assert png_latents(png(content)) is None


@given(at=st.integers(0, 300), bit=st.integers(0, 7))
def test_a_changed_bit_gives_the_same_latents_or_none(at: int, bit: int) -> None:
    values = latents(1, 8, 8)
    data = bytearray(png(packed_latents(values)))
    data[min(at, len(data) - 1)] ^= 1 << bit
    read = png_latents(bytes(data))
    assert read is None or torch.equal(read, values)


@pytest.mark.parametrize("cut", [0, 8, 33, 45, 200, 306])
def test_a_file_that_ends_early_has_none(cut: int) -> None:
    assert png_latents(png(packed_latents(latents(1, 8, 8)))[:cut]) is None


def test_a_chunk_with_another_checksum_is_passed_over() -> None:
    content = packed_latents(latents(1, 2, 2))
    whole = png(None)
    header = struct.pack(">I", len(content)) + CHUNK + content
    forged = whole[:33] + header + struct.pack(">I", zlib.crc32(content)) + whole[33:]
    assert png_latents(forged) is None


@pytest.mark.parametrize("values", [torch.zeros(2, 2), torch.full((1, 1, 1), float("nan"))])
def test_what_cannot_be_stored_is_refused(values: Tensor) -> None:
    with pytest.raises(ValueError, match="latents must be finite"):
        packed_latents(values)
