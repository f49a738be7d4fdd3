"""Counts with their nouns and verbs: the one place where singular and plural are chosen."""

from __future__ import annotations

#: Endings after which the plural has "es".
_HISSING = ("s", "x", "z", "ch", "sh")
#: What ends in a hard ch, which takes "s" alone.
_HARD = ("epoch",)


def plural(count: int, noun: str, many: str = "") -> str:
    """Return a count with its noun, such as 1 copy and 1,024 copies.

    `many` is the plural of a noun whose last word is not the one that changes.
    """
    return f"{count:,} {noun if count == 1 else many or plural_noun(noun)}"


def plural_noun(noun: str) -> str:
    """Return the regular plural of a noun whose last word is the one that changes."""
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return f"{noun[:-1]}ies"
    hissing = noun.endswith(_HISSING) and not noun.endswith(_HARD)
    return f"{noun}es" if hissing else f"{noun}s"


def agreeing(count: int, one: str, many: str) -> str:
    """Return the form of a verb or pronoun that goes with a count, such as is and are."""
    return one if count == 1 else many
