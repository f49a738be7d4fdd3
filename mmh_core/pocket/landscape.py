"""Painter of mountain landscapes: sky, sun or moon, two ridges, and a foreground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmh_core.pocket.paint import (
    EDGE,
    SIDE,
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
    mixed,
    over,
)

LANDSCAPE = (
    "sky_hue",
    "sky_light",
    "sun_x",
    "sun_y",
    "sun_size",
    "peak1_x",
    "peak1_y",
    "peak2_x",
    "peak2_y",
    "peak3_y",
    "hill_left",
    "hill_middle",
    "hill_right",
    "haze",
    "ground_light",
    "shore",
    "snow",
)


@dataclass(frozen=True)
class _Light:
    """The palette of a time of day: OKLCH of sky above and below, sun, rock and meadow."""

    above: tuple[float, float, float]
    below: tuple[float, float, float]
    sun: tuple[float, float, float]
    rock: tuple[float, float, float]
    ground: tuple[float, float, float]


TIMES = {
    "dawn": _Light(
        (0.70, 0.09, 275.0),
        (0.90, 0.075, 45.0),
        (0.97, 0.06, 85.0),
        (0.56, 0.06, 285.0),
        (0.42, 0.05, 200.0),
    ),
    "noon": _Light(
        (0.70, 0.11, 242.0),
        (0.92, 0.04, 225.0),
        (0.99, 0.05, 100.0),
        (0.60, 0.05, 250.0),
        (0.62, 0.12, 138.0),
    ),
    "sunset": _Light(
        (0.46, 0.12, 310.0),
        (0.80, 0.14, 58.0),
        (0.93, 0.13, 85.0),
        (0.42, 0.09, 330.0),
        (0.30, 0.06, 300.0),
    ),
    "night": _Light(
        (0.22, 0.06, 270.0),
        (0.42, 0.09, 255.0),
        (0.96, 0.025, 95.0),
        (0.32, 0.05, 262.0),
        (0.20, 0.04, 220.0),
    ),
}
FEATURES = ("lake", "pines", "meadow")


def paint_landscape(p: Mapping[str, Array], style: Mapping[str, str]) -> Array:
    """Paint landscapes; style keys: time, feature, frame ("none" or "gold")."""
    light = TIMES[style["time"]]
    turn, lift = 44 * (p["sky_hue"] - 0.5), 0.16 * (p["sky_light"] - 0.5)
    above = color(light.above[0] + lift, light.above[1], light.above[2] + turn)
    below = color(light.below[0] + 0.5 * lift, light.below[1], light.below[2] + turn)
    sky = gradient(above, below)
    image = _sun(sky, p, light)
    image = _ridge(image, p, light, below)
    image = _hills(image, p, light, below)
    image = _foreground(image, p, style, light, (above, below))
    return _framed(image) if style["frame"] == "gold" else image


def _sun(image: Array, p: Mapping[str, Array], light: _Light) -> Array:
    cx, cy = 0.12 + 0.76 * p["sun_x"], 0.12 + 0.26 * p["sun_y"]
    radius = 0.05 + 0.055 * p["sun_size"]
    disc = inside(ellipse(*local(cx, cy, np.ones_like(cx)), radius, radius))
    image = over(image, glow(cx, cy, 2.2 * radius), color(*light.sun), 0.45)
    return over(image, disc, color(*light.sun))


def _ridge(image: Array, p: Mapping[str, Array], light: _Light, below: Array) -> Array:
    peaks = (
        (0.08 + 0.30 * p["peak1_x"], 0.28 + 0.22 * p["peak1_y"], 0.95),
        (0.50 + 0.26 * p["peak2_x"], 0.22 + 0.24 * p["peak2_y"], 1.10),
        (0.95, 0.38 + 0.18 * p["peak3_y"], 0.80),
    )
    rock = mixed(color(*light.rock), below, 0.15 + 0.45 * p["haze"])
    shaded = mixed(color(light.rock[0] - 0.10, *light.rock[1:]), below, 0.10 + 0.45 * p["haze"])
    white = mixed(color(min(0.97, light.rock[0] + 0.38), 0.015, 240.0), below, 0.3 * p["haze"])
    for cx, top, slope in peaks:
        line = top + slope * np.abs(X - cx)
        mountain = inside(line - Y)
        flank = inside(cx + 0.12 * (Y - top) - X, 2 * EDGE)
        cap = inside(Y - top - (0.05 + 0.10 * p["snow"]) - 0.02 * np.cos(70 * (X - cx)))
        image = over(image, mountain, rock)
        image = over(image, mountain * flank, shaded)
        image = over(image, mountain * cap, white)
        image = over(image, mountain * cap * flank, shaded, 0.35)
    return image


def _hills(image: Array, p: Mapping[str, Array], light: _Light, below: Array) -> Array:
    """Paint the near hills: a smooth line through three heights."""
    left, middle, right = (
        0.60 + 0.16 * p[name] for name in ("hill_left", "hill_middle", "hill_right")
    )
    line = left * 2 * (X - 0.5) * (X - 1) - middle * 4 * X * (X - 1) + right * 2 * X * (X - 0.5)
    tone = light.ground[0] + 0.10 + 0.10 * (p["ground_light"] - 0.5)
    hill = mixed(color(tone, light.ground[1], light.ground[2]), below, 0.22 * p["haze"])
    return over(image, inside(line - Y), hill)


def _foreground(
    image: Array,
    p: Mapping[str, Array],
    style: Mapping[str, str],
    light: _Light,
    sky: tuple[Array, Array],
) -> Array:
    shore = 0.76 + 0.12 * p["shore"]
    tone = light.ground[0] + 0.10 * (p["ground_light"] - 0.5)
    if style["feature"] == "lake":
        water = inside(shore - Y)
        surface = mixed(sky[1], sky[0], 0.35 + 0.6 * (Y - shore).clip(0, 0.3))
        image = over(image, water, surface * 0.94)
        cx = 0.12 + 0.76 * p["sun_x"]
        path = inside(np.abs(X - cx) - 0.07 * (1 + 2 * (Y - shore)), 0.08)
        ripples = 0.5 + 0.5 * np.cos(2 * np.pi * (Y - shore) * 22)
        return over(image, water * path * ripples, color(*light.sun), 0.6)
    if style["feature"] == "pines":
        dark = color(tone - 0.06, light.ground[1], light.ground[2] + 10)
        image = over(image, inside(shore + 0.04 - Y), dark)
        for center, height in ((0.07, 1.1), (0.19, 0.8), (0.31, 1.0), (0.72, 0.85), (0.84, 1.15),
                              (0.95, 0.9)):  # fmt: skip
            tall = 0.20 * height
            top = shore + 0.06 - tall
            image = over(image, inside(np.abs(X - center) - 0.32 * (Y - top)) *
                           inside(Y - shore - 0.08), dark)  # fmt: skip
        return image
    near = inside(shore + 0.05 * np.sin(2 * np.pi * (X * 0.8 + 0.1)) - Y)
    grass = color(tone + 0.02, light.ground[1] + 0.02, light.ground[2] - 14)
    image = over(image, near, grass)
    for center, depth in ((0.12, 0.05), (0.3, 0.1), (0.47, 0.06), (0.63, 0.12), (0.8, 0.08)):
        bloom = inside(ellipse(X - center, Y - shore - depth, 0.022, 0.022))
        image = over(image, bloom, color(np.minimum(0.93, tone + 0.4), 0.13, 90.0), 0.9)
    return image


def _framed(image: Array) -> Array:
    """Return the image in a golden frame with a light mat."""
    u = np.broadcast_to(X - 0.5, (1, SIDE, SIDE))
    v = np.broadcast_to(Y - 0.5, (1, SIDE, SIDE))
    mat = inside(-box(u, v, 0.405, 0.405))
    frame = inside(-box(u, v, 0.435, 0.435))
    bevel = inside(-box(u, v, 0.475, 0.475))
    image = over(image, mat, color(0.95, 0.02, 90.0))
    image = over(image, frame, color(0.72, 0.11, 85.0))
    return over(image, bevel, color(0.55, 0.10, 72.0))
