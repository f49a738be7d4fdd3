"""Images arrive with the right colors and the right way up, and hostile files as sentences."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmh_core.records import MMHError
from mmh_core.retrieval import images as images
from mmh_core.retrieval.images import FORMATS, read_image

QUADRANTS = np.zeros((8, 12, 3), dtype=np.uint8)
QUADRANTS[:4, :6] = (250, 10, 10)
QUADRANTS[:4, 6:] = (10, 250, 10)
QUADRANTS[4:, :6] = (10, 10, 250)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def levels(data: bytes | Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the image as (H, W, 3) in 0 to 255."""
    return read_image(data).permute(1, 2, 0).mul(255).numpy()


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP", "GIF", "TIFF"])
def test_lossless_formats_keep_every_byte(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    found = read_image(encoded(Image.fromarray(QUADRANTS), form, **options))
    assert found.dtype == torch.float32
    # 8-bit values over 255, exactly: division in float32 is correctly rounded.
    wanted = torch.from_numpy(QUADRANTS).permute(2, 0, 1).to(torch.float32) / 255
    assert torch.equal(found, wanted)


def test_a_jpeg_is_close_and_a_file_is_read_by_content_not_by_name(tmp_path: Path) -> None:
    flat = np.full((16, 16, 3), (200, 60, 90), dtype=np.uint8)
    path = tmp_path / "really-a-jpeg.png"
    path.write_bytes(encoded(Image.fromarray(flat), "JPEG", quality=95))
    # Two levels: what the transform between color spaces rounds off on a flat image.
    assert np.abs(levels(path) - flat).max() <= 2


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by 90 degrees clockwise.
    found = levels(encoded(Image.fromarray(QUADRANTS), "PNG", exif=exif))
    assert np.array_equal(found.round(), np.rot90(QUADRANTS, -1))


def test_transparency_is_laid_on_white() -> None:
    half_red = Image.new("RGBA", (2, 2), (255, 0, 0, 128))
    # 128 / 255 of red and 127 / 255 of white.
    assert np.abs(levels(encoded(half_red, "PNG")) - (255, 127, 127)).max() < 0.51
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert np.array_equal(levels(encoded(palette, "PNG", transparency=0)), np.full((2, 2, 3), 255))


def test_sixteen_bit_grays_are_scaled_and_not_clipped() -> None:
    ramp = np.array([[0, 257 * 40, 257 * 200, 65535]], dtype=np.uint16)
    found = levels(encoded(Image.fromarray(ramp), "PNG"))
    assert np.array_equal(found[0, :, 0].round(), [0, 40, 200, 255])


def test_of_an_animation_the_first_frame_counts() -> None:
    red, blue = Image.new("RGB", (4, 4), (255, 0, 0)), Image.new("RGB", (4, 4), (0, 0, 255))
    data = encoded(red, "GIF", save_all=True, append_images=[blue])
    assert np.array_equal(levels(data), np.full((4, 4, 3), (255, 0, 0)))


def test_a_bomb_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 20_000, 10_001, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header
    chunk += struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT"
    with pytest.raises(MMHError, match="larger than 200 million pixels"):
        read_image(bomb)
    small = encoded(Image.fromarray(QUADRANTS), "PNG")
    with pytest.raises(MMHError, match="make it smaller"):
        read_image(small, most_pixels=95)
    assert read_image(small, most_pixels=96).shape == (3, 8, 12)


def test_a_image_that_grows_when_its_short_edge_does_is_refused() -> None:
    assert read_image(encoded(Image.new("RGB", (80, 2)), "PNG")).shape == (3, 2, 80)
    for size in ((81, 2), (2, 81)):
        with pytest.raises(MMHError, match="more than 40 times as long as wide"):
            read_image(encoded(Image.new("RGB", size), "PNG"))


def test_a_file_of_too_many_bytes_is_not_read(
    tmp_path: Path,
) -> None:
    data = encoded(Image.fromarray(QUADRANTS), "BMP")
    (tmp_path / "x.bmp").write_bytes(data)
    for source in (data, tmp_path / "x.bmp"):
        with pytest.raises(MMHError, match="larger than"):
            read_image(source, most_bytes=len(data) - 1)
        assert read_image(source, most_bytes=len(data)).shape == (3, 8, 12)


def test_what_is_no_image_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("hello")
    with pytest.raises(MMHError, match=r"note\.png has the name of an image and is a text file"):
        read_image(tmp_path / "note.png")
    with pytest.raises(MMHError, match="is a Netpbm image, which is not decoded here: convert it"):
        read_image(encoded(Image.fromarray(QUADRANTS), "PPM"))
    with pytest.raises(MMHError, match="is an empty file, no image"):
        read_image(b"")
    with pytest.raises(MMHError, match="no file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(MMHError, match="not a file"):
        read_image(tmp_path)
    with pytest.raises(MMHError, match=r"cannot be read .*too long"):
        read_image(tmp_path / ("x" * 300 + ".png"))
    (tmp_path / "self.png").symlink_to("self.png")
    with pytest.raises(MMHError, match="no file"):
        read_image(tmp_path / "self.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(MMHError, match="not a file"):
        read_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("form", FORMATS)
def test_cut_files_never_pass_for_whole_ones(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), form)
    for length in (0, 1, 10, len(data) // 4, len(data) // 2, 3 * len(data) // 4):
        with pytest.raises(MMHError, match=r"truncated or damaged|no image"):
            read_image(data[:length])


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_bytes_give_a_image_or_a_sentence_and_nothing_else(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), form)
    random, refused = np.random.default_rng(1), 0
    for _ in range(100):
        broken = bytearray(data)
        for place in random.integers(0, min(len(data), 200), 4):
            broken[place] = random.integers(256)
        try:
            found = read_image(bytes(broken))
        except MMHError:
            refused += 1
        else:
            assert torch.equal(found, found.clamp(0, 1))
    assert refused
