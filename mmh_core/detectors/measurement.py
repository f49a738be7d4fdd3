"""The two protocols of this package: a reading asks the network, a detector makes one number.

Several detectors use the same reading (a LID, a guidance norm): `measure` takes each reading
once, whatever the number of detectors, and charges every detector for all that it used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor

from mmh_core.detectors.inputs import Evidence
from mmh_core.records import MMHError
from mmh_core.text_to_image.model import TextToImage

#: What a detector looks at: pure noise, the steps of a generation, or what it ended with.
Need = Literal["noise", "trace", "image"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """Hold what was read of B rows: `values` (B, F) float32, one column per number read.

    `nfe` counts network evaluations per row, as the run made them, a reverse pass as one more;
    `generation` those of the generation that it was read from, 0 where none was needed.
    """

    values: Tensor
    nfe: float
    generation: float = 0.0


class Reading(Protocol):
    """Read numbers off a model; a frozen dataclass, equal where it reads the same numbers."""

    def measure(self, model: TextToImage, evidence: Evidence) -> Measurement:
        """Return the numbers; a row's do not depend on the other prompts."""


class Detector(Protocol):
    """Score images for memorization; a frozen dataclass whose fields are hyperparameters."""

    @property
    def name(self) -> str:
        """Return the key in DETECTORS."""

    @property
    def label(self) -> str:
        """Return the name for people."""

    @property
    def reference(self) -> str:
        """Return where the recipe comes from."""

    @property
    def needs(self) -> Need:
        """Return what it looks at."""

    @property
    def estimates(self) -> tuple[Reading, ...]:
        """Return what has to be read; the columns come in this order."""

    def score(self, values: Tensor) -> Tensor:
        """Return one number per row, (B,), from columns (B, F): higher = more memorized."""


@runtime_checkable
class Fittable(Protocol):
    """Be a detector with constants that only reference prompts can tell."""

    def fitted(self, values: Tensor) -> Self:
        """Return the detector with its constants set from columns (N, F) of reference prompts."""


AnyDetector = TypeVar("AnyDetector", bound=Detector)


def measure(
    model: TextToImage, evidence: Evidence, detectors: Iterable[Detector]
) -> dict[str, Measurement]:
    """Return the measurement of each detector by its name, taking equal estimates once."""
    taken: dict[Reading, Measurement] = {}
    found = {}
    for detector in detectors:
        for reading in detector.estimates:
            if reading not in taken:
                taken[reading] = reading.measure(model, evidence)
        parts = [taken[reading] for reading in detector.estimates]
        found[detector.name] = Measurement(
            torch.cat([part.values for part in parts], dim=1),
            sum(part.nfe for part in parts),
            max(part.generation for part in parts),
        )
    return found


def joined_measurements(parts: Sequence[Measurement]) -> Measurement:
    """Put measurements of several parts of the rows together; costs are averaged over rows."""
    rows = sum(len(part.values) for part in parts)
    return Measurement(
        torch.cat([part.values for part in parts]),
        sum(part.nfe * len(part.values) for part in parts) / rows,
        sum(part.generation * len(part.values) for part in parts) / rows,
    )


def fit(detector: AnyDetector, values: Tensor) -> AnyDetector:
    """Return a detector fitted to columns (N, F) of reference prompts; most need no fit."""
    return detector.fitted(values) if isinstance(detector, Fittable) else detector


def location_and_spread(values: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each column (N, F) of reference prompts.

    Rows with a number that is not finite are left out. Raises MMHError for fewer than two others
    and for a column that does not vary.
    """
    values = values[values.isfinite().all(1)]
    spread = values.double().std(0) if len(values) > 1 else values.new_zeros(1)
    if not bool((spread > 0).all()):
        raise MMHError(
            f"{len(values)} images of reference prompts are too few or too much alike to fit a "
            "detector: calibrate with more prompts."
        )
    return tuple(values.double().mean(0).tolist()), tuple(spread.tolist())


def not_fitted(label: str) -> MMHError:
    """Return the error of a detector that is asked for a score before it was fitted."""
    return MMHError(
        f"{label} compares with reference prompts and none have been measured for this model: "
        "calibrate the model first."
    )
