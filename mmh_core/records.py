"""Frozen records that travel between the layers, and the one user-facing exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

# Torch takes a second or two to import; whoever only needs the exception need not wait for it.
if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

Partial = TypeVar("Partial", covariant=True)
Split = Literal["calibration", "test"]
#: The kind of prompts that are other wordings of memorized captions, counted apart.
PARAPHRASE = "paraphrase"
PlateauStatus = Literal["plateau", "edge of the band", "no plateau", "several plateaus"]


class MMHError(Exception):
    """An error a user can act on: one sentence on what happened and what to do, no traceback."""


class Named(Protocol):
    """A detector or a mitigation, as its catalogue lists it."""

    @property
    def name(self) -> str:
        """Return the key in the catalogue."""

    @property
    def label(self) -> str:
        """Return the name that its paper gives it, with "variant" where this differs."""

    @property
    def citation(self) -> str:
        """Return the citation."""

    @property
    def summary(self) -> str:
        """Return one sentence on what it does and, for a variant, how it differs."""


@dataclass(frozen=True)
class Progress(Generic[Partial]):
    """The state of a long computation after one of its steps.

    `fraction` runs from 0 to 1, `message` is one short line for a person, and `partial` is the
    record as far as it is known: whoever stops listening keeps the last one.
    """

    fraction: float
    message: str
    partial: Partial


@dataclass(frozen=True)
class Conclusion:
    """A result in words: the `finding` with its number, what to do next, and how sure that is."""

    finding: str
    recommendation: str
    certainty: str


@dataclass(frozen=True)
class LidEstimate:
    """The LID of B points at one noise scale each.

    `lid` and `standard_error` have shape (B,), in dimensions; the standard error is that of the
    estimator's own randomness (probes, noises), 0 for a deterministic one and NaN where one
    draw gives none. `nfe` counts network evaluations per point, a backward pass through one
    counting as one more. `asymmetry` (B,) is the relative antisymmetric part of the score's
    Jacobian where the estimator sees it, a free diagnostic of fit: a true score has a symmetric
    one. `probes` is the number of independent values that the standard error is of, None for a
    deterministic estimator.
    """

    lid: Tensor
    standard_error: Tensor
    nfe: float
    asymmetry: Tensor | None = None
    probes: int | None = None

    def frame(self) -> pd.DataFrame:
        """Return one row per point."""
        import pandas as pd

        columns = {"lid": self.lid.numpy(force=True)}
        columns["standard_error"] = self.standard_error.numpy(force=True)
        if self.asymmetry is not None:
            columns["asymmetry"] = self.asymmetry.numpy(force=True)
        return pd.DataFrame(columns)


@dataclass(frozen=True)
class LidCurve:
    """LID over the noise scale: `lid` and `standard_error` (B, K) over `log_delta` (K,).

    `delta = sigma / alpha` is the noise scale in data units; the natural logarithm of it is the
    axis that all estimators share. `log_delta` increases.
    """

    log_delta: Tensor
    lid: Tensor
    standard_error: Tensor
    nfe: float


@dataclass(frozen=True)
class Plateau:
    """The noise scale chosen on each of B curves, and the LID there.

    `lid`, `log_delta` and `width` have shape (B,); `width` is the length of the plateau in units
    of log delta, 0 where there is none. `status` says how far the choice can be trusted.
    """

    lid: Tensor
    log_delta: Tensor
    width: Tensor
    status: tuple[PlateauStatus, ...]


@dataclass(frozen=True)
class ManifoldSamples:
    """N points of a manifold in R^D with their true LID and component.

    `points` (N, *shape) float32; `lid` (N,) float32, the true local intrinsic dimension, NaN where
    it is unknown; `component` (N,) int64, an index into `component_names`.
    """

    name: str
    points: Tensor
    lid: Tensor
    component: Tensor
    component_names: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one point."""
        return tuple(self.points.shape[1:])

    @property
    def ambient_dim(self) -> int:
        """Return D, the number of coordinates of one point."""
        return self.points[0].numel()


@dataclass(frozen=True)
class LabelledPrompt:
    """One prompt of known truth; `kind` is "memorized" or "reference" where no more is known.

    `cause` is a label of `memorization.cause`, "" where it is unknown; in older files `overfitted`
    stands in its place: True for overfitting, False for the data.
    `group` is whatever the list tells apart, such as a dose of duplication or a template; "" for
    nothing. `multiplicity` is the dose k: how often each image of the prompt occurs in the
    training set (0 for none), None where unknown; `near` says by what transform the occurrences
    differ, "" for exact ones. `exclusion` says why a prompt is measured but counted in no area, as
    one that neither label fits: its image occurs only twice, too often for a reference prompt and
    too seldom to be called memorized; "" for all others.
    """

    prompt: str
    memorized: bool
    kind: str
    split: Split
    overfitted: bool | None = None
    group: str = ""
    cause: str = ""
    multiplicity: int | None = None
    near: str = ""
    exclusion: str = ""

    @property
    def paraphrased(self) -> bool:
        """Return whether the prompt is another wording of a memorized caption."""
        return self.kind == PARAPHRASE

    @property
    def counted(self) -> bool:
        """Return whether the prompt counts in areas and rates: paraphrases are counted apart."""
        return not self.paraphrased and not self.exclusion
