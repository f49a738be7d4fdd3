"""The scenes of the world: each a pure function of a vector in [0, 1]^P.

A `Scene` is a painter's name, the choices that have no scale between them (`style`) and the vector
of everything that has. `render` draws batches of one style, so that the derivatives of an image
with respect to its parameters come out of one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmh_core.pocket.emblems import COMPOSITION, EMBLEM, paint_composition, paint_emblem
from mmh_core.pocket.landscape import LANDSCAPE, paint_landscape
from mmh_core.pocket.paint import SIDE, Array
from mmh_core.pocket.portrait import PORTRAIT, paint_portrait
from mmh_core.pocket.product import PRODUCT, paint_product

Style = Mapping[str, str]
Painter = Callable[[Mapping[str, Array], Style], Array]

#: Name -> (painter, names of its parameters).
PAINTERS: dict[str, tuple[Painter, tuple[str, ...]]] = {
    "portrait": (paint_portrait, PORTRAIT),
    "landscape": (paint_landscape, LANDSCAPE),
    "product": (paint_product, PRODUCT),
    "composition": (paint_composition, COMPOSITION),
    "emblem": (paint_emblem, EMBLEM),
}
_BATCH = 64


@dataclass(frozen=True)
class Scene:
    """One image before it is rendered: its painter, its style and its vector (P,)."""

    painter: str
    style: Style
    values: tuple[float, ...] = field(repr=False)


def parameters(painter: str) -> tuple[str, ...]:
    """Return the names of a painter's parameters, in order."""
    if painter not in PAINTERS:
        raise ValueError(f"Unknown painter {painter!r}; choose from {', '.join(PAINTERS)}.")
    return PAINTERS[painter][1]


def render(painter: str, style: Style, values: Array) -> Array:
    """Render (B, P) parameter vectors of one style as (B, 64, 64, 3) in [0, 1], float64."""
    names = parameters(painter)
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ValueError(f"values must be (B, {len(names)}) for {painter}, got {values.shape}.")
    paint = PAINTERS[painter][0]
    images = np.empty((len(values), SIDE, SIDE, 3))
    for start in range(0, len(values), _BATCH):
        part = values[start : start + _BATCH]
        named = {name: part[:, i].reshape(-1, 1, 1) for i, name in enumerate(names)}
        images[start : start + _BATCH] = paint(named, style)
    return images


def draw(scene: Scene) -> NDArray[np.uint8]:
    """Return one scene rendered as (64, 64, 3) uint8."""
    images = quantized(render(scene.painter, scene.style, np.asarray([scene.values])))
    image: NDArray[np.uint8] = images[0]
    return image


def quantized(images: Array) -> NDArray[np.uint8]:
    """Round images in [0, 1] to bytes."""
    rounded: NDArray[np.uint8] = np.rint(images.clip(0, 1) * 255).astype(np.uint8)
    return rounded
