"""The files beside a built model: world, index, map and card."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmh_core.files import replacing, write_text
from mmh_core.pocket.assets import read_world, sheet_place, write_manifest, write_world
from mmh_core.pocket.batches import as_tensor
from mmh_core.pocket.build import BuildConfig, Built
from mmh_core.pocket.second.drawn import WorldNumbers
from mmh_core.pocket.world import World
from mmh_core.records import Progress
from mmh_core.retrieval.embedders import Embedder, embed_all, pocket_embedder
from mmh_core.retrieval.index import Index, build_index
from mmh_core.retrieval.index_files import load_index, save_index
from mmh_core.retrieval.training_images import TrainingImages, training_images
from mmh_core.retrieval.umap_layout import Positions, umap_layout_steps
from mmh_core.text_to_image.folder import CARD
from mmh_core.text_to_image.weights import MANIFEST, read_json

#: What the model card recommends: a tiny model wants little guidance.
GUIDANCE, STEPS = 2.0, 30
#: Yields None while descriptors (N, D) are layout, the places (N, 2) at last.
LayoutSteps = Callable[[NDArray[np.float32]], Iterator[Positions | None]]
_PACKAGES = ("torch", "diffusers", "transformers", "tokenizers", "numpy", "pillow")


@dataclass(frozen=True)
class ShippedData:
    """The world, the descriptor and the index of the shipped model."""

    world: World
    embedder: Embedder
    training: TrainingImages


def furnish(
    folder: Path,
    world: World,
    about: Mapping[str, Any],
    captions: pd.DataFrame | None = None,
    numbers: WorldNumbers | None = None,
    layout: LayoutSteps = umap_layout_steps,
) -> Iterator[Progress[None]]:
    """Add the data to a folder of built networks; `about` goes into the card as it is.

    `captions` is the table of prompts, and `numbers` are those that the images of a second world
    are drawn from. `layout` makes the map, in another process: the threads that UMAP starts slow
    down every network of this one twentyfold.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    yield Progress(0.0, "Writing images and labels", None)
    write_world(folder, world, captions, numbers)
    _write_card(folder, about)
    yield Progress(0.3, "Describing the training images", None)
    index = _index(world, pocket_embedder(folder / "descriptor"), sheets=numbers is None)
    save_index(index, folder / "index", storage="float16")
    yield Progress(0.6, "Computing the map of the training images", None)
    [*_, places] = layout(np.asarray(index.vectors))
    if places is None:
        raise ValueError("The map has no places.")
    _write_map(folder / "map.parquet", index, places)
    write_manifest(folder)
    yield Progress(1.0, "Furnished", None)


def card_of(config: BuildConfig, built: Built) -> dict[str, Any]:
    """Return what the card says of the training: settings, seeds and last losses."""
    return {"training": asdict(config), "losses": built.losses}


def open_shipped_data(folder: Path) -> ShippedData:
    """Return the files beside the model, opened. Errors: MMHError for missing or damaged ones."""
    world = read_world(folder)
    embedder = pocket_embedder(folder / "descriptor")
    index = load_index(folder / "index", memory_map=False)
    return ShippedData(world, embedder, training_images(as_tensor(world.images), index))


def add_to_card(folder: Path, about: Mapping[str, Any]) -> None:
    """Add entries to the model card, and list its new digest."""
    card = read_json(folder / CARD)
    write_text(folder / CARD, json.dumps({**card, **about}, indent=1) + "\n")
    write_manifest(folder)


def _write_card(folder: Path, about: Mapping[str, Any]) -> None:
    card = {
        "name": "pocket-sd",
        "guidance": GUIDANCE,
        "steps": STEPS,
        "purpose": "A small Stable Diffusion whose training set and true LID are known. It draws "
        "an invented world only, and stands for no public checkpoint.",
        "versions": {name: version(name) for name in _PACKAGES},
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        **about,
    }
    write_text(folder / CARD, json.dumps(card, indent=1) + "\n")


def _index(world: World, embedder: Embedder, *, sheets: bool) -> Index:
    labels = world.labels
    files = [sheet_place(number) if sheets else "" for number in range(len(labels))]
    rows = pd.DataFrame(
        {
            "id": labels.id.astype("int64"),
            "caption": [texts[0] for texts in labels.captions],
            "file": files,
            "kind": labels.kind,
            "copies": labels.copies.astype("int64"),
        }
    )
    return build_index(embed_all(embedder, as_tensor(world.images)), rows, embedder)


def _write_map(path: Path, index: Index, places: Positions) -> None:
    """Write 2-D coordinates of the training images: UMAP of their descriptors, cosine."""
    table = pd.DataFrame({"id": index.ids, "x": places[:, 0], "y": places[:, 1]})
    with replacing(path) as temporary:
        table.astype({"x": "float32", "y": "float32"}).to_parquet(temporary, index=False)
