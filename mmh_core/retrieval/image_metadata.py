"""Take metadata out of an image file, so that nothing in it can be held for damage of the pixels.

What the pixels need stays: palette, transparency, the color transform of JPEG, and where EXIF or
XMP stand the orientation. The rest (profiles, workflows, comments, later frames) is not looked at.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from mmh_core.formats.png_chunks import SIGNATURE, png_chunks

#: An orientation in text stands in less (ISO/IEC 15948, 11.3.3; keywords of ImageMagick, Adobe).
MOST_TEXT = 2**16
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_ORIENTING = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


def pixels_only(data: bytes, form: str, *, oriented: bool = True) -> bytes:
    """Return an image file of this format without the metadata that its pixels do without.

    With `oriented` what may tell the orientation stays. A file that is cut or of a form that is
    not known is returned as it is: the decoder reports what is wrong with it.
    """
    strip = _STRIPPED.get(form)
    return data if strip is None else strip(data, oriented)


def _png(data: bytes, oriented: bool) -> bytes:
    """Keep the chunks of the first image; those of an animation are dropped with the rest."""
    parts, end = [SIGNATURE], len(SIGNATURE)
    for chunk in png_chunks(data, most=None):
        if not chunk.complete:
            break
        content = slice(chunk.start, chunk.start + chunk.length)
        if chunk.type in _NEEDED or (oriented and _orients(chunk.type, data[content])):
            parts.append(data[chunk.header : chunk.end])
        end = chunk.end
        if chunk.type == b"IEND":
            return b"".join(parts)
    return b"".join([*parts, data[end:]])


def _orients(chunk_type: bytes, content: bytes) -> bool:
    """Return whether a chunk of PNG may tell the orientation and is small, unpacked too."""
    if chunk_type == b"eXIf":
        return True
    if chunk_type not in (b"tEXt", b"zTXt", b"iTXt") or not content.startswith(_ORIENTING):
        return False
    if chunk_type == b"zTXt":
        unpacker = zlib.decompressobj()
        try:
            unpacker.decompress(content[content.find(b"\0") + 2 :], MOST_TEXT)
        except zlib.error:
            return False
        return not unpacker.unconsumed_tail
    packed = chunk_type == b"iTXt" and content[content.find(b"\0") + 1 :][:1] != b"\0"
    return len(content) <= MOST_TEXT and not packed


def _jpeg(data: bytes, oriented: bool) -> bytes:
    """Drop the segments before the first scan that libjpeg does not need (ITU-T T.81, B.1.1)."""
    parts, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (0x01, *range(0xD0, 0xDB)) or end > len(data):
            break
        content = data[at + 4 : end]
        application = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not application or _colors(marker, content) or (oriented and _turns(marker, content)):
            parts.append(data[at:end])
        at = end
    return b"".join([*parts, data[at:]])


def _colors(marker: int, content: bytes) -> bool:
    """Return whether a segment says how colors are stored, in the length that libjpeg asks for."""
    return (marker == 0xE0 and len(content) >= 14 and content.startswith(b"JFIF\0")) or (
        marker == 0xEE and len(content) >= 12 and content.startswith(b"Adobe")
    )


def _turns(marker: int, content: bytes) -> bool:
    return marker == 0xE1 and content.startswith((_EXIF, _XMP))


def _gif(data: bytes, oriented: bool) -> bytes:
    """Keep the first frame with its control block; comments and other frames are dropped."""
    if len(data) < 13:
        return data
    at = 13 + _table(data[10])
    head, control = data[:at], b""
    while at + 2 <= len(data):
        if data[at] == 0x2C and at + 10 <= len(data):
            end = _blocks(data, at + 11 + _table(data[at + 9]))
            return data if end is None else head + control + data[at:end] + b";"
        if data[at] != 0x21:
            return data
        after = _blocks(data, at + 2)
        if after is None:
            return data
        if data[at + 1] == 0xF9:
            control = data[at:after]
        at = after
    return data


def _table(packed: int) -> int:
    """Return the bytes of a color table in GIF, 0 without one."""
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _blocks(data: bytes, at: int) -> int | None:
    """Return where a chain of blocks ends, None where it is cut."""
    while at < len(data):
        if data[at] == 0:
            return at + 1
        at += data[at] + 1
    return None


def _avif(data: bytes, oriented: bool) -> bytes:
    """Rename the items of EXIF, whose damage stops the decoder; rotation does not stand there."""
    return data if oriented else re.sub(rb"(infe.{8})Exif", rb"\1free", data, flags=re.DOTALL)


_STRIPPED: dict[str, Callable[[bytes, bool], bytes]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "GIF": _gif,
    "AVIF": _avif,
}
