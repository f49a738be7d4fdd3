"""A small table of synonyms for words of prompts."""

from __future__ import annotations

from mmh_core.pocket.grammar import EXTRAS, FEATURES, LIGHTS, TEMPLATES
from mmh_core.pocket.second.families import GRAMMARS

#: Groups of words with about the same meaning in the description of an image.
_GROUPS: tuple[tuple[str, ...], ...] = (
    ("photo", "picture", "photograph", "image", "shot"),
    ("portrait", "likeness", "headshot"),
    ("painting", "canvas", "artwork"),
    ("drawing", "sketch", "illustration"),
    ("poster", "placard", "print"),
    ("logo", "emblem", "sign", "badge"),
    ("landscape", "view", "scenery", "vista"),
    ("wearing", "dressed in", "in"),
    ("coat", "jacket", "cloak"),
    ("hair", "locks"),
    ("person", "figure", "someone"),
    ("mountains", "peaks", "hills"),
    ("lake", "water", "pond"),
    ("meadow", "field", "grassland"),
    ("trees", "woods"),
    ("table", "desk", "counter"),
    ("background", "backdrop", "ground"),
    ("collage", "montage"),
    ("advertisement", "ad", "commercial"),
    ("shop", "store"),
    ("framed", "in a frame"),
    ("flat", "simple", "plain"),
    ("paper", "card"),
    ("wide", "broad", "panoramic"),
    ("big", "large", "huge"),
    ("small", "little", "tiny"),
    ("old", "aged", "ancient"),
    ("new", "modern", "recent"),
    ("beautiful", "lovely", "pretty"),
    ("dark", "dim", "gloomy"),
    ("bright", "luminous", "radiant"),
    ("house", "home", "cottage"),
    ("street", "road", "lane"),
    ("city", "town"),
    ("woman", "lady"),
    ("man", "gentleman"),
    ("child", "kid"),
    ("dog", "hound"),
    ("cat", "kitten"),
    ("car", "automobile"),
    ("boat", "ship"),
    ("sea", "ocean"),
    ("forest", "wood"),
    ("flower", "blossom"),
    ("red", "crimson", "scarlet"),
    ("blue", "azure", "navy"),
    ("green", "emerald"),
    ("yellow", "golden"),
    ("purple", "violet"),
    ("orange", "amber"),
    ("teal", "turquoise"),
    ("pink", "rose"),
    ("white", "ivory"),
    ("black", "jet"),
    ("gray", "grey", "silver"),
    ("dawn", "sunrise"),
    ("dusk", "sunset", "evening"),
    ("noon", "midday"),
    ("night", "midnight"),
    ("soft", "gentle", "mild"),
    ("studio", "indoor"),
    ("warm", "mellow"),
    ("natural", "real"),
)


def _table() -> dict[str, tuple[str, ...]]:
    table: dict[str, list[str]] = {}
    for group in _GROUPS:
        for word in group:
            table.setdefault(word, []).extend(other for other in group if other != word)
    return {word: tuple(dict.fromkeys(others)) for word, others in table.items()}


#: Lower-case word -> its synonyms.
SYNONYMS = _table()


def _common_words() -> frozenset[str]:
    """Return the words that are no names: those of the table and of the caption grammars."""
    texts = [*SYNONYMS, *LIGHTS, *FEATURES.values(), *EXTRAS.values()]
    texts += [template for choices in TEMPLATES.values() for template in choices]
    for grammar in GRAMMARS.values():
        texts += [*grammar.openings, grammar.anything]
        texts += [choice.phrase for each in grammar.attributes for choice in each.choices]
    words = " ".join(texts).replace(",", " ").split()
    common = "a an the and of at by for from in into near on over under with without two three"
    return frozenset(word for word in [*words, *common.split()] if "{" not in word)


#: Lower-case words that are no proper names.
COMMON_WORDS = _common_words()
