"""Pixels come out right whatever the mode, the metadata and the size of the file."""

from __future__ import annotations

import io
import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from mmh_core.records import MMHError
from mmh_core.retrieval.image_decoding import decoded
from mmh_core.retrieval.image_metadata import pixels_only
from mmh_core.retrieval.images import read_image

Levels = NDArray[np.float32]

#: An L whose eight orientations differ, in blocks of 16 pixels so that JPEG keeps it.
CORNERS = np.full((32, 48, 3), 255, dtype=np.uint8)
CORNERS[:16, :16] = (200, 0, 0)
CORNERS[16:, 16:32] = (0, 0, 200)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def levels(data: bytes) -> Levels:
    """Return an image as (H, W, 3) in 0 to 255."""
    return read_image(data).permute(1, 2, 0).mul(255).numpy()


def of_any_size(size: tuple[int, int]) -> None:
    """Refuse no image for its size."""


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def with_chunks(data: bytes, *chunks: bytes, after: bool = False) -> bytes:
    """Return a PNG with more chunks, behind IHDR or before IEND."""
    place = len(data) - 12 if after else 33
    return data[:place] + b"".join(chunks) + data[place:]


def with_segments(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """Return a JPEG with more segments behind its first two bytes."""
    parts = [struct.pack(">BBH", 0xFF, mark, len(body) + 2) + body for mark, body in segments]
    return data[:2] + b"".join(parts) + data[2:]


def png(**options: object) -> bytes:
    return encoded(Image.fromarray(CORNERS), "PNG", **options)


def jpeg(**options: object) -> bytes:
    return encoded(Image.fromarray(CORNERS), "JPEG", quality=98, subsampling=0, **options)


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


#: What each orientation of EXIF asks for, as operations on (H, W, 3).
UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: np.rot90(x, 2),
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
def test_an_image_stands_upright(form: str, orientation: int) -> None:
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}
    options |= {"AVIF": {"quality": 98, "subsampling": "4:4:4"}}
    image = Image.fromarray(CORNERS)
    found = levels(encoded(image, form, exif=exif_of(orientation), **options.get(form, {})))
    wanted = UPRIGHT[orientation](CORNERS)
    assert found.shape == wanted.shape
    # JPEG and AVIF at this quality keep flat blocks to a few levels.
    assert np.abs(found - wanted).max() <= (12 if form in ("JPEG", "AVIF") else 0.01)


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(form: str) -> None:
    wide = RAMP.astype(np.uint16) * 257
    found = levels(encoded(Image.fromarray(wide), form))
    assert np.array_equal(found.round(), np.repeat(RAMP[..., None], 3, 2))


