"""Offline rules that reword a prompt: dropped words, synonyms, or another template."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

import torch

from mmh_core.mitigations.synonyms import COMMON_WORDS, SYNONYMS
from mmh_core.pocket.grammar import FRAMED, LIGHTS, TEMPLATES, article, slots_of
from mmh_core.pocket.second.parsing import paraphrases_of, parsed

_ARTICLE = re.compile(r"\b([Aa])n?\s+$")
_WORD = re.compile(r"[^\s,.;:!?\"()]+")
#: A slot of a template, with the article before it.
_SLOT = re.compile(r"(\ba )?\{(\w+)\}")


@dataclass(frozen=True)
class Word:
    """A word, its position in the prompt, and whether it belongs to a proper name."""

    text: str
    start: int
    end: int
    name: bool


def words_of(prompt: str) -> tuple[Word, ...]:
    """Return the words of a prompt; a name is capitalized, and at the start not in the table.

    At the start of a prompt any word may be capitalized, so there only those that neither the
    table of synonyms nor the caption grammar has count as names.
    """
    matches = list(_WORD.finditer(prompt))
    return tuple(
        Word(
            match.group(),
            match.start(),
            match.end(),
            match.group()[0].isupper() and (i > 0 or match.group().lower() not in COMMON_WORDS),
        )
        for i, match in enumerate(matches)
    )


def dropped(prompt: str, chosen: Collection[Word]) -> str:
    """Return the prompt without the chosen words; at least one word stays."""
    if len(chosen) >= len(words_of(prompt)):
        return prompt
    return tidy(replaced(prompt, {word: "" for word in chosen}))


def reworded(prompt: str, chosen: Collection[Word], generator: torch.Generator) -> str:
    """Return the prompt with each chosen word that is in the table replaced by a synonym."""
    new = {}
    for word in sorted(chosen, key=lambda word: word.start):
        others = SYNONYMS.get(word.text.lower(), ())
        if others:
            new[word] = others[_random_index(len(others), generator)]
    return tidy(replaced(prompt, new))


def paraphrases(prompt: str) -> tuple[str, ...]:
    """Return paraphrases of a prompt, by the grammars of the embedded worlds' captions.

    Of a prompt that fits none, the parts between commas are reordered. Names, colors and whatever
    else fills the slots stay.
    """
    read = parsed(prompt)
    if read is not None:
        return tuple(text for text in paraphrases_of(read) if text != prompt)
    framed = slots_of(FRAMED, prompt)
    inner = framed["caption"] if framed else prompt
    for templates in TEMPLATES.values():
        for template in templates:
            slots = slots_of(template, inner)
            if slots is None:
                continue
            others = [other for other in templates if other != template]
            texts = [text for other in others if (text := _filled(other, slots))]
            return tuple(_filled(FRAMED, {"caption": text}) if framed else text for text in texts)
    parts = [part.strip() for part in prompt.split(",") if part.strip()]
    turned = [", ".join(parts[i:] + parts[:i]) for i in range(1, len(parts))]
    return tuple(text for text in turned if text != prompt)


def tidy(text: str) -> str:
    """Return a text without the double spaces and commas that dropped words leave."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,.;:!?])", r"\1", text)
    text = re.sub(r"(,\s*)+,", ",", text)
    return text.strip(" ,;:")


def replaced(prompt: str, new: dict[Word, str]) -> str:
    """Return the prompt with words replaced, and articles before them adapted."""
    starts = {word.start for word in new}
    for word in sorted(new, key=lambda word: word.start, reverse=True):
        head, tail = prompt[: word.start], new[word] + prompt[word.end :]
        before, after = _ARTICLE.search(head), tail.lstrip()
        if before and before.start() not in starts and after[:1].isalpha():
            head = f"{head[: before.start()]}{before[1]}{article(after)[1:]} "
        prompt = head + tail
    return prompt


def _filled(template: str, slots: dict[str, str]) -> str:
    """Return a filled template, "" where a slot has no text.

    A light without a text is the first one.
    """
    filling = {"light": LIGHTS[0], **slots}
    if not {slot[2] for slot in _SLOT.finditer(template)} <= filling.keys():
        return ""

    def fill(slot: re.Match[str]) -> str:
        text = filling[slot[2]]
        return f"{article(text)} {text}" if slot[1] else text

    # In one pass: braces in a text are letters, and no slots.
    return tidy(_SLOT.sub(fill, template))


def _random_index(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (1,), generator=generator, device=generator.device))


def words_at(prompt: str, spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return for each span the number of the word that it lies in, -1 for punctuation."""
    words = words_of(prompt)
    return tuple(
        next((i for i, word in enumerate(words) if word.start <= start < word.end), -1)
        for start, _ in spans
    )


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
