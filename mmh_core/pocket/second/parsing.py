"""Read captions of the second world's grammar back, and say the same in other words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from mmh_core.pocket.second.attributes import Grammar
from mmh_core.pocket.second.families import GRAMMARS, GrammarCaption, names, unseen_names


def parsed(text: str) -> GrammarCaption | None:
    """Return the caption that a text is, in upper or lower case, None where it is none.

    A subject may be a noun of the grammar, words for one that is left free, or any pair of the
    words of which names are made.
    """
    words = " ".join(text.lower().split())
    for painter in GRAMMARS:
        caption = _caption(words, painter)
        if caption is not None:
            return caption
    return None


def paraphrases_of(caption: GrammarCaption) -> tuple[str, ...]:
    """Return the same content in other words: by every other opening, phrases in turned order."""
    openings = len(GRAMMARS[caption.painter].openings)
    texts = []
    for step in range(1, openings):
        turn = step % len(caption.fixed) if caption.fixed else 0
        fixed = caption.fixed[turn:] + caption.fixed[:turn]
        opening = (caption.opening + step) % openings
        texts.append(replace(caption, opening=opening, fixed=fixed).text)
    return tuple(texts)


def _caption(words: str, painter: str) -> GrammarCaption | None:
    grammar = GRAMMARS[painter]
    for opening, start in enumerate(grammar.openings):
        after = _after(words, start)
        if not after:
            continue
        for subject, named in _subjects(painter):
            rest = _after(after, grammar.anything if subject is None else subject)
            fixed = None if rest is None else next(_phrases(rest, grammar, ()), None)
            if fixed is not None:
                return GrammarCaption(painter, opening, subject, named, fixed)
    return None


def _phrases(
    words: str, grammar: Grammar, before: tuple[tuple[str, int], ...]
) -> Iterator[tuple[tuple[str, int], ...]]:
    """Yield each way in which words are phrases of attributes, each attribute at most once."""
    if not words:
        yield before
        return
    for detail in grammar.details:
        if any(name == detail.name for name, _ in before):
            continue
        for number, choice in enumerate(detail.choices):
            rest = _after(words, choice.phrase)
            if rest is not None:
                yield from _phrases(rest, grammar, (*before, (detail.name, number)))


def _after(words: str, start: str) -> str | None:
    """Return the words behind others, None where they do not begin with these."""
    head, rest = words[: len(start)], words[len(start) :]
    if head != start.lower() or rest[:1] not in ("", " "):
        return None
    return rest[1:]


@lru_cache
def _subjects(painter: str) -> tuple[tuple[str | None, bool], ...]:
    """Return subjects and whether they are names."""
    grammar = GRAMMARS[painter]
    nouns = [choice.phrase for choice in grammar.subject.choices]
    every = (*names(painter), *unseen_names(painter))
    return ((None, False), *((noun, False) for noun in nouns), *((name, True) for name in every))
