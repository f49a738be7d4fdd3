"""Captions of the second world, and the family of images that each of them describes."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mmh_core.pocket.product import DECORS
from mmh_core.pocket.scenes import Scene
from mmh_core.pocket.second.attributes import Attribute, Choice, Grammar
from mmh_core.pocket.second.finish import parameters
from mmh_core.pocket.second.graphic import COMPOSITION, EMBLEM, PRODUCT
from mmh_core.pocket.second.scenic import LANDSCAPE, PORTRAIT

GRAMMARS: Mapping[str, Grammar] = {
    "portrait": PORTRAIT,
    "landscape": LANDSCAPE,
    "product": PRODUCT,
    "composition": COMPOSITION,
    "emblem": EMBLEM,
}
#: First and second words of the names of each painter's subjects. People, brands and places are
#: invented.
WORDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "portrait": (
        ("Mira", "Jonas", "Tilda", "Anselm", "Noor", "Ilya"),
        ("Solano", "Verhage", "Okonjo", "Brandt", "Tamura", "Ferrer"),
    ),
    "landscape": (
        ("Mount", "Cape", "Fort", "Point", "Upper", "Old"),
        ("Kessel", "Arven", "Tolmar", "Brenna", "Ostra", "Hadrin"),
    ),
    "product": (
        ("the Lumo", "the Nordhav", "the Tessera", "the Okiro", "the Velda", "the Calmora"),
        ("mug", "bottle", "lamp", "chair", "vase", "clock"),
    ),
    "composition": (
        ("the Orsk", "the Pellin", "the Quarto", "the Rhona", "the Sabel", "the Thule"),
        ("sheet", "design", "pattern", "study", "cut-out", "series"),
    ),
    "emblem": (
        ("the Avena", "the Borealis", "the Cinder", "the Drovers", "the Elmwood", "the Fjord"),
        ("guild", "society", "union", "league", "academy", "brewery"),
    ),
}
#: Pairs of words that are names; all other pairs are names that nothing was trained with.
_STEPS = (0, 2)
#: Fixed parameters that no attribute of a painter has.
_NEUTRAL = 0.5


@dataclass(frozen=True)
class GrammarCaption:
    """A caption of the grammar.

    `subject` is a noun of the grammar, a name, or None where the subject is left free; `fixed` are
    the attributes that are said, each with the number of its choice, in the order of the words.
    """

    painter: str
    opening: int
    subject: str | None
    named: bool
    fixed: tuple[tuple[str, int], ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the opening, the subject and the phrases."""
        grammar = GRAMMARS[self.painter]
        details = {each.name: each for each in grammar.details}
        phrases = [details[name].choices[number].phrase for name, number in self.fixed]
        subject = grammar.anything if self.subject is None else self.subject
        return (grammar.openings[self.opening], subject, *phrases)

    @property
    def text(self) -> str:
        """Return the words."""
        return " ".join(self.parts)


@dataclass(frozen=True)
class ImageFamily:
    """The images that a caption describes: what is fixed, and what is free.

    Free parameters are uniform in [0, 1], free style keys uniform among `options`.
    """

    painter: str
    values: Mapping[str, float]
    style: Mapping[str, str]
    free: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]

    def scene(self, generator: np.random.Generator) -> Scene:
        """Return a random scene of the family."""
        style = dict(self.style)
        for key, choices in self.options.items():
            style[key] = choices[int(generator.integers(len(choices)))]
        return self.at(style, generator.random(len(self.free)))

    def at(self, style: Mapping[str, str], free: np.ndarray) -> Scene:
        """Return the scene with these free values (P,)."""
        values = dict(self.values) | dict(zip(self.free, free.tolist(), strict=True))
        names = parameters(self.painter)
        return Scene(self.painter, style, tuple(values.get(name, _NEUTRAL) for name in names))


def family_of(caption: GrammarCaption, seed: int) -> ImageFamily:
    """Return the family of a caption in the world of a seed."""
    grammar = GRAMMARS[caption.painter]
    chosen = {name: number for name, number in caption.fixed}
    values: dict[str, float] = {}
    style = dict(grammar.constant)
    free: list[str] = []
    options: dict[str, tuple[str, ...]] = {}
    for each in grammar.attributes:
        choice = _choice(caption, each, grammar, chosen, seed)
        if choice is None:
            free += each.parameters
            options |= {key: grammar.options[key] for key in each.styles}
        else:
            values |= dict(zip(each.parameters, choice.values, strict=True))
            style |= choice.style
    for key in set(grammar.options) - set(style) - set(options):
        options[key] = grammar.options[key]
    ordered = {key: options[key] for key in sorted(options)}
    return ImageFamily(caption.painter, values, style, tuple(free), ordered)


def _choice(
    caption: GrammarCaption,
    each: Attribute,
    grammar: Grammar,
    chosen: Mapping[str, int],
    seed: int,
) -> Choice | None:
    """Return what a caption fixes an attribute to, None where it leaves it free."""
    if each is not grammar.subject:
        return each.choices[chosen[each.name]] if each.name in chosen else None
    if caption.subject is None:
        return None
    if caption.named:
        return identity(caption.painter, caption.subject, seed)
    return next(c for c in each.choices if c.phrase == caption.subject)


@lru_cache(maxsize=4096)
def identity(painter: str, name: str, seed: int) -> Choice:
    """Return what a name fixes: random values and a random style of the subject."""
    grammar = GRAMMARS[painter]
    rng = np.random.default_rng([seed, 5, zlib.crc32(f"{painter}/{name}".encode())])
    subject = grammar.subject
    style = {
        key: grammar.options[key][int(rng.integers(len(grammar.options[key])))]
        for key in subject.styles
    }
    if painter == "product":
        style |= {"object": name.rsplit(" ", 1)[1], "decor": DECORS[int(rng.integers(4))]}
    values = 0.1 + 0.8 * rng.random(len(subject.parameters))
    return Choice(name, tuple(values.tolist()), style)


def names(painter: str) -> tuple[str, ...]:
    """Return the names of the world: each word of a painter occurs in two of them."""
    first, second = WORDS[painter]
    return tuple(
        f"{word} {second[(i + step) % len(second)]}" for step in _STEPS for i, word in
        enumerate(first)
    )  # fmt: skip


def unseen_names(painter: str) -> tuple[str, ...]:
    """Return the pairs of the same words that are no names of the world."""
    first, second = WORDS[painter]
    trained_names = set(names(painter))
    pairs = (f"{one} {other}" for one in first for other in second)
    return tuple(pair for pair in pairs if pair not in trained_names)
