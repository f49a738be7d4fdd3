"""The true local intrinsic dimension of a scene: the rank of its painter's Jacobian."""

from __future__ import annotations

import numpy as np

from mmh_core.pocket.paint import SIDE
from mmh_core.pocket.scenes import Scene, parameters, render

#: Step of the finite difference, in units of a parameter's whole range.
_STEP = 1e-4
#: A direction counts when moving along it over the whole range would change the image by at
#: least this much, root mean square over its values: one gray level of 255.
VISIBLE = 1 / 255


def singular_values(scene: Scene, free: tuple[str, ...]) -> np.ndarray:
    """Return the singular values, falling, of d image / d free parameters, over sqrt(D).

    Parameters are in units of their range [0, 1], so a value is the change of the image, root
    mean square per channel value, along the direction over a whole range. Forward differences of
    step 1e-4 (backward near the upper end), in float64. Errors: ValueError for an unknown name.
    """
    names = parameters(scene.painter)
    for name in free:
        if name not in names:
            raise ValueError(f"Unknown parameter {name!r}; choose from {', '.join(names)}.")
    if not free:
        return np.zeros(0)
    base = np.asarray(scene.values, np.float64)
    points = np.repeat(base[None], len(free) + 1, axis=0)
    steps = np.empty(len(free))
    for row, name in enumerate(free, start=1):
        place = names.index(name)
        steps[row - 1] = _STEP if base[place] + _STEP <= 1 else -_STEP
        points[row, place] += steps[row - 1]
    rendered = render(scene.painter, scene.style, points).reshape(len(points), -1)
    slopes = (rendered[1:] - rendered[0]) / steps[:, None]
    values: np.ndarray = np.linalg.svd(slopes, compute_uv=False) / np.sqrt(3 * SIDE * SIDE)
    return values


def true_lid(scene: Scene, free: tuple[str, ...]) -> int:
    """Return LID_* of a scene over its free parameters: the visible directions of its Jacobian.

    Those are the singular values of at least `VISIBLE`. 0 where nothing is free, which is the
    case of an image that is always the same. Caveat: the rank counts directions of any visible
    size, while a model at noise scale delta sees only those wider than delta.
    """
    return int((singular_values(scene, free) >= VISIBLE).sum())
