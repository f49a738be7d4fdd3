"""What a file is by its first bytes: an image that is decoded here, or another format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

#: So many of the first bytes decide.
HEAD = 4096
#: What is decoded here, by Pillow's names.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
#: For sentences.
NAMED = "PNG, JPEG, WebP, BMP, GIF, TIFF or AVIF"
#: Names that promise an image, whatever the content is.
SUFFIXES = frozenset(
    [
        ".apng",
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".heic",
        ".heif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
_TABLES = frozenset(
    [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".xml", ".yaml", ".yml"]
)
#: Kinds of images that have no first bytes of their own.
_UNMARKED = {
    ".tga": "Targa image",
    ".pcx": "PCX image",
    **dict.fromkeys((".raw", ".pef", ".srw", ".x3f", ".3fr", ".iiq", ".kdc"), "camera raw image"),
}
_CONVERT = f"which is not decoded here: convert it to {NAMED}"
_ELSE = "leave it out or restore it from its source"
#: First bytes, where they stand, what the file is, and whether that is an image.
_OTHER: tuple[tuple[bytes, int, str, bool], ...] = (
    (b"\xff\x0a", 0, "JPEG XL image", True),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", 0, "JPEG XL image", True),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", 0, "JPEG 2000 image", True),
    (b"\xff\x4f\xff\x51", 0, "JPEG 2000 image", True),
    (b"8BPS", 0, "Photoshop image", True),
    (b"gimp xcf", 0, "GIMP image", True),
    (b"\x76\x2f\x31\x01", 0, "OpenEXR image", True),
    (b"#?RADIANCE", 0, "Radiance image", True),
    (b"qoif", 0, "QOI image", True),
    (b"DDS ", 0, "DDS image", True),
    (b"SIMPLE  =", 0, "FITS image", True),
    (b"\x00\x00\x01\x00", 0, "icon", True),
    (b"CR", 8, "camera raw image", True),
    (b"FUJIFILMCCD-RAW", 0, "camera raw image", True),
    (b"IIRO", 0, "camera raw image", True),
    (b"IIU\x00", 0, "camera raw image", True),
    (b"%PDF", 0, "PDF document", False),
    (b"%!PS", 0, "PostScript document", False),
    (b"PK\x03\x04", 0, "archive", False),
    (b"\x1f\x8b", 0, "archive", False),
    (b"Rar!", 0, "archive", False),
    (b"7z\xbc\xaf\x27\x1c", 0, "archive", False),
    (b"BZh", 0, "archive", False),
    (b"\xfd7zXZ\x00", 0, "archive", False),
    (b"\x28\xb5\x2f\xfd", 0, "archive", False),
    (b"ustar", 257, "archive", False),
    (b"PAR1", 0, "table", False),
    (b"ARROW1", 0, "table", False),
    (b"SQLite format 3\x00", 0, "table", False),
    (b"\x93NUMPY", 0, "array file", False),
    (b"\x89HDF", 0, "array file", False),
    (b"\x1aE\xdf\xa3", 0, "video", False),
    (b"AVI ", 8, "video", False),
)
_HEIF = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_BITMAP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))


@dataclass(frozen=True)
class FileContent:
    """The content of a file, by its first bytes.

    `format` is Pillow's name of what is decoded here, else "". `kind` is what to call the file,
    `image` whether it is one or its name promises one, `reason` why it is not read and what to do.
    """

    format: str
    kind: str
    image: bool
    reason: str


def content_of(head: bytes, name: str = "") -> FileContent:
    """Return what a file with these first HEAD bytes is; its name only promises."""
    if form := _decoded(head):
        return FileContent(form, f"{form} image", True, "")
    suffix = PurePath(name).suffix.lower()
    promised = suffix in SUFFIXES
    kind, image = _kind(head, suffix)
    if image:
        return FileContent("", kind, True, f"is {_article(kind)}, {_CONVERT}")
    if promised:
        problem = "is empty" if not head else f"has the name of an image and is {_article(kind)}"
        step = "fetch it by `git lfs pull`" if kind == "Git LFS pointer" else _ELSE
        return FileContent("", "damaged image", True, f"{problem}: {step}")
    if kind in ("archive", "table"):
        return FileContent(
            "", kind, False, f"is {_article(kind)}, which is not looked into: unpack it"
        )
    return FileContent("", kind, False, f"is {_article(kind)}, no image")


def _decoded(head: bytes) -> str:
    """Return the format of an image that is decoded here, "" for anything else."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    # Two letters begin many a text: the length of the second header tells.
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS:
        return "BMP"
    tiff = head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
    if tiff and head[8:10] != b"CR" and not _is_preview(head):
        return "TIFF"
    if head[4:8] == b"ftyp" and {b"avif", b"avis"} & _brands(head):
        return "AVIF"
    return ""


def _kind(head: bytes, suffix: str) -> tuple[str, bool]:
    """Return what to call a file that is not decoded here, and whether it is an image."""
    if not head:
        return "empty file", False
    if head[4:12] == b"ftypcrx ":
        return "camera raw image", True
    if head[4:8] == b"ftyp":
        return ("HEIC image", True) if _HEIF & _brands(head) else ("video", False)
    if _is_preview(head):
        return "camera raw image", True
    for start, offset, kind, image in _OTHER:
        if head.startswith(start, offset):
            return kind, image
    if re.match(rb"P[1-7]\s", head):
        return "Netpbm image", True
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if begin.startswith((b"<svg", b"<?xml")) and (b"<svg" in head or suffix == ".svg"):
        return "SVG drawing", True
    if begin.startswith((b"<!doctype html", b"<html", b"<head")):
        return "web page", False
    if head.startswith(b"version https://git-lfs"):
        return "Git LFS pointer", False
    if _is_text(head):
        return ("table or metadata file" if suffix in _TABLES else "text file"), False
    unmarked = _UNMARKED.get(suffix)
    return (unmarked, True) if unmarked else ("unknown file", False)


def _brands(head: bytes) -> set[bytes]:
    """Return the brands in the first box of an ISO base media file (ISO/IEC 14496-12, 4.3)."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}


def _is_preview(head: bytes) -> bool:
    """Return whether a TIFF begins with a reduced image, as camera raw files do (tag 254)."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(head[:4])
    if order is None:
        return False
    big = order == "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], "big" if big else "little")

    start = number(4, 4)
    for at in range(start + 2, start + 2 + 12 * number(start, 2), 12):
        if at + 12 > len(head):
            return False
        if number(at, 2) == 254:
            return number(at + 8, 4) & 1 == 1
    return False


def _is_text(head: bytes) -> bool:
    """Return whether bytes are text in UTF-8, or in UTF-16 with a mark."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    if b"\0" in head:
        return False
    try:
        # A character may be cut at the end.
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and len(head) >= HEAD
    return True


def _article(kind: str) -> str:
    vowel = kind.startswith(("a", "e", "i", "o", "u", "O", "SVG"))
    return f"{'an' if vowel else 'a'} {kind}"