def test_float_and_long_numbers_are_scaled_by_their_range() -> None:
    wanted = np.repeat(RAMP[..., None], 3, 2)
    unit = Image.fromarray(RAMP.astype(np.float32) / 255)
    assert np.array_equal(levels(encoded(unit, "TIFF")).round(), wanted)
    byte = Image.fromarray(RAMP.astype(np.float32))
    assert np.array_equal(levels(encoded(byte, "TIFF")).round(), wanted)
    for factor in (257, 2**24 + 2**16 + 2**8 + 1):
        long = (RAMP.astype(np.int64) // 2 * factor).astype(np.int32)
        found = levels(encoded(Image.fromarray(long), "TIFF")).round()
        assert np.array_equal(found, np.repeat(RAMP[..., None] // 2, 3, 2)), factor


def test_not_a_number_is_a_number_of_an_image() -> None:
    broken = RAMP.astype(np.float32) / 255
    broken[0] = np.nan
    found = levels(encoded(Image.fromarray(broken), "TIFF")).round()
    assert (found[0] == 0).all()


@pytest.mark.parametrize(
    ("mode", "color", "form", "wanted"),
    [
        ("1", 1, "PNG", (255, 255, 255)),
        ("1", 0, "TIFF", (0, 0, 0)),
        ("L", 77, "PNG", (77, 77, 77)),
        ("L", 77, "JPEG", (77, 77, 77)),
        ("L", 77, "BMP", (77, 77, 77)),
        ("LA", (0, 128), "PNG", (127, 127, 127)),
        ("LA", (0, 128), "TIFF", (127, 127, 127)),
        ("RGBA", (255, 0, 0, 0), "PNG", (255, 255, 255)),
        ("RGBA", (255, 0, 0, 128), "TIFF", (255, 127, 127)),
        ("RGBA", (255, 0, 0, 128), "WEBP", (255, 127, 127)),
        ("RGBA", (255, 0, 0, 128), "AVIF", (255, 127, 127)),
        # 255 - 51 of ink in each, and no black.
        ("CMYK", (51, 102, 153, 0), "JPEG", (204, 153, 102)),
        ("CMYK", (51, 102, 153, 0), "TIFF", (204, 153, 102)),
        ("YCbCr", (77, 128, 128), "JPEG", (77, 77, 77)),
    ],
)
def test_colors_of_every_mode_arrive(
    mode: str, color: int | tuple[int, ...], form: str, wanted: tuple[int, int, int]
) -> None:
    options = {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}}
    options |= {"AVIF": {"quality": 100, "subsampling": "4:4:4"}}
    image = Image.new(mode, (16, 16), color)
    found = levels(encoded(image, form, **options.get(form, {})))
    # Lossy formats move a flat color by a level or two.
    assert np.abs(found - wanted).max() <= (3 if form in ("JPEG", "AVIF") else 0.51)


def test_palettes_may_be_transparent() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 0)
    for form in ("PNG", "GIF"):
        found = levels(encoded(image, form, transparency=0))
        assert found[0, 0].tolist() == [255, 255, 255], form
        assert found[1, 1].round().tolist() == [40, 50, 60], form
    # One opacity for each color of the palette.
    half = levels(encoded(image, "PNG", transparency=bytes([0, 51])))
    assert np.abs(half[1, 1] - (212, 214, 216)).max() <= 0.51


def test_one_gray_of_sixteen_bits_may_be_transparent() -> None:
    wide = np.array([[0, 257 * 100]], dtype=np.uint16)
    data = with_chunks(encoded(Image.fromarray(wide), "PNG"), chunk(b"tRNS", b"\0\0"))
    assert levels(data)[0, :, 0].round().tolist() == [255, 100]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_the_first_frame_counts(form: str) -> None:
    red, blue = (Image.new("RGB", (16, 16), color) for color in ((255, 0, 0), (0, 0, 255)))
    data = encoded(red, form, save_all=True, append_images=[blue, blue])
    assert np.abs(levels(data) - (255, 0, 0)).max() <= 3


HUGE = b"x" * (3 * 2**20)
PACKED = zlib.compress(HUGE, 9)
BOMB = zlib.compress(bytes(2**27), 9)
#: A directory of EXIF that is its own part.
CIRCLE = b"II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\0\0\0\0"
#: Chunks that no pixel needs, each of which stops or fills a decoder that believes them.
CHUNKS = {
    "large profile": chunk(b"iCCP", b"a\0\0" + PACKED),
    "profile bomb": chunk(b"iCCP", b"a\0\0" + BOMB),
    "profile packed another way": chunk(b"iCCP", b"a\0\7" + PACKED),
    "profile without method": chunk(b"iCCP", b"a\0"),
    "large packed text": chunk(b"zTXt", b"workflow\0\0" + PACKED),
    "text bomb": chunk(b"zTXt", b"prompt\0\0" + BOMB),
    "text packed another way": chunk(b"zTXt", b"a\0\7" + PACKED),
    "empty packed text": chunk(b"zTXt", b"a"),
    "large international text": chunk(b"iTXt", b"prompt\0\1\0\0\0" + PACKED),
    "international text cut": chunk(b"iTXt", b"prompt\0\1"),
    "large text": chunk(b"tEXt", b"parameters\0" + HUGE),
    "70 MB of text": chunk(b"tEXt", b"prompt\0" + bytes(70 * 2**20)),
    "XMP bomb": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
    "XMP of 5 MB": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<" * (5 * 2**20)),
    "EXIF in text, a bomb": chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB),
    "EXIF in text, no number": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nzzzz"),
    "broken EXIF": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
    "EXIF in a circle": chunk(b"eXIf", CIRCLE),
    "EXIF of noise": chunk(b"eXIf", bytes(range(256)) * 40),
    "gamma cut": chunk(b"gAMA", b"\0"),
    "chromaticities cut": chunk(b"cHRM", b"\0"),
    "intent cut": chunk(b"sRGB", b""),
    "resolution cut": chunk(b"pHYs", b"\0"),
    "animation of no frames": chunk(b"acTL", bytes(8)),
    "frame control cut": chunk(b"fcTL", b"\0"),
    "private": chunk(b"prVt", b"\0"),
    "wrong checksum": chunk(b"tEXt", b"a\0b")[:-4] + b"\0\0\0\0",
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", sorted(CHUNKS))
def test_metadata_of_png_is_no_damage(name: str, after: bool) -> None:
    data = with_chunks(png(), CHUNKS[name], after=after)
    tracemalloc.start()
    try:
        found = levels(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(found.round(), CORNERS)
    # Nothing is unpacked beyond a bound; what stands in the file unpacked may be copied.
    assert peak < 2 * len(data) + 2**22


def test_an_orientation_holds_beside_any_other_metadata() -> None:
    data = with_chunks(png(exif=exif_of(6)), CHUNKS["large profile"], CHUNKS["text bomb"])
    assert np.array_equal(levels(data).round(), UPRIGHT[6](CORNERS))
    note = PngImagePlugin.PngInfo()
    note.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="8"/>')
    assert np.array_equal(levels(png(pnginfo=note)).round(), UPRIGHT[8](CORNERS))
    both = with_segments(jpeg(exif=exif_of(3)), (0xE2, b"ICC_PROFILE\0\xff\0" + bytes(60_000)))
    assert np.abs(levels(both) - UPRIGHT[3](CORNERS)).max() <= 12


SEGMENTS = {
    "broken EXIF": (0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "EXIF of one byte": (0xE1, b"Exif\0\0I"),
    "EXIF of noise": (0xE1, b"Exif\0\0" + bytes(range(256)) * 200),
    "EXIF in a circle": (
        0xE1,
        b"Exif\0\0" + CIRCLE,
    ),
    "XMP": (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<" * 60_000),
    "profile of no number": (0xE2, b"ICC_PROFILE\0"),
    "profile, part 9 of 2": (0xE2, b"ICC_PROFILE\0\x09\x02" + bytes(60_000)),
    "further images that are not there": (0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
    "Photoshop cut": (0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x10\1"),
    "FlashPix": (0xE2, b"FPXR\0"),
    "JFIF cut": (0xE0, b"JFIF"),
    "Adobe cut": (0xEE, b"Adobe"),
    "comment": (0xFE, b"\xff\xd9" * 1000),
    "empty": (0xEB, b""),
}


@pytest.mark.parametrize("times", [1, 300])
@pytest.mark.parametrize("name", sorted(SEGMENTS))
def test_metadata_of_jpeg_is_no_damage(name: str, times: int) -> None:
    data = with_segments(jpeg(), *[SEGMENTS[name]] * times)
    assert np.abs(levels(data) - CORNERS).max() <= 12


def test_broken_metadata_of_other_formats_is_no_damage() -> None:
    image = Image.fromarray(CORNERS)
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + bytes(range(256))):
        data = encoded(image, "WEBP", lossless=True, exif=exif, xmp=b"<" * 2**20)
        assert np.array_equal(levels(data).round(), CORNERS)
    exif = Image.Exif()
    exif[0x010E] = "a description"
    good = encoded(image, "AVIF", quality=98, subsampling="4:4:4", exif=exif.tobytes())
    broken = re.sub(rb"II\*\0|MM\0\*", b"\xff\xff\xff\xff", good)
    assert broken != good
    assert np.abs(levels(broken) - CORNERS).max() <= 12


def test_of_a_gif_only_the_first_frame_is_looked_at() -> None:
    red, blue = (Image.new("RGB", (16, 16), color) for color in ((255, 0, 0), (0, 0, 255)))
    data = encoded(red, "GIF", save_all=True, append_images=[blue])
    # A comment of 20 MB, which would be joined block by block.
    comment = b"\x21\xfe" + (b"\xff" + bytes(255)) * 80_000 + b"\0"
    place = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    assert np.array_equal(levels(data[:place] + comment + data[place:])[0, 0], (255, 0, 0))
    assert np.array_equal(levels(data[:-20])[0, 0], (255, 0, 0))
    assert len(pixels_only(data, "GIF")) < len(data)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "AVIF"])
def test_a_large_image_is_reduced_and_keeps_its_place(form: str) -> None:
    whole = Image.fromarray(CORNERS).resize((480, 320), Image.Resampling.NEAREST)
    options = {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}}
    data = encoded(whole, form, **options.get(form, {}))
    found = decoded(data, form, of_any_size, largest=480 * 320 // 12, band=480 * 20)
    assert found.shape[:2] == (80, 120)
    # Away from the edges of the blocks colors are what they were.
    wanted = np.asarray(whole)[2::4, 2::4].astype(np.float32)
    inner = np.ones(found.shape[:2], dtype=bool)
    inner[36:44] = inner[:, 36:44] = inner[:, 76:84] = False
    assert np.abs(found - wanted)[inner].max() <= (10 if form in ("JPEG", "AVIF") else 0.51)


def test_means_over_squares_are_means() -> None:
    random = np.random.default_rng(0).integers(0, 256, (31, 50, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(random), "PNG")
    found = decoded(data, "PNG", of_any_size, largest=31 * 50 // 4 + 1, band=50 * 4)
    assert found.shape == (16, 25, 3)
    means = random[:30].reshape(15, 2, 25, 2, 3).mean(axis=(1, 3))
    # Rounded to a level.
    assert np.abs(found[:15] - means).max() <= 0.51


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "I;16", "1", "CMYK"])
def test_bands_are_the_image(mode: str) -> None:
    random = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(random.astype(np.uint16) * 200)
    else:
        image = Image.fromarray(random).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(random))
    form = "TIFF" if mode == "CMYK" else "PNG"
    data = encoded(image, form)
    whole = decoded(data, form, of_any_size)
    assert np.array_equal(decoded(data, form, of_any_size, band=70), whole)
    assert whole.std() > 10


def test_a_photograph_of_two_hundred_megapixels_is_read() -> None:
    # As phones write it: 16,320 x 12,240. Of one color, so that making it takes a second.
    data = encoded(Image.new("L", (16_320, 12_240), 99), "JPEG")
    found = read_image(data)
    assert tuple(found.shape) == (3, 3_060, 4_080)
    assert (found * 255).round().unique().tolist() == [99]


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    for size in ((20_000, 10_001), (60_000, 60_000), (2**31 - 1, 2**31 - 1)):
        data = bytearray(png())
        data[16:24] = struct.pack(">II", *size)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        with pytest.raises(MMHError, match="larger than 200 million pixels"):
            read_image(bytes(data))


def test_the_smaller_bound_of_webp_and_tiff_is_said() -> None:
    # A canvas of 14,000 x 14,000 in the header of a WebP, and a TIFF of one such strip.
    side = (14_000 - 1).to_bytes(3, "little")
    webp = bytearray(encoded(Image.new("RGBA", (4, 4)), "WEBP", exif=exif_of(2)))
    assert webp[12:16] == b"VP8X"
    webp[24:30] = side + side
    tiff = encoded(Image.new("L", (14_000, 14_000)), "TIFF", compression="tiff_deflate")
    for data in (bytes(webp), tiff):
        with pytest.raises(MMHError, match="larger than 178 million pixels"):
            read_image(data)
