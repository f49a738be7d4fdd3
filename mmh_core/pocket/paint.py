"""Batches of small anti-aliased images: colors, regions, and compositing.

Everything is an array with one entry per image: numbers have shape (B, 1, 1), regions
(B, 64, 64) with values in [0, 1] (the share of a pixel that is covered), colors (B, 1, 1, 3),
images (B, 64, 64, 3), all float64 in [0, 1]. Coordinates run from 0 to 1, y downward. Edges
are ramps of the signed distance, so that an image is a continuous function of its parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIDE = 64
_AXIS = (np.arange(SIDE) + 0.5) / SIDE
X: Array = np.broadcast_to(_AXIS[None, None, :], (1, SIDE, SIDE))
Y: Array = np.broadcast_to(_AXIS[None, :, None], (1, SIDE, SIDE))
#: Width of an edge: a little over a pixel, which looks smooth and keeps derivatives tame.
EDGE = 1.25 / SIDE

#: OKLCH hue angles, in degrees, of the colors that captions name.
HUES = {
    "red": 27.0,
    "orange": 58.0,
    "yellow": 95.0,
    "green": 145.0,
    "teal": 192.0,
    "blue": 255.0,
    "purple": 305.0,
    "pink": 352.0,
}
#: What is added to their lightness.
LIFTS = {"yellow": 0.20, "orange": 0.09}


def color(lightness: Array | float, chroma: Array | float, hue: Array | float) -> Array:
    """Return sRGB (B, 1, 1, 3) of OKLCH values, hue in degrees; out-of-range colors are clipped.

    Ottosson 2020, "A perceptual color space for image processing": equal steps of lightness look
    equal, which keeps palettes that vary only in hue in harmony.
    """
    lightness, chroma, hue = np.broadcast_arrays(
        *(np.asarray(v, np.float64).reshape(-1) for v in (lightness, chroma, hue))
    )
    a = chroma * np.cos(np.radians(hue))
    b = chroma * np.sin(np.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
        ],
        axis=-1,
    ).clip(0, 1)
    curve = 1.055 * np.maximum(linear, 1e-12) ** (1 / 2.4) - 0.055
    srgb: Array = np.where(linear <= 0.0031308, 12.92 * linear, curve)
    return srgb.clip(0, 1)[:, None, None, :]


def named_color(
    name: str, lightness: Array | float, chroma: float, turn: Array | float = 0.0
) -> Array:
    """Return the color that captions call `name`, turned by `turn` degrees.

    Yellow and orange are lighter than the rest: at equal lightness they would look brown.
    """
    if name not in HUES:
        raise ValueError(f"Unknown color {name!r}; choose from {', '.join(HUES)}.")
    return color(np.asarray(lightness) + LIFTS.get(name, 0.0), chroma, HUES[name] + turn)


def mixed(first: Array, second: Array, share: Array) -> Array:
    """Return the color between two, with `share` (B, 1, 1) of the second."""
    return first + (second - first) * share[..., None]


def gradient(top: Array, bottom: Array) -> Array:
    """Return an image that passes smoothly from one color at the top to another below."""
    rise = Y * Y * (3 - 2 * Y)
    return top + (bottom - top) * rise[..., None]


def over(image: Array, region: Array, paint: Array, opacity: Array | float = 1.0) -> Array:
    """Lay a color, or another image, over a region of an image."""
    share = (region * opacity)[..., None]
    return image + (paint - image) * share


def inside(distance: Array, edge: Array | float = EDGE) -> Array:
    """Return the region where a signed distance is negative, with a smooth edge."""
    ramp: Array = (0.5 - distance / edge).clip(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def glow(cx: Array, cy: Array, radius: Array | float) -> Array:
    """Return a region that fades like a Gaussian around a point."""
    square = (X - cx) ** 2 + (Y - cy) ** 2
    region: Array = np.exp(-square / (2 * np.asarray(radius) ** 2))
    return region


def local(cx: Array, cy: Array, size: Array, angle: Array | float = 0.0) -> tuple[Array, Array]:
    """Return coordinates (u, v) around a center, in units of `size`, turned by `angle` radians."""
    dx, dy = (X - cx) / size, (Y - cy) / size
    cosine, sine = np.cos(angle), np.sin(angle)
    return cosine * dx + sine * dy, cosine * dy - sine * dx


def ellipse(u: Array, v: Array, rx: Array | float, ry: Array | float) -> Array:
    """Return an approximate signed distance to an ellipse around the origin."""
    scaled = np.sqrt((u / rx) ** 2 + (v / ry) ** 2 + 1e-12)
    slope = np.sqrt((u / rx**2) ** 2 + (v / ry**2) ** 2 + 1e-12)
    distance: Array = scaled * (scaled - 1) / slope
    return distance


def box(u: Array, v: Array, hx: Array | float, hy: Array | float, rounding: float = 0.0) -> Array:
    """Return the signed distance to a box of half-widths hx, hy with rounded corners."""
    qx, qy = np.abs(u) - hx + rounding, np.abs(v) - hy + rounding
    outer = np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2)
    distance: Array = outer + np.minimum(np.maximum(qx, qy), 0) - rounding
    return distance


def polygon(u: Array, v: Array, corners: Sequence[tuple[float, float]]) -> Array:
    """Return the signed distance to a convex polygon with corners in clockwise order on screen."""
    distance = np.full(np.broadcast_shapes(u.shape, v.shape), -np.inf)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        length = float(np.hypot(x1 - x0, y1 - y0))
        outward = ((y1 - y0) * (u - x0) - (x1 - x0) * (v - y0)) / length
        distance = np.maximum(distance, outward)
    return distance


def star(u: Array, v: Array, points: int, depth: float = 0.5) -> Array:
    """Return an approximate signed distance to a star of outer radius 1, with straight edges."""
    sector = 2 * np.pi / points
    turned = np.arctan2(u, -v)
    fold = np.abs(np.mod(turned + sector / 2, sector) - sector / 2)
    radius = np.sqrt(u * u + v * v + 1e-12)
    px, py = radius * np.sin(fold), radius * np.cos(fold)
    # The edge runs from the tip (0, 1) to the notch at half a sector.
    nx, ny = depth * np.sin(sector / 2), depth * np.cos(sector / 2)
    length = float(np.hypot(nx, ny - 1))
    distance: Array = ((px) * (1 - ny) + (py - 1) * nx) / length
    return distance


def arc(u: Array, v: Array, half: Array | float, bend: Array, thickness: float) -> Array:
    """Return the signed distance to a stroke `v = bend (1 - (u / half)^2)`, `|u| <= half`."""
    across = np.clip(u / half, -1, 1)
    rise = bend * (1 - across**2)
    sideways = np.maximum(np.abs(u) - half, 0)
    distance: Array = np.sqrt((v - rise) ** 2 + sideways**2 + 1e-12) - thickness
    return distance
