"""Painter of portraits: head and shoulders before a wall, in flat colors with soft light."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmh_core.pocket.paint import (
    EDGE,
    HUES,
    Array,
    arc,
    box,
    color,
    ellipse,
    glow,
    gradient,
    inside,
    local,
    mixed,
    named_color,
    over,
)

PORTRAIT = (
    "wall_hue",
    "wall_light",
    "glow_x",
    "x",
    "y",
    "size",
    "aspect",
    "skin",
    "hair_tone",
    "hair_volume",
    "eye_gap",
    "eye_height",
    "brow",
    "mouth_width",
    "smile",
    "coat_tone",
    "shoulders",
    "tilt",
)
#: Lightness, chroma and hue of the hair colors that captions name.
HAIR = {
    "black": (0.28, 0.02, 280.0),
    "brown": (0.40, 0.07, 55.0),
    "red": (0.52, 0.14, 42.0),
    "blond": (0.80, 0.11, 88.0),
    "silver": (0.78, 0.01, 250.0),
}
CUTS = ("short", "long", "bun")
EXTRAS = ("none", "glasses", "hat", "scarf")


def paint_portrait(p: Mapping[str, Array], style: Mapping[str, str]) -> Array:
    """Paint portraits; style keys: hair, cut, coat, extra."""
    image = _wall(p)
    cx, cy = 0.5 + 0.24 * (p["x"] - 0.5), 0.43 + 0.16 * (p["y"] - 0.5)
    size = 0.21 + 0.07 * p["size"]
    u, v = local(cx, cy, size, 0.5 * (p["tilt"] - 0.5))
    edge = EDGE / size
    light, chroma, hue = HAIR[style["hair"]]
    hair = color(light + 0.14 * (p["hair_tone"] - 0.5), chroma, hue)
    skin = color(0.86 - 0.38 * p["skin"], 0.055 + 0.03 * p["skin"], 62.0 - 12 * p["skin"])
    wide = 0.72 + 0.2 * p["aspect"]
    if style["cut"] == "long":
        fall = ellipse(u, v - 0.42, wide + 0.2 + 0.16 * p["hair_volume"], 1.42)
        image = over(image, inside(fall, edge), hair)
    image = _shoulders(image, p, style, (cx, cy, size), skin)
    return _head(image, p, style, (u, v, edge), (wide, skin, hair))


def _wall(p: Mapping[str, Array]) -> Array:
    hue, light = 360 * p["wall_hue"], 0.62 + 0.26 * p["wall_light"]
    wall = gradient(color(light + 0.05, 0.055, hue), color(light - 0.10, 0.07, hue + 18))
    lamp = glow(0.1 + 0.8 * p["glow_x"], np.full_like(hue, 0.22), 0.26)
    return over(wall, lamp, color(0.97, 0.03, 90.0), 0.5)


def _shoulders(
    image: Array,
    p: Mapping[str, Array],
    style: Mapping[str, str],
    head: tuple[Array, Array, Array],
    skin: Array,
) -> Array:
    cx, cy, size = head
    light = 0.5 + 0.2 * (p["coat_tone"] - 0.5)
    coat = named_color(style["coat"], light, 0.115)
    neck = inside(box(*local(cx, cy + 1.0 * size, size), 0.30, 0.55, 0.1), EDGE / size)
    image = over(image, neck, skin * 0.86)
    u, v = local(cx, cy + 2.5 * size, size)
    width = 1.35 + 0.55 * p["shoulders"]
    body = inside(ellipse(u, v, width, 1.22), EDGE / size)
    image = over(image, body, coat)
    collar = inside(ellipse(*local(cx, cy + 1.22 * size, size), 0.44, 0.30), EDGE / size)
    if style["extra"] == "scarf":
        scarf = color(0.80, 0.12, HUES[style["coat"]] + 150)
        wrap = inside(ellipse(*local(cx, cy + 1.26 * size, size), 0.62, 0.34), EDGE / size)
        return over(image, wrap, scarf)
    return over(image, collar, mixed(coat, skin, np.full_like(cx, 0.75)))


def _head(
    image: Array,
    p: Mapping[str, Array],
    style: Mapping[str, str],
    at: tuple[Array, Array, Array],
    looks: tuple[Array, Array, Array],
) -> Array:
    (u, v, edge), (wide, skin, hair) = at, looks
    volume = 0.10 + 0.16 * p["hair_volume"]
    if style["cut"] == "bun":
        image = over(image, inside(ellipse(u, v + 1.28, 0.36, 0.34), edge), hair)
    crown = inside(ellipse(u, v + 0.14, wide + volume, 1.02 + volume), edge)
    image = over(image, crown * inside(v - 0.38, 4 * edge), hair)
    face = inside(ellipse(u, v - 0.06, wide, 1.0), edge)
    image = over(image, face, skin)
    # The fringe: the part of the face above an arched line belongs to the hair.
    line = -0.50 - 0.14 * p["hair_volume"] + 0.35 * u * u
    image = over(image, face * inside(v - line, edge), hair)
    shade = face * inside(-(u - 0.25), 12 * edge)
    image = over(image, shade, skin * 0.80, 0.45 + 0.25 * (0.5 - p["glow_x"]))
    image = _features(image, p, (u, v, edge), skin)
    return _extra(image, p, style, (u, v, edge))


def _features(
    image: Array, p: Mapping[str, Array], at: tuple[Array, Array, Array], skin: Array
) -> Array:
    u, v, edge = at
    ink = color(0.25, 0.03, 40.0)
    gap, high = 0.30 + 0.14 * p["eye_gap"], -0.06 + 0.16 * (p["eye_height"] - 0.5)
    across = np.abs(u)
    eyes = inside(ellipse(across - gap, v - high, 0.115, 0.135), edge)
    brows = inside(
        arc(
            across - gap, v - high + 0.17 + 0.12 * p["brow"], 0.17, -0.05 * np.ones_like(gap), 0.03
        ),
        edge,
    )
    nose = inside(ellipse(u, v - high - 0.26, 0.07, 0.11), 2 * edge)
    half = 0.20 + 0.20 * p["mouth_width"]
    mouth = arc(u, v - 0.56, half, 0.30 * (p["smile"] - 0.12), 0.055)
    image = over(image, eyes, ink)
    image = over(image, brows, ink, 0.85)
    image = over(image, nose, skin * 0.78, 0.7)
    return over(image, inside(mouth, edge), color(0.48, 0.13, 22.0))


def _extra(
    image: Array,
    p: Mapping[str, Array],
    style: Mapping[str, str],
    at: tuple[Array, Array, Array],
) -> Array:
    u, v, edge = at
    if style["extra"] == "glasses":
        gap, high = 0.30 + 0.14 * p["eye_gap"], -0.06 + 0.16 * (p["eye_height"] - 0.5)
        rim = np.abs(ellipse(np.abs(u) - gap, v - high, 0.23, 0.21)) - 0.045
        bridge = box(u, v - high, 0.1, 0.03)
        return over(image, inside(np.minimum(rim, bridge), edge), color(0.22, 0.02, 260.0))
    if style["extra"] == "hat":
        felt = color(0.36, 0.06, HUES[style["coat"]] + 40)
        band = color(0.84, 0.09, HUES[style["coat"]] + 200)
        top = inside(box(u, v + 0.98, 0.74, 0.42, 0.28), edge)
        brim = inside(ellipse(u, v + 0.60, 1.25, 0.17), edge)
        image = over(image, top, felt)
        image = over(image, inside(box(u, v + 0.74, 0.74, 0.10), edge), band)
        return over(image, brim, felt)
    return image
