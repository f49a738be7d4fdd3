"""The UMAP layout of descriptors, computed in a process of its own that can be ended anytime.

Run as `python -m mmh_core.retrieval.umap_layout DESCRIPTORS.npy POSITIONS.npy`, which
`umap_layout_steps` does: UMAP is one long call, and what is one call cannot be cancelled within a
process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmh_core.installation import PACKAGE
from mmh_core.records import MMHError

Positions = NDArray[np.float32]
#: `n_neighbors` and `min_dist` of UMAP.
NEIGHBORS, MIN_DISTANCE = 15, 0.15
_POLL = 0.2


def umap_layout(vectors: NDArray[np.float32]) -> Positions:
    """Return positions (N, 2) of descriptors (N, D) by UMAP over cosine distances.

    McInnes, Healy & Melville 2018. The same descriptors give the same positions on one machine.
    Caveat: close together means alike; distances across the plane and gaps mean little.
    """
    import umap

    neighbors = min(NEIGHBORS, len(vectors) - 1)
    positions: Positions = umap.UMAP(
        n_neighbors=neighbors, min_dist=MIN_DISTANCE, metric="cosine", random_state=0, n_jobs=1
    ).fit_transform(vectors)
    return positions.astype(np.float32)


def umap_layout_steps(vectors: NDArray[np.float32]) -> Iterator[Positions | None]:
    """Yield None a few times a second while another process computes, then the positions.

    Whoever stops listening ends that process. Errors: MMHError where it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        descriptors_file, positions_file, errors_file = (
            Path(folder) / name for name in ("descriptors.npy", "positions.npy", "errors.txt")
        )
        np.save(descriptors_file, vectors)
        command = [sys.executable, "-m", __name__, str(descriptors_file), str(positions_file)]
        with errors_file.open("wb") as errors:
            process = subprocess.Popen(command, stdout=errors, stderr=errors, cwd=PACKAGE.parent)
            try:
                while process.poll() is None:
                    yield None
                    time.sleep(_POLL)
            finally:
                process.kill()
                process.wait()
        if process.returncode != 0 or not positions_file.exists():
            last = errors_file.read_text(errors="replace").strip().splitlines()[-1:] or [
                "no details"
            ]
            raise MMHError(
                f"The map could not be computed ({last[0][:200]}): look at the map of principal "
                "components instead, or try again."
            )
        yield np.load(positions_file)


def main() -> None:
    """Write the UMAP positions of the descriptors in one file to another."""
    descriptors_file, positions_file = sys.argv[1:]
    np.save(positions_file, umap_layout(np.load(descriptors_file)))


if __name__ == "__main__":
    main()
