"""Open a zip file that may be damaged or hostile: a bounded list of entries of known kinds."""

from __future__ import annotations

import struct
import zlib
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

#: What the zip reader and zlib raise on damaged or hostile bytes.
DAMAGE = (
    *(BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError),
    *(NotImplementedError, RecursionError, OverflowError),
)
#: Bytes of the end record, and of the zip64 record and its locator before it.
_END, _TAIL = 22, 98
_ENCRYPTED = 1


def check_directory(file: IO[bytes], most_entries: int, most_bytes: int) -> None:
    """Refuse a list of entries that is too long to be read at all (PKWARE's appnote, 4.3.14).

    Errors: ValueError with what is wrong.
    """
    file.seek(0, 2)
    file.seek(max(0, file.tell() - _TAIL))
    tail = file.read(_TAIL)
    file.seek(0)
    end = tail[-_END:]
    if len(end) < _END or end[:4] != b"PK\x05\x06":
        raise ValueError("it does not end like a zip file")
    entries, size = struct.unpack("<HI", end[10:16])
    if tail[-42:-38] == b"PK\x06\x07":
        if tail[:4] != b"PK\x06\x06":
            raise ValueError("its end is damaged")
        entries, size = struct.unpack("<QQ", tail[32:48])
    if entries > most_entries or size > most_bytes:
        raise ValueError(f"it lists {entries:,} entries, more than {most_entries:,}")


def checked_entries(archive: ZipFile) -> list[ZipInfo]:
    """Return the entries of a zip file, each once and packed in a way that is read here.

    Errors: ValueError with what is wrong.
    """
    infos = archive.infolist()
    if len({info.filename for info in infos}) != len(infos):
        raise ValueError("an entry is there twice")
    for info in infos:
        if info.flag_bits & _ENCRYPTED or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise ValueError(f"{info.filename[:80]!r} is packed in another way")
    return infos
