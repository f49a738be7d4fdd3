"""Decode an image file into upright RGB, reduced where it is large, in bounded memory."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmh_core.records import MMHError
from mmh_core.retrieval.image_metadata import pixels_only

if TYPE_CHECKING:
    from PIL import Image, ImageFile

Pixels = NDArray[np.uint8]

#: Beyond so many pixels an image is reduced: 400 MB as float32.
READ_PIXELS = 2**25
#: Pixels converted at a time.
BAND_PIXELS = 2**22
_ORIENTATION = 0x0112
_BITS = 258


def decoded(
    data: bytes,
    form: str,
    check: Callable[[tuple[int, int]], None],
    *,
    largest: int = READ_PIXELS,
    band: int = BAND_PIXELS,
) -> Pixels:
    """Return the first frame (H, W, 3) of an image file of this format.

    `check` is given the width and the height of the header before anything is decoded, and raises
    where they are too large. Metadata is not looked at, but for an orientation. Above `largest`
    pixels an image is reduced by a whole factor: JPEG by libjpeg while decoding (by 2, 4 or 8),
    others as means of squares of pixels, in bands of about `band` pixels; peak memory is the file,
    its pixels at 4 bytes each (four times that for WebP and AVIF), and the result.

    Errors: what `check` raises; on damaged bytes almost anything (OSError, SyntaxError, ...).
    """
    stripped = pixels_only(data, form)
    try:
        return _decoded(stripped, form, check, largest, band)
    except MMHError:
        raise
    except Exception:
        # An orientation may be what is broken.
        bare = pixels_only(data, form, oriented=False)
        if bare == stripped:
            raise
    return _decoded(bare, form, check, largest, band)


def _decoded(
    data: bytes, form: str, check: Callable[[tuple[int, int]], None], largest: int, band: int
) -> Pixels:
    with _opened(io.BytesIO(data), form) as image:
        check(image.size)
        _draft(image, largest)
        image.load()
        # Asked after loading: TIFF has been turned by then.
        orientation = _orientation(image)
        factor = math.isqrt(math.ceil(image.width * image.height / largest) - 1) + 1
        return _turned(np.concatenate(list(_bands(image, factor, band))), orientation)


def _opened(file: io.BytesIO, form: str) -> ImageFile.ImageFile:
    """Open a file by the plugin of its format: what others make of it is of no interest.

    Not `Image.open`, whose own bound is smaller than that of callers; WebP and TIFF keep it.
    """
    from PIL import (
        AvifImagePlugin,
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    plugins: dict[str, type[ImageFile.ImageFile]] = {
        "PNG": PngImagePlugin.PngImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "WEBP": WebPImagePlugin.WebPImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "AVIF": AvifImagePlugin.AvifImageFile,
    }
    return plugins[form](file, "")


def _draft(image: ImageFile.ImageFile, largest: int) -> None:
    """Let libjpeg decode a large JPEG at a half, a quarter or an eighth of its size."""
    pixels = image.width * image.height
    if image.format == "JPEG" and pixels > largest:
        scale = next((s for s in (2, 4) if pixels <= largest * s * s), 8)
        image.draft(image.mode, (image.width // scale, image.height // scale))


def _orientation(image: ImageFile.ImageFile) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    # EXIF that is broken in whatever way says nothing.
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """Return an image (H, W, 3) upright, by the table of EXIF 2.3, tag 274."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    mirrored = orientation in (2, 3, 6, 7)
    upside_down = orientation in (3, 4, 7, 8)
    return np.ascontiguousarray(pixels[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def _bands(image: ImageFile.ImageFile, factor: int, pixels: int) -> Iterator[Pixels]:
    """Yield an image from top to bottom as RGB, reduced by a factor, so many pixels at a time."""
    convert = _conversion(image)
    rows = max(1, pixels // (image.width * factor)) * factor
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        whole = bottom - top == image.height
        band = image if whole else image.crop((0, top, image.width, bottom))
        rgb = convert(band)
        yield np.asarray(rgb.reduce(factor) if factor > 1 else rgb)


def _conversion(image: ImageFile.ImageFile) -> Callable[[Image.Image], Image.Image]:
    """Return what makes RGB of a band of an image, by the mode and the range of all its pixels."""
    if image.mode.startswith("I") or image.mode == "F":
        scale = _scale(image)
        opaque = image.info.get("transparency")
        return lambda band: _from_numbers(np.asarray(band), scale, opaque)
    if image.has_transparency_data:
        return _on_white
    return lambda band: band.convert("RGB")


def _scale(image: ImageFile.ImageFile) -> float:
    """Return by what numbers beyond 8 bits are divided to be at most 255.

    Integers by the range of their bits; float numbers not at all, or, all within 1, by 1/255.
    """
    if image.mode == "F":
        extrema: Any = image.getextrema()
        return 1 / 255 if max(abs(value) for value in extrema) <= 1 else 1.0
    if image.mode == "I":
        extrema = image.getextrema()
        return 257.0 if extrema[1] < 2**16 else (2**32 - 1) / 255
    bits = getattr(image, "tag_v2", {}).get(_BITS, (16,))
    return 4095 / 255 if bits in (12, (12,)) else 257.0


def _from_numbers(numbers: NDArray[Any], scale: float, transparent: object) -> Image.Image:
    """Return gray numbers scaled to 8 bits, not clipped as Pillow would; one may be no color."""
    from PIL import Image

    levels = np.nan_to_num(numbers.astype(np.float32) / np.float32(scale))
    gray = levels.round().clip(0, 255).astype(np.uint8)
    if isinstance(transparent, int):
        gray[numbers == transparent] = 255
    return Image.fromarray(gray).convert("RGB")


def _on_white(band: Image.Image) -> Image.Image:
    from PIL import Image

    # Pillow unpacks multiplied transparency in two steps only.
    plain = band.convert("LA") if band.mode == "La" else band
    colored = plain.convert("RGBA")
    white = Image.new("RGBA", colored.size, "white")
    return Image.alpha_composite(white, colored).convert("RGB")
