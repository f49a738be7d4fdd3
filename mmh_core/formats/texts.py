"""The lines of a text in any encoding of Unicode, in bounded memory, and what a text may hold."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from mmh_core.records import MMHError

#: Characters of one line; a longer one is cut. What is left has a cell that is too long, too few
#: cells or an open quotation mark, so that the row is refused.
MAX_LINE = 2**20
#: How a table becomes UTF-8, the end of a sentence.
SAVE_IN_UTF8 = "save the table in UTF-8 (in a spreadsheet: as CSV UTF-8)"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def short(text: str, most: int, *, end: bool = False) -> str:
    """Return a text in one line of at most `most` characters: its start, or its end."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    return f"...{line[3 - most :]}" if end else f"{line[: most - 3]}..."


def encoding_of(start: bytes) -> str:
    """Return the encoding of a text by its first four bytes: by its mark or its zeros."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    zeros = [byte == 0 for byte in start[:4]]
    unmarked: dict[tuple[bool, ...], str] = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    return unmarked.get(tuple(zeros), "utf-8")


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines with their ends; bytes that are not UTF-8 become U+DC80 to U+DCFF.

    Texts in UTF-16 and UTF-32 are read as such. A line longer than MAX_LINE is cut to that length.
    Errors: MMHError for UTF-16 and UTF-32 that are cut off or damaged.
    """
    with path.open("rb") as file:
        encoding = encoding_of(file.read(4))
    errors = "surrogateescape" if encoding.startswith("utf-8") else "surrogatepass"
    try:
        with path.open(encoding=encoding, errors=errors, newline="") as file:
            while line := file.readline(MAX_LINE):
                if not line.endswith(("\n", "\r")):
                    while (rest := file.readline(MAX_LINE)) and not rest.endswith(("\n", "\r")):
                        continue
                yield line
    except UnicodeError as error:
        raise MMHError(
            f"{path.name} looks like {encoding.upper()} and cannot be read as such: "
            f"{SAVE_IN_UTF8}."
        ) from error


def is_blank(text: str) -> bool:
    """Return whether nothing of a text can be seen: white space, and letters without a width."""
    return all(unicodedata.category(letter) in _UNSEEN for letter in text)


_UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf")


def check_text(text: str, name: str) -> None:
    """Raise MMHError for characters that no tokenizer, file or page can show."""
    for letter in text:
        if unicodedata.category(letter) == "Cs":
            raise MMHError(
                f"The {name} holds half of a character (U+{ord(letter):04X}): write it whole or "
                "remove it."
            )
        if letter not in "\t\n\r" and unicodedata.category(letter) == "Cc":
            raise MMHError(
                f"The {name} holds the control character U+{ord(letter):04X}: remove it."
            )


def half_character(text: str) -> str:
    """Return in half a sentence why a text is no Unicode, "" where it is.

    The decoder marks bytes that it could not read as U+DC80 to U+DCFF; other halves of a pair of
    surrogates are written so in escapes of JSON, by whatever cut a text within an emoji.
    """
    for letter in text:
        if "\udc80" <= letter <= "\udcff":
            return f"is not in UTF-8: {SAVE_IN_UTF8}"
        if "\ud800" <= letter <= "\udfff":
            return f"holds half of a character (U+{ord(letter):04X}): write it whole or remove it"
    return ""
