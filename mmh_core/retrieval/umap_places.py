"""Place descriptors on a plane by UMAP, in a process of its own that can be ended at any moment.

Run as `python -m mmh_core.retrieval.umap_places DESCRIPTORS.npy PLACES.npy`, which `placing` does:
UMAP is one long call, and what is one call cannot be cancelled within a process.
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

Places = NDArray[np.float32]
#: Points that a point's surroundings are made of, and how close together points may lie.
NEIGHBORS, APART = 15, 0.15
_POLL = 0.2


def umap_places(vectors: NDArray[np.float32]) -> Places:
    """Return places (N, 2) of descriptors (N, D) by UMAP over cosine distances.

    McInnes, Healy & Melville 2018. The same descriptors give the same places on one machine.
    Caveat: close together means alike; distances across the plane and gaps mean little.
    """
    import umap

    neighbors = min(NEIGHBORS, len(vectors) - 1)
    places: Places = umap.UMAP(
        n_neighbors=neighbors, min_dist=APART, metric="cosine", random_state=0, n_jobs=1
    ).fit_transform(vectors)
    return places.astype(np.float32)


def placing(vectors: NDArray[np.float32]) -> Iterator[Places | None]:
    """Yield None a few times a second while another process places, the places at last.

    Whoever stops listening ends that process. Errors: MMHError where it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        descriptors_file, positions_file, errors_file = (
            Path(folder) / name for name in ("given.npy", "found.npy", "said")
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
    """Place the descriptors of one file and write the places to another."""
    descriptors_file, positions_file = sys.argv[1:]
    np.save(positions_file, umap_places(np.load(descriptors_file)))


if __name__ == "__main__":
    main()
