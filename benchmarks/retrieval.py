"""Measure how fast the exact index is built, opened and searched, and what memory it takes.

Run `python benchmarks/retrieval.py [--json FILE] [--count N] [--dim D] [--rounds R]`. Every phase
runs in a process of its own, so that its peak of memory is its own: building from descriptors and
saving; opening the memory-mapped index and searching; faiss's flat index on the same descriptors;
weighing copy evidence for four images of the shipped model, and among noise. Medians over
rounds; results are compared with a full search in float64. Exit status 1 when a bar is missed or a
result differs. Threads are as many as there are cores; on a busy machine the figures are upper
bounds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere

from mmh_core.pocket.furnish import open_shipped_data
from mmh_core.retrieval.copy_evidence import copy_evidence
from mmh_core.retrieval.copy_thresholds import CopyThresholds
from mmh_core.retrieval.embedders import Embedder, PixelEmbedder, embed_all
from mmh_core.retrieval.index import build_index, search
from mmh_core.retrieval.index_files import load_index, save_index
from mmh_core.retrieval.training_images import (
    TrainingImages,
    distances,
    pixel_rows,
    training_images,
)
from mmh_core.subject.calibration import image_calibration
from mmh_core.text_to_image.generation import generate_images
from mmh_core.text_to_image.requests import Request
from mmh_core.text_to_image.stable_diffusion import load

QUERIES, NEIGHBORS = 16, 10
SEARCH_BAR, BUILD_BAR, EVIDENCE_BAR = 0.1, 5.0, 0.08  # seconds
MODEL = Path(__file__).resolve().parent.parent / "assets" / "pocket-sd"
#: As many images of noise as the shipped model has.
IMAGES = 6_183
#: Any will do: the time hardly depends on them.
THRESHOLDS = CopyThresholds(0.9, 1.0, 1 / 3, 0.03, 0.04, 0.6, 4)


@dataclass(frozen=True)
class Row:
    """Hold one phase: median seconds, the bar if there is one, MiB at the peak and before."""

    phase: str
    seconds: float
    bar: float | None
    peak_mib: float
    start_mib: float
    exact: bool = True

    @property
    def short(self) -> bool:
        """Tell whether the phase is too slow or wrong."""
        return not self.exact or (self.bar is not None and self.seconds > self.bar)


@dataclass(frozen=True)
class Random:
    """Stand for the embedder of random descriptors, which nobody embeds."""

    dim: int
    name: str = "random"
    digest: str = "0"
    preprocessing: str = "none"

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Refuse: the descriptors are drawn."""
        raise NotImplementedError


def drawn(count: int, dim: int) -> torch.Tensor:
    """Return random descriptors, the same in every process."""
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(0))


def asked(count: int, dim: int) -> torch.Tensor:
    """Return noisy versions of the first descriptors."""
    noise = torch.randn(QUERIES, dim, generator=torch.Generator().manual_seed(1))
    return drawn(count, dim)[:QUERIES] + 0.5 * noise


def memory(key: str) -> float:
    """Return VmHWM, the peak so far, or VmRSS, the memory now, of this process in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def median_seconds(action: Callable[[], object], rounds: int) -> float:
    """Return the median time of an action, after one run that warms up."""
    action()
    times = list[float]()
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def build(folder: Path, count: int, dim: int, rounds: int) -> Row:
    """Build an index from descriptors and save it."""
    import pandas as pd

    vectors = drawn(count, dim)
    rows = range(count)
    labels = pd.DataFrame(
        {"id": rows, "caption": [f"caption {i}" for i in rows], "file": [f"{i}.png" for i in rows]}
    )
    before = memory("VmRSS")
    seconds = median_seconds(
        lambda: save_index(build_index(vectors, labels, Random(dim)), folder), max(1, rounds // 5)
    )
    return Row("build and save", seconds, BUILD_BAR, memory("VmHWM"), before)


def opened(folder: Path, count: int, dim: int, rounds: int) -> Row:
    """Open the memory-mapped index, checksums and all."""
    before = memory("VmRSS")
    seconds = median_seconds(lambda: load_index(folder), max(1, rounds // 5))
    return Row("open, verified", seconds, None, memory("VmHWM"), before)


def searched(folder: Path, count: int, dim: int, rounds: int) -> Row:
    """Search the memory-mapped index."""
    queries, before = asked(count, dim), memory("VmRSS")
    index = load_index(folder, verify=False)
    seconds = median_seconds(lambda: search(index, queries, NEIGHBORS), rounds)
    peak = memory("VmHWM")
    units = torch.nn.functional.normalize(queries.double(), dim=1)
    wide = torch.from_numpy(index.vectors.astype(np.float64))
    best = (units @ wide.T).topk(NEIGHBORS).indices
    exact = torch.equal(search(index, queries, NEIGHBORS).rows, best)
    return Row("search, this index", seconds, SEARCH_BAR, peak, before, exact)


def by_faiss(folder: Path, count: int, dim: int, rounds: int) -> Row:
    """Search with faiss's exact index."""
    import faiss

    vectors = load_index(folder, memory_map=False, verify=False).vectors
    queries, before = asked(count, dim).numpy(), memory("VmRSS")
    index = faiss.IndexFlatIP(dim)
    index.add(vectors)
    seconds = median_seconds(lambda: index.search(queries, NEIGHBORS), rounds)
    return Row("search, faiss IndexFlatIP", seconds, None, memory("VmHWM"), before)


