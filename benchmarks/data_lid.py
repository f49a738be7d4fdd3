"""Time the data-side LID against scikit-dimension, neighbor search included on both sides.

    python benchmarks/data_lid.py [--json FILE]

Both estimate the LID at every one of 5,000 points in R^20 from the 100 nearest neighbors, in
turns, in one process, on one thread. Figures are CPU seconds, which on an idle machine are the
time that passes and on a busy one are fair to both: medians over the rounds, within which whatever
takes less than half a second is repeated and averaged. A total is one neighbor search and one
estimator. scikit-dimension's ESS would take minutes, so it
runs on some of the points and its time is scaled linearly to all of them; the search is not
scaled. Values are compared at all points that both have estimated. Exit status 1 when they differ.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere

from mmh_core.dimension.neighbors import ess, knn_graph, local_pca, mle

Values = NDArray[np.float64]
Rows = NDArray[np.int64]
Result = TypeVar("Result")

POINTS, NEIGHBORS = 5000, 100
SUBSET = 100  # points on which their ESS runs, some 60 ms each
FASTER = 10.0
CLOSER = 1e-6


@dataclass(frozen=True)
class Turn:
    """Hold the seconds of both sides for one piece of work, and the largest difference."""

    ours: float
    theirs: float
    difference: float


@dataclass(frozen=True)
class Row:
    """Hold one line of the table: seconds of the search and of the estimator on either side."""

    estimator: str
    search: float
    ours: float
    their_search: float
    theirs: float
    largest_difference: float
    theirs_ran_on: int

    @property
    def total(self) -> float:
        """Return the seconds of one search and one estimator of ours."""
        return self.search + self.ours

    @property
    def their_total(self) -> float:
        """Return the seconds of one search and one estimator of theirs."""
        return self.their_search + self.theirs

    @property
    def ratio(self) -> float:
        """Return how many times faster ours is in all."""
        return self.their_total / self.total

    @property
    def estimator_ratio(self) -> float:
        """Return how many times faster our estimator is, the neighbors being known."""
        return self.theirs / self.ours


def make_points(count: int) -> torch.Tensor:
    """Draw a 12-dimensional Gaussian in R^20 with noise of standard deviation .05 around it."""
    generator = torch.Generator().manual_seed(0)
    frame: torch.Tensor
    frame, _ = torch.linalg.qr(torch.randn(20, 12, generator=generator, dtype=torch.float64))
    flat = torch.randn(count, 12, generator=generator, dtype=torch.float64) @ frame.T
    noise = torch.randn(count, 20, generator=generator, dtype=torch.float64)
    return flat + 0.05 * noise


def their_search(points: Values, k: int) -> tuple[Values, Rows]:
    """Search as its `fit` does: scikit-learn with default settings, which is exact."""
    from sklearn.neighbors import NearestNeighbors

    distances, indices = NearestNeighbors(n_neighbors=k, n_jobs=1).fit(points).kneighbors()
    return distances, indices


def their_mle(points: Values, distances: Values, indices: Rows) -> Values:
    """Run MLE with the k - 2 of ours (`unbiased`); its default differs by (k - 1) / (k - 2)."""
    import skdim

    estimator = skdim.id.MLE(unbiased=True)
    values: Values = estimator.fit_transform_pw(
        points, precomputed_knn_arrays=(distances, indices)
    )
    return values


def their_local_pca(points: Values, distances: Values, indices: Rows) -> Values:
    """Run lPCA with the rule of Fukunaga and Olsen at .05."""
    import skdim

    estimator = skdim.id.lPCA(ver="FO", alphaFO=0.05)
    values: Values = estimator.fit_transform_pw(points, precomputed_knn=indices)
    return values


def their_ess(points: Values, distances: Values, indices: Rows) -> Values:
    """Run ESS one neighborhood after the other, as its `fit` does, on the rows given."""
    import skdim

    estimator = skdim.id.ESS(ver="a", d=1, random_state=0)
    return np.array([estimator.fit_once(points[row]).dimension_ for row in indices])


ESTIMATORS = {
    "ESS": (ess, their_ess),
    "local PCA": (local_pca, their_local_pca),
    "MLE": (mle, their_mle),
}


def timed(run: Callable[[], Result]) -> tuple[float, Result]:
    """Return the mean CPU seconds of as many runs as fit half a second, and the result."""
    start, runs, spent = time.process_time(), 0, 0.0
    while spent < 0.5:
        result = run()
        runs, spent = runs + 1, time.process_time() - start
    return spent / runs, result


def one_round(points: torch.Tensor, k: int, subset: int) -> dict[str, Turn]:
    """Let both sides search once and estimate once each, ours first in every pair."""
    data: Values = points.numpy()
    ours, graph = timed(lambda: knn_graph(points, k))
    theirs, found = timed(lambda: their_search(data, k))
    apart = float(np.abs(graph.distances.numpy() - found[0]).max())
    turns = {"search": Turn(ours, theirs, apart)}
    for name, (estimator, their_estimator) in ESTIMATORS.items():
        rows = subset if name == "ESS" else len(data)
        distances, indices = found[0][:rows], found[1][:rows]
        ours, estimate = timed(partial(estimator, graph))
        theirs, values = timed(partial(their_estimator, data, distances, indices))
        apart = float(np.abs(estimate.lid[:rows].numpy() - values).max())
        turns[name] = Turn(ours, theirs * len(data) / rows, apart)
    return turns


def compare(count: int, k: int, subset: int, rounds: int) -> list[Row]:
    """Return the medians over the rounds, one row per estimator."""
    points = make_points(count)
    one_round(points, k, 2)  # first calls load libraries and compile
    turns = [one_round(points, k, subset) for _ in range(rounds)]

    def medians(name: str) -> tuple[float, float]:
        of_round = [turn[name] for turn in turns]
        return (
            statistics.median(turn.ours for turn in of_round),
            statistics.median(turn.theirs for turn in of_round),
        )

    rows = []
    for name in ESTIMATORS:
        (search, their_search_time), (ours, theirs) = medians("search"), medians(name)
        ran_on = subset if name == "ESS" else count
        apart = max(turn[name].difference for turn in turns)
        rows.append(Row(name, search, ours, their_search_time, theirs, apart, ran_on))
    return rows


def show(rows: list[Row]) -> None:
    """Print the table, with the bars."""
    print(f"{'':10} |{'ours, seconds':^25}|{'theirs, seconds':^25}|{'times faster':^17}|")
    print(
        f"{'':10} | {'search':>7} {'estimate':>8} {'total':>7} "
        f"| {'search':>7} {'estimate':>8} {'total':>6} "
        f"| {'total':>6} {'estimate':>8} | {'difference':>10}"
    )
    for row in rows:
        print(
            f"{row.estimator:10} | {row.search:7.3f} {row.ours:8.4f} {row.total:7.3f} | "
            f"{row.their_search:7.3f} {row.theirs:8.3f} {row.their_total:6.2f} | "
            f"{row.ratio:6.1f} {row.estimator_ratio:8.1f} | {row.largest_difference:10.1e}"
        )
    for row in rows:
        if row.ratio < FASTER:
            print(f"{row.estimator}: {row.ratio:.1f} times faster in all, below {FASTER:.0f}.")
        if row.largest_difference > CLOSER:
            print(f"{row.estimator}: values differ by more than {CLOSER:g}.")


def main() -> int:
    """Measure, print, write JSON, and return 1 when values differ by more than the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    limits = importlib.import_module("threadpoolctl").threadpool_limits  # it ships no types
    with limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = compare(POINTS, NEIGHBORS, SUBSET, arguments.rounds)
    print(
        f"{POINTS} points in R^20, k = {NEIGHBORS}, 1 thread, CPU seconds, medians of "
        f"{arguments.rounds} rounds.\nTheir ESS ran on {SUBSET} points, scaled linearly.\n"
    )
    show(rows)
    if arguments.json:
        figures = {
            "points": POINTS,
            "neighbors": NEIGHBORS,
            "threads": 1,
            "bar": FASTER,
            "rounds": arguments.rounds,
            "torch": torch.__version__,
            "scikit-dimension": version("scikit-dimension"),
            "machine": platform.machine(),
            "rows": [
                asdict(row) | {"ratio": row.ratio, "estimator_ratio": row.estimator_ratio}
                for row in rows
            ],
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(any(row.largest_difference > CLOSER for row in rows))


if __name__ == "__main__":
    sys.exit(main())
