"""A plane of training images and generated ones, near where a descriptor is similar."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmh_core.records import MMHError, Progress
from mmh_core.retrieval.embedders import Embedder, PixelEmbedder, embed_all
from mmh_core.retrieval.index import Index
from mmh_core.retrieval.index_files import load_index
from mmh_core.retrieval.umap_layout import umap_layout_steps
from mmh_core.studies.images.run import ImageResult

#: The file of precomputed coordinates beside the shipped model.
MAP = "map.parquet"
#: Training images that a generated one is placed between.
BETWEEN = 5
#: UMAP starts from the eigenvectors of a graph, of which fewer points have too few.
FEWEST = 5


@dataclass(frozen=True, eq=False)
class ImageMap:
    """N training images and M generated ones on a plane.

    `ids`, `kinds`, `captions` and `multiplicity` are those of the training images ("" and 1 where
    unknown), `places` (N, 2) theirs and `samples` (M, 2) those of the generated ones. `axes`
    names the projection.
    """

    ids: tuple[int, ...]
    kinds: tuple[str, ...]
    captions: tuple[str, ...]
    multiplicity: tuple[int, ...]
    places: Tensor
    samples: Tensor
    axes: str


def precomputed_map(folder: Path, images: Sequence[ImageResult]) -> ImageMap | None:
    """Return the map kept beside a model with the images on it, None where there is none.

    An image stands at the mean of its 5 nearest training images, weighted by similarity: near
    what it resembles, but the map was not made with it. Errors: MMHError for a damaged file.
    """
    path = folder / MAP
    if not path.exists():
        return None
    index = load_index(folder / "index", verify=False)
    try:
        table = pd.read_parquet(path).set_index("id").loc[index.ids]
        places = torch.tensor(table[["x", "y"]].to_numpy(np.float64))
    except (OSError, ValueError, KeyError) as error:
        raise MMHError(f"The map {path} cannot be read: build the model again.") from error
    by_id = dict(zip(index.ids.tolist(), places, strict=True))
    samples = [_between(image, by_id) for image in images]
    return _map(index, places, _stacked(samples), "UMAP, computed when the model was built")


def component_map(
    index: Index | None, embedder: Embedder | None, images: Sequence[ImageResult]
) -> ImageMap:
    """Return the map of the first two principal components of all descriptors.

    Without an index the images alone are placed, by their pixels where there is no embedder.
    Errors: ValueError for no image and no index.
    """
    vectors = _descriptors(index, embedder, images)
    centered = vectors - vectors.mean(0)
    _, _, axes = torch.linalg.svd(centered, full_matrices=False)
    places = centered @ axes[:2].T
    if places.shape[1] < 2:
        places = torch.nn.functional.pad(places, (0, 2 - places.shape[1]))
    count = 0 if index is None else len(index)
    return _map(index, places[:count], places[count:], "first two principal components")


def umap_map(
    index: Index | None, embedder: Embedder | None, images: Sequence[ImageResult]
) -> Iterator[Progress[ImageMap]]:
    """Place training images and generated ones together by UMAP; the first map is of components.

    Takes about a minute for some thousand images; whoever stops listening ends it. Errors:
    ValueError for too few images in all, MMHError where UMAP fails.
    """
    vectors = _descriptors(index, embedder, images)
    if len(vectors) < FEWEST:
        raise ValueError(f"{len(vectors)} images are too few for UMAP: {FEWEST} are needed.")
    layout = component_map(index, embedder, images)
    started, expected = time.monotonic(), 20 + len(vectors) / 150
    for places in umap_layout_steps(vectors.float().numpy()):
        seconds = time.monotonic() - started
        if places is None:
            share = 1 - math.exp(-2 * seconds / expected)
            yield Progress(share, f"Placing {len(vectors):,} images", layout)
            continue
        count, all_places = len(layout.ids), torch.from_numpy(places).double()
        axes = "UMAP of training images and drawn ones together"
        layout = replace(layout, places=all_places[:count], samples=all_places[count:], axes=axes)
    yield Progress(1.0, "Placed", layout)


def _descriptors(
    index: Index | None, embedder: Embedder | None, images: Sequence[ImageResult]
) -> Tensor:
    """Return unit descriptors (N + M, D) of training images and generated ones, in float64."""
    generated = torch.stack([image.image for image in images]).float() / 255 if images else None
    parts = [] if index is None else [torch.from_numpy(np.asarray(index.vectors)).double()]
    if generated is not None:
        parts.append(embed_all(embedder or PixelEmbedder(), generated).double())
    if not parts:
        raise ValueError("There are neither training images nor drawn ones to place.")
    return torch.nn.functional.normalize(torch.cat(parts), dim=1)


def _between(image: ImageResult, places: dict[int, Tensor]) -> Tensor:
    near = [neighbor for neighbor in image.neighbors if neighbor.id in places][:BETWEEN]
    if not near:
        return torch.full((2,), torch.nan, dtype=torch.float64)
    weights = torch.tensor(
        [max(neighbor.similarity, 1e-6) for neighbor in near], dtype=torch.float64
    )
    stacked = torch.stack([places[neighbor.id] for neighbor in near])
    mean: Tensor = (weights[:, None] * stacked).sum(0) / weights.sum()
    return mean


def _stacked(places: list[Tensor]) -> Tensor:
    return torch.stack(places) if places else torch.empty(0, 2, dtype=torch.float64)


def _map(index: Index | None, places: Tensor, samples: Tensor, axes: str) -> ImageMap:
    if index is None:
        return ImageMap((), (), (), (), places, samples, axes)
    labels, count = index.labels, len(index)
    kinds = labels["kind"].astype(str).tolist() if "kind" in labels else [""] * count
    return ImageMap(
        tuple(index.ids.tolist()),
        tuple(kinds),
        tuple(labels["caption"].astype(str)),
        tuple(index.multiplicity.tolist()),
        places,
        samples,
        axes,
    )
