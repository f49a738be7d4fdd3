"""Records of the manifold study: its config, and the results so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from torch import Tensor

from mmh_core.memorization.hypothesis import MEMORIZED, VERDICTS
from mmh_core.records import ManifoldSamples, PlateauStatus

if TYPE_CHECKING:
    import pandas as pd

#: A plateau status in an array is an index into this tuple.
STATUSES: tuple[PlateauStatus, ...] = get_args(PlateauStatus)
#: Points per optimizer step.
BATCH = 256

RunState = Literal["training", "complete", "stopped"]


@dataclass(frozen=True)
class ManifoldConfig:
    """The config of a run: a manifold of the catalogue, its training set, the network, the seed.

    `points` distinct training points and `duplicates` further exact copies; `epochs` passes over
    them in batches of 256; `width` hidden units; `ambient_dim` None for the manifold's own space.
    """

    manifold: str
    points: int
    duplicates: int
    width: int
    epochs: int
    seed: int
    ambient_dim: int | None = None

    @property
    def steps(self) -> int:
        """Return the number of optimizer steps that the epochs amount to, at least 1."""
        return max(1, -(-self.epochs * (self.points + self.duplicates) // BATCH))


@dataclass(frozen=True)
class PointEstimates:
    """The estimates at n points.

    `points` (n, *shape); `data_lid` (n,) is the LID of the data, closed-form or
    estimated from held-out points, NaN where unknown; `curve` (n, K) over the run's
    `log_delta` and `curve_error` its standard error, (n, 0) for a deterministic estimator; `lid`,
    `log_delta`, `width` (n,) and `status` (n,) int8 of the chosen plateau; `verdict` (n,) int8, an
    index into `memorization.VERDICTS`.
    """

    points: Tensor
    data_lid: Tensor
    curve: Tensor
    curve_error: Tensor
    lid: Tensor
    log_delta: Tensor
    width: Tensor
    status: Tensor
    verdict: Tensor

    def frame(self) -> pd.DataFrame:
        """Return one row per point: coordinates (up to 3), true and model LID, verdict."""
        import pandas as pd

        flat = self.points.flatten(1)[:, :3].numpy(force=True)
        table = pd.DataFrame(flat, columns=[f"x{i}" for i in range(flat.shape[1])])
        table["true_lid"] = self.data_lid.numpy(force=True)
        table["lid"] = self.lid.numpy(force=True)
        table["log_delta"] = self.log_delta.numpy(force=True)
        table["plateau"] = [STATUSES[i] for i in self.status.tolist()]
        table["verdict"] = [VERDICTS[i] for i in self.verdict.tolist()]
        return table

    @property
    def memorized(self) -> Tensor:
        """Return which points are memorized (n,), whatever the cause."""
        first = VERDICTS.index(MEMORIZED[0])
        return self.verdict >= first


@dataclass(frozen=True)
class Snapshot:
    """The state of one training run after `step` optimizer steps.

    `trained` are the estimates at the training points shown, `generated` those at the samples that
    the model drew from the run's fixed noise. `nearest` (m,) is the index of each sample's nearest
    training point, `distance_ratio` (m,) its distance divided by that to the nearest *other* place
    in the training set (Carlini et al. 2023 call a sample a copy below 1 / 3). `fit_trained`,
    `fit_held_out` and `fit_baseline` (K,) are the denoising errors of `dimension.fit`, `fits`
    whether they leave a trusted band of noise scales, (`band_low`, `band_high`) that band.
    `field` (F, G, G, 2) holds `x0_hat - x` on a grid at the scales `ManifoldRun.field_log_delta`,
    empty outside the plane.
    """

    step: int
    epoch: float
    loss: float
    fits: bool
    band_low: float
    band_high: float
    fit_trained: Tensor
    fit_held_out: Tensor
    fit_baseline: Tensor
    trained: PointEstimates
    generated: PointEstimates
    nearest: Tensor
    distance_ratio: Tensor
    field: Tensor

    @property
    def low_ratio_share(self) -> float:
        """Return the share of generated samples whose distance ratio is below 1 / 3.

        Beside `chance_memorized`, the share among fresh data; by LID others may be memorized.
        """
        return float((self.distance_ratio < 1 / 3).float().mean())


@dataclass(frozen=True)
class EstimatorRow:
    """One estimator's result on the points of the table.

    `side` is "model" or "data". `lid` (n,) at the scale the estimator chose by itself;
    `mean_abs_error` and `concordance` (Harrell's C) against the truth, NaN where it is unknown;
    `standard_error` is the median over points, `nfe` per point over the whole curve, `seconds`
    for all points.
    """

    name: str
    label: str
    side: Literal["model", "data"]
    lid: Tensor
    mean_abs_error: float
    concordance: float
    standard_error: float
    nfe: float
    seconds: float


@dataclass(frozen=True)
class ManifoldRun:
    """One run of the manifold study, finished or in progress.

    `train` is the whole training set, `shown` (S,) the rows of it at which LID is estimated,
    `truth` a sample of the true manifold to draw behind. `log_delta` (K,) is the shared axis of
    all curves. `losses` (L, 2) holds step and smoothed loss. `center` (D,) and `axes` (D, 3)
    project points to the plane and space of the images (the data's own coordinates up to D = 3,
    its principal axes beyond). `estimators` is filled at the end. `typical_lid` is the median data
    LID over the distinct training points. `chance_memorized` is the share of fresh draws from what
    the training points are drawn from whose distance ratio is below 1 / 3: in few dimensions it is
    far from 0, and only an excess over it means copying.
    """

    config: ManifoldConfig
    state: RunState
    train: ManifoldSamples
    shown: Tensor
    truth: ManifoldSamples
    typical_lid: float
    chance_memorized: float
    lid_estimator: str
    log_delta: Tensor
    field_log_delta: Tensor
    field_extent: Tensor
    center: Tensor
    axes: Tensor
    losses: Tensor
    seconds: float
    snapshots: tuple[Snapshot, ...]
    estimators: tuple[EstimatorRow, ...]

    def projected(self, points: Tensor) -> Tensor:
        """Return points (n, *shape) in the coordinates of the images, (n, 3)."""
        return (points.flatten(1) - self.center) @ self.axes

    def frame(self) -> pd.DataFrame:
        """Return one row per snapshot: loss, fit, median LIDs and fraction memorized."""
        import pandas as pd

        return pd.DataFrame(
            {
                "step": [s.step for s in self.snapshots],
                "epoch": [s.epoch for s in self.snapshots],
                "loss": [s.loss for s in self.snapshots],
                "fits": [s.fits for s in self.snapshots],
                "median_lid_generated": [float(s.generated.lid.median()) for s in self.snapshots],
                "median_lid_trained": [float(s.trained.lid.median()) for s in self.snapshots],
                # The column had its name before there was one by LID.
                "fraction_memorized": [s.low_ratio_share for s in self.snapshots],
                "fraction_memorized_by_lid": [
                    float(s.generated.memorized.float().mean()) for s in self.snapshots
                ],
            }
        )
