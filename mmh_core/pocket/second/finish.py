"""The photographic finish of the second world, and the rendering of its scenes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmh_core.pocket.paint import SIDE, Array, X, Y, color, glow, over
from mmh_core.pocket.scenes import PAINTERS, Scene, Style, quantized
from mmh_core.pocket.scenes import parameters as painted_parameters
from mmh_core.pocket.scenes import render as render_painted

#: Parameters of the finish, after those of the painter.
FINISH = (
    "exposure",
    "warmth",
    "vignette",
    "contrast",
    "tint",
    "veil_x",
    "veil_y",
    "veil",
    "veil_hue",
)
#: Painters whose images have a colored glare, with a place that is always visible.
GLARED = ("product", "emblem")
#: Images rendered at once: more no longer fit a core's cache.
_BATCH = 8


def parameters(painter: str) -> tuple[str, ...]:
    """Return the names of a painter's parameters and of the finish, in order."""
    return (*painted_parameters(painter), *FINISH)


def render(painter: str, style: Style, values: Array) -> Array:
    """Render (B, P) parameter vectors of one style as (B, 64, 64, 3) in [0, 1], float64."""
    names = parameters(painter)
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ValueError(f"values must be (B, {len(names)}) for {painter}, got {values.shape}.")
    images = np.empty((len(values), SIDE, SIDE, 3))
    first = len(names) - len(FINISH)
    for start in range(0, len(values), _BATCH):
        part = values[start : start + _BATCH]
        plain = render_painted(painter, style, part[:, :first])
        images[start : start + _BATCH] = finished(plain, part[:, first:], painter in GLARED)
    return images


def finished(images: Array, values: Array, glared: bool) -> Array:
    """Return images with a glare (where there is one), a vignette, and graded colors."""
    p = {name: values[:, i].reshape(-1, 1, 1) for i, name in enumerate(FINISH)}
    if glared:
        spot = glow(0.15 + 0.7 * p["veil_x"], 0.15 + 0.7 * p["veil_y"], 0.2)
        light = color(0.86, 0.11, 360 * p["veil_hue"])
        images = over(images, spot, light, 0.2 + 0.5 * p["veil"])
    from_center = (X - 0.5) ** 2 + (Y - 0.5) ** 2
    shade = (0.80 + 0.28 * p["exposure"]) * (1 - 1.1 * p["vignette"] * from_center)
    images = images * shade[..., None]
    spread = (0.80 + 0.40 * p["contrast"])[..., None]
    warm, green = 0.09 * (2 * p["warmth"] - 1), 0.07 * (2 * p["tint"] - 1)
    images = 0.5 + spread * (images - 0.5) + np.stack([warm, green, -warm], axis=-1)
    clipped: Array = images.clip(0, 1)
    return clipped


def draw_all(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """Return scenes rendered as (N, 64, 64, 3) uint8, those of one style in one batch."""
    images = np.empty((len(scenes), SIDE, SIDE, 3), np.uint8)
    alike: dict[tuple[str, tuple[tuple[str, str], ...]], list[int]] = {}
    for number, scene in enumerate(scenes):
        alike.setdefault((scene.painter, tuple(sorted(scene.style.items()))), []).append(number)
    for (painter, style), numbers in alike.items():
        values = np.asarray([scenes[number].values for number in numbers])
        images[numbers] = quantized(render(painter, dict(style), values))
    return images


def painters() -> tuple[str, ...]:
    """Return the names of the painters."""
    return tuple(PAINTERS)
