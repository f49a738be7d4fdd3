"""Offline rules that reword a prompt: drop words, replace them, or say it another way."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from mmh_core.mitigations.synonyms import KNOWN, SYNONYMS
from mmh_core.pocket.grammar import FRAMED, LIGHTS, TEMPLATES, article, slots_of

_ARTICLE = re.compile(r"\b([Aa])n?\s+$")
_WORD = re.compile(r"[^\s,.;:!?\"()]+")
#: A place to fill in a template, with the article before it.
_SLOT = re.compile(r"(\ba )?\{(\w+)\}")


@dataclass(frozen=True)
class Word:
    """Hold a word, its place in the prompt, and whether it belongs to a proper name."""

    text: str
    start: int
    end: int
    name: bool


def words_of(prompt: str) -> tuple[Word, ...]:
    """Split a prompt into words; a name is capitalized, and at the start also unknown.

    At the start of a prompt any word may be capitalized, so there only those that neither the
    table of synonyms nor the caption grammar knows count as names.
    """
    found = list(_WORD.finditer(prompt))
    return tuple(
        Word(
            match.group(),
            match.start(),
            match.end(),
            match.group()[0].isupper() and (i > 0 or match.group().lower() not in KNOWN),
        )
        for i, match in enumerate(found)
    )


def dropped(prompt: str, chosen: Collection[Word]) -> str:
    """Return the prompt without the chosen words; at least one word stays."""
    if len(chosen) >= len(words_of(prompt)):
        return prompt
    return tidy(replaced(prompt, {word: "" for word in chosen}))


def reworded(prompt: str, chosen: Collection[Word], generator: torch.Generator) -> str:
    """Return the prompt with each chosen word that the table knows replaced by a synonym."""
    new = {}
    for word in sorted(chosen, key=lambda word: word.start):
        others = SYNONYMS.get(word.text.lower(), ())
        if others:
            new[word] = others[_below(len(others), generator)]
    return tidy(replaced(prompt, new))


def retold(prompt: str) -> tuple[str, ...]:
    """Return other ways of saying the same, by the templates of the caption grammar.

    A prompt that fits no template is said with its parts between commas in another order. Names,
    colors and whatever else fills the slots stay.
    """
    framed = slots_of(FRAMED, prompt)
    inner = framed["caption"] if framed else prompt
    for templates in TEMPLATES.values():
        for template in templates:
            slots = slots_of(template, inner)
            if slots is None:
                continue
            others = [other for other in templates if other != template]
            told = [text for other in others if (text := _filled(other, slots))]
            return tuple(_filled(FRAMED, {"caption": text}) if framed else text for text in told)
    parts = [part.strip() for part in prompt.split(",") if part.strip()]
    turned = [", ".join(parts[i:] + parts[:i]) for i in range(1, len(parts))]
    return tuple(text for text in turned if text != prompt)


def tidy(text: str) -> str:
    """Close the gaps that dropped words leave, commas without anything between them above all."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,.;:!?])", r"\1", text)
    text = re.sub(r"(,\s*)+,", ",", text)
    return text.strip(" ,;:")


def replaced(prompt: str, new: dict[Word, str]) -> str:
    """Put new texts in place of words, and make an article before them fit what follows it."""
    starts = {word.start for word in new}
    for word in sorted(new, key=lambda word: word.start, reverse=True):
        head, tail = prompt[: word.start], new[word] + prompt[word.end :]
        before, after = _ARTICLE.search(head), tail.lstrip()
        if before and before.start() not in starts and after[:1].isalpha():
            head = f"{head[: before.start()]}{before[1]}{article(after)[1:]} "
        prompt = head + tail
    return prompt


def _filled(template: str, slots: dict[str, str]) -> str:
    """Fill a template, "" for one with a slot that the text does not tell.

    A light that it asks for and the text does not tell is the first one.
    """
    told = {"light": LIGHTS[0], **slots}
    if not {slot[2] for slot in _SLOT.finditer(template)} <= told.keys():
        return ""

    def fill(slot: re.Match[str]) -> str:
        text = told[slot[2]]
        return f"{article(text)} {text}" if slot[1] else text

    # In one pass: braces in what the text tells are letters, and no places to fill.
    return tidy(_SLOT.sub(fill, template))


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (1,), generator=generator, device=generator.device))


def words_at(prompt: str, spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return for each span the number of the word that it lies in, -1 for punctuation."""
    words = words_of(prompt)
    return tuple(
        next((i for i, word in enumerate(words) if word.start <= start < word.end), -1)
        for start, _ in spans
    )
