"""Random captions of the grammar: distinct, with LID* spread evenly, without held-out pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmh_core.pocket.second.families import GRAMMARS, GrammarCaption, names

#: A phrase: its attribute and the number of the choice.
Phrase = tuple[str, int]
#: Pairs of phrases of each painter that no training caption has together.
HELD_OUT_PAIRS = 3
_TRIES = 400


@dataclass(frozen=True)
class DesignCell:
    """One cell of the design: a painter, and whether its captions have a name."""

    painter: str
    named: bool


CELLS = tuple(DesignCell(painter, named) for painter in GRAMMARS for named in (False, True))


def held_out_pairs(painter: str, seed: int) -> frozenset[frozenset[Phrase]]:
    """Return the pairs of phrases of two attributes that are kept out of all training captions."""
    rng = np.random.default_rng([seed, 1, list(GRAMMARS).index(painter)])
    details = GRAMMARS[painter].details
    pairs: set[frozenset[Phrase]] = set()
    while len(pairs) < HELD_OUT_PAIRS:
        one, other = (details[i] for i in rng.choice(len(details), 2, replace=False))
        pairs.add(
            frozenset((each.name, int(rng.integers(len(each.choices)))) for each in (one, other))
        )
    return frozenset(pairs)


def random_caption(
    cell: DesignCell,
    freedom: float,
    rng: np.random.Generator,
    *,
    name: str | None = None,
    start: Sequence[Phrase] = (),
) -> GrammarCaption:
    """Return a caption of a cell that leaves about the share `freedom` of its parameters free.

    Attributes in random order are fixed as long as that brings the number of free parameters
    nearer to the share; `start` are phrases that it has in any case. `name` is drawn unless given.
    """
    grammar = GRAMMARS[cell.painter]
    details = {each.name: each for each in grammar.details}
    free, subject = len(grammar.parameters()), None
    chosen = dict(start)
    if cell.named:
        known_names = names(cell.painter)
        subject = name or known_names[int(rng.integers(len(known_names)))]
        free -= len(grammar.subject.parameters)
    target = freedom * free
    free -= sum(len(details[each].parameters) for each in chosen)
    open_ones = [each for each in grammar.details if each.name not in chosen]
    if not cell.named:
        open_ones.append(grammar.subject)
    for i in rng.permutation(len(open_ones)):
        each = open_ones[i]
        fewer = free - len(each.parameters)
        if abs(fewer - target) >= abs(free - target):
            continue
        free, number = fewer, int(rng.integers(len(each.choices)))
        if each is grammar.subject:
            subject = each.choices[number].phrase
        else:
            chosen[each.name] = number
    fixed_items = list(chosen.items())
    fixed = tuple(fixed_items[i] for i in rng.permutation(len(fixed_items)))
    opening = int(rng.integers(len(grammar.openings)))
    return GrammarCaption(cell.painter, opening, subject, cell.named, fixed)


def has_held_out_pair(caption: GrammarCaption, seed: int) -> bool:
    """Return whether a caption has a pair of phrases that is kept out of training."""
    fixed = frozenset(caption.fixed)
    return any(pair <= fixed for pair in held_out_pairs(caption.painter, seed))


class CaptionWriter:
    """Draws captions of one world, no text twice."""

    def __init__(self, seed: int, used: set[str] | None = None) -> None:
        """Start with the texts that are taken already."""
        self.seed, self.used = seed, set() if used is None else used
        self.pairs = {painter: held_out_pairs(painter, seed) for painter in GRAMMARS}

    def fresh(
        self,
        cell: DesignCell,
        freedom: float,
        rng: np.random.Generator,
        *,
        name: str | None = None,
    ) -> GrammarCaption:
        """Return a caption without a held-out pair, whose text no other caption has."""
        for attempt in range(_TRIES):
            # Few captions leave everything free: after some tries a little more is fixed.
            share = freedom * (1 - attempt / (2 * _TRIES))
            caption = random_caption(cell, share, rng, name=name)
            fixed = frozenset(caption.fixed)
            if any(pair <= fixed for pair in self.pairs[cell.painter]):
                continue
            if caption.text not in self.used:
                self.used.add(caption.text)
                return caption
        raise ValueError(f"No further caption of {cell!r}: ask for fewer.")

    def spread(
        self, cell: DesignCell, count: int, rng: np.random.Generator
    ) -> list[GrammarCaption]:
        """Return captions whose freedom is spread evenly from 0 to 1, their names in turn."""
        freedom = (np.arange(count) + rng.random(count)) / count
        free_names = [names(cell.painter)[i] for i in rng.permutation(len(names(cell.painter)))]
        turns = rng.permutation(count)
        return [
            self.fresh(
                cell,
                float(share),
                rng,
                name=free_names[int(turn) % len(free_names)] if cell.named else None,
            )
            for share, turn in zip(freedom, turns, strict=True)
        ]
