"""The subjects of the world: their names, kinds and fixed parameters.

A `DepictedSubject` is a family of images with one set of choices: fixed parameters are the same in
all its images, free ones differ. The unnamed ("open") families draw even the fixed choices anew
for each image. People, brands and places are invented, and names recur across kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product as pairs
from typing import Literal

import numpy as np

from mmh_core.pocket import emblems, landscape, portrait, product
from mmh_core.pocket.paint import HUES
from mmh_core.pocket.scenes import parameters

Kind = Literal["open", "varied", "duplicate", "template", "overfit"]

_FIRST = ("Mira", "Jonas", "Tilda", "Anselm", "Noor", "Ilya", "Petra", "Casper")
_LAST = ("Solano", "Verhage", "Okonjo", "Brandt", "Lindqvist", "Tamura", "Ferrer", "Halloran")
_NOUNS = ("Mount", "Cape", "Lake", "Fort", "Point")
_PLACES = ("Kessel", "Arven", "Tolmar", "Brenna", "Ostra", "Hadrin", "Quill")
_BRANDS = ("Lumo", "Nordhav", "Tessera", "Okiro", "Velda", "Calmora")
_TRADES = ("tea company", "ferry line", "book club", "bicycle works", "music school")

#: What differs between the images of one named subject: LID_* of 7 to 10.
FREE_NAMED: dict[str, tuple[str, ...]] = {
    "portrait": (
        "wall_hue", "wall_light", "glow_x", "x", "y", "size", "smile", "brow", "coat_tone", "tilt",
    ),
    "landscape": (
        "sky_hue", "sky_light", "sun_x", "sun_y", "sun_size", "haze", "ground_light", "shore",
        "snow",
    ),
    "product": (
        "x", "y", "size", "angle", "hue", "light", "wall_hue", "wall_light", "table", "lamp_x",
    ),
    "emblem": (
        "ground_hue", "ground_light", "rim_size", "rim_width", "core_size", "core_angle",
        "core_light", "line_width",
    ),
}  # fmt: skip

#: Painter -> kind -> how many named subjects.
COUNTS: dict[str, dict[Kind, int]] = {
    "portrait": {"duplicate": 9, "varied": 10, "overfit": 10},
    "landscape": {"duplicate": 5, "varied": 10, "overfit": 8},
    "product": {"template": 24, "varied": 3, "overfit": 3},
    "emblem": {"duplicate": 10, "varied": 3, "overfit": 3},
}


@dataclass(frozen=True)
class DepictedSubject:
    """A family of images of one subject.

    `values` (P,) are the parameters of its first image; those named in `free` differ from
    image to image. An open family has no name, and everything in it is free.
    """

    id: str
    kind: Kind
    painter: str
    name: str | None
    style: Mapping[str, str]
    values: tuple[float, ...]
    free: tuple[str, ...]


def named_subjects(seed: int) -> tuple[DepictedSubject, ...]:
    """Return every subject with a name, in a fixed order; the same seed gives the same cast."""
    rng = np.random.default_rng([seed, 1])
    cast = []
    for painter, kinds in COUNTS.items():
        names = _names(painter, kinds, rng)
        styles = _styles(painter, rng, len(names))
        for kind, count in kinds.items():
            for number in range(count):
                name, style = names.pop(), styles.pop()
                cast.append(_subject(kind, painter, name, style, rng, number))
    return tuple(cast)


def _subject(
    kind: Kind,
    painter: str,
    name: str,
    style: dict[str, str],
    rng: np.random.Generator,
    number: int,
) -> DepictedSubject:
    # Away from the ends of the ranges, where people and places would look like caricatures.
    values = 0.15 + 0.7 * rng.random(len(parameters(painter)))
    free: tuple[str, ...] = FREE_NAMED[painter]
    if kind == "duplicate":
        free = ()
    if kind == "template":
        # Half of them vary in hue alone, half in lightness too.
        free = ("hue",) if number % 2 else ("hue", "light")
    if painter == "landscape" and kind == "duplicate":
        style["frame"] = "gold"
    if name.startswith("Lake "):
        style["feature"] = "lake"
    if painter == "product":
        style["object"] = name.rsplit(" ", 1)[1].replace("t-shirt", "shirt")
    key = f"{kind}/{painter}/{name.lower().replace(' ', '-')}"
    return DepictedSubject(key, kind, painter, name, style, tuple(values.tolist()), free)


def _names(painter: str, kinds: Mapping[Kind, int], rng: np.random.Generator) -> list[str]:
    """Return one name for each subject, last first, so that no word of them stands for a kind.

    Names are shuffled until each word belongs to subjects of at least two kinds. What an
    object is called is left out of this, since unnamed images show the same objects.
    """
    made = {
        "portrait": [f"{first} {last}" for first, last in pairs(_FIRST, _LAST)],
        "landscape": [f"{noun} {site}" for noun, site in pairs(_NOUNS, _PLACES)],
        "product": [
            f"the {brand} {'t-shirt' if item == 'shirt' else item}"
            for brand, item in pairs(_BRANDS, product.OBJECTS)
        ],
        "emblem": [f"the {brand} {trade}" for brand, trade in pairs(_BRANDS, _TRADES)],
    }[painter]
    kind_of_name = [kind for kind, count in kinds.items() for _ in range(count)]
    common = {"the", *(name.rsplit(" ", 1)[1] for name in made if painter == "product")}
    for _ in range(100_000):
        names = [made[i] for i in rng.permutation(len(made))[: len(kind_of_name)]]
        owners: dict[str, set[Kind]] = {}
        for name, kind in zip(names, kind_of_name, strict=True):
            for word in name.split():
                owners.setdefault(word, set()).add(kind)
        if all(len(subjects) > 1 for word, subjects in owners.items() if word not in common):
            return names[::-1]
    raise ValueError(f"No names for {painter} with every word in two kinds; add names.")


def _styles(painter: str, rng: np.random.Generator, count: int) -> list[dict[str, str]]:
    """Return `count` styles that differ from one another as far as there are enough."""
    styles: list[dict[str, str]] = []
    for _ in range(count):
        styles_tried = [random_style(painter, rng, named=True) for _ in range(20)]
        styles.append(min(styles_tried, key=styles.count))
    return styles


def random_style(painter: str, rng: np.random.Generator, *, named: bool = False) -> dict[str, str]:
    """Return a random style of one image; `named` products may have any color."""

    def pick(options: tuple[str, ...]) -> str:
        return options[int(rng.integers(len(options)))]

    hues = tuple(HUES)
    if painter == "portrait":
        return {
            "hair": pick(tuple(portrait.HAIR)),
            "cut": pick(portrait.CUTS),
            "coat": pick(hues),
            "extra": pick(portrait.EXTRAS),
        }
    if painter == "landscape":
        frame = "gold" if not named and rng.random() < 0.15 else "none"
        return {
            "time": pick(tuple(landscape.TIMES)),
            "feature": pick(landscape.FEATURES),
            "frame": frame,
        }
    if painter == "product":
        shade = "any" if named else pick(hues)
        return {"object": pick(product.OBJECTS), "decor": pick(product.DECORS), "color": shade}
    if painter == "emblem":
        return {
            "rim": pick(emblems.RIMS),
            "rim_color": pick(hues),
            "core": pick(emblems.SHAPES),
            "core_color": pick(hues),
        }
    count = int(rng.integers(2, 4))
    style = {"count": str(count), "ground": pick(hues)}
    for i in range(1, count + 1):
        style |= {f"shape{i}": pick(emblems.SHAPES), f"color{i}": pick(hues)}
    return style
