"""The training set around one of its images, on manifolds and images of known multiplicity."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from mmh_core.memorization.cause import ModelLids, cause_of
from mmh_core.pocket.second.doses import Sizes
from mmh_core.pocket.second.images import row_images
from mmh_core.pocket.second.tables import build_tables
from mmh_core.records import MMHError
from mmh_core.retrieval.embedders import PixelEmbedder, embed_all
from mmh_core.retrieval.index import Index, build_index
from mmh_core.statistics.intervals import Interval
from mmh_core.subject.neighborhood import neighbor_lid, same_image, training_neighborhood, usual_of
from mmh_core.subject.training_set import TrainingSet

SIZES = Sizes(exact=1, near=1, template=1, unique=1, fresh=1, small=1, held_out=1, other=1)


def index_of(points: Tensor, copies: list[int] | None = None) -> Index:
    """Return an index of points lifted to the unit sphere, which keeps their dimension."""
    lifted = torch.cat([torch.ones(len(points), 1), points], dim=1)
    points = torch.nn.functional.normalize(lifted.double(), dim=1)
    labels = pd.DataFrame({"id": range(0, 3 * len(points), 3), "caption": "", "file": ""})
    labels["copies"] = [1] * len(points) if copies is None else copies
    return Index(points.numpy().astype(np.float32), labels, "points", "0", "none")


def unreadable(row: int) -> Tensor:
    raise MMHError("There is no image.")


def manifold(dimension: int, count: int = 600, seed: int = 0) -> Tensor:
    """Return points of a flat patch of so many dimensions in R^24."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(24, dimension, generator=generator)).Q
    return (torch.rand(count, dimension, generator=generator) - 0.5) @ axes.T


def around(points: Tensor, row: int, copies: list[int] | None = None) -> TrainingSet:
    return TrainingSet("points", index_of(points, copies), PixelEmbedder(), unreadable)


@pytest.mark.parametrize("dimension", [1, 2, 5, 9])
def test_the_data_lid_is_the_dimension_and_lies_in_its_interval(dimension: int) -> None:
    index = index_of(manifold(dimension))
    inside = torch.from_numpy(index.vectors[:, 0]).argsort(descending=True)[:60].tolist()
    lids = [
        training_neighborhood(TrainingSet("", index, PixelEmbedder(), unreadable), row).lid
        for row in inside
    ]
    mean = sum(lid.value for lid in lids) / len(lids)
    # Few neighbors reach the edge of the patch, and thinning lowers what is nearly a line.
    assert 0.45 * dimension <= mean <= 1.2 * dimension
    if 2 <= dimension <= 5:
        covered = sum(lid.low <= dimension <= lid.high for lid in lids)
        assert covered >= 0.8 * len(lids)


def test_the_interval_is_that_of_the_gamma_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    inside = 0
    for seed in range(200):
        generator.manual_seed(seed)
        # Uniform in a ball of 4 dimensions around the first point.
        points = torch.randn(200, 4, generator=generator)
        points = points / points.norm(dim=1, keepdim=True)
        points = points * torch.rand(200, 1, generator=generator) ** (1 / 4)
        index = index_of(torch.cat([torch.zeros(1, 4), 0.2 * points]))
        order = (index.vectors[1:] @ -index.vectors[0]).argsort() + 1
        lid = neighbor_lid(index, 0, order.astype(np.int64))
        inside += lid.low <= 4 <= lid.high
    assert inside >= 0.9 * 200


@pytest.mark.parametrize("copies", [1, 2, 7, 64])
@pytest.mark.parametrize("as_rows", [True, False])
def test_exact_copies_are_counted_and_are_a_point_mass(copies: int, as_rows: bool) -> None:
    points, counts = manifold(5), [1] * 600
    if as_rows:
        points = torch.cat([points, points[7:8].expand(copies - 1, -1)])
    else:
        counts[7] = copies
    freedom = training_neighborhood(around(points, 7, None if as_rows else counts), 7)
    assert (freedom.multiplicity, freedom.near_duplicates, freedom.usual_multiplicity) == (
        copies,
        0,
        1.0,
    )
    assert freedom.repeated == (copies > 1)
    assert (freedom.lid.value == 0) == (copies > 1)