def weighed(folder: Path, count: int, dim: int, rounds: int) -> Row:
    """Weigh the copy evidence of four images that the shipped model draws."""
    model, shipped = load(MODEL, device=torch.device("cpu")), open_shipped_data(MODEL)
    request = Request("portrait of a person", (0, 1, 2, 3), model.sampling)
    chosen = image_calibration(MODEL).copy_thresholds
    return _weighed(
        generate_images(model, request), shipped.embedder, shipped.training, chosen, rounds
    )


def weighed_noise(folder: Path, count: int, dim: int, rounds: int) -> Row:
    """Weigh as much evidence among noise, the worst case: all distances have to be computed."""
    import pandas as pd

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (IMAGES, 3, 64, 64), dtype=torch.uint8, generator=generator)
    rows, embedder = range(IMAGES), PixelEmbedder()
    labels = pd.DataFrame({"id": rows, "caption": "", "file": ""}, index=rows)
    index = build_index(embed_all(embedder, images), labels, embedder)
    training = training_images(images, index)
    some = images[:4].float().div(255)
    row = _weighed(some, embedder, training, THRESHOLDS, rounds)
    return replace(row, phase=f"{row.phase}, noise", bar=None)


def _weighed(
    some: torch.Tensor,
    embedder: Embedder,
    training: TrainingImages,
    thresholds: CopyThresholds,
    rounds: int,
) -> Row:
    """Weigh copy evidence, and compare nearest images and distances with a full search."""
    before = memory("VmRSS")
    seconds = median_seconds(lambda: copy_evidence(some, embedder, training, thresholds), rounds)
    peak = memory("VmHWM")
    found = copy_evidence(some, embedder, training, thresholds)
    every = np.arange(len(training))
    far = np.stack([distances(training, every, point) for point in pixel_rows(some)])
    exact = found.distance.tolist() == far.min(axis=1).tolist()
    exact &= found.pixel_nearest.tolist() == training.index.ids[far.argmin(axis=1)].tolist()
    size = "x".join(map(str, training.pixels.shape[2:]))
    phase = f"copy evidence, {len(some)} images, {len(training):,} of {size}"
    return Row(phase, seconds, EVIDENCE_BAR, peak, before, exact)


PHASES = (build, opened, searched, by_faiss, weighed, weighed_noise)


def show(rows: list[Row]) -> None:
    """Print the table, with the bars."""
    print(f"{'':54} | {'seconds':>8} | {'bar':>5} | {'peak MiB':>8} | {'before':>6} |")
    for row in rows:
        bar = "" if row.bar is None else f"{row.bar:g}"
        note = "" if row.exact else "wrong result"
        note = "misses the bar" if row.exact and row.short else note
        print(
            f"{row.phase:54} | {row.seconds:8.4f} | {bar:>5} | {row.peak_mib:8.0f} | "
            f"{row.start_mib:6.0f} | {note}"
        )


def main() -> int:
    """Measure every phase in its own process, print, write JSON, and return 1 when short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows = list[Row]()
    with tempfile.TemporaryDirectory() as place:
        for phase in PHASES:
            given = (Path(place, "index"), arguments.count, arguments.dim, arguments.rounds)
            # A pool of one process per phase: the next phase starts with clean memory.
            with context.Pool(1) as pool:
                rows.append(pool.apply(phase, given))
    print(
        f"{arguments.count:,} descriptors of dim {arguments.dim}, {QUERIES} queries, exact top "
        f"{NEIGHBORS}, {os.cpu_count()} cores, medians of {arguments.rounds} rounds.\n"
    )
    show(rows)
    if arguments.json:
        figures: dict[str, Any] = {
            "count": arguments.count,
            "dim": arguments.dim,
            "queries": QUERIES,
            "neighbors": NEIGHBORS,
            "rounds": arguments.rounds,
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "load": os.getloadavg()[0],
            "versions": {name: version(name) for name in ("numpy", "torch", "faiss-cpu")},
            "rows": [asdict(row) for row in rows],
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(any(row.short for row in rows))


if __name__ == "__main__":
    sys.exit(main())
