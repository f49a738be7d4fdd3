"""The chunks of a PNG file (ISO/IEC 15948, 5.3), walked without a look at the pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Chunks that are looked at for texts; large images have some thousand.
MOST_CHUNKS = 2**14
_HEADER, _CHECKSUM = 8, 4


@dataclass(frozen=True, slots=True)
class PngChunk:
    """One chunk as its header states it: its content is `data[start : start + length]`.

    `complete` is whether the file holds all of it, the checksum behind the content included.
    """

    type: bytes
    start: int
    length: int
    complete: bool

    @property
    def header(self) -> int:
        """Return where the chunk begins."""
        return self.start - _HEADER

    @property
    def end(self) -> int:
        """Return where the next chunk begins."""
        return self.start + self.length + _CHECKSUM


def png_chunks(data: bytes, most: int | None = MOST_CHUNKS) -> Iterator[PngChunk]:
    """Yield the chunks in order up to IEND, none where the bytes are no PNG.

    The walk ends after `most` chunks, or where no header fits any more. Checksums are not
    compared.
    """
    if not data.startswith(SIGNATURE):
        return
    at = len(SIGNATURE)
    for _ in count() if most is None else range(most):
        if at + _HEADER > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + _HEADER + length + _CHECKSUM
        yield PngChunk(name, at + _HEADER, length, end <= len(data))
        if name == b"IEND":
            return
        at = end
