"""The free settings of detectors and the candidate values from which `detectors.tuning` chooses.

Times t run from 0, data, to 1, pure noise, as everywhere in this package.

A detector states its own grid: the candidates of each of its fields that labels may set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, replace
from itertools import product
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

#: The candidates of each free field, by the field's name.
Grid = Mapping[str, tuple[float, ...]]

#: Times of detectors that look at pure noise, the published ones first.
TIMES = (0.98, 0.8, 0.6, 0.4, 0.2, 0.04)
#: Times of detectors that add noise to an image: later ones leave little of the image.
IMAGE_TIMES = (0.1, 0.04, 0.2, 0.4)
#: Noise scales sigma / alpha of LID and of the denoised spread, in the units in which the network
#: sees its data: scaled latents, whose standard deviation is about 1.
LOG_DELTAS = tuple(math.log(delta) for delta in (0.23, 0.34, 0.5, 0.75, 1.1, 1.6))


@runtime_checkable
class Tunable(Protocol):
    """A dataclass with a class attribute `grid`: candidate values of some of its fields."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    grid: ClassVar[Grid]


AnyTunable = TypeVar("AnyTunable", bound=Tunable)


def free_values(detector: Tunable) -> dict[str, float]:
    """Return the values that a detector's free settings have, by the field's name."""
    return {name: getattr(detector, name) for name in detector.grid}


def with_values(detector: AnyTunable, values: Mapping[str, float]) -> AnyTunable:
    """Return the detector with these values of its free settings."""
    changed: AnyTunable = replace(detector, **values)
    return changed


def candidates(detector: AnyTunable) -> tuple[AnyTunable, ...]:
    """Return the detector with every combination of its grid, its own values first."""
    own, names = tuple(free_values(detector).values()), tuple(detector.grid)
    combinations = dict.fromkeys([own, *product(*detector.grid.values())])
    return tuple(
        with_values(detector, dict(zip(names, each, strict=True))) for each in combinations
    )
