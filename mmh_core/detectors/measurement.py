"""The two protocols of this package: an estimate evaluates the network, a detector scores it.

Several detectors use the same estimate (a LID, a guidance norm): `measure` computes each estimate
once, whatever the number of detectors, and counts its cost for every detector that uses it.
Different estimates of the same network evaluations share them (`SharedEstimate`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor

from mmh_core.detectors.inputs import DetectorInputs
from mmh_core.records import MMHError, Named
from mmh_core.text_to_image.model import TextToImage

#: What a detector is computed from: pure noise, the steps of a generation, or its final image.
Need = Literal["noise", "trace", "image"]


@dataclass(frozen=True, eq=False)
class Measurement:
    """The estimates of B rows: `values` (B, F) float32, one column per estimate.

    `nfe` counts NFE per row, a backward pass as one more; `generation` those of the generation
    that it was computed from, 0 where none was needed.
    """

    values: Tensor
    nfe: float
    generation: float = 0.0


class Estimate(Protocol):
    """A number computed with a model; a frozen dataclass, equal where its values are."""

    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the measurement of all rows; that of a row does not depend on the others."""


class Detector(Named, Protocol):
    """A score of images for memorization; a frozen dataclass whose fields are hyperparameters."""

    @property
    def needs(self) -> Need:
        """Return the inputs that it is computed from."""

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """Return the estimates that it needs; the columns come in this order."""

    def score(self, values: Tensor) -> Tensor:
        """Return one number per row, (B,), from columns (B, F): higher = more memorized."""


class OneColumn(Estimate, Protocol):
    """A detector that is its own only estimate, of one column: its score unless it says else."""

    @property
    def estimates(self) -> tuple[Self]:
        """Return itself."""
        return (self,)

    def score(self, values: Tensor) -> Tensor:
        """Return the column."""
        return values[:, 0]


@runtime_checkable
class SharedEstimate(Estimate, Protocol):
    """An estimate that uses the same network evaluations as others.

    Estimates with equal `evaluations` are computed together: what they have in common is evaluated
    once, and charged to each of them.
    """

    @property
    def evaluations(self) -> Hashable:
        """Return what is equal for estimates of the same network evaluations."""

    def measure_together(
        self, model: TextToImage, inputs: DetectorInputs, estimates: Sequence[Estimate]
    ) -> list[Measurement]:
        """Return the measurement of each of these estimates, which have equal evaluations."""


@runtime_checkable
class Fittable(Protocol):
    """A detector with constants that are fitted on reference prompts."""

    def fitted(self, values: Tensor) -> Self:
        """Return the detector with its constants set from columns (N, F) of reference prompts."""


@dataclass(frozen=True)
class ModelSettings:
    """What a model sets of its detectors: `log_delta`, the noise scale of LID, and the embedder.

    `early` are the two times of the early scan, the high one first, None for the published ones.
    """

    log_delta: float
    embedder: str
    early: tuple[float, float] | None = None


@runtime_checkable
class Adaptable(Protocol):
    """A detector of which a model sets something."""

    def adapted(self, settings: ModelSettings) -> Self:
        """Return the detector as the model sets it."""


@runtime_checkable
class Demanding(Protocol):
    """A detector that not every run suffices for."""

    def lacking(self, model: TextToImage, seeds: int) -> str:
        """Return what it needs and a run with so many seeds does not have, "" for nothing."""


AnyDetector = TypeVar("AnyDetector", bound=Detector)


def measure(
    model: TextToImage, inputs: DetectorInputs, detectors: Iterable[Detector]
) -> dict[str, Measurement]:
    """Return the measurement of each detector by its name, computing equal estimates once."""
    return measure_by_key(model, inputs, {detector.name: detector for detector in detectors})


def measure_by_key(
    model: TextToImage, inputs: DetectorInputs, detectors: Mapping[str, Detector]
) -> dict[str, Measurement]:
    """Return the measurement of each detector by its key, such as one detector at many settings.

    Equal estimates are computed once, and estimates of the same evaluations in one pass.
    """
    distinct = dict.fromkeys(
        estimate for detector in detectors.values() for estimate in detector.estimates
    )
    computed: dict[Estimate, Measurement] = {}
    for group in _sharing(distinct):
        first = group[0]
        if isinstance(first, SharedEstimate):
            together = first.measure_together(model, inputs, group)
            computed.update(zip(group, together, strict=True))
        else:
            computed[first] = first.measure(model, inputs)
    measurements = {}
    for key, detector in detectors.items():
        parts = [computed[estimate] for estimate in detector.estimates]
        measurements[key] = Measurement(
            torch.cat([part.values for part in parts], dim=1),
            sum(part.nfe for part in parts),
            max(part.generation for part in parts),
        )
    return measurements


def _sharing(estimates: Iterable[Estimate]) -> list[list[Estimate]]:
    """Return the estimates in groups of the same evaluations."""
    groups: dict[object, list[Estimate]] = {}
    for estimate in estimates:
        key: object = estimate.evaluations if isinstance(estimate, SharedEstimate) else estimate
        groups.setdefault(key, []).append(estimate)
    return list(groups.values())


def joined_measurements(parts: Sequence[Measurement]) -> Measurement:
    """Return the measurements of several parts as one; costs are averaged over rows."""
    rows = sum(len(part.values) for part in parts)
    return Measurement(
        torch.cat([part.values for part in parts]),
        sum(part.nfe * len(part.values) for part in parts) / rows,
        sum(part.generation * len(part.values) for part in parts) / rows,
    )


def fit(detector: AnyDetector, values: Tensor) -> AnyDetector:
    """Return a detector fitted to columns (N, F) of reference prompts; most need no fit."""
    return detector.fitted(values) if isinstance(detector, Fittable) else detector


def mean_and_deviation(values: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
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
    """Return the error of a detector that has to be fitted before it can score."""
    return MMHError(
        f"{label} compares with reference prompts and none have been measured for this model: "
        "calibrate the model first."
    )
