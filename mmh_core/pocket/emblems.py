"""Painters of abstract images: compositions of simple solids, and emblems as in logos."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmh_core.pocket.paint import (
    EDGE,
    HUES,
    Array,
    X,
    Y,
    box,
    color,
    ellipse,
    gradient,
    inside,
    local,
    named_color,
    over,
    polygon,
    star,
)

SHAPES = ("circle", "square", "triangle", "ring", "star", "diamond")
RIMS = ("round", "square", "hexagonal", "double")
_SOLID = ("x", "y", "size", "angle", "hue", "light")
COMPOSITION = (
    "ground_hue",
    "ground_light",
    "ground_fall",
    *(f"{name}{i}" for i in (1, 2, 3) for name in _SOLID),
)
EMBLEM = (
    "ground_hue",
    "ground_light",
    "rim_size",
    "rim_width",
    "rim_hue",
    "rim_light",
    "core_size",
    "core_angle",
    "core_hue",
    "core_light",
    "line_y",
    "line_width",
)
_NAMED_SPREAD = 22.0
#: Where the solids of a composition stand: rough places, so that they seldom hide one another.
_PLACES = {2: ((0.33, 0.42), (0.66, 0.60)), 3: ((0.28, 0.36), (0.70, 0.34), (0.50, 0.70))}


def paint_composition(p: Mapping[str, Array], style: Mapping[str, str]) -> Array:
    """Paint two or three solids on a background; style keys: count, ground, shape1, color1, ..."""
    count = int(style["count"])
    hue = HUES[style["ground"]] + _NAMED_SPREAD * (p["ground_hue"] - 0.5)
    light = 0.84 + 0.10 * (p["ground_light"] - 0.5)
    fall = 0.04 + 0.12 * p["ground_fall"]
    image = gradient(color(light + 0.04, 0.045, hue), color(light + 0.04 - fall, 0.065, hue))
    placed = []
    for i, (px, py) in enumerate(_PLACES[count], start=1):
        cx, cy = px + 0.24 * (p[f"x{i}"] - 0.5), py + 0.24 * (p[f"y{i}"] - 0.5)
        size = (0.145 if count == 3 else 0.185) + 0.06 * (p[f"size{i}"] - 0.5)
        placed.append((cx, cy, size, 1.2 * (p[f"angle{i}"] - 0.5)))
    for i, (cx, cy, size, angle) in enumerate(placed, start=1):
        u, v = local(cx + 0.025, cy + 0.035, size, angle)
        shade = inside(solid(style[f"shape{i}"], u, v), 0.5)
        image = over(image, shade, color(light - 0.35, 0.05, hue), 0.45)
    for i, (cx, cy, size, angle) in enumerate(placed, start=1):
        u, v = local(cx, cy, size, angle)
        own, turn = style[f"color{i}"], _NAMED_SPREAD * (p[f"hue{i}"] - 0.5)
        tone = 0.60 + 0.16 * (p[f"light{i}"] - 0.5)
        region = inside(solid(style[f"shape{i}"], u, v), EDGE / size)
        image = over(image, region, named_color(own, tone, 0.15, turn))
        # Light from above, whatever way the solid is turned.
        top = region * inside((Y - cy) / size, 1.6)
        image = over(image, top, named_color(own, tone + 0.08, 0.12, turn), 0.5)
    return image


def paint_emblem(p: Mapping[str, Array], style: Mapping[str, str]) -> Array:
    """Paint emblems; style keys: rim, rim_color, core, core_color."""
    hue, light = 360 * p["ground_hue"], 0.88 + 0.10 * (p["ground_light"] - 0.5)
    image = np.broadcast_to(color(light, 0.035, hue), (len(hue), *X.shape[1:], 3))
    rim = named_color(
        style["rim_color"],
        0.50 + 0.18 * (p["rim_light"] - 0.5),
        0.13,
        _NAMED_SPREAD * (p["rim_hue"] - 0.5),
    )
    core = named_color(
        style["core_color"],
        0.60 + 0.18 * (p["core_light"] - 0.5),
        0.14,
        _NAMED_SPREAD * (p["core_hue"] - 0.5),
    )
    center = np.full_like(hue, 0.5)
    u, v = local(center, np.full_like(hue, 0.43), np.ones_like(hue))
    size = 0.26 + 0.06 * p["rim_size"]
    thick = 0.022 + 0.04 * p["rim_width"]
    image = over(image, inside(_rim(style["rim"], u, v, size, thick)), rim)
    reach = 0.13 + 0.07 * p["core_size"]
    turned = local(center, np.full_like(hue, 0.43), reach, 1.0 * (p["core_angle"] - 0.5))
    image = over(image, inside(solid(style["core"], *turned), EDGE / reach), core)
    line = box(
        X - 0.5, Y - 0.89 - 0.04 * (p["line_y"] - 0.5), 0.16 + 0.18 * p["line_width"], 0.028
    )
    return over(image, inside(line), rim)


def _rim(name: str, u: Array, v: Array, size: Array, thick: Array) -> Array:
    if name == "square":
        return np.abs(box(u, v, size, size, 0.05)) - thick
    if name == "hexagonal":
        corners = [(np.sin(a), -np.cos(a)) for a in np.arange(6) * np.pi / 3]
        return np.abs(polygon(u / size, v / size, corners) * size) - thick
    if name == "double":
        outer = np.abs(ellipse(u, v, size, size)) - 0.6 * thick
        inner = np.abs(ellipse(u, v, 0.78 * size, 0.78 * size)) - 0.5 * thick
        return np.minimum(outer, inner)
    return np.abs(ellipse(u, v, size, size)) - thick


def solid(name: str, u: Array, v: Array) -> Array:
    """Return the signed distance to a solid of about unit radius."""
    if name == "circle":
        return ellipse(u, v, 0.92, 0.92)
    if name == "square":
        return box(u, v, 0.80, 0.80, 0.12)
    if name == "triangle":
        return polygon(u, v, [(0.0, -1.0), (0.98, 0.70), (-0.98, 0.70)])
    if name == "ring":
        return np.abs(ellipse(u, v, 0.78, 0.78)) - 0.24
    if name == "star":
        return star(u / 1.08, v / 1.08, 5, 0.46)
    if name == "diamond":
        return polygon(u, v, [(0.0, -1.08), (0.78, 0.0), (0.0, 1.08), (-0.78, 0.0)])
    raise ValueError(f"Unknown solid {name!r}; choose from {', '.join(SHAPES)}.")
