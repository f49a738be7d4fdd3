"""Painter of product photographs: one object on a table before a studio wall."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmh_core.pocket.paint import (
    EDGE,
    HUES,
    LIFTS,
    Array,
    X,
    Y,
    box,
    color,
    ellipse,
    glow,
    gradient,
    inside,
    local,
    over,
    polygon,
    star,
)

PRODUCT = (
    "x",
    "y",
    "size",
    "angle",
    "hue",
    "light",
    "wall_hue",
    "wall_light",
    "table",
    "table_light",
    "lamp_x",
)
OBJECTS = ("mug", "bottle", "lamp", "chair", "backpack", "shirt", "vase", "clock")
DECORS = ("plain", "stripe", "dot", "star")


def paint_product(p: Mapping[str, Array], style: Mapping[str, str]) -> Array:
    """Paint products; style keys: object, decor, color (a hue of captions, or "any").

    With a named color `hue` varies within that name, with "any" over the whole wheel.
    """
    edge_of_table = 0.66 + 0.12 * p["table"]
    wall_hue, wall = 360 * p["wall_hue"], 0.78 + 0.16 * p["wall_light"]
    image = gradient(color(wall + 0.04, 0.03, wall_hue), color(wall - 0.06, 0.05, wall_hue))
    lamp = glow(0.15 + 0.7 * p["lamp_x"], np.full_like(wall, 0.12), 0.30)
    image = over(image, lamp, color(0.99, 0.015, 90.0), 0.55)
    wood = color(0.58 + 0.26 * p["table_light"], 0.045, wall_hue + 40)
    image = over(image, inside(edge_of_table - Y), wood)
    size = 0.20 + 0.08 * p["size"]
    cx = 0.5 + 0.26 * (p["x"] - 0.5)
    cy = edge_of_table + 0.06 - size + 0.05 * (p["y"] - 0.5)
    shadow = ellipse(*local(cx + 0.05 * (0.5 - p["lamp_x"]), cy + size, size), 0.95, 0.20)
    image = over(image, inside(shadow, 0.35), wood * 0.55, 0.65)
    u, v = local(cx, cy, size, 0.5 * (p["angle"] - 0.5))
    named = style["color"]
    hue = 360 * p["hue"] if named == "any" else HUES[named] + 24 * (p["hue"] - 0.5)
    tone = 0.57 + LIFTS.get(named, 0.0) + 0.20 * (p["light"] - 0.5)
    main, second = color(tone, 0.135, hue), color(0.95, 0.03, hue + 40)
    dark = color(tone - 0.17, 0.10, hue)
    edge = EDGE / size
    body, trim = _shapes(style["object"], u, v)
    image = over(image, inside(trim, edge), dark)
    region = inside(body, edge)
    image = over(image, region, main)
    image = over(image, region * inside(-(u - 0.18), 9 * edge), dark, 0.5)
    mark = _decor(style["decor"], u, v)
    image = over(image, region * inside(mark, edge), second)
    shine = inside(np.abs(u + 0.34) - 0.05, 3 * edge) * inside(np.abs(v) - 0.5, 5 * edge)
    return over(image, region * shine, color(0.98, 0.01, 90.0), 0.35)


def _shapes(name: str, u: Array, v: Array) -> tuple[Array, Array]:
    """Return the signed distances to the body of an object and to its darker parts."""
    if name == "mug":
        handle = np.abs(ellipse(u - 0.68, v - 0.1, 0.36, 0.40)) - 0.09
        return box(u, v - 0.12, 0.62, 0.80, 0.16), handle
    if name == "bottle":
        neck = box(u, v + 0.68, 0.17, 0.34, 0.05)
        return np.minimum(box(u, v - 0.28, 0.42, 0.70, 0.2), neck), box(u, v + 1.0, 0.21, 0.1)
    if name == "lamp":
        shade = polygon(u, v, [(-0.34, -0.95), (0.34, -0.95), (0.78, -0.10), (-0.78, -0.10)])
        stand = np.minimum(box(u, v - 0.40, 0.07, 0.55), box(u, v - 0.90, 0.46, 0.10, 0.06))
        return shade, stand
    if name == "chair":
        back = box(u, v + 0.42, 0.56, 0.52, 0.18)
        legs = np.minimum(box(np.abs(u) - 0.50, v - 0.68, 0.08, 0.32), box(u, v - 0.34, 0.66, 0.1))
        return np.minimum(back, box(u, v - 0.20, 0.72, 0.20, 0.12)), legs
    if name == "backpack":
        loop = np.abs(ellipse(u, v + 0.86, 0.24, 0.22)) - 0.07
        pocket = np.abs(box(u, v - 0.50, 0.44, 0.28, 0.12)) - 0.05
        body = box(u, v - 0.08, 0.70, 0.90, 0.42)
        return np.maximum(body, -pocket), np.minimum(loop, body)
    if name == "shirt":
        torso = box(u, v - 0.14, 0.56, 0.82, 0.10)
        sleeves = polygon(
            u, v, [(-0.50, -0.68), (0.50, -0.68), (1.05, -0.14), (0.78, 0.10), (-0.78, 0.10),
                   (-1.05, -0.14)]
        )  # fmt: skip
        return np.minimum(torso, sleeves), ellipse(u, v + 0.66, 0.30, 0.18)
    if name == "vase":
        flowers = np.minimum(
            ellipse(u + 0.30, v + 0.86, 0.22, 0.22), ellipse(u - 0.26, v + 0.94, 0.25, 0.25)
        )
        stems = np.minimum(box(u + 0.14, v + 0.60, 0.04, 0.3), box(u - 0.12, v + 0.64, 0.04, 0.3))
        belly = np.minimum(ellipse(u, v - 0.36, 0.66, 0.60), box(u, v + 0.12, 0.26, 0.36, 0.05))
        return belly, np.minimum(flowers, stems)
    face = ellipse(u, v - 0.06, 0.82, 0.82)
    feet = box(np.abs(u) - 0.46, v - 0.82, 0.10, 0.18, 0.05)
    return face, np.minimum(feet, box(u, v + 0.86, 0.14, 0.14, 0.05))


def _decor(name: str, u: Array, v: Array) -> Array:
    if name == "stripe":
        return box(u, v - 0.16, 3.0, 0.16)
    if name == "dot":
        return ellipse(u, v - 0.16, 0.28, 0.28)
    if name == "star":
        return star(u / 0.40, (v - 0.18) / 0.40, 5) * 0.40
    return np.full(np.broadcast_shapes(u.shape, X.shape), 1.0)
