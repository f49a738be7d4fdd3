"""The true local intrinsic dimension of a scene: the rank of its painter's Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mmh_core.pocket.paint import SIDE, Array
from mmh_core.pocket.scenes import Scene, Style, parameters, render

#: Renders (B, P) parameter vectors of a painter in one style as images (B, 64, 64, 3).
Renderer = Callable[[str, Style, Array], Array]

#: Step of the finite difference, in units of a parameter's whole range.
_STEP = 1e-4
#: A direction counts when moving along it over the whole range would change the image by at
#: least this much, root mean square over its values: one gray level of 255.
VISIBLE = 1 / 255


def singular_values(scene: Scene, free: Sequence[str]) -> Array:
    """Return the singular values, falling, of d image / d free parameters, over sqrt(D).

    See `values_of_slopes`. Errors: ValueError for an unknown name.
    """
    return values_of_slopes(scene, free, parameters(scene.painter), render)


def values_of_slopes(
    scene: Scene, free: Sequence[str], names: Sequence[str], rendered: Renderer
) -> Array:
    """Return the singular values of a renderer's Jacobian, whose parameters are `names`.

    Parameters are in units of their range [0, 1], so a value is the change of the image, root
    mean square per channel value, along the direction over a whole range. Forward differences of
    step 1e-4 (backward near the upper end), in float64. Errors: ValueError for an unknown name.
    """
    for name in free:
        if name not in names:
            raise ValueError(f"Unknown parameter {name!r}; choose from {', '.join(names)}.")
    if not free:
        return np.zeros(0)
    base = np.asarray(scene.values, np.float64)
    points = np.repeat(base[None], len(free) + 1, axis=0)
    steps = np.empty(len(free))
    for row, name in enumerate(free, start=1):
        column = names.index(name)
        steps[row - 1] = _STEP if base[column] + _STEP <= 1 else -_STEP
        points[row, column] += steps[row - 1]
    images = rendered(scene.painter, scene.style, points).reshape(len(points), -1)
    slopes = (images[1:] - images[0]) / steps[:, None]
    values: Array = np.linalg.svd(slopes, compute_uv=False) / np.sqrt(3 * SIDE * SIDE)
    return values


def true_lid(scene: Scene, free: Sequence[str]) -> int:
    """Return LID_* of a scene over its free parameters: the visible directions of its Jacobian.

    Those are the singular values of at least `VISIBLE`. 0 where nothing is free, which is the
    case of an image that is always the same. Caveat: the rank counts directions of any visible
    size, while a model at noise scale delta sees only those wider than delta.
    """
    return int((singular_values(scene, free) >= VISIBLE).sum())
