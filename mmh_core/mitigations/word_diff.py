"""What changed between two prompts, word by word."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Literal

DiffKind = Literal["kept", "removed", "added"]


def word_diff(before: str, after: str) -> tuple[tuple[DiffKind, str], ...]:
    """Return the runs of words in order, each with what happened to it; removed ones come first.

    The kept and removed runs give `before`, the kept and added ones `after`, spaces aside.
    """
    old, new = before.split(), after.split()
    parts: list[tuple[DiffKind, str]] = []
    for kind, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append(("kept", " ".join(old[i1:i2])))
            continue
        if i2 > i1:
            parts.append(("removed", " ".join(old[i1:i2])))
        if j2 > j1:
            parts.append(("added", " ".join(new[j1:j2])))
    return tuple(parts)
