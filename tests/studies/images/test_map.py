"""The map of training images and drawn ones."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import PixelEmbedder, embed_all
from mmh_core.retrieval.index import Index, build_index
from mmh_core.retrieval.index_files import save_index
from mmh_core.retrieval.umap_layout import umap_layout_steps
from mmh_core.studies.images.map import BETWEEN, component_map, precomputed_map, umap_map
from mmh_core.studies.images.run import ImageResult
from mmh_core.subject.copies import TrainingNeighbor
from tests.drawn_runs import drawn_run, noise


@pytest.fixture(scope="module")
def index() -> Index:
    images = torch.stack([noise(100 + i) for i in range(8)]).float() / 255
    labels = pd.DataFrame(
        {
            "id": np.arange(40, 48),
            "caption": [f"caption {i}" for i in range(8)],
            "file": [f"{i}.png" for i in range(8)],
            "kind": ["open"] * 4 + ["varied"] * 4,
            "copies": np.arange(1, 9),
        }
    )
    embedder = PixelEmbedder()
    return build_index(embed_all(embedder, images), labels, embedder)


@pytest.fixture(scope="module")
def folder(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an index and a map whose rows come in another order."""
    place = tmp_path_factory.mktemp("model")
    save_index(index, place / "index")
    table = pd.DataFrame({"id": index.ids, "x": np.arange(8.0), "y": np.arange(8.0) ** 2})
    table.iloc[::-1].to_parquet(place / "map.parquet", index=False)
    return place


def near(image: ImageResult, pairs: list[tuple[int, float]]) -> ImageResult:
    """Return an image with these neighbors (id, similarity)."""
    found = tuple(TrainingNeighbor(i, s, "", "", 1, noise(i)) for i, s in pairs)
    return replace(image, neighbors=found)


def test_a_precomputed_map_puts_images_between_their_nearest(folder: Path) -> None:
    one = drawn_run().images[0]
    at_one = near(one, [(42, 0.9)])
    between = near(one, [(40, 0.75), (44, 0.25)])
    # A sixth neighbor, however far away, does not count.
    six = near(one, [(42, 0.9)] * BETWEEN + [(47, 0.9)])
    found = precomputed_map(folder, (at_one, between, six))
    assert found is not None
    assert found.ids == tuple(range(40, 48))
    assert found.kinds == ("open",) * 4 + ("varied",) * 4
    assert found.multiplicity == tuple(range(1, 9))
    assert found.places.tolist() == [[float(i), float(i * i)] for i in range(8)]
    assert found.samples.tolist() == [[2.0, 4.0], [1.0, 4.0], [2.0, 4.0]]


def test_a_image_without_known_neighbors_has_no_place(folder: Path) -> None:
    found = precomputed_map(folder, (near(drawn_run().images[0], []),))
    assert found is not None and bool(found.samples.isnan().all())


def test_no_map_is_none_and_a_damaged_one_is_said(folder: Path, tmp_path: Path) -> None:
    assert precomputed_map(tmp_path, ()) is None
    (tmp_path / "index").symlink_to(folder / "index")
    (tmp_path / "map.parquet").write_bytes(b"no table")
    with pytest.raises(MMHError, match="build the model again"):
        precomputed_map(tmp_path, ())


def test_a_copy_of_a_training_image_gets_its_place_among_components(index: Index) -> None:
    one = replace(drawn_run().images[0], image=noise(103))
    found = component_map(index, PixelEmbedder(), (one,))
    assert found.samples.shape == (1, 2) and found.places.shape == (8, 2)
    # Equal pixels have equal descriptors, up to float32 in the stored ones.
    assert found.samples[0].tolist() == pytest.approx(found.places[3].tolist(), abs=1e-5)


def test_components_are_those_of_largest_variance(index: Index) -> None:
    images = tuple(drawn_run().images)
    found = component_map(index, PixelEmbedder(), images)
    places = torch.cat([found.places, found.samples])
    generated = torch.stack([one.image for one in images]).float() / 255
    vectors = torch.cat(
        [torch.from_numpy(index.vectors).double(), embed_all(PixelEmbedder(), generated).double()]
    )
    values = torch.linalg.eigvalsh(torch.cov(vectors.T))
    # float32 descriptors in a float64 decomposition.
    assert places.var(dim=0).tolist() == pytest.approx(values.flip(0)[:2].tolist(), rel=1e-4)


def test_without_training_images_the_drawn_ones_are_placed_by_their_pixels() -> None:
    images = tuple(drawn_run().images)
    found = component_map(None, None, (images[0], images[0], images[1]))
    assert found.ids == () and found.samples.shape == (3, 2)
    assert torch.allclose(found.samples[0], found.samples[1])
    assert not torch.allclose(found.samples[0], found.samples[2])
    with pytest.raises(ValueError, match="neither training images nor drawn ones"):
        component_map(None, None, ())


@pytest.mark.slow
def test_umap_places_a_copy_beside_its_original(index: Index) -> None:
    copy = replace(drawn_run().images[0], image=noise(100))
    *waiting, last = umap_map(index, PixelEmbedder(), (copy,))
    assert waiting and all(p.partial.axes.startswith("first two") for p in waiting)
    fractions = [p.fraction for p in (*waiting, last)]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    found = last.partial
    assert found.axes.startswith("UMAP of training images and drawn ones")
    assert found.ids == tuple(range(40, 48)) and torch.isfinite(found.places).all()
    far = (found.places - found.samples[0]).norm(dim=1)
    assert int(far.argmin()) == 0


def test_stopping_ends_the_process_that_places(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *given: object, **named: object) -> None:
            super().__init__(*given, **named)  # type: ignore[call-overload]
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    steps = umap_map(index, PixelEmbedder(), ())
    next(steps)
    assert started[0].poll() is None
    steps.close()  # type: ignore[attr-defined]
    assert started[0].returncode == -signal.SIGKILL


def test_what_umap_cannot_place_is_said(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="1 images are too few for UMAP"):
        next(umap_map(None, None, drawn_run().images[:1]))
    broken = [torch.full((8, 4), torch.nan).numpy()]
    with pytest.raises(MMHError, match="The map could not be computed"):
        list(umap_layout_steps(*broken))