def test_copies_of_another_image_do_not_change_the_dimension() -> None:
    points = manifold(5)
    alone = training_neighborhood(around(points, 0), 0).lid
    nearest = (points - points[0]).norm(dim=1).argsort()[1]
    beside = torch.cat([points, points[nearest][None].expand(200, -1)])
    assert training_neighborhood(around(beside, 0), 0).lid == alone


def test_a_repeated_set_has_nothing_repeated() -> None:
    thrice = manifold(4, 200).repeat(3, 1)
    freedom = training_neighborhood(around(thrice, 5), 5)
    assert (freedom.multiplicity, freedom.usual_multiplicity) == (3, 3.0) and not freedom.repeated
    assert freedom.lid.value > 2


def test_images_of_one_layout_leave_few_dimensions_where_many_are_usual() -> None:
    wide = manifold(9, 800)
    line = wide[:1] + 0.01 * torch.linspace(-1, 1, 40)[:, None] * torch.ones(1, 24) / 5
    freedom = training_neighborhood(around(torch.cat([wide, line]), 0), 0)
    assert not freedom.repeated and freedom.narrow and freedom.lid.value < 1.5
    model = ModelLids(Interval(1.0, 0.5, 1.5))
    assert cause_of(model, freedom).label == "DD-Mem"
    alone = training_neighborhood(around(wide, 3), 3)
    assert not alone.narrow and cause_of(model, alone).label == "OD-Mem"


def test_too_few_images_tell_no_dimension() -> None:
    freedom = training_neighborhood(around(manifold(3, 10), 0), 0)
    assert math.isnan(freedom.lid.value)
    assert cause_of(ModelLids(Interval(0.0, 0.0, 0.0)), freedom).label == "not identifiable"
    pair = training_neighborhood(around(manifold(3, 1).expand(2, -1), 0), 0)
    assert pair.multiplicity == 2 and pair.usual_multiplicity == 2.0


def test_what_is_usual_counts_images_and_not_rows() -> None:
    points = torch.cat([manifold(6, 300), manifold(6, 1, seed=1).expand(300, -1)])
    usual = usual_of(index_of(points))
    assert usual.multiplicity == 1.0 and 3.5 < usual.lid.value < 7


@pytest.fixture(scope="module")
def world() -> tuple[pd.DataFrame, Tensor, TrainingSet]:
    """Return rows of a small second world with one role each, their images, and the set."""
    tables = build_tables(3, SIZES)
    rows = tables.rows.copy()
    rows["role"] = tables.captions.role.to_numpy()[rows.caption]
    images = torch.from_numpy(row_images(tables, range(len(rows)))).permute(0, 3, 1, 2)
    embedder = PixelEmbedder()
    labels = pd.DataFrame({"id": range(len(rows)), "caption": "", "file": ""})
    labels["copies"] = rows.copies.to_numpy()
    index = build_index(embed_all(embedder, images), labels, embedder)
    training_set = TrainingSet("w", index, embedder, lambda row: images[row].contiguous())
    return rows, images, training_set


def test_rendered_duplicates_are_repeated_and_what_stands_once_is_not(
    world: tuple[pd.DataFrame, Tensor, TrainingSet],
) -> None:
    rows, _, training_set = world
    exact = rows[(rows.role == "exact") & (rows.copies >= 8)].index[:6]
    for row in exact:
        freedom = training_neighborhood(training_set, int(row))
        assert freedom.multiplicity >= rows.copies[row] and freedom.repeated
        assert freedom.lid.value == 0
    once = rows[(rows.role == "exact") & (rows.copies == 1)].groupby("caption").head(1).index[:8]
    repeated = [training_neighborhood(training_set, int(row)).repeated for row in once]
    assert sum(repeated) <= 2


@pytest.mark.parametrize("transform", ["crop", "shift", "flip", "color", "noise", "JPEG"])
def test_rendered_near_duplicates_are_aligned_by_pixels(
    transform: str, world: tuple[pd.DataFrame, Tensor, TrainingSet]
) -> None:
    rows, images, _ = world
    near = rows[rows["transform"] == transform]
    first = near.groupby("caption").nth(0).index.tolist()
    second = near.groupby("caption").nth(1).index.tolist()
    same = [same_image(images[a], images[b]) for a, b in zip(first, second, strict=True)]
    assert sum(same) >= 0.6 * len(same)
    others = [same_image(images[a], images[b]) for a, b in zip(first, second[1:], strict=False)]
    assert sum(others) <= 1
