"""Read the texts that programs keep in an image file: text chunks of PNG, and fields of EXIF.

Bounded and tolerant: what is damaged or too long is passed over, the pixels are not looked at.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator

from mmh_core.formats.png_chunks import MOST_CHUNKS, png_chunks

#: Bytes of one text, unpacked; graphs of hundreds of nodes have some hundred thousand.
MOST_TEXT = 2**22
_DESCRIPTION, _MAKE, _MODEL, _EXIF_PART, _COMMENT = 0x010E, 0x010F, 0x0110, 0x8769, 0x9286


def png_texts(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield keywords and texts of a PNG (ISO/IEC 15948, 11.3.3), checksums not compared."""
    for chunk in png_chunks(data):
        text_chunk = chunk.type in (b"tEXt", b"zTXt", b"iTXt")
        if not text_chunk or chunk.length > MOST_TEXT or not chunk.complete:
            continue
        keyword, _, rest = data[chunk.start : chunk.start + chunk.length].partition(b"\0")
        text = _text_of(chunk.type, rest)
        if text is not None:
            yield keyword.decode("latin-1"), text


def _text_of(chunk_type: bytes, rest: bytes) -> str | None:
    """Return the text behind the keyword of a chunk, None where it is damaged or too long."""
    packed = chunk_type == b"zTXt"
    if packed:
        rest = rest[1:]
    elif chunk_type == b"iTXt":
        packed = rest[:1] != b"\0"
        parts = rest[2:].split(b"\0", 2)
        rest = parts[-1] if len(parts) == 3 else b""
    if packed:
        unpacker = zlib.decompressobj()
        try:
            rest = unpacker.decompress(rest, MOST_TEXT)
        except zlib.error:
            return None
        if unpacker.unconsumed_tail:
            return None
    try:
        # Many programs write UTF-8 where Latin-1 is meant.
        return rest.decode("utf-8")
    except UnicodeDecodeError:
        return rest.decode("latin-1")


def exif_texts(data: bytes) -> list[str]:
    """Return the texts in the EXIF of a JPEG, WebP or PNG that programs write prompts to."""
    exif = _exif_of(data)
    if not exif or len(exif) > MOST_TEXT:
        return []
    from PIL import Image

    fields: list[object] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directory = Image.Exif()
            directory.load(exif)
            fields.append(directory.get_ifd(_EXIF_PART).get(_COMMENT))
            fields += [directory.get(tag) for tag in (_MODEL, _MAKE, _DESCRIPTION)]
    # On damaged bytes Pillow raises almost anything; there is then no prompt to offer.
    except Exception:
        return []
    return [text for value in fields if (text := _field_text(value))]


def _exif_of(data: bytes) -> bytes:
    """Return the EXIF of a JPEG, WebP or PNG as it stands in the file, b"" for none."""
    if data.startswith(b"\xff\xd8"):
        return _exif_of_jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _exif_of_webp(data)
    exif = (data[c.start : c.start + c.length] for c in png_chunks(data) if c.type == b"eXIf")
    return next(exif, b"")


def _exif_of_webp(data: bytes) -> bytes:
    at = 12
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(data):
            break
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"EXIF":
            return data[at + 8 : at + 8 + length]
        # Chunks of RIFF begin at even bytes.
        at += 8 + length + length % 2
    return b""


def _exif_of_jpeg(data: bytes) -> bytes:
    at = 2
    for _ in range(MOST_CHUNKS):
        mark = data[at : at + 2]
        if len(mark) < 2 or mark[0] != 0xFF or mark[1] in (0xDA, 0xD9):
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if mark[1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return data[at + 10 : end]
        at = end
    return b""


def _field_text(value: object) -> str:
    """Return the text of a field of EXIF; of `UserComment` the first 8 bytes name its code."""
    if isinstance(value, str):
        return value
    if not isinstance(value, bytes):
        return ""
    code, rest = value[:8], value[8:]
    if code.startswith(b"UNICODE"):
        # The order of bytes is not said: of letters up to U+00FF the first or second is 0.
        big = rest[::2].count(0) >= rest[1::2].count(0)
        return rest.decode("utf-16-be" if big else "utf-16-le", "replace")
    has_code = code in (b"ASCII\0\0\0", bytes(8))
    return (rest if has_code else value).decode("utf-8", "replace")
